"""JSON described once, as a class: validation of input, JSON output, and JSON Schema.

A resource is a subclass of :class:`Resource`. Its docstring and the ``Meta`` of its fields are its documentation; ``Meta(extra={"needed":
...})`` is the message for a value that does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import inspect

from cenergyd.errors import InvalidField

T = TypeVar("T")
Time = Annotated[int, msgspec.Meta(description="UTC seconds since 1970.")]

_FAULT = re.compile(r"(?P<what>.*?)(?: - at (?:`key` in )?`\$(?P<path>[^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_MEMBER = re.compile(r"Object (?P<fault>contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL)
_WHOLE = r"$(?!\n)"
_COMPONENT = "#/components/schemas/{name}"
_MAX_SHOWN = 100


class Resource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A JSON object with exactly these members."""


def whole(pattern: str) -> str:
    """A regular expression for ``Meta`` that the whole text must match; a final line end is not allowed."""
    return f"^(?:{pattern}){_WHOLE}"


def read(
    value: object,
    kind: type[T],
    path: str = "",
    *,
    style: Literal["brackets", "dots"] = "brackets",
    strict: bool = True,
) -> T:
    """Check a JSON value and convert it to the described type.

    :param path: how the field's name begins in errors, such as ``tariff``.
    :param style: how an entry of a list is named there: ``a[2].b`` or ``a.2.b``.
    :param strict: False: text such as ``"1.5"`` is accepted for a number, as in an ini file.
    :raises InvalidField: the first thing that is wrong; ``field`` is where.
    """
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        found = _FAULT.fullmatch(str(error))
        assert found is not None
        steps = [name or index for name, index in _STEP.findall(found["path"] or "")]
        member = _MEMBER.fullmatch(found["what"])
        if member is not None:
            steps.append(member["name"])
            missing = member["fault"].startswith("missing")
            message = _needed(_type_at(kind, steps)) or "is needed" if missing else _unknown(_type_at(kind, steps[:-1]))
        else:
            message = _needed(_type_at(kind, steps)) or found["what"]
    except UnicodeEncodeError:
        steps, message = [], "has a text that is not Unicode"
    raise InvalidField(_named(path, steps, style), message)


def to_json(value: object) -> Any:
    """Resources as dictionaries, lists and plain values."""
    return msgspec.to_builtins(value)


def schemas_of(kinds: Sequence[object]) -> tuple[list[dict[str, object]], dict[str, object]]:
    """The JSON Schema of each type (a reference where it is a resource), and the components that they refer to.

    Components have the class's name without ``Json`` at its end. All types together take as long as a few of them one by one.
    """
    found, components = msgspec.json.schema_components(kinds, ref_template=_COMPONENT)
    named = {name.removesuffix("Json"): _tidy(schema) for name, schema in components.items()}
    return [_tidy(schema) for schema in found], named


def schema_of(kind: object) -> dict[str, object]:
    """The JSON Schema of one type: a reference where it is a resource."""
    (schema,), _ = schemas_of([kind])
    return schema


def _tidy(schema: object) -> Any:
    """A schema without titles that repeat the name, without defaults (descriptions distinguish absent and null), and with plain patterns."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    tidy = {name: _tidy(item) for name, item in schema.items()}
    if isinstance(tidy.get("title"), str):
        del tidy["title"]
    if isinstance(tidy.get("$ref"), str):
        tidy["$ref"] = tidy["$ref"].removesuffix("Json")
    if isinstance(tidy.get("pattern"), str):
        tidy["pattern"] = tidy["pattern"].removesuffix(_WHOLE) + ("$" if tidy["pattern"].endswith(_WHOLE) else "")
    if "default" in tidy and not isinstance(tidy["default"], Mapping):
        del tidy["default"]
    return tidy


def _named(path: str, steps: Iterable[str], style: str) -> str:
    named = path
    for step in steps:
        shown = step[:_MAX_SHOWN].encode("ascii", "backslashreplace").decode()
        entry = style == "brackets" and step.isdigit()
        named += f"[{shown}]" if entry else f".{shown}" if named else shown
    return named


def _unknown(node: inspect.Type | None) -> str:
    if isinstance(node, inspect.StructType):
        return f"there is no such key; there are {', '.join(field.encode_name for field in node.fields)}"
    return "there is no such key"


def _type_at(kind: object, steps: Iterable[str]) -> inspect.Type | None:
    """The description of a place in a value."""
    node: inspect.Type | None = inspect.type_info(kind)
    for step in steps:
        node = _below(node, step)
    return node


def _below(node: inspect.Type | None, step: str) -> inspect.Type | None:
    if isinstance(node, inspect.Metadata):
        return _below(node.type, step)
    if isinstance(node, inspect.UnionType):
        return next((found for each in node.types if (found := _below(each, step)) is not None), None)
    if isinstance(node, inspect.StructType):
        return next((field.type for field in node.fields if field.encode_name == step), None)
    if isinstance(node, inspect.ListType | inspect.VarTupleType):
        return node.item_type
    return node.value_type if isinstance(node, inspect.DictType) else None


def _needed(node: inspect.Type | None) -> str | None:
    """The message for a value that does not fit; None if the library's own text is used."""
    match node:
        case inspect.Metadata(type=inner, extra=extra):
            return (extra or {}).get("needed") or _needed(inner)
        case inspect.UnionType(types=types):
            return next((needed for each in types if (needed := _needed(each)) is not None), None)
        case inspect.StructType() | inspect.DictType():
            return "an object is needed"
        case inspect.ListType(max_length=most) | inspect.VarTupleType(max_length=most):
            return f"a list of at most {most} entries is needed" if most else "a list is needed"
        case inspect.BoolType():
            return "true or false is needed"
        case inspect.IntType(ge=low, le=high):
            return _number("a whole number", low, high)
        case inspect.FloatType(ge=low, le=high):
            return _number("a number", low, high)
        case inspect.LiteralType(values=values):
            return f"one of {', '.join(map(str, values))} is needed"
        case inspect.StrType(min_length=least, max_length=most):
            return f"text of {least or 0} to {most} characters is needed" if most else "text is needed"
    return None


def _number(what: str, low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"{what} from {low:g} to {high:g} is needed" if high < 1e6 else f"{what} from {low} to {high} is needed"
    return f"{what} of at least {low} is needed" if low is not None else f"{what} is needed"
