"""The charges of a customer's billing periods, from stored energy and net load, as plain JSON values.

Energy in kWh, times in UTC seconds, money as text in the tariff's currency.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

import attrs

from cenergyd.customers.model import Customer, Role, TimeRange
from cenergyd.customers.time_zones import zone_of
from cenergyd.documents.json_types import JsonObject
from cenergyd.jobs.energy.hours import counted_of, energy_point
from cenergyd.jobs.energy.netload import NetLoadReader
from cenergyd.jobs.energy.read import LONGEST_GAP, EnergyReader
from cenergyd.jobs.energy.role_power import RolePowerReader
from cenergyd.jobs.rollups.report import SLICE
from cenergyd.jobs.tariff.charges import Charges, ChargesSum, DemandLine, PeriodEnergy, QuarterHour, RegisterUse
from cenergyd.jobs.tariff.model import LabelledRange, Period, Tariff
from cenergyd.jobs.tariff.parsing import tariff_from_json, tariff_of
from cenergyd.jobs.tariff.register_energy import by_registers
from cenergyd.jobs.windows import day_start, local_date
from cenergyd.readings.model import FieldPoint
from cenergyd.readings.store import ReadingStore

Basis = Literal["billing", "calendar"]


async def charges_report(
    customer: Customer, readings: ReadingStore, now: int, basis: Basis = "billing", max_gap: int = LONGEST_GAP
) -> JsonObject:
    """The charges of this and the last period, and of the corresponding period of last year.

    ``{"this": ..., "last": ..., "last_year": ..., "basis", "tariff": bool}``; without a tariff, energies and the highest net load are
    still reported, and amounts are None.

    :param basis: ``billing``: the tariff's billing periods; ``calendar``: calendar months.
    :param max_gap: the ini's ``[rollups] max_gap_seconds``, for hours that have to be integrated again.
    :raises InvalidField: the stored tariff or time zone is not valid.
    """
    zone = zone_of(customer.time_zone)
    tariff = tariff_of(customer)
    plain = tariff_from_json({})
    applied = tariff or plain
    by_dates = applied if basis == "billing" else plain
    report: JsonObject = {"basis": basis, "tariff": tariff is not None, "time_zone": customer.time_zone}
    for name, time_range in compared_periods(by_dates, zone, now).items():
        charges = await charges_of(customer, readings, applied, time_range, now, max_gap=max_gap)
        report[name] = charges_to_json(charges, zone, priced=tariff is not None)
    return report


async def charges_of(
    customer: Customer,
    readings: ReadingStore,
    tariff: Tariff,
    time_range: TimeRange,
    now: int,
    *,
    until: int | None = None,
    max_gap: int = LONGEST_GAP,
) -> Charges:
    """The charges of one billing period by a tariff, which may differ from the one that labelled the stored energy.

    :param now: UTC seconds.
    :param until: hours and quarter hours that begin later do not count, so an earlier time gives the charges until then; None: now.
    """
    zone = zone_of(customer.time_zone)
    until = now if until is None else until
    total = ChargesSum(tariff, zone, time_range, until)
    energies: list[PeriodEnergy] = []
    passed = TimeRange(time_range.start, min(time_range.end, until))
    reader = EnergyReader(customer, readings, now, max_gap)
    async for place, points in reader.points("utility", *passed, SLICE):
        parts = await labelled_energy(customer, points, readings, tariff, max_gap=max_gap, now=now)
        meter = "" if place.computed else f"{place.series} {place.sum}"  # another sum has other registers
        energies += [part._replace(meter=meter) for part in parts]
    async for quarters in NetLoadReader(customer, readings, now).points(*passed, SLICE):
        total.add_net_load(_quarters(quarters, tariff, zone))
    registers = None
    if tariff.energy_from == "registers":
        energies, registers = by_registers(energies)
    total.add_energy(energies)
    return attrs.evolve(total.result(), registers=registers)


def compared_periods(tariff: Tariff, zone: ZoneInfo, now: int) -> dict[str, TimeRange]:
    """The billing periods ``this``, ``last`` and ``last_year`` (of those a year ago, the one that has most days in common with this)."""
    this = tariff.billing_period_at(now, zone)
    start, end = (_year_before(time, zone) for time in this)

    def shared(time_range: TimeRange) -> tuple[int, int]:
        return min(time_range.end, end) - max(time_range.start, start), -time_range.start

    return {
        "this": this,
        "last": tariff.billing_period_at(this.start - 1, zone),
        "last_year": max(tariff.billing_periods(start, end, zone), key=shared),
    }


def charges_to_json(charges: Charges, zone: ZoneInfo, *, priced: bool = True) -> JsonObject:
    """Charges as JSON values; amounts are text such as ``"12.30"``, or None if there is no price."""

    def money(amount: Decimal | None) -> str | None:
        return str(amount) if priced and amount is not None else None

    return {
        "start": charges.time_range.start,
        "end": charges.time_range.end,
        "first_day": local_date(charges.time_range.start, zone).isoformat(),
        "last_day": local_date(charges.time_range.end - 1, zone).isoformat(),
        "until": charges.until,
        "final": charges.final,
        "currency": charges.currency if priced else None,
        "energy": [
            {
                "season": line.season,
                "period": line.period,
                "import_kwh": line.import_kwh,
                "export_kwh": line.export_kwh,
                "import_charge": money(line.import_charge),
                "export_credit": money(line.export_credit),
            }
            for line in charges.energy
        ],
        "highest_net_load": {"kw": charges.highest.P, "time": charges.highest.start} if charges.highest else None,
        "demand": [_demand_json(line, money) for line in charges.demand],
        "peak_demand": [_demand_json(line, money) for line in charges.peak_demand],
        "fixed": money(charges.fixed),
        "total": money(charges.total if charges.known else None),
        "energy_complete": round(charges.energy_complete, 4),
        "demand_complete": round(charges.demand_complete, 4),
        "energy_from": "power" if charges.registers is None else "registers",
        "registers": charges.registers and _register_use(charges.registers),
    }


def _demand_json(line: DemandLine, money: Callable[[Decimal | None], str | None]) -> JsonObject:
    return {
        "season": line.season,
        "period": line.period,
        "kw": line.kw if line.known else None,
        "time": line.time,
        "share": float(line.share),
        "charge": money(line.charge if line.known else None),
    }


def _register_use(use: RegisterUse) -> JsonObject:
    missing = [each._asdict() for each in use.missing]
    return {"register_seconds": use.register_seconds, "power_seconds": use.power_seconds, "missing": missing}


async def labelled_energy(
    customer: Customer,
    points: Sequence[FieldPoint],
    readings: ReadingStore,
    tariff: Tariff,
    *,
    max_gap: int,
    now: int,
    role: Role = "utility",
) -> list[PeriodEnergy]:
    """A role's stored energy with the labels of a tariff; points that span a change of labels are integrated again."""
    found = []
    zone = zone_of(customer.time_zone)
    for point in points:
        labelled = list(tariff.labelled(TimeRange(point.time, point.time + int(point.fields["seconds"])), zone))
        if len(labelled) == 1:
            found.append(_period_energy(labelled[0].label, point))
        else:
            found += await _integrated_again(labelled, RolePowerReader(customer, readings, max_gap, now), role)
    return found


async def _integrated_again(
    labelled: Sequence[LabelledRange], lines_of: RolePowerReader, role: Role
) -> list[PeriodEnergy]:
    time_range = TimeRange(labelled[0].start, labelled[-1].end)
    rows = await lines_of.rows_over(time_range)
    lines = (await lines_of.lines(rows, time_range))[role]
    steps = await lines_of.steps(role, rows, lines, time_range)
    points = ((part.label, energy_point(part, lines, steps)) for part in labelled)
    return [_period_energy(label, point) for label, point in points if point is not None]


def _period_energy(label: Period, point: FieldPoint) -> PeriodEnergy:
    fields = point.fields
    return PeriodEnergy(
        label,
        float(fields["import_kwh"]),
        float(fields["export_kwh"]),
        float(fields["covered_seconds"]),
        point.time,
        point.time + int(fields["seconds"]),
        counted_of(point),
    )


def _quarters(points: Iterable[FieldPoint], tariff: Tariff, zone: ZoneInfo) -> Iterator[QuarterHour]:
    for point in points:
        if "P_mean" not in point.fields:
            continue  # an earlier version stored it for implausibly large powers
        label = tariff.period_at(point.time, zone)
        yield QuarterHour(point.time, label, float(point.fields["P_mean"]), float(point.fields.get("complete", 1)))


def _year_before(time: int, zone: ZoneInfo) -> int:
    day = local_date(time, zone)
    earlier = min(day.day, monthrange(day.year - 1, day.month)[1])
    return day_start(date(day.year - 1, day.month, earlier), zone)
