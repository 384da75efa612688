"""What follows for an hour from the readings near it is what follows from all readings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cenergyd.customers.model import TimeRange
from cenergyd.jobs.energy.even_rows import ENOUGH, rows_near
from cenergyd.jobs.energy.gap_bridging import Line, power_lines
from cenergyd.jobs.energy.hours import energy_point
from cenergyd.jobs.energy.role_power import RolePowerReader
from cenergyd.jobs.neighbour_readings import ReadRows
from cenergyd.jobs.rollups.completeness import LONGEST_PAUSE
from cenergyd.readings.model import FieldPoint, Reading
from cenergyd.readings.pauses import valid_seconds
from tests.jobs.site import LOAD, UTILITY, customer_in, run, store_with

LONGEST = 5400
HOUR = TimeRange(20_000 * 86400, 20_000 * 86400 + 3600)


@st.composite
def logs(draw: st.DrawFn) -> list[Reading]:
    """Readings from some hours before an hour to some after it, evenly spaced but for a few."""
    interval = draw(st.sampled_from([60, 60, 300, 900]))
    times = range(HOUR.start - 4 * 3600, HOUR.end + draw(st.sampled_from([0, 900, 7200])), interval)
    count = len(times)
    chosen = st.sets(st.integers(0, count - 1), max_size=draw(st.sampled_from([0, 0, 3])))
    near = st.integers(-2 * ENOUGH, 2 * ENOUGH).map(lambda k: min(count - 1, max(0, 4 * 3600 // interval + k)))
    lost = draw(chosen) | draw(st.sets(near, max_size=draw(st.sampled_from([0, 0, 4]))))
    without_power, without_registers = draw(chosen), draw(chosen)
    reset = draw(st.sampled_from([count, count // 2, 4 * 3600 // interval]))
    rows = []
    for k, time in enumerate(times):
        if k not in lost:
            power = None if k in without_power else float(k % 7 - 3)
            counted = None if k in without_registers else 500.0 + k * 0.2 if k < reset else k * 0.2
            rows.append(Reading(time, P=power, L1_V=120.0, E_import=counted, E_export=counted and counted / 2))
    return rows


def energy_of(rows: ReadRows) -> list[FieldPoint | None]:
    """The points of the hour of each role."""
    reader = RolePowerReader(customer_in("UTC"), store_with(), LONGEST, HOUR.end + 86400)
    lines = run(reader.lines(rows, HOUR))
    found = []
    for role, own in lines.items():
        found.append(energy_point(HOUR, own, run(reader.steps(role, rows, own, HOUR))))
    return found


@given(logs(), logs())
def test_an_hours_energy_follows_from_the_readings_near_it(utility: list[Reading], load: list[Reading]) -> None:
    rows = {UTILITY: utility, LOAD: load}
    assert energy_of(rows_near(rows, HOUR, LONGEST)) == energy_of(rows)


@given(logs())
def test_how_long_readings_of_the_hour_are_valid_follows_from_those_near_it(log: list[Reading]) -> None:
    def valid(readings: Sequence[Reading]) -> list[tuple[int, int]]:
        times = [each.time for each in readings if each.P is not None]
        pairs = zip(times, valid_seconds(times, LONGEST_PAUSE), strict=True)
        return [pair for pair in pairs if HOUR.start <= pair[0] < HOUR.end]

    assert valid(rows_near({UTILITY: log}, HOUR, LONGEST_PAUSE)[UTILITY]) == valid(log)


def minutes(first: int, count: int) -> list[Reading]:
    return [Reading(HOUR.start + 60 * k, P=1.0) for k in range(first, first + count)]


def test_only_readings_near_the_hour_are_kept() -> None:
    kept = rows_near({UTILITY: minutes(-240, 500)}, HOUR, LONGEST)[UTILITY]
    assert kept == minutes(-ENOUGH, 60 + 2 * ENOUGH)


@pytest.mark.parametrize(
    "log",
    [
        minutes(-240, 100) + minutes(0, 200),
        [*minutes(-240, 243), *minutes(5, 100)],
        [*minutes(-240, 270), Reading(HOUR.start + 1800), *minutes(31, 100)],
        [*minutes(-240, 270), Reading(HOUR.start + 1800, P=1e31), *minutes(31, 100)],
        [Reading(HOUR.start + 7200 * k, P=1.0) for k in range(-20, 20)],
    ],
    ids=["an outage", "lost rows", "a row without power", "an implausible one", "too seldom"],
)
def test_all_readings_are_kept_if_those_near_the_hour_are_not_even(log: list[Reading]) -> None:
    assert rows_near({UTILITY: log}, HOUR, LONGEST)[UTILITY] == log


@given(st.integers(3, 40), st.sampled_from([1, 60, 3600, 5400, 5401]), st.data())
@example(3, 60, None)
def test_even_readings_have_the_lines_that_any_others_have(count: int, pause: int, data: st.DataObject | None) -> None:
    powers = [1.5] * count if data is None else data.draw(st.lists(st.floats(-9, 9), min_size=count, max_size=count))
    log = [Reading(pause * k, P=power) for k, power in enumerate(powers)]
    later = Reading(log[-1].time + LONGEST + 1, P=1.0)  # so that not all pauses are the same
    found = power_lines(log, LONGEST)
    assert found == power_lines([*log, later], LONGEST)
    if pause <= LONGEST:
        assert found == [Line(one.time, other.time, one.P or 0.0, other.P or 0.0) for one, other in pairwise(log)]
