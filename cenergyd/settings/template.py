"""Writes the whole default ini file from the declarations in :mod:`cenergyd.settings.sections`."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from typing import Any, get_type_hints

import attrs

from cenergyd.settings.loader import describe
from cenergyd.settings.sections import Settings

_HEAD = """\
Settings of cenergyd: every one, with its default. Made by 'cenergyd check --print-defaults'.
After a change, 'cenergyd check' says what is wrong with it, by section and key.

A value may come from elsewhere, so that secrets stay out of this file:
  @file:/path          the content of a file
  @credential:NAME     $CREDENTIALS_DIRECTORY/NAME (systemd's LoadCredential=)
  @env:NAME            an environment variable
"""
_WIDTH = 118


def default_ini(cls: type[Any] = Settings) -> str:
    """The text of ``etc/cenergyd.ini``: all sections of ``cls`` with reason, unit, bounds and default of each setting."""
    hints = get_type_hints(cls)
    lines = [f"# {line}".rstrip() for line in _HEAD.splitlines()]
    for field in attrs.fields(cls):
        section = hints[field.name]
        family = getattr(section, "__origin__", None) is dict
        lines += ["", *(_family(field.name, section.__args__[1]) if family else _section(field.name, section))]
    return "\n".join(lines) + "\n"


def _section(name: str, cls: type[Any]) -> Iterator[str]:
    yield f"[{name}]"
    yield from _comment(_first_paragraph(cls))
    for field in attrs.fields(cls):
        yield ""
        yield from _about(field)
        yield f"{field.name} = {field.metadata['default']}".rstrip()


def _family(name: str, cls: type[Any]) -> Iterator[str]:
    # A family has no member by default, so its example stays a comment.
    yield from _comment(_first_paragraph(cls))
    yield f"#[{name}:NAME]"
    for field in attrs.fields(cls):
        yield "#"
        yield from _about(field)
        yield f"#{field.name} = {field.metadata['default']}".rstrip()


def _about(field: attrs.Attribute[Any]) -> Iterator[str]:
    meta = field.metadata
    yield from _comment(meta["why"])
    unit = f" Unit: {meta['unit']}." if meta["unit"] else ""
    default = f" Default: {meta['default']}" if meta["default"] else " Default: empty"
    yield from _comment(f"{_capital(describe(meta['kind']))}{unit}{default}")


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _first_paragraph(cls: type[Any]) -> str:
    return " ".join((inspect.getdoc(cls) or "").split("\n\n", 1)[0].split())


def _comment(words: str) -> Iterator[str]:
    for line in textwrap.wrap(words, _WIDTH, break_long_words=False, break_on_hyphens=False):
        yield f"# {line}"
