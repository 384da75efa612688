"""Settings: read from an ini file and checked completely, or refused with file, section, key and accepted values.

Each section is an attrs class in :mod:`cenergyd.settings.sections`; every field carries its kind (how text becomes a value, with its
bounds), unit and reason, from which ``etc/cenergyd.ini`` is written (``cenergyd check --print-defaults``) and tested.

So that secrets stay out of the file, a value may come from elsewhere: ``@file:/path`` is the content of a file (systemd credentials:
``@credential:NAME`` is ``$CREDENTIALS_DIRECTORY/NAME``), ``@env:NAME`` an environment variable.
"""

from __future__ import annotations

import configparser
import difflib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import attrs
from twisted.logger import Logger

from cenergyd.errors import ConfigError
from cenergyd.settings.plugin_section import PluginSection
from cenergyd.settings.retired import CONSTANT, RENAMED

log = Logger()

T = TypeVar("T")
ReadValue = Callable[[str], object]


def setting(
    default: Any, kind: ReadValue, why: str, unit: str = "", *, secret: bool = False, essential: bool = False
) -> Any:
    """Declare one setting.

    :param default: its text in the ini file.
    :param secret: its value is never shown.
    :param essential: an installation is likely to set it; the ini file shows the others as comments.
    """
    return attrs.field(
        factory=lambda: kind(default),
        repr=not secret,
        metadata={"default": default, "kind": kind, "why": why, "unit": unit, "secret": secret, "essential": essential},
    )


def settings_in(section: type[Any]) -> list[attrs.Attribute[object]]:
    """The settings that a section's class declares."""
    return [field for field in attrs.fields(section) if "kind" in field.metadata]


def integer(low: int, high: int) -> ReadValue:
    """A whole number within bounds."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"a whole number from {low} to {high} is needed") from None
        if not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high} is needed")
        return value

    parse.__doc__ = f"A whole number from {low} to {high}."
    return parse


def number(low: float, high: float) -> ReadValue:
    """A number within bounds."""
    needed = f"a number from {low:,.10g} to {high:,.10g} is needed"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(needed) from None
        if not low <= value <= high:
            raise ValueError(needed)
        return value

    parse.__doc__ = f"A number from {low:,.10g} to {high:,.10g}."
    return parse


def accepted_values(kind: ReadValue) -> str:
    """What a kind of setting accepts, with its bounds: one sentence for the ini file."""
    return (kind.__doc__ or "Any text.").strip().splitlines()[0]


def text(text: str) -> str:
    """Any text."""
    return text


def path(text: str) -> Path:
    """A file or folder; a relative one is taken from the working directory."""
    if not text:
        raise ValueError("a path is needed")
    return Path(text).absolute()


def optional_path(text: str) -> Path | None:
    """A path, or nothing."""
    return Path(text).absolute() if text else None


def needed_path(text: str) -> Path:
    """A path, relative or absolute."""
    if not text:
        raise ValueError("a path is needed")
    return Path(text)


def absolute_path(text: str) -> Path | None:
    """An absolute path, or nothing."""
    if text and not text.startswith("/"):
        raise ValueError("an absolute path is needed")
    return Path(text) if text else None


def choice(*allowed: str) -> ReadValue:
    """One of some words."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"one of {', '.join(allowed)} is needed")
        return text

    parse.__doc__ = f"One of {', '.join(allowed)}."
    return parse


def switch(text: str) -> bool:
    """yes or no."""
    word = text.lower()
    if word in ("yes", "true", "on", "1"):
        return True
    if word in ("no", "false", "off", "0"):
        return False
    raise ValueError("yes or no is needed")


def words(text: str) -> tuple[str, ...]:
    """Words separated by spaces, commas or new lines."""
    return tuple(text.replace(",", " ").split())


def pairs(text: str) -> dict[str, str]:
    """Words NAME=VALUE, separated by spaces."""
    found: dict[str, str] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals or not name or name.startswith("$") or "." in name or name == "_id":
            raise ValueError(f"{word!r}: NAME=VALUE is needed")
        found[name] = value
    return found


def days_of(*names: str, least: int, most: int) -> ReadValue:
    """Words NAME=DAYS for some of the names, with whole numbers of days within bounds."""

    def parse(text: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, value in pairs(text).items():
            if name not in names:
                raise ValueError(f"{name!r}: only {', '.join(names)} are kept")
            if not (value.isascii() and value.isdigit() and least <= int(value) <= most):
                raise ValueError(f"{name}={value}: a whole number of days from {least} to {most} is needed")
            found[name] = int(value)
        return found

    parse.__doc__ = f"Words NAME=DAYS, the names {', '.join(names)}, {least} to {most} days each."
    return parse


def chosen(*allowed: str) -> ReadValue:
    """Some of a few words, each once, in the order of ``allowed``."""

    def parse(text: str) -> tuple[str, ...]:
        found = words(text)
        if any(word not in allowed for word in found):
            raise ValueError(f"some of {', '.join(allowed)} are needed")
        return tuple(word for word in allowed if word in found)

    return parse


def url(*schemes: str) -> ReadValue:
    """A URL with one of some schemes."""

    def parse(text: str) -> str:
        if text.split("://", 1)[0] not in schemes or "://" not in text:
            raise ValueError("a URL that starts with " + " or ".join(f"{s}://" for s in schemes) + " is needed")
        return text

    parse.__doc__ = "A URL that starts with " + " or ".join(f"{s}://" for s in schemes) + "."
    return parse


def log_warning(message: str) -> None:
    """Writes to the daemon's log; earlier messages are kept until it has begun."""
    log.warn("{message}", message=message)


def load_settings(
    cls: type[T],
    file: Path | None,
    overrides: Mapping[str, str] | None = None,
    warn: Callable[[str], None] = log_warning,
) -> T:
    """Read ``file`` (None: all defaults) into ``cls``, whose fields are the sections.

    :param overrides: ``section.key`` -> text, which win over the file (command line).
    :param warn: called with a line for each setting that is present under an old name or has become a constant.
    :raises ConfigError: names file, section, key and accepted values; all faults at once, a line each.
    """
    where = _Where(str(file) if file else "command line", frozenset(overrides or ()))
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    if file:
        try:
            with file.open(encoding="utf-8") as source:
                parser.read_file(source)
        except OSError as error:
            raise ConfigError(f"{file}: cannot read the settings: {error.strerror or error}") from error
        except (configparser.Error, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: not an ini file: {error}") from error
    raw = {name: dict(parser.items(name)) for name in parser.sections()}
    for dotted, value in (overrides or {}).items():
        section, _, key = dotted.rpartition(".")  # [layout:NAME] may have a dot in it, a key has none
        raw.setdefault(section, {})[key] = value
    return _build(cls, {name: _without_retired(name, values, where, warn) for name, values in raw.items()}, where)


def _without_retired(
    section: str, values: Mapping[str, str], where: _Where, warn: Callable[[str], None]
) -> dict[str, str]:
    """The values under their present names, without those that have become constants."""
    kept = dict(values)
    for key in values:
        dotted = f"{section}.{key}"
        origin = f"{where.of(section, key)}: [{section}] {key}"
        if dotted in CONSTANT:
            warn(f"{origin}: ignored, it is a constant now; remove the line")
            del kept[key]
        elif dotted in RENAMED:
            new, value = RENAMED[dotted], kept.pop(key)
            warn(f"{origin}: is called {new} now; the old name still works")
            kept.setdefault(new, value)
    return kept


@attrs.frozen
class _Where:
    """Origin of settings, for messages."""

    file: str
    overridden: frozenset[str]

    def of(self, section: str, key: str) -> str:
        return "command line" if f"{section}.{key}" in self.overridden else self.file


def _build(cls: type[T], raw: Mapping[str, Mapping[str, str]], where: _Where) -> T:
    faults: list[str] = []
    sections: dict[str, object] = {}
    hints = get_type_hints(cls)
    known = {field.name: hints[field.name] for field in attrs.fields(cls)}  # type: ignore[arg-type]
    for name in raw:
        base = name.split(":", 1)[0]
        if base not in known or (":" in name and not _is_family(known[base])):
            faults.append(
                f"{_section_origin(where, name, raw[name])}: [{name}]: no such section{_suggestion(name, known)}"
            )
    for name, section_class in known.items():
        if _is_family(section_class):
            members = {s.split(":", 1)[1]: raw[s] for s in raw if s.startswith(f"{name}:")}
            item = section_class.__args__[1]
            if item is PluginSection:
                sections[name] = {
                    member: _plugin_section(f"{name}:{member}", values, where, faults)
                    for member, values in members.items()
                }
                continue
            sections[name] = {
                member: _section(item, f"{name}:{member}", values, where, faults) for member, values in members.items()
            }
        else:
            sections[name] = _section(section_class, name, raw.get(name, {}), where, faults)
    if faults:
        raise ConfigError("\n".join(faults))
    return cls(**sections)


def _section_origin(where: _Where, name: str, values: Mapping[str, str]) -> str:
    return "command line" if values and all(where.of(name, key) != where.file for key in values) else where.file


def _is_family(section_class: object) -> bool:
    return getattr(section_class, "__origin__", None) is dict


def _suggestion(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"


def _section(cls: Any, name: str, values: Mapping[str, str], where: _Where, faults: list[str]) -> object:
    fields = {field.name: field for field in attrs.fields(cls)}
    parsed: dict[str, object] = {}
    for key, value in values.items():
        if key not in fields:
            faults.append(f"{where.of(name, key)}: [{name}] {key}: no such setting{_suggestion(key, fields)}")
            continue
        meta = fields[key].metadata
        try:
            parsed[key] = meta["kind"](_resolve(value))
        except ValueError as error:
            shown = "" if meta["secret"] or value.startswith("@") else f" = {value!r}"
            faults.append(f"{where.of(name, key)}: [{name}] {key}{shown}: {error} (default: {meta['default']!r})")
    try:
        return cls(**parsed)
    except ValueError as error:
        faults.append(f"{where.file}: [{name}]: {error}")
        return None


def _plugin_section(name: str, values: Mapping[str, str], where: _Where, faults: list[str]) -> PluginSection:
    resolved: dict[str, str] = {}
    for key, value in values.items():
        try:
            resolved[key] = _resolve(value)
        except ValueError as error:
            faults.append(f"{where.of(name, key)}: [{name}] {key}: {error}")
    hidden = frozenset(key for key, value in values.items() if resolved.get(key) != value)
    return PluginSection(resolved, {key: where.of(name, key) for key in values}, hidden)


def _resolve(value: str) -> str:
    source, _, rest = value.partition(":")
    if source == "@env":
        if rest not in os.environ:
            raise ValueError(f"the environment variable {rest} is not set")
        return os.environ[rest]
    if source == "@credential":
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise ValueError("$CREDENTIALS_DIRECTORY is not set: @credential: works under systemd (LoadCredential=)")
        source, rest = "@file", str(Path(folder) / rest)
    if source == "@file":
        try:
            return Path(rest).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot read {rest}: {error}") from error
    return value
