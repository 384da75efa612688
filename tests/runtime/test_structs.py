"""JSON described once: what does not fit is named by its path and described in words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, UnsetType

from cenergyd.errors import InvalidField
from cenergyd.runtime.structs import Resource, read, schema_of, schemas_of, to_json, whole


class Part(Resource, frozen=True, kw_only=True):
    """One part."""

    code: Annotated[str, Meta(pattern=whole("[a-z]+"), extra={"needed": "small letters are needed"})]
    size: Annotated[int, Meta(ge=1, le=9)] = 1


class Machine(Resource, frozen=True, kw_only=True):
    """A machine of parts."""

    parts: Annotated[list[Part], Meta(max_length=3)] | None = None
    by_name: dict[str, Annotated[float, Meta(ge=0)]] = {}
    kind: Literal["big", "small"] = "big"
    note: Annotated[str, Meta(max_length=5)] | UnsetType | None = UNSET


@pytest.mark.parametrize(
    ("value", "field", "message"),
    [
        ([], "m", "an object is needed"),
        ({"surprise": 1}, "m.surprise", "there is no such key; there are parts, by_name, kind, note"),
        ({"parts": {}}, "m.parts", "a list of at most 3 entries is needed"),
        ({"parts": [{}]}, "m.parts[0].code", "small letters are needed"),
        ({"parts": [{"code": "a"}, {"code": "a\n"}]}, "m.parts[1].code", "small letters are needed"),
        ({"parts": [{"code": "a", "size": True}]}, "m.parts[0].size", "a whole number from 1 to 9 is needed"),
        ({"parts": [{"code": "a", "size": 10**4000}]}, "m.parts[0].size", "a whole number from 1 to 9 is needed"),
        ({"by_name": {"x": -1}}, "m.by_name....", "a number of at least 0 is needed"),
        ({"by_name": {"x": 10**4000}}, "m.by_name....", "a number of at least 0 is needed"),
        ({"kind": "tiny"}, "m.kind", "one of big, small is needed"),
        ({"kind": ["big"]}, "m.kind", "one of big, small is needed"),
        ({"note": "123456"}, "m.note", "text of 0 to 5 characters is needed"),
        ({"\ud800": 1}, "m", "has a text that is not Unicode"),
    ],
)
def test_what_does_not_fit_is_named(value: Any, field: str, message: str) -> None:
    with pytest.raises(InvalidField) as caught:
        read(value, Machine, "m")
    assert (caught.value.field, str(caught.value)) == (field, message)


def test_entries_may_be_named_with_dots() -> None:
    with pytest.raises(InvalidField) as caught:
        read({"parts": [{"code": 1}]}, Machine, "m", style="dots")
    assert caught.value.field == "m.parts.0.code"


def test_what_fits_comes_back() -> None:
    body = {"parts": [{"code": "a", "size": 2}], "by_name": {"x": 1.5}, "kind": "small", "note": None}
    assert to_json(read(body, Machine)) == body
    assert "note" not in to_json(read({}, Machine))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
       lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["parts", "by_name", "note", "code", "x` - at `$.y"]) | st.text(st.characters()), inner)))  # fmt: skip
def test_any_value_is_taken_or_refused(value: Any) -> None:
    try:
        assert isinstance(read(value, Machine, "m"), Machine)
    except InvalidField as error:
        assert error.field.startswith("m")
        error.field.encode("ascii")


def test_the_schema_says_the_same() -> None:
    _, made = schemas_of([Machine])
    assert made["Part"] == {
        "description": "One part.", "type": "object", "required": ["code"], "additionalProperties": False,
        "properties": {"code": {"type": "string", "pattern": "^(?:[a-z]+)$"}, "size": {"type": "integer", "minimum": 1, "maximum": 9}},
    }  # fmt: skip
    assert made["Machine"]["properties"]["kind"] == {"enum": ["big", "small"]}
    assert schema_of(list[Part]) == {"type": "array", "items": {"$ref": "#/components/schemas/Part"}}
