"""Reads the results of the jobs for the API and pages, as plain JSON values.

Power in kW, energy in kWh, voltage in V, times in UTC seconds, money as text in the tariff's currency.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from math import fsum
from typing import Literal
from zoneinfo import ZoneInfo

import attrs

from cenergyd.customers.meter_history import role_segments
from cenergyd.customers.model import ROLES, Customer, Role, TimeRange
from cenergyd.customers.time_zones import zone_of
from cenergyd.documents.json_types import JsonObject
from cenergyd.errors import InvalidField
from cenergyd.jobs.energy.hours import counted_of, energy_point
from cenergyd.jobs.energy.netload import NetLoadReader
from cenergyd.jobs.energy.read import LONGEST_GAP, EnergyReader
from cenergyd.jobs.energy.role_power import RolePowerReader
from cenergyd.jobs.rollups.aggregate import ReadingColumns, combine
from cenergyd.jobs.rollups.points import window_fields
from cenergyd.jobs.rollups.read import MAX_POINTS, read_rollup
from cenergyd.jobs.rollups.usual_interval import Pauses
from cenergyd.jobs.tariff.charges import Charges, ChargesSum, DemandLine, PeriodEnergy, QuarterHour, RegisterUse
from cenergyd.jobs.tariff.model import LabelledWindow, Period, Tariff
from cenergyd.jobs.tariff.parsing import tariff_from_json, tariff_of
from cenergyd.jobs.tariff.register_energy import by_registers
from cenergyd.jobs.windows import RESOLUTIONS, day_start, local_date, widen, window_at
from cenergyd.readings.model import FieldPoint
from cenergyd.readings.signs import sign_corrected
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.yielding import Cooperate, without_yielding

SLICE = 7 * 86400
"""Seconds of points to process at once: some milliseconds of work."""

_POINTS_AT_ONCE = 500
"""Windows processed between two yields to the reactor: about a millisecond of work."""

Basis = Literal["billing", "calendar"]


async def role_rollup(
    customer: Customer,
    readings: ReadingStore,
    role: Role,
    resolution: str,
    within: TimeRange,
    *,
    keep_days: Mapping[str, int] = {},
    cooperate: Cooperate = without_yielding,
) -> list[JsonObject]:
    """The windows of a role that start in a range, ascending, at most MAX_POINTS: ``series``, ``time`` and the fields (docs/rollups.md).

    Import is positive even if the meter's CT is reversed. A window in which the meter, its CT or the role changed is computed from the
    readings of each part with its own settings, and has the name of the last series. Windows of an earlier time zone are left out.

    :param cooperate: awaited every few milliseconds of computation.
    :raises InvalidField: no such resolution.
    """
    if resolution not in RESOLUTIONS:
        raise InvalidField("resolution", f"one of {', '.join(RESOLUTIONS)} is needed")
    zone = zone_of(customer.time_zone)
    found: dict[int, JsonObject] = {}
    for segment in role_segments(customer, role, *within):
        place = TimeRange(segment.start, segment.end)
        points = await read_rollup(
            readings, segment.series, resolution, place, zone,
            is_reversed=segment.reversed, keep_days=keep_days, cooperate=cooperate,
        )  # fmt: skip
        for number, point in enumerate(points):
            found[point.time] = {"series": segment.series, "time": point.time, **point.fields}
            if number % _POINTS_AT_ONCE == 0:
                await cooperate()
    for cut in _cut_windows(customer, role, resolution, within):
        found.pop(cut.start, None)
        if (whole := await _in_parts(customer, readings, role, cut)) is not None:
            found[cut.start] = whole
    return [found[time] for time in sorted(found)][:MAX_POINTS]


def _cut_windows(customer: Customer, role: Role, resolution: str, within: TimeRange) -> list[TimeRange]:
    """The windows that start in a range and within which the role's series or its meaning changes."""
    zone = zone_of(customer.time_zone)
    whole = widen(*within, resolution, zone)
    edges = {edge for segment in role_segments(customer, role, *whole) for edge in segment[:2]} - set(whole)
    cut = {window_at(edge, resolution, zone) for edge in edges}
    return sorted(w for w in cut if w.start not in edges and within.start <= w.start < within.end)


async def _in_parts(customer: Customer, readings: ReadingStore, role: Role, window: TimeRange) -> JsonObject | None:
    parts, expected, series = [], 0, ""
    for start, end, name, _, is_reversed, _ in role_segments(customer, role, *window):
        rows = (await readings.read([name], start, end))[name]
        columns = ReadingColumns([sign_corrected(row) for row in rows] if is_reversed else rows, series=name)
        part = columns.part(start, end)
        if part is not None:
            parts.append(part)
            expected += Pauses(columns.times).expected(TimeRange(start, end)) or part.readings
            series = name
    if not parts:
        return None
    return {"series": series, "time": window.start, **window_fields(window, combine(parts), expected)}


async def energy_between(
    customer: Customer, readings: ReadingStore, window: TimeRange, now: int, *, max_gap: int = LONGEST_GAP
) -> JsonObject:
    """Energy per role over a range that begins and ends at full local hours.

    ``{"utility": {"series", "import_kwh", "export_kwh", "covered_seconds"}, ...}``; a role without a meter is None. ``series``
    is the latest one that held the role.
    """
    reader = EnergyReader(customer, readings, now, max_gap, registers=False)
    if window.end - window.start <= SLICE:
        await reader.read_at_once(ROLES, *window)
    return {role: await _role_energy(customer, role, reader, window) for role in ROLES}


async def energy_today(
    customer: Customer, readings: ReadingStore, now: int, *, max_gap: int = LONGEST_GAP
) -> JsonObject:
    """Energy per role since the customer's midnight: ``{"date", "start", "end", "energy": ...}``, see :func:`energy_between`."""
    day = window_at(now, "24h", zone_of(customer.time_zone))
    return {
        "date": local_date(now, zone_of(customer.time_zone)).isoformat(),
        "start": day.start,
        "end": day.end,
        "energy": await energy_between(customer, readings, day, now, max_gap=max_gap),
    }


async def net_load(customer: Customer, readings: ReadingStore, start: int, end: int, now: int) -> list[JsonObject]:
    """The net load per 15 minutes, ascending, at most MAX_POINTS: ``time``, ``P_mean`` and the other fields."""
    found: list[JsonObject] = []
    async for points in NetLoadReader(customer, readings, now).points(start, end, SLICE):
        found += [{"time": point.time, **point.fields} for point in points]
        if len(found) >= MAX_POINTS:
            break
    return found[:MAX_POINTS]


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
    for name, window in compared_periods(by_dates, zone, now).items():
        charges = await charges_of(customer, readings, applied, window, now, max_gap=max_gap)
        report[name] = charges_to_json(charges, zone, priced=tariff is not None)
    return report


async def charges_of(
    customer: Customer,
    readings: ReadingStore,
    tariff: Tariff,
    window: TimeRange,
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
    total = ChargesSum(tariff, zone, window, until)
    energies: list[PeriodEnergy] = []
    passed = TimeRange(window.start, min(window.end, until))
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

    def shared(window: TimeRange) -> tuple[int, int]:
        return min(window.end, end) - max(window.start, start), -window.start

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
        "start": charges.window.start,
        "end": charges.window.end,
        "first_day": local_date(charges.window.start, zone).isoformat(),
        "last_day": local_date(charges.window.end - 1, zone).isoformat(),
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


async def _role_energy(customer: Customer, role: Role, reader: EnergyReader, window: TimeRange) -> JsonObject | None:
    places = role_segments(customer, role, *window)
    if not places:
        return None
    sums: dict[str, list[float]] = {"import_kwh": [], "export_kwh": [], "covered_seconds": []}
    async for _, points in reader.points(role, *window, SLICE):
        for point in points:
            for name, values in sums.items():
                values.append(float(point.fields[name]))
    return {"series": places[-1].series, **{name: fsum(values) for name, values in sums.items()}}


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
    labelled: Sequence[LabelledWindow], lines_of: RolePowerReader, role: Role
) -> list[PeriodEnergy]:
    window = TimeRange(labelled[0].start, labelled[-1].end)
    rows = await lines_of.rows_over(window)
    lines = (await lines_of.lines(rows, window))[role]
    steps = await lines_of.steps(role, rows, lines, window)
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
        label = tariff.period_at(point.time, zone)
        yield QuarterHour(point.time, label, float(point.fields["P_mean"]), float(point.fields.get("complete", 1)))


def _year_before(time: int, zone: ZoneInfo) -> int:
    day = local_date(time, zone)
    earlier = min(day.day, monthrange(day.year - 1, day.month)[1])
    return day_start(date(day.year - 1, day.month, earlier), zone)
