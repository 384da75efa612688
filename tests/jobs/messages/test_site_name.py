"""No name that a customer gives a site makes another text of a message."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.model import Customer
from cenergyd.jobs.messages.site_name import MAX_NAME, plain_name, site_name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("St. Mary's Mill (north) no. 7", "St. Mary's Mill (north) no. 7"),
        ("Küche 3, Haus B-12", "Küche 3, Haus B-12"),
        ("水車小屋", "水車小屋"),
        ("Win! https://evil.example/x?y=1", "Win https evil example x y 1"),
        ("call +1 (555) 123-4567 now", "call + now"),
        ("buy www.evil.example", "buy www evil example"),
        ("a@evil.example", "a evil example"),
        ("line\r\nBcc: x@y.z\u202e\u200b", "line Bcc x y z"),
        ("\ud800", ""),
    ],
)
def test_names(name: str, shown: str) -> None:
    assert plain_name(name) == shown


@given(st.text(max_size=3000))
def test_any_name(name: str) -> None:
    shown = plain_name(name)
    assert len(shown) <= MAX_NAME
    assert shown.isprintable()
    assert not re.search(r"[/@:]|\.\w|\d{7}", shown)
    shown.encode()


def test_what_has_no_name_is_called_by_its_logger() -> None:
    assert site_name(Customer(id="7", name="\u202e", logger_serial_number="001EC6001122")) == "001EC6001122"
    assert site_name(Customer(id="7", name="")) == "customer 7"
