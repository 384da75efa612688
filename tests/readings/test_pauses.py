"""Usual intervals: what runs of equal pauses shorten is what each pause on its own would give."""

from __future__ import annotations

from itertools import accumulate, chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from cenergyd.readings.pauses import NEIGHBOURS, is_even, usual_intervals, valid_seconds

LONGEST = 5400
RUNS = st.lists(
    st.tuples(st.sampled_from([1, 60, 61, 300, 900, 3600, 5400, 5401, 90000]), st.integers(1, 9)), max_size=6
)


def times_of(runs: list[tuple[int, int]]) -> list[int]:
    return list(accumulate(chain([1000], *([pause] * number for pause, number in runs))))


def usual_at(pauses: list[int], index: int) -> int | None:
    """By the words of the docstring, for one pause."""
    sides = []
    for side in (pauses[:index][::-1], pauses[index + 1 :]):
        near = []
        for pause in side[:NEIGHBOURS]:
            if pause > LONGEST:
                break
            near.append(pause)
        sides.append(near)
    full = [min(near) for near in sides if len(near) == NEIGHBOURS]
    return max(full or [min(near) for near in sides if near], default=None)


@given(RUNS)
def test_runs_of_equal_pauses_give_what_each_gives(runs: list[tuple[int, int]]) -> None:
    times = times_of(runs)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert usual_intervals(times, LONGEST) == [usual_at(pauses, index) for index in range(len(pauses))]


@given(RUNS)
def test_a_reading_stands_for_no_longer_than_is_usual_on_a_side(runs: list[tuple[int, int]]) -> None:
    times = times_of(runs)
    pauses = [LONGEST + 1, *(later - earlier for earlier, later in pairwise(times)), LONGEST + 1]
    usual = [None, *usual_intervals(times, LONGEST), None]
    expected = []
    for before, after in zip(range(len(times)), range(1, len(times) + 1), strict=True):
        near = [usual[each] or 0 for each in (before, after) if pauses[each] <= LONGEST]
        expected.append(min(max(near, default=0), pauses[after]))
    assert valid_seconds(times, LONGEST) == expected


def test_a_short_pause_before_a_long_one_costs_no_memory() -> None:
    assert not is_even([0, 1, 1 << 50], 5400)
    assert usual_intervals([0, 1, 1 << 50], 5400) == [None, 1]


@given(st.lists(st.integers(1, 3), min_size=1, max_size=6), st.sampled_from([1, 2, 5400]))
def test_even_times_have_equal_pauses(pauses: list[int], longest: int) -> None:
    times = list(accumulate(pauses, initial=7))
    assert is_even(times, longest) == (len(pauses) > 1 and len(set(pauses)) == 1 and pauses[0] <= longest)
