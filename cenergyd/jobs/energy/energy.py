"""Energy from power: kWh imported and exported, the area under the lines of :mod:`cenergyd.jobs.energy.gap_bridging`. Pure.

Where a line crosses zero, it is split into import and export exactly there. So energy adds up however a range of times is divided.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from typing import NamedTuple

from cenergyd.jobs.energy.gap_bridging import KINDS, Line, lines_within, power_at


class KindEnergy(NamedTuple):
    """Energy over a range of times, of one kind of lines."""

    import_kwh: float = 0.0
    """Energy where P is positive, kWh."""
    export_kwh: float = 0.0
    """Energy where P is negative, kWh, as a positive number."""
    seconds: int = 0
    """Seconds with lines of this kind."""


_NOTHING = KindEnergy()
_ONLY_MEASURED = frozenset(("measured",))


class Energy(NamedTuple):
    """Energy over a range of times."""

    import_kwh: float
    export_kwh: float
    covered_seconds: int
    """Seconds for which power is known."""
    bridged: KindEnergy = KindEnergy()
    """The part that is known from registers."""
    interpolated: KindEnergy = KindEnergy()
    """The part that is interpolated over lost rows."""


def energy(lines: Sequence[Line], start: int, end: int) -> Energy:
    """The energy of ``start <= time < end`` from the lines (ascending, not overlapping) that reach into it."""
    inside = lines_within(lines, start, end)
    kinds = {line[4] for line in inside}
    if kinds == _ONLY_MEASURED:
        return Energy(*_area(inside, start, end))
    parts = {kind: _area([line for line in inside if line[4] == kind], start, end) for kind in KINDS if kind in kinds}
    return Energy(
        fsum(each.import_kwh for each in parts.values()),
        fsum(each.export_kwh for each in parts.values()),
        sum(each.seconds for each in parts.values()),
        parts.get("bridged", _NOTHING),
        parts.get("interpolated", _NOTHING),
    )


def _area(lines: Sequence[Line], start: int, end: int) -> KindEnergy:
    imported: list[float] = []
    exported: list[float] = []
    seconds = 0
    for line in lines:
        begin, stop, first, last, _, both_ways = line
        if begin < start:
            begin, first = start, power_at(line, start)
        if stop > end:
            stop, last = end, power_at(line, end)
        length = stop - begin
        seconds += length
        if first >= 0 and last >= 0:
            imported.append((first + last) / 2 * length)
        elif first <= 0 and last <= 0:
            exported.append(-(first + last) / 2 * length)
        else:
            _split(length, first, last, imported, exported)
        if both_ways:
            imported.append(both_ways * length)
            exported.append(both_ways * length)
    return KindEnergy(fsum(imported) / 3600, fsum(exported) / 3600, seconds)


def _split(seconds: int, first: float, last: float, imported: list[float], exported: list[float]) -> None:
    """Add the areas (kW s) above and below zero under a line that crosses it."""
    before = seconds * abs(first) / (abs(first) + abs(last))
    above, below = (imported, exported) if first > 0 else (exported, imported)
    above.append(abs(first) / 2 * before)
    below.append(abs(last) / 2 * (seconds - before))
