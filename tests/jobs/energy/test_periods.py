"""Energy by the customer's hours, days, months and years."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.model import Customer
from cenergyd.errors import InvalidField
from cenergyd.jobs.energy.hours import energy_series
from cenergyd.jobs.energy.periods import STEPS, calendar_windows, energy_windows, total_of
from cenergyd.jobs.windows import day_start
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import FieldPoint

DENVER = ZoneInfo("America/Denver")
CUSTOMER = Customer(id="1", time_zone="America/Denver", facility="1", solar="2", logger_serial_number="AA01")
CHANGE = date(2026, 3, 8)
"""The clock goes forward: a day of 23 hours."""


def hour(start: int, imported: float, exported: float = 0.0, covered: float = 3600.0) -> FieldPoint:
    fields: dict[str, Any] = {
        "import_kwh": imported,
        "export_kwh": exported,
        "covered_seconds": covered,
        "seconds": 3600,
    }
    return FieldPoint(start, fields)


async def stored() -> MemoryReadingStore:
    """A day of one kWh an hour from the grid, solar at noon only, load computed."""
    store = MemoryReadingStore()
    midnight = day_start(CHANGE, DENVER)
    hours = [midnight + 3600 * number for number in range(23)]
    await store.write_points(energy_series("AA01_1"), [hour(time, 1.0, 0.5) for time in hours])
    await store.write_points(energy_series("AA01_2"), [hour(hours[11], 4.0)])
    await store.write_points(energy_series("AA01_missing_meter"), [hour(time, 0.5, covered=1800.0) for time in hours])
    return store


@pytest_twisted.ensureDeferred
async def test_a_day_of_23_hours() -> None:
    now = day_start(date(2026, 4, 1), DENVER)
    found = await energy_windows(CUSTOMER, await stored(), (CHANGE, date(2026, 3, 10)), "day", now)
    day, after = found
    assert (day.end - day.start, day.due_seconds) == (23 * 3600, 23 * 3600)
    assert day.roles["utility"][:3] == (23.0, 11.5, 23 * 3600)
    assert (day.roles["utility"].computed_seconds, day.roles["load"].computed_seconds) == (0.0, 23 * 1800)
    assert (day.complete("utility"), day.complete("load")) == (1.0, 0.5)
    assert day.complete("solar") == pytest.approx(1 / 23)
    assert after.roles == {}
    assert after.complete("solar") == 0.0
    hours = await energy_windows(CUSTOMER, await stored(), (CHANGE, date(2026, 3, 9)), "hour", now)
    assert len(hours) == 23
    assert [window.roles["solar"].import_kwh for window in hours if "solar" in window.roles] == [4.0]
    total = total_of(hours)
    assert total is not None
    assert total.roles == day.roles
    assert total_of([]) is None


@pytest_twisted.ensureDeferred
async def test_what_has_not_passed_is_not_missed() -> None:
    midnight = day_start(CHANGE, DENVER)
    (day,) = await energy_windows(CUSTOMER, await stored(), (CHANGE, date(2026, 3, 9)), "day", midnight + 7200)
    assert day.due_seconds == 7200
    (later,) = await energy_windows(CUSTOMER, await stored(), (CHANGE, date(2026, 3, 9)), "day", midnight - 1)
    assert later.due_seconds == 0


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_determined() -> None:
    store = await stored()
    for days, step in (
        ((CHANGE, CHANGE), "day"),
        ((date(2000, 1, 1), date(2026, 1, 1)), "year"),
        ((date(2026, 1, 1), date(2027, 1, 1)), "hour"),
    ):
        with pytest.raises(InvalidField):
            await energy_windows(CUSTOMER, store, days, step, 0)  # type: ignore[arg-type]
    foreign = Customer(id="1", time_zone="Mars/Olympus")
    with pytest.raises(InvalidField) as caught:
        await energy_windows(foreign, store, (CHANGE, date(2026, 3, 9)), "day", 0)
    assert caught.value.field == "time_zone"


@given(
    st.dates(date(2001, 1, 1), date(2030, 1, 1)), st.integers(1, 40), st.sampled_from(STEPS),
    st.sampled_from(["America/Denver", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kolkata", "UTC"]),
)  # fmt: skip
def test_windows_leave_no_hole_and_do_not_overlap(first: date, days: int, step: Any, zone: str) -> None:
    after = date.fromordinal(first.toordinal() + days)
    found = calendar_windows(first, after, step, ZoneInfo(zone))
    assert found[0].start == day_start(first, ZoneInfo(zone))
    assert found[-1].end == day_start(after, ZoneInfo(zone))
    assert all(earlier.end == later.start for earlier, later in pairwise(found))
