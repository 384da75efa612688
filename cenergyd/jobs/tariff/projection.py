"""What a billing period will come to if the rest of it is like what is known of it. Pure; it is an estimate and always told as one."""

from __future__ import annotations

from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal
from math import fsum
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cenergyd.jobs.tariff.charges import Charges
from cenergyd.jobs.tariff.model import Period, Tariff

LEAST_SECONDS = 3 * 86400
"""With less than three known days, one cloudy day or a weekend would decide."""
LEAST_COMPLETE = 0.8
"""With more gaps than that, what is known may be of the days only, or of the nights."""
_CENT = Decimal("0.01")


class Projection(NamedTuple):
    """The end of a period, as estimated."""

    import_kwh: float
    export_kwh: float
    total: Decimal
    """With the fixed charge, and demand as high as it is so far."""


def projected(charges: Charges, tariff: Tariff, zone: ZoneInfo) -> Projection | None:
    """The end of a period that is not over; None where too little of it is known to tell.

    Each season and period goes on at its own mean power so far; one that has not come yet at the mean of all.
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
    """How long each season and period holds in the whole billing period."""
    found: defaultdict[Period, int] = defaultdict(int)
    for part in tariff.labelled(charges.window, zone):
        found[part.label] += part.end - part.start
    return found
