"""Energy from power: kWh imported and exported, by integrating P over the actual times of the readings.

Pure. Between two neighbouring readings P is taken as a straight line (trapezoid), because the meters log the value at that moment; where it
crosses zero, import and export are parted exactly there. A pause longer than 1.5 times the meter's usual interval, or than a setting,
is a gap: nothing is known of it and nothing is added. So energy adds up over any way to cut a time into pieces.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import fsum
from typing import NamedTuple

from cenergyd.jobs.rollups.aggregate import LARGEST
from cenergyd.readings.model import Reading

GAP_FACTOR = 1.5
"""Times the usual interval: one late reading is bridged, a missing one is not."""


class Energy(NamedTuple):
    """Energy over a time."""

    import_kwh: float
    """Where P is positive, kWh."""
    export_kwh: float
    """Where P is negative, kWh, as a positive number."""
    covered_seconds: float
    """How much of the time is known."""


class Segment(NamedTuple):
    """P between two neighbouring readings that belong together."""

    start: int
    end: int
    first: float
    """kW at the start."""
    last: float
    """kW at the end."""


def with_power(readings: Sequence[Reading]) -> list[tuple[int, float]]:
    """Time and P of the readings that have P."""
    return [(reading.time, reading.P) for reading in readings if reading.P is not None and abs(reading.P) <= LARGEST]


def segments(known: Sequence[tuple[int, float]], longest: Callable[[int], float]) -> list[Segment]:
    """The lines between neighbours, gaps left out.

    :param known: what :func:`with_power` gives, ascending in time.
    :param longest: time of a reading, UTC s -> the longest pause before it that is no gap, s.
    """
    return [
        Segment(start, end, first, last)
        for (start, first), (end, last) in pairwise(known)
        if end - start <= longest(end)
    ]


def energy(lines: Sequence[Segment], start: int, end: int) -> Energy:
    """The energy of ``start <= time < end`` from the segments (ascending, not overlapping) that reach into it."""
    first = bisect_right(lines, start, key=lambda line: line.end)
    last = bisect_left(lines, end, key=lambda line: line.start)
    imported: list[float] = []
    exported: list[float] = []
    covered = 0
    for line in lines[first:last]:
        since, until = max(line.start, start), min(line.end, end)
        covered += until - since
        _split(until - since, _power(line, since), _power(line, until), imported, exported)
    return Energy(fsum(imported) / 3600, fsum(exported) / 3600, covered)


def _power(line: Segment, time: int) -> float:
    if time == line.start:
        return line.first
    if time == line.end:
        return line.last
    part = (time - line.start) / (line.end - line.start)
    return line.first * (1 - part) + line.last * part


def _split(seconds: int, first: float, last: float, imported: list[float], exported: list[float]) -> None:
    """Add the area (kW s) under a line above and below zero."""
    if first >= 0 and last >= 0:
        imported.append((first + last) / 2 * seconds)
    elif first <= 0 and last <= 0:
        exported.append(-(first + last) / 2 * seconds)
    else:
        before = seconds * abs(first) / (abs(first) + abs(last))
        above, below = (imported, exported) if first > 0 else (exported, imported)
        above.append(abs(first) / 2 * before)
        below.append(abs(last) / 2 * (seconds - before))
