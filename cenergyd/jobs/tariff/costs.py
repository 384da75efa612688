"""Charges besides the bill itself: earlier periods until the same day, today, a projection of the period, and the saving by solar.

Plain JSON values as in :mod:`cenergyd.jobs.tariff.report`: energy in kWh, times in UTC seconds, money as text. Unknown values are None.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal
from math import fsum
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cenergyd.customers.model import Customer, Role, TimeRange
from cenergyd.customers.time_zones import zone_of
from cenergyd.documents.json_types import JsonObject
from cenergyd.jobs.energy.read import LONGEST_GAP, EnergyReader
from cenergyd.jobs.rollups.report import SLICE
from cenergyd.jobs.tariff.charges import Charges
from cenergyd.jobs.tariff.model import Period, Tariff
from cenergyd.jobs.tariff.parsing import tariff_from_json, tariff_of
from cenergyd.jobs.tariff.projection import projected
from cenergyd.jobs.tariff.report import (
    Basis,
    charges_of,
    charges_report,
    charges_to_json,
    compared_periods,
    labelled_energy,
)
from cenergyd.jobs.windows import day_start, local_date, window_at
from cenergyd.readings.model import FieldPoint
from cenergyd.readings.store import ReadingStore

HOUR = 3600
_CENT = Decimal("0.01")
_KNOWN_SHARE = 0.98
"""Share of an hour for which both meters must be known to count for the saving: a difference over different times is meaningless."""


async def charges_overview(
    customer: Customer, readings: ReadingStore, now: int, basis: Basis = "billing", max_gap: int = LONGEST_GAP
) -> JsonObject:
    """The result of :func:`~cenergyd.jobs.tariff.report.charges_report`, and in addition:

    ``to_same_day``: ``last`` and ``last_year`` until the day and hour that this period has reached; ``projected``: ``import_kwh``,
    ``export_kwh`` and ``total`` at the end of this period, or None; ``today``: ``import_charge``, ``export_credit``, ``total``, all None
    if nothing is priced or known; ``saved``: the saving by solar ``today`` and in ``this`` period, see :func:`solar_saving`.

    :raises InvalidField: the stored tariff or time zone is not valid.
    """
    zone = zone_of(customer.time_zone)
    tariff = tariff_of(customer)
    plain = tariff_from_json({})
    applied = tariff or plain
    report = await charges_report(customer, readings, now, basis, max_gap)
    periods = compared_periods(applied if basis == "billing" else plain, zone, now)
    report["to_same_day"] = {}
    for name in ("last", "last_year"):
        until = same_day(periods["this"], periods[name], now, zone)
        charges = await charges_of(customer, readings, applied, periods[name], now, until=until, max_gap=max_gap)
        report["to_same_day"][name] = charges_to_json(charges, zone, priced=tariff is not None)
    this = await charges_of(customer, readings, applied, periods["this"], now, max_gap=max_gap)
    report["projected"] = _projected_json(this, applied, zone, priced=tariff is not None)
    today = window_at(now, "24h", zone)
    report["today"] = await _today(customer, readings, tariff, (today, now), max_gap)
    report["saved"] = {
        name: await solar_saving(customer, readings, tariff, time_range, now, max_gap=max_gap) if tariff else None
        for name, time_range in (("today", today), ("this", periods["this"]))
    }
    return report


def same_day(this: TimeRange, other: TimeRange, now: int, zone: ZoneInfo) -> int:
    """The time in another period that corresponds to now in this one: as many days after its start, at the same full hour of the day."""
    today = local_date(now, zone)
    day = local_date(other.start, zone) + (today - local_date(this.start, zone))
    start, end = day_start(day, zone), day_start(day + timedelta(days=1), zone)
    passed = min(now - day_start(today, zone), end - start)
    return min(start + passed - passed % HOUR, other.end)


async def energy_costs(
    customer: Customer,
    readings: ReadingStore,
    tariff: Tariff,
    time_range: TimeRange,
    now: int,
    *,
    max_gap: int = LONGEST_GAP,
) -> tuple[Charges, Decimal, Decimal] | None:
    """The energy costs of a range of times by a tariff: energy bought, and credit for export; None if there is no price or nothing is known.

    Without fixed and demand charges, which belong to whole billing periods.
    """
    if not tariff.energy or time_range.start >= now:
        return None
    charges = await charges_of(customer, readings, tariff, time_range, now, max_gap=max_gap)
    if not charges.energy_complete:
        return None
    bought = sum((line.import_charge for line in charges.energy if line.import_charge is not None), Decimal(0))
    credit = sum((line.export_credit for line in charges.energy if line.export_credit is not None), Decimal(0))
    return charges, bought, credit


async def solar_saving(
    customer: Customer,
    readings: ReadingStore,
    tariff: Tariff,
    time_range: TimeRange,
    now: int,
    *,
    max_gap: int = LONGEST_GAP,
) -> JsonObject | None:
    """The saving by a site's own sources: the cost of its load without them, less the energy bought, plus the credit for export.

    ``{"avoided_kwh", "avoided_charge", "export_credit", "total", "hours", "energy_from"}``, over the hours in which load and grid are both
    known, always by power (``energy_from``): a computed meter has no registers that could be compared with the grid's. Demand charges are
    left out, because without solar the highest load might be on another day. None if there is no price or no such hour.
    """
    if not tariff.energy:
        return None
    reader = EnergyReader(customer, readings, now, max_gap)
    energy = await _hours(reader, ("load", "utility", "solar"), TimeRange(time_range.start, min(time_range.end, now)))
    both = sorted(time for time in energy["load"].keys() & energy["utility"].keys() if time in energy["solar"])
    if not both:
        return None
    sums: dict[str, _PerPeriod] = {}
    for role in ("load", "utility"):
        points = [energy[role][time] for time in both]
        parts = await labelled_energy(customer, points, readings, tariff, max_gap=max_gap, now=now, role=role)
        sums[role] = _PerPeriod(defaultdict(float), defaultdict(float))
        for part in parts:
            sums[role].imported[part.label] += part.import_kwh
            sums[role].exported[part.label] += part.export_kwh
    return {**_saving(sums["load"], sums["utility"], tariff), "hours": len(both), "energy_from": "power"}


def _saving(load: _PerPeriod, grid: _PerPeriod, tariff: Tariff) -> JsonObject:
    """What a tariff charges for the energy that a load took but not from the grid, and credits for export."""
    prices = {Period(price.season, price.period): price for price in tariff.energy}
    avoided = credit = Decimal(0)
    kwh = []
    for label, imported in load.imported.items():
        less = imported - grid.imported[label]
        kwh.append(less)
        avoided += prices[label].import_per_kwh * Decimal(repr(less))
        credit += prices[label].export_per_kwh * Decimal(repr(grid.exported[label]))
    avoided, credit = avoided.quantize(_CENT, ROUND_HALF_UP), credit.quantize(_CENT, ROUND_HALF_UP)
    return {
        "avoided_kwh": fsum(kwh),
        "avoided_charge": str(avoided),
        "export_credit": str(credit),
        "total": str(avoided + credit),
    }


def charges_csv(report: JsonObject) -> str:
    """CSV with a row per period and line of the report; cells of unknown values are empty."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\r\n")
    writer.writerow(["compared", "first_day", "last_day", "until_utc_seconds", "line", "season", "period",
                     "import_kwh", "export_kwh", "kw", "amount", "currency", "share_known"])  # fmt: skip
    named = [(name, report[name]) for name in ("this", "last", "last_year")]
    named += [(f"{name}_to_same_day", each) for name, each in report["to_same_day"].items()]
    for name, each in named:
        head = [name, each["first_day"], each["last_day"], each["until"]]
        for row in _csv_lines(each):
            writer.writerow([*head, *("" if cell is None else cell for cell in row)])
    if report["projected"]:
        end, this = report["projected"], report["this"]
        writer.writerow(["this_projected", this["first_day"], this["last_day"], this["end"], "total", "", "",
                         end["import_kwh"], end["export_kwh"], "", end["total"] or "", this["currency"] or "", ""])  # fmt: skip
    return target.getvalue()


def _typed(text: str | None) -> str | None:
    """A text that a person typed, escaped so that a spreadsheet does not read it as a formula."""
    return f"'{text}" if text and text.lstrip()[:1] in ("=", "+", "-", "@") else text


def _csv_lines(each: JsonObject) -> list[list[object]]:
    money, known = each["currency"], each["energy_complete"]
    rows: list[list[object]] = []
    for line in each["energy"]:
        common = [_typed(line["season"]), _typed(line["period"])]
        rows.append(["import", *common, line["import_kwh"], None, None, line["import_charge"], money, known])
        credit = line["export_credit"]
        amount = str(0 - Decimal(credit)) if credit is not None else None
        rows.append(["export", *common, None, line["export_kwh"], None, amount, money, known])
    for kind in ("demand", "peak_demand"):
        rows += [
            [kind, _typed(line["season"]), _typed(line["period"]), None, None, line["kw"], line["charge"], money, each["demand_complete"]]
            for line in each[kind]
        ]  # fmt: skip
    rows.append(["fixed", None, None, None, None, None, each["fixed"], money, None])
    rows.append(["total", None, None, None, None, None, each["total"], money, known])
    return rows


class _PerPeriod(NamedTuple):
    imported: defaultdict[Period, float]
    exported: defaultdict[Period, float]


async def _today(
    customer: Customer, readings: ReadingStore, tariff: Tariff | None, when: tuple[TimeRange, int], max_gap: int
) -> JsonObject:
    found = await energy_costs(customer, readings, tariff, *when, max_gap=max_gap) if tariff else None
    if found is None:
        return {"import_charge": None, "export_credit": None, "total": None, "energy_complete": 0.0}
    charges, bought, credit = found
    return {
        "import_charge": str(bought),
        "export_credit": str(credit),
        "total": str(bought - credit),
        "energy_complete": round(charges.energy_complete, 4),
    }


def _projected_json(charges: Charges, tariff: Tariff, zone: ZoneInfo, *, priced: bool) -> JsonObject | None:
    found = projected(charges, tariff, zone)
    return found._asdict() | {"total": str(found.total) if priced else None} if found else None


async def _hours(
    reader: EnergyReader, roles: tuple[Role, ...], time_range: TimeRange
) -> dict[Role, dict[int, FieldPoint]]:
    """Role -> start -> the energy of the known hours."""
    found: dict[Role, dict[int, FieldPoint]] = {role: {} for role in roles}
    for role in roles:
        async for _, points in reader.points(role, *time_range, SLICE):
            for point in points:
                if float(point.fields["covered_seconds"]) >= _KNOWN_SHARE * float(point.fields["seconds"]):
                    found[role][point.time] = point
    return found
