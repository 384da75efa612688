"""Alignment against a slow, simple reference, and its locality."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenergyd.derivation.align import align, unmatched
from cenergyd.hookspecs import AlignedReading
from cenergyd.readings.model import Reading

times = st.lists(st.integers(0, 400), unique=True, max_size=25).map(sorted)
tolerances = st.integers(0, 70)
pairs_of_roles = st.sampled_from([("utility", "load"), ("utility", "solar"), ("load", "solar"), ("solar", "utility")])


def readings(numbers: list[int], P: float) -> list[Reading]:
    return [Reading(time, P) for time in numbers]


def nearest(time: int, others: list[int]) -> int:
    return min(others, key=lambda other: (abs(other - time), other))


def reference(ours: list[int], theirs: list[int], tolerance: int) -> list[tuple[int, int]]:
    """As the rule says."""
    candidates = [(a, nearest(a, theirs)) for a in ours] if theirs else []
    return [(a, b) for a, b in candidates if abs(a - b) <= tolerance and nearest(b, ours) == a]


def pairs(aligned: list[AlignedReading], one: str, other: str) -> list[tuple[int, int]]:
    return [(getattr(each, one).time, getattr(each, other).time) for each in aligned]


@given(times, times, tolerances, pairs_of_roles)
def test_equals_the_reference(ours: list[int], theirs: list[int], tolerance: int, roles: tuple[str, str]) -> None:
    one, other = roles
    aligned = align({one: readings(ours, 1), other: readings(theirs, 2)}, tolerance)
    assert pairs(aligned, one, other) == sorted(reference(ours, theirs, tolerance))
    assert [each.time for each in aligned] == [min(pair) for pair in pairs(aligned, one, other)]
    absent = ({"utility", "load", "solar"} - {one, other}).pop()
    assert all(getattr(each, absent) is None for each in aligned)
    assert all(getattr(each, one).P == 1 and getattr(each, other).P == 2 for each in aligned)


@given(times, times, tolerances)
def test_each_reading_and_each_time_once(ours: list[int], theirs: list[int], tolerance: int) -> None:
    aligned = align({"load": readings(ours, 1), "solar": readings(theirs, 2)}, tolerance)
    for found in ([each.time for each in aligned], *zip(*pairs(aligned, "load", "solar"), strict=True)):
        assert list(found) == sorted(set(found))
    alone = unmatched({"load": readings(ours, 1), "solar": readings(theirs, 2)}, aligned)
    assert sorted([each.time for each in alone["load"]] + [each.load.time for each in aligned]) == ours
    assert sorted([each.time for each in alone["solar"]] + [each.solar.time for each in aligned]) == theirs


@given(times, times, tolerances, st.integers(-10, 410), st.integers(1, 200))
def test_a_window_needs_only_its_margin(
    ours: list[int], theirs: list[int], tolerance: int, start: int, length: int
) -> None:
    """The documented margin is enough, and one of twice the tolerance on both sides all the more."""
    end = start + length
    whole = [(a, b) for a, b in reference(ours, theirs, tolerance) if start <= min(a, b) < end]
    for before, after in ((tolerance, 2 * tolerance), (2 * tolerance, 2 * tolerance)):
        cut = {
            role: readings([time for time in numbers if start - before <= time < end + after], 1)
            for role, numbers in (("load", ours), ("solar", theirs))
        }
        part = [each for each in align(cut, tolerance) if start <= each.time < end]
        assert pairs(part, "load", "solar") == whole


@given(times, times, st.integers(0, 400), tolerances)
def test_a_new_reading_changes_only_its_neighbourhood(
    ours: list[int], theirs: list[int], new: int, tolerance: int
) -> None:
    """What is computed outside new - 2 tolerance .. new + tolerance stays as it was."""
    before = reference(ours, theirs, tolerance)
    after = reference(sorted({*ours, new}), theirs, tolerance)
    changed = set(before) ^ set(after)
    assert all(new - 2 * tolerance <= min(pair) <= new + tolerance for pair in changed)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 10**6), unique=True, max_size=200).map(sorted), tolerances)
def test_equal_times_all_match(numbers: list[int], tolerance: int) -> None:
    assert len(align({"load": readings(numbers, 1), "solar": readings(numbers, 2)}, tolerance)) == len(numbers)


def test_a_tie_goes_to_the_earlier() -> None:
    aligned = align({"load": readings([100], 1), "solar": readings([90, 110], 2)}, 30)
    assert pairs(aligned, "load", "solar") == [(100, 90)]
    assert aligned[0].time == 90


@pytest.mark.parametrize("roles", [["load"], ["load", "solar", "utility"], [], ["load", "other"]])
def test_two_roles_are_needed(roles: list[str]) -> None:
    with pytest.raises(ValueError, match="two roles"):
        align({role: [] for role in roles}, 30)
