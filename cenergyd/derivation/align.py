"""Pairs the readings of two meters by time, never by position.

Two readings are paired if and only if each is the other's nearest in time (of two equally near ones, the earlier) and they are no further
apart than the tolerance. So each is used at most once, and a pair depends only on nearby readings: the result at a time ``t`` is the same
whether a day is computed at once or in segments, provided that the readings from ``t - tolerance`` to ``t + 2 * tolerance`` are given.
Conversely, a reading at ``x`` can only change computed readings from ``x - 2 * tolerance`` to ``x + tolerance``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import Final

from cenergyd.customers.model import ROLES, Role
from cenergyd.hookspecs import AlignedReading
from cenergyd.readings.model import Reading

_new_aligned: Final = partial(tuple.__new__, AlignedReading)


def align(role_readings: Mapping[Role, Sequence[Reading]], tolerance: int) -> list[AlignedReading]:
    """Pair the readings of exactly two roles, ascending. The time of a pair is the earlier of its two times.

    :param role_readings: for each of the two roles its readings, ascending in time, each time once.
    :param tolerance: seconds.
    """
    first, second = _two_roles(role_readings)
    ours, theirs = role_readings[first], role_readings[second]
    our_times = [reading[0] for reading in ours]
    their_times = [reading[0] for reading in theirs]
    if our_times == their_times:
        return _aligned_readings(first, second, our_times, ours, theirs)
    pairs = list(mutual_nearest(our_times, their_times, tolerance))
    times = [min(our_times[i], their_times[j]) for i, j in pairs]
    return _aligned_readings(first, second, times, [ours[i] for i, _ in pairs], [theirs[j] for _, j in pairs])


def unmatched(
    role_readings: Mapping[Role, Sequence[Reading]], aligned: Sequence[AlignedReading]
) -> dict[Role, list[Reading]]:
    """The readings of each role that have no partner in ``aligned``."""
    alone: dict[Role, list[Reading]] = {}
    for role, readings in role_readings.items():
        index = 1 + ROLES.index(role)
        if len(readings) == len(aligned):
            alone[role] = []
            continue
        used = {pair[index][0] for pair in aligned}  # type: ignore[index]
        alone[role] = [reading for reading in readings if reading[0] not in used]
    return alone


def _two_roles(role_readings: Mapping[Role, Sequence[Reading]]) -> tuple[Role, Role]:
    present = [role for role in ROLES if role in role_readings]
    if len(present) != 2 or len(role_readings) != 2:
        raise ValueError("readings of exactly two roles can be aligned")
    return present[0], present[1]


def mutual_nearest(ours: Sequence[int], theirs: Sequence[int], tolerance: int) -> Iterable[tuple[int, int]]:
    """The positions of times that are each other's nearest and within the tolerance, both ascending."""
    if not ours or not theirs:
        return
    back = _nearest(theirs, ours)
    for i, j in enumerate(_nearest(ours, theirs)):
        if back[j] == i and abs(ours[i] - theirs[j]) <= tolerance:
            yield i, j


def _nearest(times: Sequence[int], others: Sequence[int]) -> list[int]:
    """For each time the index of the nearest of the others, the earlier of two equally near ones."""
    found = []
    at, last = 0, len(others) - 1
    for time in times:
        while at < last and abs(others[at + 1] - time) < abs(others[at] - time):
            at += 1
        found.append(at)
    return found


def _aligned_readings(
    first: Role, second: Role, times: Sequence[int], ours: Sequence[Reading], theirs: Sequence[Reading]
) -> list[AlignedReading]:
    nothing = repeat(None, len(times))
    if second == "load":
        fields = zip(times, ours, theirs, nothing, strict=True)
    elif first == "utility":
        fields = zip(times, ours, nothing, theirs, strict=True)  # type: ignore[arg-type]
    else:
        fields = zip(times, nothing, ours, theirs, strict=True)  # type: ignore[arg-type]
    return list(map(_new_aligned, fields))
