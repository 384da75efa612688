"""Decoding of stored JSON text: as by the standard library, whatever the text."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cenergyd.documents.json_text import decoded

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(VALUES, st.booleans())
@example("\ud800", True)
@example({"a": float("nan"), "b": [-0.0, 10**30]}, False)
def test_a_value_comes_back_as_by_the_standard_library(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert repr(decoded(text)) == repr(json.loads(text))


@pytest.mark.parametrize(
    "text", ["1e400", "-1e400", '{"a":1,"a":2}', "1E5", "-0", ' [1 , "\\u00e9"] ', "123456789012345678901"]
)
def test_texts_that_we_do_not_write_are_read_the_same(text: str) -> None:
    assert repr(decoded(text)) == repr(json.loads(text))


@pytest.mark.parametrize("text", ["", "{", "nul", '"\x00"', "[1,]", "01"])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"line 1 column \d"):
        decoded(text)
