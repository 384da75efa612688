"""What registers count of a time: boundaries, resets, rollover, coarse displays, missing registers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import fsum

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cenergyd.customers.model import TimeRange
from cenergyd.jobs.energy.gap_bridging import has_registers, power_lines
from cenergyd.jobs.energy.registers import (
    MAX_MISSING,
    Counted,
    counted,
    known_steps,
    step_by_highest_power,
    step_by_own_power,
    steps_between,
)
from cenergyd.readings.model import Reading

LONGEST = 5400


def count(log: Sequence[Reading], start: int, end: int, highest: float = 0.0) -> Counted | None:
    lines = power_lines(log, LONGEST)
    found, doubtful = steps_between(log, LONGEST, TimeRange(start, end))
    late = [step for pair in doubtful if (step := step_by_highest_power(pair, highest)) is not None]
    return counted(known_steps(sorted([*found, *late]), lines), lines, TimeRange(start, end))


def imported(found: Counted | None) -> float:
    assert found is not None and found.import_kwh is not None
    return found.import_kwh


def minutes(count: int, P: float = 6.0, per_minute: float = 0.1, start: float = 500.0) -> list[Reading]:
    return [Reading(60 * k, P=P, E_import=start + per_minute * k, E_export=0.0) for k in range(count)]


def test_the_difference_counts_not_the_area() -> None:
    log = minutes(121, per_minute=0.11)
    assert imported(count(log, 0, 7200)) == pytest.approx(13.2)
    assert imported(count(log, 0, 3600)) == pytest.approx(6.6)


def test_a_boundary_between_readings_follows_power() -> None:
    """P rises from 0 to 12 kW: a quarter of the area is in the first half."""
    log = [Reading(0, P=0.0, E_import=10.0, E_export=3.0), Reading(3600, P=12.0, E_import=18.0, E_export=3.0)]
    log = [Reading(-3600, P=0.0, E_import=10.0, E_export=3.0), *log, Reading(7200, P=12.0, E_import=30.0, E_export=3.0)]
    assert imported(count(log, 0, 1800)) == pytest.approx(2.0)
    assert imported(count(log, 1800, 3600)) == pytest.approx(6.0)


def test_without_power_it_goes_on_evenly() -> None:
    log = [Reading(900 * k, P=0.0, E_import=10.0 + k, E_export=0.0) for k in range(5)]
    assert imported(count(log, 300, 900)) == pytest.approx(2 / 3)


def test_a_display_of_whole_kwh_is_plausible() -> None:
    """At 3 kW a step of 1 kWh in a minute is 60 kW: no reset."""
    log = [Reading(60 * k, P=3.0, E_import=float(100 + 3 * k // 60), E_export=0.0) for k in range(241)]
    found = count(log, 0, 14400)
    assert imported(found) == 12.0
    assert found is not None and found.seconds == 14400


def test_a_reset_is_not_counted_and_its_time_is_by_power() -> None:
    log = minutes(121)
    log = [*log[:60], *(r._replace(E_import=0.1 * k) for k, r in enumerate(log[60:]))]
    found = count(log, 0, 7200, highest=6.0)
    assert imported(found) == pytest.approx(11.9)
    assert found is not None and found.seconds == 7140
    assert found.uncounted_import_kwh == pytest.approx(0.1)


def test_a_leap_is_not_counted() -> None:
    log = minutes(121)
    log[60] = log[60]._replace(E_import=9000.0)
    found = count(log, 0, 7200, highest=6.0)
    assert imported(found) == pytest.approx(11.8)
    assert found is not None and found.uncounted_import_kwh == pytest.approx(0.2)


def test_a_rollover_is_counted() -> None:
    log = [r._replace(E_import=round((r.E_import or 0.0) % 1000, 3)) for r in minutes(121, start=994.0)]
    assert imported(count(log, 0, 7200, highest=6.0)) == pytest.approx(12.0)


@pytest.mark.parametrize(("without", "seconds"), [(range(30, 32), 7200), (range(30, 33), 6960)])
def test_readings_without_registers_are_passed_over_up_to_two(without: range, seconds: int) -> None:
    log = [r._replace(E_import=None, E_export=None) if k in without else r for k, r in enumerate(minutes(121))]
    found = count(log, 0, 7200)
    assert found is not None and found.seconds == seconds
    assert imported(found) + found.uncounted_import_kwh == pytest.approx(12.0)


@pytest.mark.parametrize("scaled", [range(30, 31), range(30, 32), range(30, 36)])
def test_no_register_difference_reaches_across_scaled_readings(scaled: range) -> None:
    """Of three times the power the meter counted a third, so the difference across the range would be too little, however short it is."""
    log = [r._replace(P=18.0, E_import=None, E_export=None) if k in scaled else r for k, r in enumerate(minutes(121))]
    lines = power_lines(log, LONGEST)
    found, doubtful = steps_between(log, LONGEST, TimeRange(0, 10**9), [(60 * scaled.start, 60 * scaled.stop)])
    assert not doubtful
    whole = counted(known_steps(found, lines), lines, TimeRange(0, 7200))
    assert whole is not None and whole.seconds == 7200 - 60 * (len(scaled) + 1)
    assert imported(whole) + whole.uncounted_import_kwh == pytest.approx(12.0 + 0.2 * len(scaled))


def test_a_net_register_alone_counts_the_net() -> None:
    log = [Reading(60 * k, P=-2.0, E_net=50 - 2 * k / 60) for k in range(121)]
    found = count(log, 30, 3630)
    assert found is not None and (found.import_kwh, found.export_kwh) == (None, None)
    assert found.net_kwh == pytest.approx(-2.0)


def test_import_and_net_tell_the_export() -> None:
    log = [Reading(60 * k, P=-2.0, E_net=50 - 2 * k / 60, E_import=7.0) for k in range(121)]
    found = count(log, 0, 3600)
    assert found is not None and found.export_kwh == pytest.approx(2.0)


def test_nothing_where_power_is_not_known() -> None:
    log = [reading for k, reading in enumerate(minutes(301)) if not 60 < k < 240]
    assert count(log, 3600, 14400) is None


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.floats(-9, 9), st.floats(0, 0.9), st.floats(0, 0.9)), min_size=8, max_size=40
    ),
    st.lists(st.integers(0, 9000), max_size=6),
)
@example([*[(4, 0.0, 0.0, 0.0)] * 6, (1, -5.5, 0.5, 0.0), (1, 3.6e-67, 0.0, 0.0)], [1441])
def test_neighbouring_times_add_up_to_the_difference(
    rows: list[tuple[int, float, float, float]], cuts: list[int]
) -> None:
    log, time, forth, back = [], 0, 100.0, 50.0
    for minutes_on, P, more, less in rows:
        log.append(Reading(time, P=P, E_import=forth, E_export=back))
        time, forth, back = time + 60 * minutes_on, forth + more, back + less
    edges = sorted({0, log[-1].time, *(cut for cut in cuts if cut < log[-1].time)})
    known = count(log, 0, log[-1].time)
    assert known is not None
    pieces = [found for start, end in pairwise(edges) if (found := count(log, start, end))]
    assert fsum(each.import_kwh or 0.0 for each in pieces) == pytest.approx(known.import_kwh)
    assert fsum(each.export_kwh or 0.0 for each in pieces) == pytest.approx(known.export_kwh)
    assert sum(each.seconds for each in pieces) == known.seconds
    if known.seconds == log[-1].time:
        assert known.import_kwh == pytest.approx((log[-1].E_import or 0) - 100.0)


REGISTERS = st.one_of(st.none(), st.sampled_from([0.0, 0.4, 1.0, 1.5, 999.9, 1000.0]), st.floats(0, 2000))


@given(st.lists(st.tuples(REGISTERS, REGISTERS, REGISTERS, st.floats(-50, 50)), min_size=2, max_size=12), st.data())
def test_every_step_is_that_of_its_pair(rows: list[tuple[float | None, ...]], data: st.DataObject) -> None:
    log = [
        Reading(60 * k, P=P, E_net=net, E_import=imported, E_export=exported)
        for k, (net, imported, exported, P) in enumerate(rows)
    ]
    end = 60 * len(log)
    start = data.draw(st.integers(-60, end - 1))
    window = TimeRange(start, data.draw(st.integers(start + 1, end + 60)))
    known = [(k, each) for k, each in enumerate(log) if has_registers(each)]
    first = max((n for n, (_, each) in enumerate(known) if each.time <= window.start), default=0)
    last = min((n for n, (_, each) in enumerate(known) if each.time >= window.end), default=len(known))
    pairs = [(a, b) for (i, a), (j, b) in pairwise(known[first : last + 1]) if j - i - 1 <= MAX_MISSING]
    steps = [step_by_own_power(pair) for pair in pairs]
    expected = [step for step in steps if step is not None], [p for p, s in zip(pairs, steps, strict=True) if s is None]
    assert steps_between(log, LONGEST, window) == expected
