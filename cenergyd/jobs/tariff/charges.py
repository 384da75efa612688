"""The charges of a billing period: energy per season and period, demand, peak demand, the fixed charge. Pure.

Energies are in kWh, power in kW, money is :class:`~decimal.Decimal`, rounded half up to hundredths line by line, as on bills.

A demand price applies to one season. If a billing period has days of two seasons, each season's highest net load is weighted by its share of the
period's days, so that demand is not charged twice. Net load below zero (export) is no demand, and a quarter hour with less than half of its
readings is not used, because a single reading is no mean.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal
from math import fsum
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

import attrs

from cenergyd.customers.model import TimeRange
from cenergyd.jobs.energy.registers import Counted
from cenergyd.jobs.tariff.model import QUARTER, DemandPrice, Period, Tariff
from cenergyd.jobs.windows import local_date

ENOUGH = 0.5
"""Minimum ``complete`` of a quarter hour that counts for demand."""
_CENT = Decimal("0.01")


class PeriodEnergy(NamedTuple):
    """Energy at the grid over a range of times in one season and period."""

    label: Period
    import_kwh: float
    export_kwh: float
    covered_seconds: float
    start: int = 0
    """UTC seconds. This and the following fields are only used for bills by registers."""
    end: int = 0
    counted: Counted | None = None
    """Energy by the meter's registers; None if they counted nothing."""
    meter: str = ""
    """The series of the meter; '' if it is computed."""


class MissingRange(NamedTuple):
    """A range of times in which energy is by power because the registers do not cover all of it."""

    start: int
    """UTC seconds; a full local hour, or the time at which the meter or the price changed."""
    end: int
    seconds: int
    """Seconds of it for which energy is only known by power."""
    reason: Literal["computed", "no_registers"]
    """``computed``: the meter at the grid is computed. ``no_registers``: they were reset, jumped or are missing, or their readings are scaled by
    a correction."""


@attrs.frozen(slots=True)
class RegisterUse:
    """How far a bill by registers is really based on them."""

    register_seconds: int
    """Seconds for which the registers count."""
    power_seconds: int
    """Seconds for which energy is only known by power."""
    missing: tuple[MissingRange, ...]
    """Ascending; only the first ones if there are very many."""


class QuarterHour(NamedTuple):
    """One quarter hour's mean net load."""

    start: int
    """UTC seconds."""
    label: Period
    P: float
    """kW, import positive."""
    complete: float
    """0..1."""


@attrs.frozen(slots=True, kw_only=True)
class EnergyLine:
    """The energy of one season and period."""

    season: str
    period: str
    import_kwh: float
    export_kwh: float
    covered_seconds: float
    """Seconds of this season and period for which energy is known."""
    import_charge: Decimal | None
    """None if the tariff has no energy prices."""
    export_credit: Decimal | None


@attrs.frozen(slots=True, kw_only=True)
class DemandLine:
    """The highest net load of one season (and period)."""

    season: str
    period: str | None
    """None for the demand of the whole season."""
    kw: float
    known: bool
    """Whether any quarter hour is known. If none is, the demand is unknown, not zero."""
    time: int | None
    """Start of the quarter hour, UTC seconds; None if none was above zero."""
    share: Decimal
    """The share of the billing period's days that are the season's."""
    charge: Decimal
    """The price, weighted by ``share``."""


@attrs.frozen(slots=True, kw_only=True)
class Charges:
    """The charges of one billing period, so far or final."""

    time_range: TimeRange
    until: int
    """The time up to which they are known, UTC seconds: the period's end, or now."""
    currency: str
    energy: tuple[EnergyLine, ...]
    demand: tuple[DemandLine, ...]
    peak_demand: tuple[DemandLine, ...]
    highest: QuarterHour | None
    """The highest net load of the whole period, priced or not; None if nothing is known."""
    fixed: Decimal
    total: Decimal
    energy_complete: float
    """The share of the time until now whose energy is known, 0..1."""
    demand_complete: float
    """The share of its quarter hours that count for demand, 0..1."""
    registers: RegisterUse | None = None
    """None if the tariff's energy is by power."""

    @property
    def known(self) -> bool:
        """Whether anything of the period is known; otherwise the total is only the fixed charge, which is meaningless."""
        return self.energy_complete > 0 or self.demand_complete > 0

    @property
    def final(self) -> bool:
        """Whether the billing period is over (late data may still change the charges)."""
        return self.until >= self.time_range.end


class ChargesSum:
    """Adds up a billing period part by part; :meth:`result` may be called at any time.

    :param time_range: the billing period.
    :param until: the time up to which it is known, UTC seconds (now, for the present period).
    """

    def __init__(self, tariff: Tariff, zone: ZoneInfo, time_range: TimeRange, until: int) -> None:
        self._tariff = tariff
        self._zone = zone
        self._time_range = time_range
        self._until = max(time_range.start, min(time_range.end, until))
        self._import: defaultdict[Period, list[float]] = defaultdict(list)
        self._export: defaultdict[Period, list[float]] = defaultdict(list)
        self._covered: defaultdict[Period, list[float]] = defaultdict(list)
        self._counted = 0
        self._highest: dict[Period, QuarterHour] = {}

    def add_energy(self, parts: Iterable[PeriodEnergy]) -> None:
        """Add energies, which must not overlap."""
        for part in parts:
            self._import[part.label].append(part.import_kwh)
            self._export[part.label].append(part.export_kwh)
            self._covered[part.label].append(part.covered_seconds)

    def add_net_load(self, quarters: Iterable[QuarterHour]) -> None:
        """Add quarter hours, each once."""
        for quarter in quarters:
            if quarter.complete < ENOUGH:
                continue
            self._counted += 1
            highest = self._highest.get(quarter.label)
            # Of equal ones the earliest is used, whatever their order.
            if highest is None or _from_highest(quarter) < _from_highest(highest):
                self._highest[quarter.label] = quarter

    def result(self) -> Charges:
        """The charges of what has been added."""
        shares = season_shares(self._tariff, self._time_range, self._zone)
        energy = self._energy_lines()
        demand = tuple(self._demand_line(price, shares) for price in self._tariff.demand if price.season in shares)
        peak = tuple(self._demand_line(price, shares) for price in self._tariff.peak_demand if price.season in shares)
        fixed = _round(self._tariff.fixed)
        total = fixed + sum((line.charge for line in (*demand, *peak)), Decimal(0))
        total += sum(((line.import_charge or 0) - (line.export_credit or 0) for line in energy), Decimal(0))
        elapsed = self._until - self._time_range.start
        covered = fsum(seconds for parts in self._covered.values() for seconds in parts)
        return Charges(
            time_range=self._time_range,
            until=self._until,
            currency=self._tariff.currency,
            energy=energy,
            demand=demand,
            peak_demand=peak,
            highest=min(self._highest.values(), key=_from_highest, default=None),
            fixed=fixed,
            total=total,
            energy_complete=min(1.0, covered / elapsed) if elapsed else 0.0,
            demand_complete=min(1.0, self._counted * QUARTER / elapsed) if elapsed else 0.0,
        )

    def _energy_lines(self) -> tuple[EnergyLine, ...]:
        prices = {Period(price.season, price.period): price for price in self._tariff.energy}
        lines = []
        for label in sorted(self._import):
            imported, exported = fsum(self._import[label]), fsum(self._export[label])
            price = prices.get(label)
            lines.append(
                EnergyLine(
                    season=label.season,
                    period=label.period,
                    import_kwh=imported,
                    export_kwh=exported,
                    covered_seconds=fsum(self._covered[label]),
                    import_charge=_round(price.import_per_kwh * _decimal(imported)) if price else None,
                    export_credit=_round(price.export_per_kwh * _decimal(exported)) if price else None,
                )
            )
        return tuple(lines)

    def _demand_line(self, price: DemandPrice, shares: Mapping[str, Decimal]) -> DemandLine:
        mine = [
            quarter
            for label, quarter in self._highest.items()
            if label.season == price.season and price.period in (None, label.period)
        ]
        counting = [quarter for quarter in mine if quarter.P > 0]
        highest = min(counting, key=_from_highest, default=None)
        kw = highest.P if highest else 0.0
        share = shares[price.season]
        return DemandLine(
            season=price.season,
            period=price.period,
            kw=kw,
            known=bool(mine),
            time=highest.start if highest else None,
            share=share,
            charge=_round(price.per_kw * _decimal(kw) * share),
        )


def season_shares(tariff: Tariff, time_range: TimeRange, zone: ZoneInfo) -> dict[str, Decimal]:
    """Season -> its share of a billing period's days; seasons without a day are left out."""
    days: defaultdict[str, int] = defaultdict(int)
    day, end = local_date(time_range.start, zone), local_date(time_range.end - 1, zone)
    count = 0
    while day <= end:
        days[tariff.season_of(day)] += 1
        count += 1
        day += timedelta(days=1)
    return {season: Decimal(number) / count for season, number in days.items()}


def _from_highest(quarter: QuarterHour) -> tuple[float, int]:
    return -quarter.P, quarter.start


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))


def _round(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, ROUND_HALF_UP)
