"""Where a site is: what may be entered, and what is read of what is stored."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.model import Customer
from cenergyd.customers.place import Place, clean_place, own_place, place_change
from cenergyd.errors import InvalidField


@pytest.mark.parametrize(
    ("given_", "place"),
    [
        (("39.7392", " -104.9903 "), Place(39.7392, -104.9903)),
        ((0, 0), Place(0.0, 0.0)),
        (("", None), None),
        ((90, -180), Place(90.0, -180.0)),
    ],
)
def test_places(given_: tuple[Any, Any], place: Place | None) -> None:
    assert clean_place(*given_) == place


@pytest.mark.parametrize(
    ("given_", "field"),
    [
        (("91", "0"), "latitude"), (("0", "180.1"), "longitude"), (("north", "0"), "latitude"), (("39.7", ""), "longitude"),
        ((None, 5), "latitude"), ((True, 1), "latitude"), (("nan", "0"), "latitude"), ((10**400, 0), "latitude"), (([], 0), "latitude"),
    ],
)  # fmt: skip
def test_what_is_no_place(given_: tuple[Any, Any], field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        clean_place(*given_)
    assert caught.value.field == field


@given(st.floats(-90, 90), st.floats(-180, 180))
def test_what_is_stored_is_read_again(north: float, east: float) -> None:
    place = clean_place(north, east)
    assert own_place(Customer(id="c", extensions=place_change(place))) == place


@pytest.mark.parametrize("stored", [None, "x", {}, {"latitude": 1}, {"latitude": "x", "longitude": 2}])
def test_nonsense_in_the_store_is_no_place(stored: Any) -> None:
    assert own_place(Customer(id="c", extensions={"place": stored})) is None
