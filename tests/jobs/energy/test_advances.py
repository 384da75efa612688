"""How far registers have gone on, and what of a series a window needs."""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import isfinite

from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.model import TimeRange
from cenergyd.jobs.energy.gap_bridging import Line, lines_within, net_advance, register_advance, sum_lines
from cenergyd.jobs.energy.registers import steps_between
from cenergyd.readings.model import Reading

ROLLOVERS = [10.0**digits for digits in range(3, 13)]
VALUES = st.sampled_from(
    [0.0, 0.4, 1.0, 499.9, 500.0, 500.1, 998.0, 999.9, 1000.0, 9999.0, 99999.5, 1e12, 3e14]
) | st.floats(0, 1e15, allow_nan=False)
CAPS = st.sampled_from([0.0, 1.0, 2.0, 600.0, 1e5, 1e16])
LONGEST = 5400


@given(VALUES, VALUES, CAPS)
def test_a_register_goes_on_directly_or_over_its_last_digit(before: float, after: float, cap: float) -> None:
    ways = [after - before + step for step in (0.0, *[each for each in ROLLOVERS if each > max(before, after)][:1])]
    assert register_advance(before, after, cap) == next(
        (way for way in ways if 0 <= way <= cap and isfinite(way)), None
    )


@given(VALUES, VALUES, st.sampled_from([-1, 1]), st.sampled_from([-1, 1]), CAPS)
def test_a_net_register_goes_the_shortest_way(before: float, after: float, one: int, other: int, cap: float) -> None:
    before, after = one * before, other * after
    rollover = [each for each in ROLLOVERS if each > max(abs(before), abs(after))][:1]
    ahead = min((after - before + step for step in (0.0, *rollover, *(-each for each in rollover))), key=abs)
    assert net_advance(before, after, cap) == (ahead if abs(ahead) <= cap else None)


@st.composite
def logs(draw: st.DrawFn) -> list[Reading]:
    """Readings with registers in most of them, which are reset now and then."""
    pauses = draw(st.lists(st.sampled_from([60, 60, 60, 300, 4000, 9000]), min_size=1, max_size=25))
    found = []
    for time in accumulate(pauses):
        imported = draw(st.sampled_from([None, time / 500, time / 500, time / 500, 0.0]))
        found.append(Reading(time, P=5.0, E_import=imported))
    return found


WINDOWS = st.tuples(st.integers(0, 20000), st.integers(1, 8000)).map(lambda pair: TimeRange(pair[0], sum(pair)))


@given(logs(), WINDOWS)
def test_steps_of_a_window_are_those_of_all_that_reach_into_it(log: list[Reading], window: TimeRange) -> None:
    steps, doubtful = steps_between(log, LONGEST, TimeRange(-1, 10**9))
    found, doubts = steps_between(log, LONGEST, window)
    assert found == [step for step in steps if step.end > window.start and step.start < window.end]
    assert doubts == [pair for pair in doubtful if pair[1].time > window.start and pair[0].time < window.end]


@st.composite
def lines(draw: st.DrawFn) -> list[Line]:
    edges = draw(st.lists(st.integers(0, 20000), min_size=2, max_size=12, unique=True).map(sorted))
    return [
        Line(start, end, draw(st.integers(-9, 9)) + 0.5, draw(st.integers(-9, 9)) + 0.25)
        for start, end in pairwise(edges)
        if draw(st.booleans())
    ]


@given(lines(), lines(), WINDOWS)
def test_a_windows_sum_is_that_of_all_lines(one: list[Line], other: list[Line], window: TimeRange) -> None:
    expected = lines_within(sum_lines(one, other, -1.0), *window)
    found = sum_lines(lines_within(one, *window), lines_within(other, *window), -1.0)
    assert lines_within(found, *window) == expected
