"""Writes the whole default ini file from the declarations in :mod:`cenergyd.settings.sections`."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any, get_type_hints

import attrs

from cenergyd.settings.loader import accepted_values, settings_in
from cenergyd.settings.sections import Settings

_HEAD = """\
Settings of cenergyd. Settings that you will need have a value; those that you may change are comments with their
default. Sections that you will need come first. 'cenergyd check' reports errors by section and key.
Keep secrets out of this file: the value @file:/path is the content of a file, @credential:NAME that of
$CREDENTIALS_DIRECTORY/NAME (systemd's LoadCredential=), @env:NAME an environment variable.
"""
_WIDTH = 118
_OBVIOUS = ("Any text.", "An absolute path,", "A path, or nothing.", "yes or no.", "Words", "A URL")
"""Descriptions of accepted values with these beginnings are left out."""


def default_ini(cls: type[Any] = Settings) -> str:
    """The text of ``etc/cenergyd.ini``: all sections of ``cls`` with reason, unit, bounds and default of each setting."""
    hints = get_type_hints(cls)
    lines = [f"# {line}".rstrip() for line in _HEAD.splitlines()]
    for field in attrs.fields(cls):
        section = hints[field.name]
        family = getattr(section, "__origin__", None) is dict
        # A family has no section by default, so its example is a comment.
        name, kind = (f"#[{field.name}:NAME]", section.__args__[1]) if family else (f"[{field.name}]", section)
        lines += ["", name, *_comment(_first_paragraph(kind)), *_settings(kind)]
    return "\n".join(lines) + "\n"


def _settings(cls: type[object]) -> Iterator[str]:
    """Essential settings first."""
    for field in sorted(settings_in(cls), key=lambda field: not field.metadata["essential"]):
        yield from _about(field)
        mark = "" if field.metadata["essential"] else "#"
        yield f"{mark}{field.name} = {field.metadata['default']}".rstrip()


def _about(field: attrs.Attribute[object]) -> Iterator[str]:
    meta = field.metadata
    accepts = accepted_values(meta["kind"])
    bounds = re.sub(r"^[Aa] (whole )?number from (.*)\.$", r"From \2", accepts)
    if bounds != accepts:
        yield from _comment(f"{meta['why']} {bounds} {meta['unit']}".rstrip() + ".")
        return
    unit = f" Unit: {meta['unit']}." if meta["unit"] else ""
    obvious = accepts.startswith(_OBVIOUS) or _names_all(meta["why"], accepts)
    yield from _comment(f"{meta['why']}{unit}" if obvious else f"{meta['why']} {_capital(accepts)}{unit}")


def _names_all(reason: str, accepts: str) -> bool:
    """Whether the reason of a setting explains each of its possible words already."""
    words = accepts.removeprefix("One of ").rstrip(".").split(", ")
    return accepts.startswith("One of ") and all(re.search(rf"\b{re.escape(word)}\b", reason) for word in words)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _first_paragraph(cls: type[object]) -> str:
    return " ".join((inspect.getdoc(cls) or "").split("\n\n", 1)[0].split())


def _comment(words: str) -> Iterator[str]:
    for line in textwrap.wrap(words, _WIDTH, break_long_words=False, break_on_hyphens=False):
        yield f"# {line}"
