"""Projects the end of a billing period from its known part. Pure; the result is an estimate and must be presented as one."""

from __future__ import annotations

from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal
from math import fsum
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cenergyd.jobs.tariff.charges import Charges
from cenergyd.jobs.tariff.model import Period, Tariff

LEAST_SECONDS = 3 * 86400
"""Minimum known days; with fewer, one cloudy day or a weekend would determine the result."""
LEAST_COMPLETE = 0.8
"""Minimum known share of the time; with less, only days or only nights might be known."""
_CENT = Decimal("0.01")


class Projection(NamedTuple):
    """The estimated end of a period."""

    import_kwh: float
    export_kwh: float
    total: Decimal
    """Includes the fixed charge, and demand as high as it is so far."""


def projected(charges: Charges, tariff: Tariff, zone: ZoneInfo) -> Projection | None:
    """The projection of a period that is not over; None if too little of it is known.

    Each season and period continues at its own mean power so far; one that has not occurred yet has the mean of all.
    """
    known = fsum(line.covered_seconds for line in charges.energy)
    if charges.final or known < LEAST_SECONDS or charges.energy_complete < LEAST_COMPLETE:
        return None
    lines = {Period(line.season, line.period): line for line in charges.energy}
    prices = {Period(price.season, price.period): price for price in tariff.energy}
    imported = fsum(line.import_kwh for line in charges.energy)
    exported = fsum(line.export_kwh for line in charges.energy)
    mean = (imported / known, exported / known)
    cost = Decimal(0)
    for label, seconds in _seconds(charges, tariff, zone).items():
        line = lines.get(label)
        rates = mean
        if line is not None and line.covered_seconds:
            rates = (line.import_kwh / line.covered_seconds, line.export_kwh / line.covered_seconds)
        rest = max(0.0, seconds - (line.covered_seconds if line is not None else 0.0))
        more = (rates[0] * rest, rates[1] * rest)
        imported, exported = imported + more[0], exported + more[1]
        if label in prices:
            cost += prices[label].import_per_kwh * Decimal(repr(more[0]))
            cost -= prices[label].export_per_kwh * Decimal(repr(more[1]))
    return Projection(imported, exported, charges.total + cost.quantize(_CENT, ROUND_HALF_UP))


def _seconds(charges: Charges, tariff: Tariff, zone: ZoneInfo) -> dict[Period, int]:
    """Seconds of each season and period in the whole billing period."""
    found: defaultdict[Period, int] = defaultdict(int)
    for part in tariff.labelled(charges.time_range, zone):
        found[part.label] += part.end - part.start
    return found
