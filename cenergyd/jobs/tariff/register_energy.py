"""The energy of a billing period by the meter's registers, spread over its hours by power. Pure.

The advance of the registers over the period is the sum of their advances in its parts. It is distributed to the parts in proportion to their
energy by power, for each meter separately. If a meter has only a net register, the difference between register and power is added to the larger of
import and export. Where the registers count nothing (a reset, no such columns, a computed meter), the energy is by power.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from math import fsum
from typing import Literal

from cenergyd.jobs.energy.registers import Counted
from cenergyd.jobs.tariff.charges import MissingRange, PeriodEnergy, RegisterUse

MAX_RANGES = 100
"""Maximum ranges without registers that are listed."""


def by_registers(parts: Sequence[PeriodEnergy]) -> tuple[list[PeriodEnergy], RegisterUse]:
    """The energy of a billing period's parts (ascending in time) by registers, and how far it is based on them."""
    groups: defaultdict[tuple[str, bool, bool], list[int]] = defaultdict(list)
    for index, part in enumerate(parts):
        if part.counted is not None:
            has = part.counted.import_kwh is not None, part.counted.export_kwh is not None
            groups[(part.meter, *has)].append(index)
    found = list(parts)
    for indices in groups.values():
        for index, spread in zip(indices, _spread([parts[index] for index in indices]), strict=True):
            found[index] = spread
    seconds = sum(part.counted.seconds for part in parts if part.counted is not None)
    missing = _missing(parts)
    return found, RegisterUse(seconds, sum(each.seconds for each in missing), tuple(missing[:MAX_RANGES]))


def _spread(parts: Sequence[PeriodEnergy]) -> list[PeriodEnergy]:
    """The energy of parts of one meter with the same registers."""
    counts = [part.counted for part in parts if part.counted is not None]
    imports = [part.import_kwh - each.uncounted_import_kwh for part, each in zip(parts, counts, strict=True)]
    exports = [part.export_kwh - each.uncounted_export_kwh for part, each in zip(parts, counts, strict=True)]
    imported, exported = _totals(counts, fsum(imports), fsum(exports))
    seconds = [each.seconds for each in counts]
    spread = zip(parts, counts, _shared(imported, imports, seconds), _shared(exported, exports, seconds), strict=True)
    return [
        part._replace(
            import_kwh=each.uncounted_import_kwh + own_import, export_kwh=each.uncounted_export_kwh + own_export
        )
        for part, each, own_import, own_export in spread
    ]


def _totals(counts: Sequence[Counted], imported: float, exported: float) -> tuple[float, float]:
    """Import and export by the registers, kWh; by power (``imported``, ``exported``) for directions that they do not count."""
    if counts[0].import_kwh is not None:
        total = _sum(counts, lambda each: each.import_kwh)
        return total, exported if counts[0].export_kwh is None else _sum(counts, lambda each: each.export_kwh)
    net = _sum(counts, lambda each: each.net_kwh)
    missed = net - (imported - exported)
    imported, exported = (imported + missed, exported) if imported >= exported else (imported, exported - missed)
    # If the correction exceeds one direction, the rest goes to the other.
    return (imported, exported) if min(imported, exported) >= 0 else (max(net, 0.0), max(-net, 0.0))


def _sum(counts: Sequence[Counted], value: Callable[[Counted], float | None]) -> float:
    return fsum(value(each) or 0.0 for each in counts)


def _shared(total: float, parts: Sequence[float], seconds: Sequence[int]) -> list[float]:
    """A total, distributed in proportion to parts; evenly by time if all are 0."""
    whole = fsum(parts)
    if whole <= 0:
        return [total * each / sum(seconds) for each in seconds]
    return [total * part / whole for part in parts]


def _missing(parts: Sequence[PeriodEnergy]) -> list[MissingRange]:
    found: list[MissingRange] = []
    for part in parts:
        seconds = int(part.covered_seconds) - (part.counted.seconds if part.counted else 0)
        if seconds <= 0:
            continue
        reason: Literal["computed", "no_registers"] = "computed" if not part.meter else "no_registers"
        if found and found[-1].end == part.start and found[-1].reason == reason:
            found[-1] = found[-1]._replace(end=part.end, seconds=found[-1].seconds + seconds)
        else:
            found.append(MissingRange(part.start, part.end, seconds, reason))
    return found
