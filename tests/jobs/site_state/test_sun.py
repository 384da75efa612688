"""Where the sun stands, and solar that gives nothing under it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.model import Customer
from cenergyd.customers.place import Place
from cenergyd.jobs.site_state.model import LoggerFacts, MeterStatus, SiteFacts
from cenergyd.jobs.site_state.solar_zero import dark_since, solar_zero_since
from cenergyd.jobs.site_state.sun import parse_places, place_of, sun_height
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import FieldPoint

DENVER = Place(39.74, -104.98)
HOUR, DAY = 3600, 86400


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("time", "place", "height"),
    [
        # At noon on the equinox the height is 90 degrees less the latitude; at the solstices 23.44 more or less.
        ("2026-06-21T19:02", DENVER, 73.70),
        ("2026-12-21T18:58", DENVER, 26.82),
        ("2026-03-20T12:07", Place(0.0, 0.0), 89.9),
        ("2026-06-21T00:00", Place(0.0, 0.0), -66.5),
    ],
)
def test_heights(time: str, place: Place, height: float) -> None:
    assert sun_height(at(time), place) == pytest.approx(height, abs=0.4)


@given(st.integers(0, 4_000_000_000), st.floats(-90, 90), st.floats(-180, 180))
def test_a_height_is_an_angle(time: int, latitude: float, longitude: float) -> None:
    assert -90 <= sun_height(time, Place(latitude, longitude)) <= 90


def test_places() -> None:
    lines = ["# comment", "US\t+394421-1045903\tAmerica/Denver\tMountain", "NP\t+2743+08519\tAsia/Kathmandu", "short"]
    found = parse_places(lines)
    assert found["America/Denver"] == pytest.approx((39.739, -104.984), abs=0.001)
    assert found["Asia/Kathmandu"] == pytest.approx((27.717, 85.317), abs=0.001)
    zone = Customer(id="1", time_zone="America/Denver")
    assert place_of(zone) == pytest.approx(found["America/Denver"], abs=0.01)
    own = Customer(id="1", time_zone="America/Denver", extensions={"place": {"latitude": 10, "longitude": 20.5}})
    assert place_of(own) == (10.0, 20.5)
    assert place_of(Customer(id="1")) is None
    assert place_of(Customer(id="1", extensions={"place": {"latitude": "x"}})) is None


NOON = at("2026-06-21T19:00")


def days(today: float, before: float, count: int = 7) -> dict[int, float]:
    """Highest power of each hour: a constant by day, nothing by night."""
    highest = {}
    for day in range(count + 1):
        for hour in range(-12, 4):
            time = NOON - day * DAY + hour * HOUR
            if time <= NOON:
                sunny = sun_height(time, DENVER) > 0
                highest[time] = (today if day == 0 else before) if sunny else 0.0
    return highest


def test_a_dark_day_after_bright_ones() -> None:
    since = dark_since(days(0.0, 5.0), NOON, DENVER)
    assert since is not None
    assert sun_height(since, DENVER) >= 20
    assert since <= NOON - 2 * HOUR


def test_what_is_no_dark_day() -> None:
    assert dark_since(days(0.3, 5.0), NOON, DENVER) is None, "clouds"
    assert dark_since(days(0.0, 5.0, count=1), NOON, DENVER) is None, "one day is no comparison"
    assert dark_since(days(0.0, 0.0), NOON, DENVER) is None, "it never gave anything"
    assert dark_since({}, NOON, DENVER) is None
    assert dark_since(days(0.0, 5.0), NOON - 12 * HOUR, DENVER) is None, "night"


@pytest_twisted.ensureDeferred
async def test_from_the_hours_that_are_kept() -> None:
    store = MemoryReadingStore()
    fields: Any = [{"P_max": value, "P_min": 0.0} for value in days(0.0, 5.0).values()]
    points = [FieldPoint(time, each) for time, each in zip(days(0.0, 5.0), fields, strict=True)]
    await store.write_points("AA_2_1h", sorted(points, key=lambda point: point.time))
    customer = Customer(id="1", time_zone="America/Denver", facility="1", solar="2", logger_serial_number="AA")
    now = NOON + HOUR + 60
    solar = MeterStatus(role="solar", meter="2", last_time=now - 60, power=0.0, interval=60)
    facts = SiteFacts(customer=customer, logger=LoggerFacts(last_upload=now - 30), meters=(solar,))
    assert await solar_zero_since(customer, facts, store, now) is not None
    night = SiteFacts(
        customer=customer, meters=(MeterStatus(role="solar", meter="2", last_time=now - 12 * HOUR, power=0.0),)
    )
    assert await solar_zero_since(customer, night, store, now - 12 * HOUR) is None


@pytest_twisted.ensureDeferred
async def test_the_start_of_an_hour_does_not_end_it() -> None:
    """Uploads come every quarter of an hour; until the first of an hour, nothing of the hour before is complete."""
    customer = Customer(id="1", time_zone="America/Denver", facility="1", solar="2", logger_serial_number="AA")
    found = days(0.0, 5.0)
    for now in range(NOON + 300, NOON + HOUR + 1800, 300):
        last = now - now % 900 - 900
        store = MemoryReadingStore()
        stored = [time for time in found if time + HOUR <= last]
        fields: list[Any] = [{"P_max": found[time], "P_min": 0.0} for time in sorted(stored)]
        points = [FieldPoint(time, each) for time, each in zip(sorted(stored), fields, strict=True)]
        for late in (points, points[:-1]):  # the job that keeps the last hour may be behind
            await store.replace_points("AA_2_1h", 0, now, late)
            solar = MeterStatus(role="solar", meter="2", last_time=last, power=0.0, interval=900)
            facts = SiteFacts(customer=customer, logger=LoggerFacts(last_upload=last), meters=(solar,))
            assert await solar_zero_since(customer, facts, store, now) is not None, now
