"""Energy from power: kWh imported and exported, the area under the lines of :mod:`cenergyd.jobs.energy.gap_bridging`. Pure.

Where a line crosses zero, it is split into import and export exactly there. So energy adds up however a range of times is divided.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from typing import NamedTuple

from cenergyd.jobs.energy.gap_bridging import KINDS, Kind, Line, lines_within, power_at


class KindEnergy(NamedTuple):
    """Energy over a range of times, of one kind of lines."""

    import_kwh: float = 0.0
    """Energy where P is positive, kWh."""
    export_kwh: float = 0.0
    """Energy where P is negative, kWh, as a positive number."""
    seconds: int = 0
    """Seconds with lines of this kind."""


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
    kinds = {kind: _of_kind(inside, kind, start, end) for kind in KINDS}
    return Energy(
        fsum(each.import_kwh for each in kinds.values()),
        fsum(each.export_kwh for each in kinds.values()),
        sum(each.seconds for each in kinds.values()),
        kinds["bridged"],
        kinds["interpolated"],
    )


def _of_kind(lines: Sequence[Line], kind: Kind, start: int, end: int) -> KindEnergy:
    imported: list[float] = []
    exported: list[float] = []
    seconds = 0
    for line in lines:
        if line.kind != kind:
            continue
        begin, stop = max(line.start, start), min(line.end, end)
        seconds += stop - begin
        _split(stop - begin, power_at(line, begin), power_at(line, stop), imported, exported)
        if line.both_ways:
            imported.append(line.both_ways * (stop - begin))
            exported.append(line.both_ways * (stop - begin))
    return KindEnergy(fsum(imported) / 3600, fsum(exported) / 3600, seconds)


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
