"""What corrections make of readings, by example and against a slow, plain reading of the rules."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from cenergyd.errors import Incompatible, InvalidField
from cenergyd.readings import corrections
from cenergyd.readings.batching import BatchingReadingStore
from cenergyd.readings.corrected import corrected_store, scaled_ranges
from cenergyd.readings.corrections import (
    LATEST,
    MAX_REASON,
    MAX_UNDONE,
    Correction,
    CorrectionMap,
    bounded,
    check_correction,
    corrected,
    correction_map,
    ended,
    of_body,
    to_body,
    undone,
    with_correction,
)
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading
from cenergyd.readings.store import Summary
from tests.jobs.site import LOAD, UTILITY, run

SPAN = 400


def correction(number: int, kind: str, start: int, end: int, **more: object) -> Correction:
    given = {"reason": "tested", "customer_id": "c", "by": "a tester", "at": number, **more}
    return Correction(number=number, kind=kind, start=start, end=end, **given)  # type: ignore[arg-type]


def plainly(made: Sequence[Correction], readings: Sequence[Reading]) -> list[Reading]:
    """One correction after the other, each over a whole list."""
    found = list(readings)
    for each in made:
        if not each.is_active:
            continue
        inside = [r for r in found if each.start <= r.time < each.end]
        outside = [r for r in found if not each.start <= r.time < each.end]
        if each.kind == "void":
            found = outside
        elif each.kind == "scale":
            factor = each.factor or 0.0
            scaled = [
                Reading(
                    r.time, None if r.P is None else r.P * factor + 0.0, r.L1_PF, r.L1_V,
                    None if r.Q is None else r.Q * factor + 0.0, r.estimated,
                )
                for r in inside
            ]  # fmt: skip
            found = sorted([*outside, *(r for r in scaled if any(v is not None for v in r.values))])
        else:
            start, end = each.target
            alone = [r for r in outside if not start <= r.time < end]
            found = sorted([*alone, *(r._replace(time=r.time + (each.seconds or 0)) for r in inside)])
    return found


@st.composite
def lists(draw: st.DrawFn) -> list[Correction]:
    """Corrections that may be made one after the other; some undone."""
    made: list[Correction] = []
    for number in range(1, draw(st.integers(1, 7)) + 1):
        start = draw(st.integers(0, SPAN - 1))
        end = draw(st.integers(start + 1, SPAN))
        kind = draw(st.sampled_from(corrections.KINDS))
        more: dict[str, object] = {}
        if kind == "scale":
            more["factor"] = draw(st.sampled_from([2.0, 4.0, -2.0]))
        if kind == "shift":
            more["seconds"] = draw(st.integers(-start, SPAN).filter(bool))
        try:
            made = with_correction(made, correction(number, kind, start, end, **more))
        except Incompatible:
            continue
    for each in draw(st.lists(st.sampled_from(made), unique_by=lambda c: c.number)) if made else []:
        try:
            made = undone(made, each.number, "a tester", 1)
        except Incompatible:
            continue
    return made


values = st.sampled_from([None, 1.0, -2.5, 0.0, 7.0])
rows = st.lists(
    st.builds(
        Reading.of_values,
        st.integers(0, SPAN),
        st.tuples(values, values, values, values, values, values, values).filter(
            lambda v: any(x is not None for x in v)
        ),
    ),
    unique_by=lambda r: r.time,
    max_size=60,
).map(sorted)


@given(lists(), rows)
def test_the_view_is_what_the_corrections_make_one_after_the_other(
    made: list[Correction], readings: list[Reading]
) -> None:
    assert corrected(correction_map(made), readings) == plainly(made, readings)


@given(lists(), rows)
def test_undoing_is_as_if_it_had_never_been_made(made: list[Correction], readings: list[Reading]) -> None:
    never = [each for each in made if each.is_active]
    assert correction_map(made) == correction_map(never)
    for each in reversed(never):  # the latest first: nothing rests on it
        made = undone(made, each.number, "a tester", 2)
    assert correction_map(made).changes_nothing
    assert corrected(correction_map(made), readings) == readings


@given(lists(), rows)
def test_no_time_is_there_twice_and_all_ascend(made: list[Correction], readings: list[Reading]) -> None:
    times = [reading.time for reading in corrected(correction_map(made), readings)]
    assert times == sorted(set(times))


@given(lists(), rows, rows)
def test_late_readings_are_corrected_as_if_they_had_been_there(
    made: list[Correction], readings: list[Reading], late: list[Reading]
) -> None:
    view = correction_map(made)
    both = sorted({r.time: r for r in [*readings, *late]}.values())
    apart = {r.time: r for r in [*corrected(view, readings), *corrected(view, late)]}
    assert [r.time for r in corrected(view, both)] == sorted(apart)


@given(lists(), st.integers(0, SPAN - 1), st.integers(1, SPAN))
def test_reach_holds_where_readings_of_a_range_are_now(made: list[Correction], start: int, length: int) -> None:
    view = correction_map(made)
    low, high = view.reach(start, start + length)
    assert low <= start
    assert start + length <= high
    assert view.reach(low, high) == (low, high)
    for time in range(low, high):
        for reading in corrected(view, [Reading(time, 1.0)]):
            assert low <= reading.time < high


@given(lists(), st.integers(1, SPAN))
def test_ended_corrections_change_nothing_later(made: list[Correction], until: int) -> None:
    readings = [Reading(time, 1.0) for time in range(2 * SPAN)]
    found = corrected(correction_map(ended(made, until, "x", 1)), readings)
    assert [r for r in found if r.time >= until] == readings[until:]


@given(lists())
def test_a_correction_survives_its_json(made: list[Correction]) -> None:
    assert [of_body(json.loads(json.dumps(to_body(each)))) for each in made] == made


def test_a_range_is_half_open() -> None:
    readings = [Reading(10, 1.0), Reading(20, 1.0), Reading(30, 1.0)]
    view = correction_map([correction(1, "void", 10, 20)])
    assert corrected(view, readings) == readings[1:]


def test_a_scale_leaves_power_factor_and_voltage_and_drops_registers() -> None:
    reading = Reading(10, 2.0, 0.9, 230.0, 0.0, True, 5.0, 6.0, 1.0)
    view = correction_map([correction(1, "scale", 0, 20, factor=-3.0)])
    (found,) = corrected(view, [reading])
    assert found == Reading(10, -6.0, 0.9, 230.0, 0.0, True)
    assert str(found.Q) == "0.0"  # never -0.0
    assert corrected(view, [Reading(11, E_net=4.0)]) == []


def test_factors_that_cancel_out_leave_the_readings_as_measured() -> None:
    reading = Reading(10, 2.0, E_import=6.0)
    view = correction_map([correction(1, "scale", 0, 20, factor=-1.0), correction(2, "scale", 0, 20, factor=-1.0)])
    assert corrected(view, [reading]) == [reading]


def test_a_negative_factor_turns_minimum_and_maximum_round() -> None:
    (segment,) = correction_map([correction(1, "scale", 0, 20, factor=-2.0)]).between(0, 20)
    summary = Summary(0, 3, {"P": (-1.0, 0.0, 4.0), "L1_V": (229.0, 230.0, 231.0)})
    found = segment.corrected_summary(summary)
    assert found.channels == {"P": (-8.0, 0.0, 2.0), "L1_V": (229.0, 230.0, 231.0)}


def test_a_value_beyond_what_a_meter_can_mean_is_left_out() -> None:
    view = correction_map([correction(1, "scale", 0, 20, factor=1e6)])
    (found,) = corrected(view, [Reading(10, 1e29, 0.9)])
    assert found == Reading(10, None, 0.9)


def test_a_shift_does_not_merge_with_readings_at_its_new_times() -> None:
    readings = [Reading(time, float(time)) for time in range(0, 60, 10)]
    view = correction_map([correction(1, "shift", 0, 20, seconds=35)])
    assert [(r.time, r.P) for r in corrected(view, readings)] == [(20, 20.0), (30, 30.0), (35, 0.0), (45, 10.0)]


def test_a_range_is_shifted_once() -> None:
    made = with_correction([], correction(1, "shift", 100, 200, seconds=300))
    for start, end, seconds in ((150, 160, 1), (450, 460, 5), (90, 101, 1000), (0, 50, 380)):
        with pytest.raises(Incompatible, match="already shifts these times"):
            with_correction(made, correction(2, "shift", start, end, seconds=seconds))
    made = undone(made, 1, "x", 1)
    with_correction(made, correction(2, "shift", 150, 160, seconds=1))


def test_a_shift_on_which_later_ones_rest_is_not_undone_first() -> None:
    made = with_correction([], correction(1, "shift", 100, 200, seconds=300))
    made = with_correction(made, correction(2, "void", 410, 420))
    with pytest.raises(Incompatible, match="undo 2 first"):
        undone(made, 1, "x", 1)
    made = undone(undone(made, 2, "x", 1), 1, "x", 2)
    with pytest.raises(Incompatible, match="already undone"):
        undone(made, 1, "x", 3)


def test_factors_that_meet_are_bounded_together() -> None:
    made = with_correction([], correction(1, "scale", 0, 100, factor=1e5))
    with pytest.raises(InvalidField, match="combined"):
        with_correction(made, correction(2, "scale", 50, 60, factor=1e5))
    with_correction(made, correction(2, "scale", 100, 200, factor=1e5))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "destroy"}, "kind"),
        ({"start": -1}, "start"),
        ({"end": 10}, "end"),
        ({"end": LATEST + 1}, "end"),
        ({"reason": " "}, "reason"),
        ({"reason": "x" * (MAX_REASON + 1)}, "reason"),
        ({"reason": "two\nlines"}, "reason"),
        ({"factor": 2.0}, "factor"),
        ({"seconds": 2}, "seconds"),
        ({"kind": "scale"}, "factor"),
        *[
            ({"kind": "scale", "factor": factor}, "factor")
            for factor in (0.0, -0.0, 1.0, 1e7, -1e7, 1e-7, float("nan"), float("inf"), 1e308)
        ],
        ({"kind": "shift"}, "seconds"),
        ({"kind": "shift", "seconds": 0}, "seconds"),
        ({"kind": "shift", "seconds": -11}, "seconds"),
        ({"kind": "shift", "seconds": LATEST}, "seconds"),
        ({"kind": "shift", "seconds": 10**30}, "seconds"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], field: str) -> None:
    wanted = {"kind": "void", "start": 10, "end": 20, "factor": None, "seconds": None, "reason": "why", **changes}
    with pytest.raises(InvalidField) as caught:
        check_correction(**wanted)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_the_oldest_undone_ones_are_forgotten() -> None:
    made = [correction(number, "void", 0, 10, undone_by="x", undone_at=1) for number in range(1, MAX_UNDONE + 11)]
    made.append(correction(999, "void", 0, 10))
    assert [each.number for each in bounded(made, "c")] == [*range(11, MAX_UNDONE + 11), 999]
    assert bounded(made, "somebody else") == made


def test_the_scaled_ranges_of_a_series_are_reported_through_batching() -> None:
    class FixedCorrections:
        async def maps(self, series: Sequence[str]) -> dict[str, CorrectionMap]:
            made = [correction(1, "scale", 100, 200, factor=3.0), correction(2, "void", 150, 160)]
            return {UTILITY: correction_map(made)} if UTILITY in series else {}

        async def ever_corrected(self, series: Sequence[str]) -> frozenset[str]:
            return frozenset({UTILITY}).intersection(series)

    store = BatchingReadingStore(corrected_store(MemoryReadingStore(), FixedCorrections()), Clock())
    assert run(scaled_ranges(store, UTILITY, 120, 500)) == [(120, 150), (160, 200)]
    assert run(scaled_ranges(store, LOAD, 120, 500)) == []
    assert run(scaled_ranges(MemoryReadingStore(), UTILITY, 120, 500)) == []
