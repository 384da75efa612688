"""A meter's power between its readings, as straight lines, each measured, interpolated or bridged. Pure.

- Between neighbouring readings P is a straight line, because meters log instantaneous values: ``measured``.
- Over one or two lost rows as well: ``interpolated`` (:mod:`cenergyd.readings.pauses`).
- A gap is filled by the difference of the meter's registers, spread evenly, if both ends have them: ``bridged``. Otherwise it stays a gap.

Power has the signs of the site equation (kW, import positive): readings must be sign-corrected.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import partial
from itertools import pairwise, repeat
from math import fsum, isfinite
from operator import itemgetter
from typing import Final, Literal, NamedTuple, TypeGuard

from cenergyd.readings.model import MAX_VALUE, Reading
from cenergyd.readings.pauses import is_bridgeable, is_even, is_regular, usual_intervals

LineKind = Literal["measured", "interpolated", "bridged"]
KINDS: tuple[LineKind, ...] = ("measured", "interpolated", "bridged")

MAX_BRIDGE_SECONDS = 31 * 86400
"""A longer gap is not bridged, s: spread over so long a time, energy says nothing about when it flowed."""
PLAUSIBLE_FACTOR = 2.0
"""Registers may have advanced by up to this many times the energy at the meter's highest power."""
_ROLLOVERS = tuple(10.0**digits for digits in range(3, 13))
"""Registers roll over at a power of ten of the displayed digits."""


class Line(NamedTuple):
    """Power over a range of times, as a straight line."""

    start: int
    """UTC seconds."""
    end: int
    first: float
    """Net power at the start, kW."""
    last: float
    """Net power at the end, kW."""
    kind: LineKind = "measured"
    both_ways: float = 0.0
    """Power that counts both as import and as export, kW. It is only known from registers."""


_start_of, _end_of = itemgetter(0), itemgetter(1)
_new_line: Final = partial(tuple.__new__, Line)


class Gap(NamedTuple):
    """Neighbouring readings between which power is not known."""

    before: Reading
    after: Reading


def power_lines(readings: Sequence[Reading], longest: int) -> list[Line]:
    """The measured and interpolated lines of a series, ascending.

    :param readings: ascending in time; those without P only count for the usual interval.
    :param longest: a longer pause is always a gap, s.
    """
    times = [reading[0] for reading in readings]
    powers = [reading[1] for reading in readings]
    if is_even(times, longest) and are_plausible(powers):
        return measured_lines(times, powers)
    usual = usual_intervals(times, longest)
    lines = []
    before, start, first = -1, 0, 0.0
    for index, reading in enumerate(readings):
        last = reading[1]
        if last is None or not -MAX_VALUE <= last <= MAX_VALUE:
            continue
        if before >= 0:
            pause = reading[0] - start
            # Nearly all pauses are the usual interval.
            is_usual = index == before + 1 and pause == usual[before] and 0 < pause <= longest
            kind: LineKind | None = "measured" if is_usual else _kind(usual, before, index, pause, longest)
            if kind is not None:
                lines.append(_new_line((start, reading[0], first, last, kind, 0.0)))
        before, start, first = index, reading[0], last
    return lines


def measured_lines(times: Sequence[int], powers: Sequence[float]) -> list[Line]:
    """The lines between neighbouring readings without a gap."""
    return list(map(_new_line, zip(times, times[1:], powers, powers[1:], repeat("measured"), repeat(0.0))))


def has_power(readings: Sequence[Reading]) -> bool:
    """Whether every reading has a plausible P."""
    return are_plausible([reading[1] for reading in readings])


def are_plausible(powers: list[float | None]) -> TypeGuard[list[float]]:
    """Whether all of some powers (at least one) are known and plausible."""
    return None not in powers and min(powers) >= -MAX_VALUE and max(powers) <= MAX_VALUE  # type: ignore[type-var, operator]


def _kind(usual: Sequence[int | None], first: int, last: int, pause: int, longest: int) -> LineKind | None:
    """The kind of the line over a pause between the readings at two indexes; None if there is none."""
    interval = usual[first] or 0
    if last > first + 1:
        interval = max(interval, usual[last - 1] or 0)
    if pause > longest or not interval:
        return None
    if pause == interval or is_regular(pause, interval):
        return "measured"
    return "interpolated" if is_bridgeable(pause, interval) else None


def gaps_between(readings: Sequence[Reading], lines: Sequence[Line]) -> list[Gap]:
    """Neighbouring readings without a line between them, ascending, if registers may be able to fill the gap."""
    if len(lines) == len(readings) - 1:
        return []  # each reading but the first has the line that ends at it
    ends = [line[1] for line in lines]
    starts = {line[0] for line in lines}
    found = []
    for before, after in pairwise(readings):
        if before[0] in starts:
            continue  # its line reaches the next reading at least
        if not (has_registers(before) and has_registers(after)) or after.time - before.time > MAX_BRIDGE_SECONDS:
            continue
        position = bisect_right(ends, before.time)
        if position == len(lines) or lines[position].start >= after.time:
            found.append(Gap(before, after))
    return found


class Advance(NamedTuple):
    """By how much the registers of a meter, or of a sum of meters, advanced between two readings, kWh."""

    import_kwh: float
    export_kwh: float
    separate: bool
    """Whether import and export were counted each by itself; otherwise only their difference is known, and one of them is 0."""


def advance_over(gap: Gap, highest: float, lowest: float) -> Advance | None:
    """By how much a meter's registers advanced over a gap; None if they are missing or implausible.

    :param highest: the meter's highest observed |P|, kW.
    :param lowest: its lowest P: a meter that never exports needs no export register.
    """
    before, after = gap
    cap = PLAUSIBLE_FACTOR * highest * (after.time - before.time) / 3600
    imported = register_advance(before.E_import, after.E_import, cap)
    exported = register_advance(before.E_export, after.E_export, cap)
    net = net_advance(before.E_net, after.E_net, cap)
    if exported is None and imported is not None:
        has_no_export = before.E_export is None or after.E_export is None
        exported = max(0.0, imported - net) if net is not None else (0.0 if lowest >= 0 and has_no_export else None)
    if imported is not None and exported is not None:
        return Advance(imported, exported, True)
    return None if net is None else _net_advance(net)


def added_advances(factors: Sequence[float], advances: Sequence[Advance]) -> Advance:
    """The advance of a sum of meters, each with the direction in which it counts for the sum.

    :param factors: the meters' factors. If some are subtracted from others, only the difference of import and export is known.
    """
    sizes = [abs(factor) for factor in factors]
    same_sign = all(factor > 0 for factor in factors) or all(factor < 0 for factor in factors)
    if same_sign and all(each.separate for each in advances):
        imported = fsum(size * each.import_kwh for size, each in zip(sizes, advances, strict=True))
        exported = fsum(size * each.export_kwh for size, each in zip(sizes, advances, strict=True))
        return Advance(imported, exported, True)
    return _net_advance(
        fsum(size * (each.import_kwh - each.export_kwh) for size, each in zip(sizes, advances, strict=True))
    )


def bridge(gap: Gap, advance: Advance) -> Line:
    """The line that fills a gap by the advance of the registers."""
    before, after = gap
    hours = (after.time - before.time) / 3600
    power = (advance.import_kwh - advance.export_kwh) / hours
    both_ways = min(advance.import_kwh, advance.export_kwh) / hours
    return Line(before.time, after.time, power, power, "bridged", both_ways)


def sum_lines(one: Sequence[Line], other: Sequence[Line], sign: float) -> list[Line]:
    """``one + sign * other`` over times at which both are known, ascending: the lines of a computed role."""
    found: list[Line] = []
    i = j = 0
    while i < len(one) and j < len(other):
        mine, theirs = one[i], other[j]
        start, end, first, last, kind, _ = mine
        if start == theirs[0] and end == theirs[1] and kind == theirs[4]:
            found.append(_new_line((start, end, first + sign * theirs[2], last + sign * theirs[3], kind, 0.0)))
            i += 1
            j += 1
            continue
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
    """The lines (of ascending, not overlapping ones) that reach into ``start <= time < end``."""
    return lines[bisect_right(lines, start, key=_end_of) : bisect_left(lines, end, key=_start_of)]


def power_at(line: Line, time: int) -> float:
    """Net power of a line at a time within it, kW."""
    if time == line.start:
        return line.first
    if time == line.end:
        return line.last
    part = (time - line.start) / (line.end - line.start)
    return line.first * (1 - part) + line.last * part


def _net_advance(net: float) -> Advance:
    return Advance(max(net, 0.0), max(-net, 0.0), False)


def has_registers(reading: Reading) -> bool:
    """Whether a reading has an import or net register."""
    return reading.E_net is not None or reading.E_import is not None


def register_advance(before: float | None, after: float | None, cap: float) -> float | None:
    """By how much a register that only counts up has advanced, kWh; None if it was reset, or advanced by more than ``cap``."""
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
    """By how much a register that counts both ways has changed, kWh (the smallest possible change); None if it is more than ``cap``."""
    if before is None or after is None:
        return None
    ahead = after - before
    if abs(ahead) > _ROLLOVERS[0] / 2:
        rollover = [each for each in _ROLLOVERS if each > max(abs(before), abs(after))][:1]
        ahead = min((ahead + step for step in (0.0, *rollover, *(-each for each in rollover))), key=abs)
    return ahead if abs(ahead) <= cap else None
