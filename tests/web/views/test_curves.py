"""Curves by property."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cenergyd.errors import InvalidField
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.readings.store import Summary
from cenergyd.runtime.structs import to_json
from cenergyd.web.views.curve_csv import CurveCsv
from cenergyd.web.views.curve_reader import CurveReader
from cenergyd.web.views.curve_windows import runs, window_slices
from cenergyd.web.views.curves import (
    AUTO_RESOLUTIONS,
    DAY,
    Curve,
    CurveColumns,
    CurveJson,
    CurvePart,
    CurvePoint,
    auto_resolution,
    check_resolution,
    joined_window,
    point_of_reading,
)
from cenergyd.web.views.sources import SeriesSource, Track, TrackSegment
from tests.jobs.site import run

SOURCE = SeriesSource("A_1", "load", False)
times = st.lists(st.integers(0, 10**6), unique=True, max_size=40).map(sorted)


def track_of(source: SeriesSource, start: int, end: int) -> Track:
    return Track(source.role, (TrackSegment(start, end, source),))


def points_of(readings: list[Reading], source: SeriesSource = SOURCE) -> list[CurvePoint]:
    return [point_of_reading(reading, source) for reading in readings]


def json_of(points: list[CurvePoint], source: SeriesSource = SOURCE, resolution: int | None = None) -> CurveJson:
    """Of points that come one after the other."""
    columns = CurveColumns(track_of(source, 0, 1 << 34), resolution)
    for point in points:
        columns.add([point])
    return columns.json()


def csv_of(*curves: list[CurvePoint], summed: bool = False) -> list[str]:
    text = CurveCsv(ZoneInfo("UTC"), summed=summed)
    return (text.head() + "".join(text.chunks(curves))).splitlines()


@given(st.integers(0, 1 << 33), st.integers(1, 1 << 33), st.integers(10, 5000))
def test_auto_is_the_finest_step_that_fits(start: int, span: int, points: int) -> None:
    chosen = auto_resolution(start, start + span, points)
    assert span <= chosen * points
    assert chosen in AUTO_RESOLUTIONS or chosen % DAY == 0
    finer = [step for step in AUTO_RESOLUTIONS if step < chosen] if chosen <= DAY else [chosen - DAY]
    assert all(span > step * points for step in finer)


@given(st.integers(1, 10**9), st.integers(1, 10**6), st.integers(1, 10000))
def test_refused_resolutions_would_take_too_many_points(span: int, resolution: int, most: int) -> None:
    try:
        check_resolution(0, span, resolution, most)
    except InvalidField as fault:
        assert span > resolution * most
        assert fault.field == "resolution"
    else:
        assert span <= resolution * most


@given(times)
def test_gaps_are_where_nothing_is(moments: list[int]) -> None:
    curve = json_of(points_of([Reading(time, P=1.0) for time in moments]))
    for before, after in curve.gaps:
        assert moments.index(after) == moments.index(before) + 1
        assert curve.gap_seconds is not None
        assert after - before > curve.gap_seconds
    if len(moments) > 1:
        # The lower median step itself is never a gap.
        assert len(curve.gaps) <= len(moments) // 2


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=30))
def test_reversing_twice_is_nothing(values: list[float | None]) -> None:
    readings = [Reading(60 * n, P=value, L1_PF=value, Q=value) for n, value in enumerate(values)]
    turning = SeriesSource("A_1", "load", False, True)
    plain, turned = json_of(points_of(readings)), json_of(points_of(readings, turning), turning)
    assert turned.P.mean == [None if value is None else -value for value in plain.P.mean]
    assert turned.L1_PF == plain.L1_PF
    assert "-0.0" not in map(str, turned.P.mean + turned.Q.mean)
    assert all(len(column) == len(values) for columns in (turned.P, turned.Q) for column in to_json(columns).values())


def test_summaries_keep_zero_apart_from_missing() -> None:
    summaries = (Summary(0, 2, {"P": (0.0, 0.0, 0.0)}), Summary(60, 1, {}))
    points = [joined_window([CurvePart(SOURCE, summary, {})]) for summary in summaries]
    view = json_of(points, resolution=60)
    assert to_json(view.P) == {"mean": [0.0, None], "min": [0.0, None], "max": [0.0, None]}
    lines = csv_of(points, summed=True)
    assert lines[1].split(",")[6:10] == ["2", "0.0", "0.0", "0.0"]
    assert lines[2].split(",")[6:10] == ["1", "", "", ""]


def test_no_curve_from_nothing() -> None:
    curve = json_of([])
    assert (curve.gap_seconds, curve.gaps) == (None, [])
    with pytest.raises(InvalidField):
        check_resolution(0, 100, 1, 10)


class ImmediateClock:
    """A clock on which everything is due at once."""

    def callLater(self, delay: float, function: Callable[..., object], *arguments: object) -> None:
        function(*arguments)


class Site:
    """A context with readings in memory, for a CurveReader."""

    clock = ImmediateClock()

    def __init__(self, **readings: list[Reading]) -> None:
        self.readings = MemoryReadingStore()
        run(self.readings.write([SeriesReadings(name, rows) for name, rows in readings.items()]))

    def curve(
        self, track: Track, start: int, end: int, resolution: int, zone: str = "UTC", others: Sequence[Track] = ()
    ) -> Curve:
        reader = CurveReader(cast(Any, self))
        found = run(reader.read([track, *others], start, end, zone=ZoneInfo(zone), resolution=str(resolution)))
        return found.curves[0]


@st.composite
def rows_of_a_meter(draw: st.DrawFn) -> list[Reading]:
    value = st.one_of(st.none(), st.floats(-100, 100))
    moments = draw(st.lists(st.integers(0, 1000), unique=True, max_size=60).map(sorted))
    rows = [Reading(time, P=draw(value), Q=draw(value), L1_V=draw(value)) for time in moments]
    return [row for row in rows if (row.P, row.Q, row.L1_V) != (None, None, None)]


@given(rows_of_a_meter(), st.lists(st.integers(1, 1000), max_size=3, unique=True).map(sorted), st.integers(1, 300))
def test_windows_read_in_segments_are_those_of_the_whole(rows: list[Reading], cuts: list[int], resolution: int) -> None:
    """Also where only another role changed: each channel's mean is of its own readings."""
    site = Site(A_1=rows)
    edges = [0, *cuts, 1001]
    cut = Track("load", [TrackSegment(start, end, SOURCE) for start, end in pairwise(edges)])
    whole = site.curve(track_of(SOURCE, 0, 1001), 0, 1001, resolution).points
    parts = site.curve(cut, 0, 1001, resolution).points
    assert [point.time for point in parts] == [point.time for point in whole]
    for point, expected in zip(parts, whole, strict=True):
        assert point.channels.keys() == expected.channels.keys()
        for channel, triple in point.channels.items():
            assert triple == pytest.approx(expected.channels[channel], abs=1e-9)


@given(rows_of_a_meter(), st.integers(1, 1000), st.integers(1, 300), st.integers(1, 4))
def test_windows_read_in_slices_are_those_of_the_whole(
    rows: list[Reading], cut: int, resolution: int, most: int
) -> None:
    """However few windows are read at once, and wherever meters change."""
    site = Site(A_1=rows, A_2=rows)
    after = SeriesSource("A_2", "load", False, True)
    track = Track("load", [TrackSegment(7, cut + 7, SOURCE), TrackSegment(cut + 7, 1101, after)])
    whole = site.curve(track, 0, 1101, resolution)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{CurveReader.__module__}._WINDOWS_AT_ONCE", most)
        assert site.curve(track, 0, 1101, resolution) == whole


@given(
    st.integers(0, 1 << 33), st.integers(1, 4 * 366 * DAY), st.integers(1, 40), st.booleans(), st.integers(1, 50),
    st.sampled_from(["America/New_York", "Africa/Casablanca", "Asia/Kathmandu"]),
)  # fmt: skip
@example(141264000 - 5 * DAY, 9 * DAY, 1, True, 1, "Africa/Casablanca")  # 24 June 1974 began at 01:00
def test_slices_are_cut_between_windows(
    start: int, length: int, number: int, in_days: bool, most: int, zone: str
) -> None:
    resolution = number * DAY if in_days else max(number * 60, length // 5000)
    found = window_slices(start, start + length, resolution, ZoneInfo(zone), most)
    assert (found[0][0], found[-1][1]) == (start, start + length)
    assert all(before[1] == after[0] for before, after in pairwise(found))
    edges = {edge for run in runs(start, start + length, resolution, ZoneInfo(zone)) for edge in run[:2]}
    for since, until in found:
        assert until - since <= most * (resolution + 2 * 3600 * in_days)
        if in_days:
            day, before = (datetime.fromtimestamp(time, ZoneInfo(zone)).date() for time in (since, since - 1))
            assert since == start or day != before
        else:
            assert since % resolution == 0 or since in edges


def test_a_window_of_two_sources_keeps_what_only_one_has() -> None:
    after = SeriesSource("A_2", "load", False)
    site = Site(
        A_1=[Reading(0, P=1.0, Q=5.0)],
        A_2=[Reading(time, P=P, L1_V=230.0) for time, P in ((40, 3.0), (50, 3.0), (55, 9.0))],
    )
    track = Track("load", [TrackSegment(0, 30, SOURCE), TrackSegment(30, 60, after)])
    (point,) = site.curve(track, 0, 60, 60).points
    assert (point.source, point.readings) == (after, 4)
    assert point.channels == {"P": (1.0, 4.0, 9.0), "Q": (5.0, 5.0, 5.0), "L1_V": (230.0, 230.0, 230.0)}


def test_a_channel_that_few_readings_have_weighs_little() -> None:
    """Before the change 1 of 10 readings has a voltage, after it all 10: the mean is of 11 voltages, not of 20 readings."""
    after = SeriesSource("A_2", "load", False)
    site = Site(
        A_1=[Reading(k, P=1.0, L1_V=100.0 if k == 0 else None) for k in range(10)],
        A_2=[Reading(30 + k, P=1.0, L1_V=200.0) for k in range(10)],
    )
    track = Track("load", [TrackSegment(0, 30, SOURCE), TrackSegment(30, 60, after)])
    (point,) = site.curve(track, 0, 60, 60).points
    assert point.channels["L1_V"][1] == pytest.approx(2100 / 11)


def test_a_day_is_the_customers() -> None:
    """10 kW on one local day only: on two UTC days that was 6.667 and 3.333."""
    zone = ZoneInfo("America/Los_Angeles")
    midnight = int(datetime(2026, 5, 20, tzinfo=zone).timestamp())
    site = Site(
        A_1=[Reading(midnight + time, P=10.0 if 0 <= time < DAY else 0.0) for time in range(-DAY, 2 * DAY, 900)]
    )
    points = site.curve(track_of(SOURCE, 0, 1 << 34), midnight - DAY, midnight + 2 * DAY, DAY, zone.key).points
    assert [(point.time, point.channels["P"][1]) for point in points] == [
        (midnight - DAY, 0.0), (midnight, 10.0), (midnight + DAY, 0.0),
    ]  # fmt: skip


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "UTC"])
@pytest.mark.parametrize("days", [1, 3, 30])
def test_days_cover_the_time_once(zone: str, days: int) -> None:
    """Over changes of the clock, and over the day that Samoa left out."""
    start, end = 1_320_000_000, 1_350_000_000
    site = Site(A_1=[Reading(time, P=1.0) for time in range(start - start % 900, end, 7200)])
    points = site.curve(track_of(SOURCE, start, end), start, end, days * DAY, zone).points
    assert sum(point.readings for point in points) == len(range(start - start % 900 + 7200, end, 7200))
    locals_ = [datetime.fromtimestamp(point.time, ZoneInfo(zone)) for point in points]
    assert {(local.hour, local.minute) for local in locals_} == {(0, 0)}
    assert sorted({point.time for point in points}) == [point.time for point in points]
    gaps = {(later.date() - earlier.date()).days for earlier, later in pairwise(locals_)}
    assert gaps <= ({days} if zone != "Pacific/Apia" else {days, days + 1})


@given(
    st.integers(0, 1 << 33), st.integers(1, 4 * 366 * DAY), st.integers(1, 40),
    st.sampled_from(["America/New_York", "Europe/Berlin", "Africa/Casablanca", "Asia/Kathmandu"]),
)  # fmt: skip
def test_runs_hold_every_time_once(start: int, length: int, days: int, zone: str) -> None:
    found = runs(start, start + length, days * DAY, ZoneInfo(zone))
    assert (found[0].start, found[-1].end) == (start, start + length)
    assert all(before.end == after.start for before, after in pairwise(found))
