"""Time zones by stored name."""

from __future__ import annotations

import pytest

from cenergyd.customers.time_zones import zone_of, zone_or_utc
from cenergyd.errors import InvalidField

UNKNOWN = ("Mars/Olympus", "", "../etc/passwd", "America/", "a\x00b", "x" * 5000)


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_zone_is_refused_by_its_field(name: str) -> None:
    with pytest.raises(InvalidField) as caught:
        zone_of(name)
    assert caught.value.field == "time_zone"


@pytest.mark.parametrize("name", UNKNOWN)
def test_times_are_shown_in_utc_where_the_zone_is_unknown(name: str) -> None:
    assert zone_or_utc(name).key == "UTC"


def test_a_known_zone() -> None:
    assert zone_of("America/Denver") is zone_or_utc("America/Denver")
    assert zone_of("America/Denver").key == "America/Denver"
