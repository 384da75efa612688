"""The arithmetic of rollups against slow obvious references."""

from __future__ import annotations

import itertools
from math import fsum, sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.model import TimeRange
from cenergyd.derivation.formulas import reactive_power
from cenergyd.jobs.rollups.aggregate import ReadingColumns, combine
from cenergyd.jobs.rollups.completeness import (
    Pauses,
    doubtful_hours,
    expected_readings,
    hour_interval,
    usual_intervals_of_hours,
)
from cenergyd.jobs.rollups.points import hour_fields, rollup_of_point, stored_day, stored_hour, window_fields
from cenergyd.readings.interval import typical_interval
from cenergyd.readings.model import FieldPoint, Reading

power = st.floats(-1e4, 1e4).map(lambda value: round(value, 3))
maybe = st.none() | power
readings_in_an_hour = st.lists(
    st.builds(
        Reading,
        time=st.integers(0, 3599),
        P=maybe,
        L1_PF=st.none() | st.floats(0.01, 1) | st.floats(-1, -0.01) | st.just(0.0),
        L1_V=st.none() | st.floats(0, 300),
        Q=maybe,
        estimated=st.booleans(),
    ),
    unique_by=lambda reading: reading.time,
    max_size=40,
)


def sorted_columns(readings: list[Reading]) -> ReadingColumns:
    return ReadingColumns(sorted(readings))


def reference(readings: list[Reading]) -> dict[str, object]:
    """The fields of a window, the obvious way, in whatever order the readings come."""
    fields: dict[str, object] = {"readings": len(readings)}
    for channel in ("P", "Q", "L1_V"):
        values = [value for reading in readings if (value := getattr(reading, channel)) is not None]
        if values:
            fields |= {f"{channel}_min": min(values), f"{channel}_max": max(values), f"{channel}_count": len(values)}
            fields[f"{channel}_mean"] = sum(values) / len(values)
    both = [(r.P, *reactive_power(r)) for r in readings if r.P is not None]
    known = [(P, Q, guessed) for P, Q, guessed in both if Q is not None]
    total_P, total_Q = sum(P for P, _, _ in known), sum(Q for _, Q, _ in known)
    apparent = sqrt(total_P**2 + total_Q**2)
    if apparent > 1e-9:
        fields["PF"] = abs(total_P) / apparent
    fields["estimated"] = any(r.estimated for r in readings) or any(guessed for _, _, guessed in known)
    return fields


@given(readings_in_an_hour)
def test_a_window_says_what_its_readings_say(readings: list[Reading]) -> None:
    part = sorted_columns(readings).part(0, 3600)
    if not readings:
        assert part is None
        return
    assert part is not None
    got = window_fields(TimeRange(0, 3600), part, None)
    want = reference(readings)
    if "PF" not in want:
        got.pop("PF", None)  # sums that cancel to within rounding: any power factor is as good
    assert got.keys() == want.keys()
    for name, value in want.items():
        tolerance = 1e-6 if name == "PF" else 1e-9
        assert got[name] == pytest.approx(value, rel=1e-9, abs=tolerance), name


@given(readings_in_an_hour, st.randoms())
def test_any_order_gives_the_very_same_sums(readings: list[Reading], random: Random) -> None:
    shuffled = [value for reading in readings if (value := reading.P) is not None]
    random.shuffle(shuffled)
    part = sorted_columns(readings).part(0, 3600)
    if part is not None and "P" in part.stats:
        assert part.stats["P"].total == fsum(shuffled)


@given(readings_in_an_hour, st.lists(st.integers(0, 3600), max_size=5))
def test_parts_combine_to_the_whole(readings: list[Reading], cuts: list[int]) -> None:
    columns = sorted_columns(readings)
    edges = [0, *sorted(cuts), 3600]
    parts = [part for start, end in itertools.pairwise(edges) if (part := columns.part(start, end))]
    whole = columns.part(0, 3600)
    if whole is None:
        assert not parts
        return
    combined = combine(parts)
    assert (combined.readings, combined.estimated) == (whole.readings, whole.estimated)
    assert combined.pf_P == pytest.approx(whole.pf_P, abs=1e-6)
    assert combined.pf_Q == pytest.approx(whole.pf_Q, abs=1e-6)
    for channel, stat in whole.stats.items():
        other = combined.stats[channel]
        assert (other.number, other.low, other.high) == (stat.number, stat.low, stat.high)
        assert other.total == pytest.approx(stat.total, abs=1e-6)


@given(readings_in_an_hour)
def test_an_hour_comes_back_from_its_point(readings: list[Reading]) -> None:
    part = sorted_columns(readings).part(0, 3600)
    if part is None:
        return
    back = rollup_of_point(stored_hour(0, part, 60))
    assert (back.readings, back.estimated, back.factor) == (part.readings, part.estimated, part.factor)
    assert (back.pf_P, back.pf_Q) == pytest.approx((part.pf_P, part.pf_Q), rel=1e-12, abs=1e-9)
    assert back.stats.keys() == part.stats.keys()
    for channel, stat in part.stats.items():
        other = back.stats[channel]
        assert (other.number, other.mean, other.low, other.high) == (stat.number, stat.mean, stat.low, stat.high)
        assert other.total == pytest.approx(stat.total, rel=1e-12, abs=1e-9)
    of_first_version = FieldPoint(0, hour_fields(TimeRange(0, 3600), part, 60, 60))
    # It did not keep how much of a sum was estimated where some readings had a Q of their own.
    assert rollup_of_point(of_first_version)._replace(pf_Q_estimated=part.pf_Q_estimated) == part


@given(st.lists(readings_in_an_hour, min_size=1, max_size=4))
def test_a_point_written_over_others_gives_what_it_gives_alone(versions: list[list[Reading]]) -> None:
    """Stores merge the fields of a time: nothing of an older point may shine through."""
    window, fields = TimeRange(0, 3600), {}
    parts = [part for readings in versions if (part := sorted_columns(readings).part(*window)) is not None]
    parts = [part for part in parts if part.stats.keys() == parts[-1].stats.keys()]  # measured channels do not go
    for part in parts:
        fields |= stored_hour(0, part, 60).fields
    if parts:
        found = window_fields(window, rollup_of_point(FieldPoint(0, fields)), 60)
        assert found == pytest.approx(window_fields(window, parts[-1], 60), rel=1e-12, abs=1e-9)


def test_the_power_factor_is_of_the_sums_and_not_the_mean_of_power_factors() -> None:
    # One moment purely resistive, one mostly reactive: the mean of 1 and 0.6 is 0.8, the hour's is 0.894.
    readings = [Reading(0, P=10.0, L1_PF=1.0, Q=0.0), Reading(60, P=6.0, L1_PF=0.6, Q=8.0)]
    part = ReadingColumns(readings).part(0, 3600)
    assert part is not None
    fields = window_fields(TimeRange(0, 3600), part, None)
    assert fields["PF"] == pytest.approx(16 / sqrt(16**2 + 8**2))
    assert fields["estimated"] is False


def test_a_meter_without_q_is_estimated_from_its_own_power_factor() -> None:
    part = ReadingColumns([Reading(0, P=8.0, L1_PF=0.8)]).part(0, 60)
    assert part is not None
    fields = window_fields(TimeRange(0, 60), part, None)
    assert fields["PF"] == pytest.approx(0.8)
    assert fields["estimated"] is True
    assert "Q_mean" not in fields


def test_values_beyond_any_meter_do_not_break_the_sums() -> None:
    readings = [Reading(0, P=1.7e308, Q=1.7e308), Reading(1, P=1.7e308, Q=-1.7e308), Reading(2, P=3.0, Q=4.0)]
    part = ReadingColumns(readings).part(0, 60)
    assert part is not None
    fields = window_fields(TimeRange(0, 60), part, 1)
    assert (fields["P_mean"], fields["P_count"], fields["readings"], fields["PF"]) == (3.0, 1, 3, 0.6)


@pytest.mark.parametrize(
    ("times", "interval"),
    [
        ([], None),
        ([0], None),
        ([0, 4000], None),  # a gap, not an interval
        ([0, 60, 120], 60),
        ([0, 60, 121, 180, 239], 60),  # a clock that jitters
        ([0, 300, 900, 1200, 1800, 2100], 300),  # gaps
        ([0, 60, 61, 120, 180, 240], 60),  # one odd reading
        ([0, 900, 1800, 2700], 900),
        ([0, 3600, 7200], 3600),
        ([0, 3590, 7190], 3600),
        ([0, 47, 94], 47),  # no interval that a logger has
        (range(0, 7200), 1),
    ],
)
def test_the_usual_interval(times: list[int], interval: int | None) -> None:
    assert typical_interval(times) == interval


def test_how_complete_a_window_is() -> None:
    def complete(count: int, length: int, interval: int | None) -> object:
        part = ReadingColumns([Reading(time, P=1.0) for time in range(count)]).part(0, length)
        assert part is not None
        expected = None if interval is None else expected_readings(TimeRange(0, length), interval)
        return window_fields(TimeRange(0, length), part, expected).get("complete")

    assert complete(60, 3600, 60) == 1
    assert complete(45, 3600, 60) == 0.75
    assert complete(1, 60, 300) == 1  # a window shorter than the interval
    assert complete(61, 3600, 60) == 1
    assert complete(3, 3600, None) is None
    assert expected_readings(TimeRange(0, 1800), 900) == 2


def test_a_day_expects_readings_of_the_hours_that_have_none() -> None:
    hours = [TimeRange(start, start + 3600) for start in range(0, 4 * 3600, 3600)]
    points: dict[int, FieldPoint] = {}
    for hour, count, interval in ((hours[0], 60, 60), (hours[1], 30, 60), (hours[3], 12, 300)):
        step = 3600 // count
        part = ReadingColumns([Reading(hour.start + step * k, P=float(k)) for k in range(count)]).part(*hour)
        assert part is not None
        points[hour.start] = stored_hour(hour.start, part, interval)
    day = stored_day(TimeRange(0, 4 * 3600), hours, points)
    assert day is not None
    assert (day.fields["readings"], day.fields["expected"]) == (102, 60 + 60 + 60 + 12)
    assert window_fields(TimeRange(0, 4 * 3600), rollup_of_point(day), 192)["complete"] == round(102 / 192, 4)
    assert stored_day(TimeRange(0, 4 * 3600), hours, {}) is None


def test_an_hours_own_interval() -> None:
    assert hour_interval(range(0, 3600, 60)) == 60
    assert hour_interval([60 * k + k % 3 for k in range(60)]) == 60
    assert hour_interval([60 * k for k in range(60) if k % 7]) == 60  # lost rows
    assert hour_interval([0, 900, 1800, 2700]) == 900
    assert hour_interval([0, 1800]) == 1800
    assert hour_interval([1234]) == hour_interval([]) == 0


def test_an_hour_in_which_the_log_period_changed_is_evaluated_by_its_pauses() -> None:
    """30 minutes of minutes and two quarters of an hour: 32 readings."""
    readings = {0: 60, 3600: 32, 7200: 4, 10800: 30}
    assert doubtful_hours(readings, {0: 60, 3600: 60, 7200: 900, 10800: 60}) == [3600, 10800]
    pauses = Pauses([*range(0, 5400, 60), *range(5400, 14400, 900)])
    assert pauses.expected(TimeRange(3600, 7200)) == 32
    assert pauses.expected(TimeRange(3600, 5400)) == 30
    assert pauses.expected(TimeRange(5400, 6300)) == 1


@pytest.mark.parametrize(
    ("hours", "usual"),
    [
        # 1 to 15 to 60 minutes and back: no hour expects what only others have.
        ([(60, 60), (60, 60), (4, 900), (4, 900)], [60, 60, 900, 900]),
        ([(4, 900), (4, 900), (1, 0), (1, 0), (1, 0)], [900, 900, 3600, 3600, 3600]),
        ([(60, 60), (60, 60), (1, 0), (1, 0), (1, 0)], [60, 60, 3600, 3600, 3600]),
        ([(1, 0), (1, 0), (1, 0), (60, 60), (60, 60)], [3600, 3600, 3600, 60, 60]),
        # An outage leaves one reading: it expects as many as its neighbours.
        ([(60, 60), (60, 60), (1, 0), (60, 60), (60, 60)], [60] * 5),
        ([(4, 900), (4, 900), (3, 900), (4, 900)], [900] * 4),
        # Two readings an hour and a clock that drifts: three in one hour, one in another.
        ([(2, 1800), (1, 0), (3, 1800), (2, 1800)], [1800] * 4),
        ([(1, 0)], None),
        ([(2, 1800)], [1800]),
    ],
)
def test_hours_with_few_readings_are_evaluated_by_those_around_them(
    hours: list[tuple[int, int]], usual: list[int] | None
) -> None:
    found = usual_intervals_of_hours({3600 * k: hour for k, hour in enumerate(hours)})
    assert found == ({} if usual is None else {3600 * k: interval for k, interval in enumerate(usual)})


def test_an_hour_far_away_is_not_used() -> None:
    assert usual_intervals_of_hours({0: (60, 60), 5 * 3600: (2, 1200)}) == {0: 60, 5 * 3600: 1200}


def test_readings_with_p_alone_give_what_each_gives() -> None:
    readings = [Reading(60 * k, P=float(k % 5 - 2), estimated=k in (7, 40)) for k in range(60)]
    one_by_one = ReadingColumns()
    for reading in readings:
        one_by_one.add([reading])
    with_a_factor = ReadingColumns([*readings, Reading(3600, P=1.0, L1_PF=0.5)])
    together = ReadingColumns(readings)
    for start, end in ((0, 3600), (0, 420), (420, 480), (2400, 3600)):
        part = together.part(start, end)
        assert part == one_by_one.part(start, end) == with_a_factor.part(start, end)
        assert part is not None and part.estimated == any(start <= time < end for time in (420, 2400))
        assert (part.pf_P, part.pf_Q, part.factor) == (0.0, 0.0, None)


complete_readings = st.lists(
    st.builds(Reading, time=st.integers(0, 3599), P=power, L1_PF=st.none() | st.just(0.9), L1_V=maybe, Q=power),
    unique_by=lambda reading: reading.time,
    max_size=20,
)


@given(
    complete_readings | readings_in_an_hour, st.lists(st.integers(0, 40)), st.sampled_from(["A_1", "A_missing_meter"])
)
def test_readings_added_in_any_parts_give_the_same(readings: list[Reading], cuts: list[int], series: str) -> None:
    """Whether or not all of them have P and Q, and a power factor that follows from these."""
    readings.sort()
    edges = sorted({0, *(min(cut, len(readings)) for cut in cuts), len(readings)})
    in_parts, one_by_one = (
        ReadingColumns(series=series),
        ReadingColumns([Reading(-60, P=1.0, L1_PF=0.5)], series=series),
    )
    for first, last in itertools.pairwise(edges):
        in_parts.add(readings[first:last])
    for reading in readings:
        one_by_one.add([reading])
    for start, end in ((0, 3600), (0, 900), (1800, 3600)):
        assert in_parts.part(start, end) == one_by_one.part(start, end)
        assert in_parts.part(start, end) == ReadingColumns(readings, series=series).part(start, end)
