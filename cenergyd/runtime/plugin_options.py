"""The options that a plugin declares, made from the text of its section ``[plugin:NAME]``."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

import msgspec
from msgspec import inspect

from cenergyd.errors import InvalidField
from cenergyd.runtime.structs import Resource, read
from cenergyd.settings.plugin_section import PluginSection

_SWITCH = {"yes": True, "on": True, "true": True, "1": True, "no": False, "off": False, "false": False, "0": False}


class BadDeclaration(ValueError):
    """A plugin's declaration of options is invalid."""


def check_declaration(kind: object) -> type[Resource]:
    """Check the declared class and return it. Raises BadDeclaration unless each option has a default and a description."""
    if not (isinstance(kind, type) and issubclass(kind, Resource)):
        raise BadDeclaration(f"cenergyd_options: a subclass of Resource is needed, not {str(kind)[:100]}")
    for field in _fields(kind):
        if field.required:
            raise BadDeclaration(f"cenergyd_options: {field.name} has no default")
        if not _meta(field).get("description"):
            raise BadDeclaration(f"cenergyd_options: {field.name} has no description: Meta(description=...)")
    return kind


def read_options(plugin: str, kind: type[Resource], section: PluginSection) -> tuple[Resource, list[str]]:
    """The options of a section, and a line for each fault in it; a faulty option has its default."""
    fields = {field.name: field for field in _fields(kind)}
    values: dict[str, object] = {}
    faults: list[str] = []
    for key, text in section.values.items():
        origin = f"{section.origins.get(key, 'settings')}: [plugin:{plugin}] {key}"
        if key not in fields:
            faults.append(f"{origin}: no such setting{_meant(key, fields)}")
            continue
        try:
            values[key] = _converted(kind, fields[key], text)
        except InvalidField as error:
            secret = key in section.hidden or is_secret(fields[key])
            shown = "" if secret else f" = {text!r}"
            faults.append(f"{origin}{shown}: {error} (default: {default_text(fields[key])!r})")
    return kind(**values), faults


def secrets_in(options: Resource) -> Iterator[str]:
    """The values that must not be shown."""
    for field in _fields(type(options)):
        if is_secret(field):
            yield str(getattr(options, field.name))


def ini_lines(plugin: str, kind: type[Resource]) -> Iterator[str]:
    """The section of an ini file with every option, commented out, with its description and default."""
    yield f"#[plugin:{plugin}]"
    for field in _fields(kind):
        yield f"# {_meta(field)['description']}"
        yield f"#{field.name} = {default_text(field)}".rstrip()


def is_secret(field: inspect.Field) -> bool:
    """Whether an option is declared with ``Meta(extra={"secret": True})``."""
    return bool(_extra(field.type).get("secret"))


def default_text(field: inspect.Field) -> str:
    """The default as text of an ini file."""
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _converted(kind: type[Resource], field: inspect.Field, text: str) -> object:
    value: object = text
    types = _plain_types(field.type)
    if any(isinstance(each, inspect.BoolType) for each in types):
        value = _SWITCH.get(text.lower(), text)
    elif any(isinstance(each, inspect.ListType | inspect.VarTupleType) for each in types):
        value = text.replace(",", " ").split()
    return getattr(read({field.name: value}, kind, style="dots", strict=False), field.name)


def _fields(kind: type[Resource]) -> tuple[inspect.Field, ...]:
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    return described.fields


def _plain_types(node: inspect.Type) -> list[inspect.Type]:
    if isinstance(node, inspect.Metadata):
        return _plain_types(node.type)
    if isinstance(node, inspect.UnionType):
        return [plain for each in node.types for plain in _plain_types(each)]
    return [node]


def _meta(field: inspect.Field) -> Mapping[str, object]:
    node = field.type
    return (node.extra_json_schema or {}) if isinstance(node, inspect.Metadata) else {}


def _extra(node: inspect.Type) -> Mapping[str, object]:
    return (node.extra or {}) if isinstance(node, inspect.Metadata) else {}


def _meant(key: str, fields: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, fields, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(fields)}" if fields else "; it has none"
