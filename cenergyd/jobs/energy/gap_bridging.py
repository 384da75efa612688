"""What is known of a meter's power between its readings: lines, each measured, interpolated or bridged. Pure.

- Between neighbouring readings P is a straight line, because the meters log the value at that moment: ``measured``.
- Over a lost row or two as well: ``interpolated`` (:mod:`cenergyd.readings.pauses`).
- A gap is filled by the difference of the meter's registers where both ends have them, spread evenly: ``bridged``. Otherwise it stays a gap.

Power is as the site equation has it (kW, import positive): readings have been sign-corrected before.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from operator import itemgetter
from typing import Literal, NamedTuple

from cenergyd.readings.model import MAX_VALUE, Reading
from cenergyd.readings.pauses import is_bridgeable, is_regular, usual_intervals

Kind = Literal["measured", "interpolated", "bridged"]
KINDS: tuple[Kind, ...] = ("measured", "interpolated", "bridged")

MAX_BRIDGE_SECONDS = 31 * 86400
"""A longer gap is not bridged: spread so thin, energy says nothing of when it was."""
PLAUSIBLE_FACTOR = 2.0
"""Registers may have gone on by so many times what the meter's highest power would give."""
_ROLLOVERS = tuple(10.0**digits for digits in range(3, 13))
"""Registers roll over at a power of ten of the displayed digits."""


class Line(NamedTuple):
    """Power over a time, as a straight line."""

    start: int
    """UTC seconds."""
    end: int
    first: float
    """Net power at the start, kW."""
    last: float
    """Net power at the end, kW."""
    kind: Kind = "measured"
    both_ways: float = 0.0
    """kW that flowed in and out again: counts as import and as export. Only registers tell."""


_start_of, _end_of = itemgetter(0), itemgetter(1)


class Gap(NamedTuple):
    """Neighbouring readings between which power is not known."""

    before: Reading
    after: Reading


def power_lines(readings: Sequence[Reading], longest: int) -> list[Line]:
    """The measured and interpolated lines of a series, ascending.

    :param readings: ascending in time; those without P tell only of the usual interval.
    :param longest: no pause of more than this is anything but a gap, s.
    """
    times = [reading.time for reading in readings]
    usual = usual_intervals(times, longest)
    known = [(index, reading.time, reading.P) for index, reading in enumerate(readings) if _has_power(reading)]
    lines = []
    for (first, start, P), (last, end, Q) in pairwise(known):
        pause = end - start
        interval = max(usual[first] or 0, usual[last - 1] or 0)
        if pause > longest or not interval or P is None or Q is None:
            continue
        if is_regular(pause, interval):
            lines.append(Line(start, end, P, Q))
        elif is_bridgeable(pause, interval):
            lines.append(Line(start, end, P, Q, "interpolated"))
    return lines


def gaps_between(readings: Sequence[Reading], lines: Sequence[Line]) -> list[Gap]:
    """Neighbouring readings over which there is no line, ascending, where registers may tell what it lacks."""
    ends = [line.end for line in lines]
    found = []
    for before, after in pairwise(readings):
        if not (has_registers(before) and has_registers(after)) or after.time - before.time > MAX_BRIDGE_SECONDS:
            continue
        position = bisect_right(ends, before.time)
        if position == len(lines) or lines[position].start >= after.time:
            found.append(Gap(before, after))
    return found


def bridge(gap: Gap, highest: float, lowest: float) -> Line | None:
    """A gap filled by the registers; None where they do not tell, or tell what cannot be.

    :param highest: the meter's highest |P| seen, kW.
    :param lowest: its lowest P: a meter without an export register that never exports needs none.
    """
    before, after = gap
    seconds = after.time - before.time
    cap = PLAUSIBLE_FACTOR * highest * seconds / 3600
    imported = advance(before.E_import, after.E_import, cap)
    exported = advance(before.E_export, after.E_export, cap)
    net = net_advance(before.E_net, after.E_net, cap)
    if exported is None and imported is not None:
        exported = max(0.0, imported - net) if net is not None else (0.0 if lowest >= 0 else None)
    if imported is not None and exported is not None:
        net = imported - exported
    elif net is not None:
        imported, exported = max(net, 0.0), max(-net, 0.0)
    else:
        return None
    power = net * 3600 / seconds
    return Line(before.time, after.time, power, power, "bridged", min(imported, exported) * 3600 / seconds)


def sum_lines(one: Sequence[Line], other: Sequence[Line], sign: float) -> list[Line]:
    """``one + sign * other`` where both are known, ascending: the lines of a computed role."""
    found: list[Line] = []
    i = j = 0
    while i < len(one) and j < len(other):
        mine, theirs = one[i], other[j]
        start, end = max(mine.start, theirs.start), min(mine.end, theirs.end)
        if start < end:
            kind = mine.kind if mine.kind == theirs.kind else max(mine.kind, theirs.kind, key=KINDS.index)
            first = power_at(mine, start) + sign * power_at(theirs, start)
            last = power_at(mine, end) + sign * power_at(theirs, end)
            found.append(Line(start, end, first, last, kind))
        if mine.end <= theirs.end:
            i += 1
        else:
            j += 1
    return found


def lines_within(lines: Sequence[Line], start: int, end: int) -> Sequence[Line]:
    """Those of lines (ascending, not overlapping) that reach into ``start <= time < end``."""
    return lines[bisect_right(lines, start, key=_end_of) : bisect_left(lines, end, key=_start_of)]


def power_at(line: Line, time: int) -> float:
    """Net power of a line at a time within it, kW."""
    if time == line.start:
        return line.first
    if time == line.end:
        return line.last
    part = (time - line.start) / (line.end - line.start)
    return line.first * (1 - part) + line.last * part


def _has_power(reading: Reading) -> bool:
    return reading.P is not None and abs(reading.P) <= MAX_VALUE


def has_registers(reading: Reading) -> bool:
    """Whether a reading has a register that tells what was imported, or the net."""
    return reading.E_net is not None or reading.E_import is not None


def advance(before: float | None, after: float | None, cap: float) -> float | None:
    """How far a register that only counts up has gone on, kWh; None where it was reset, or where it is more than ``cap``."""
    if before is None or after is None:
        return None
    ahead = after - before
    if 0 <= ahead <= cap and isfinite(ahead):
        return ahead
    largest = max(before, after)
    for rollover in _ROLLOVERS:
        if rollover > largest:
            ahead += rollover
            return ahead if 0 <= ahead <= cap and isfinite(ahead) else None
    return None


def net_advance(before: float | None, after: float | None, cap: float) -> float | None:
    """How far a register that counts both ways has gone, kWh, the shortest way; None where it is more than ``cap``."""
    if before is None or after is None:
        return None
    ahead = after - before
    if abs(ahead) > _ROLLOVERS[0] / 2:
        rollover = [each for each in _ROLLOVERS if each > max(abs(before), abs(after))][:1]
        ahead = min((ahead + step for step in (0.0, *rollover, *(-each for each in rollover))), key=abs)
    return ahead if abs(ahead) <= cap else None
