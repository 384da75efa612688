"""Curves by property."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.errors import InvalidField
from cenergyd.readings.model import Reading
from cenergyd.readings.store import Summary
from cenergyd.runtime.structs import to_json
from cenergyd.web.views.curves import (
    DAY,
    LADDER,
    Curve,
    CurveJson,
    Point,
    add_points,
    auto_resolution,
    check_resolution,
    csv_of,
    points_of_readings,
    points_of_summaries,
)
from cenergyd.web.views.sources import SeriesSource, series_track

SOURCE = SeriesSource("A_1", "load", False)
times = st.lists(st.integers(0, 10**6), unique=True, max_size=40).map(sorted)


def curve_of(readings: list[Reading], source: SeriesSource = SOURCE) -> Curve:
    return Curve(series_track(source, 0, 1 << 34), None, points_of_readings(source, readings))


@given(st.integers(0, 1 << 33), st.integers(1, 1 << 33), st.integers(10, 5000))
def test_auto_is_the_finest_step_that_fits(start: int, span: int, points: int) -> None:
    chosen = auto_resolution(start, start + span, points)
    assert span <= chosen * points
    assert chosen in LADDER or chosen % DAY == 0
    finer = [step for step in LADDER if step < chosen] if chosen <= DAY else [chosen - DAY]
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
    curve = curve_of([Reading(time, P=1.0) for time in moments])
    for before, after in curve.gaps():
        assert moments.index(after) == moments.index(before) + 1
        assert curve.gap_seconds is not None
        assert after - before > curve.gap_seconds
    if len(moments) > 1:
        # The lower median step itself is never a gap.
        assert len(curve.gaps()) <= len(moments) // 2


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=30))
def test_reversing_twice_is_nothing(values: list[float | None]) -> None:
    readings = [Reading(60 * n, P=value, L1_PF=value, Q=value) for n, value in enumerate(values)]
    plain = CurveJson.of(curve_of(readings))
    turned = CurveJson.of(curve_of(readings, SeriesSource("A_1", "load", False, True)))
    assert turned.P.mean == [None if value is None else -value for value in plain.P.mean]
    assert turned.L1_PF == plain.L1_PF
    assert "-0.0" not in map(str, turned.P.mean + turned.Q.mean)
    assert all(len(column) == len(values) for columns in (turned.P, turned.Q) for column in to_json(columns).values())


def test_summaries_keep_zero_apart_from_missing() -> None:
    points = points_of_summaries(SOURCE, [Summary(0, 2, {"P": (0.0, 0.0, 0.0)}), Summary(60, 1, {})])
    curve = Curve(series_track(SOURCE, 0, 120), 60, points)
    view = CurveJson.of(curve)
    assert to_json(view.P) == {"mean": [0.0, None], "min": [0.0, None], "max": [0.0, None]}
    lines = csv_of([curve], ZoneInfo("UTC")).splitlines()
    assert lines[1].split(",")[6:10] == ["2", "0.0", "0.0", "0.0"]
    assert lines[2].split(",")[6:10] == ["1", "", "", ""]


def test_no_curve_from_nothing() -> None:
    curve = curve_of([])
    assert (curve.gap_seconds, curve.gaps()) == (None, [])
    with pytest.raises(InvalidField):
        check_resolution(0, 100, 1, 10)


def windows(source: SeriesSource, values: list[tuple[int, float]], resolution: int) -> list[Point]:
    """What a store makes of single values, window by window."""
    found = []
    for start in sorted({time // resolution * resolution for time, _ in values}):
        mine = [value for time, value in values if start <= time < start + resolution]
        channels = {"P": (min(mine), sum(mine) / len(mine), max(mine))}
        found.append(Summary(start, len(mine), channels, estimated=any(value > 90 for value in mine)))
    return points_of_summaries(source, found)


@given(
    st.dictionaries(st.integers(0, 1000), st.floats(-100, 100), max_size=60).map(lambda found: sorted(found.items())),
    st.lists(st.integers(0, 1000), max_size=3).map(sorted),
    st.integers(1, 300),
)
def test_windows_read_in_segments_are_those_of_the_whole(
    values: list[tuple[int, float]], cuts: list[int], resolution: int
) -> None:
    joined: list[Point] = []
    for start, end in zip([0, *cuts], [*cuts, 1001], strict=True):
        add_points(joined, windows(SOURCE, [item for item in values if start <= item[0] < end], resolution))
    whole = windows(SOURCE, values, resolution)
    assert [(point.time, point.readings, point.estimated) for point in joined] == [
        (point.time, point.readings, point.estimated) for point in whole
    ]
    for point, expected in zip(joined, whole, strict=True):
        assert point.channels["P"] == pytest.approx(expected.channels["P"], abs=1e-9)


def test_a_window_of_two_sources_keeps_what_only_one_has() -> None:
    after = SeriesSource("A_2", "load", False)
    points = points_of_summaries(SOURCE, [Summary(0, 1, {"P": (1.0, 1.0, 1.0), "Q": (5.0, 5.0, 5.0)})])
    add_points(
        points, points_of_summaries(after, [Summary(0, 3, {"P": (3.0, 5.0, 9.0), "L1_V": (230.0, 230.0, 230.0)})])
    )
    (point,) = points
    assert (point.source, point.readings) == (after, 4)
    assert point.channels == {"P": (1.0, 4.0, 9.0), "Q": (5.0, 5.0, 5.0), "L1_V": (230.0, 230.0, 230.0)}
