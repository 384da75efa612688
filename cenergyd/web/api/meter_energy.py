"""Energy of each meter by hour, day, month or year of the customer's calendar, as JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta

from cenergyd.customers.model import Role
from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.jobs.energy.meter_periods import MeterEnergy, MeterWindow, meter_energies
from cenergyd.jobs.energy.periods import EnergyWindow, PeriodStep, RoleEnergy
from cenergyd.runtime.structs import Resource, Time
from cenergyd.web.api import openapi
from cenergyd.web.api.energy import PARAMETERS, TAG, asked_windows
from cenergyd.web.api.routing import Call, Response, Route
from cenergyd.web.views.context import Context
from cenergyd.web.views.meter_names import meter_names

PARTS = tuple(name for name in RoleEnergy._fields if name != "computed_seconds")
"""A meter's energy is never computed from others."""


class MeterPeriodEnergy(Resource, frozen=True, kw_only=True):
    """A meter over one hour, day, month or year."""

    start: Time
    end: Time
    due_seconds: Annotated[float, Meta(description="How much of it has passed while the meter had the role.")]
    import_kwh: Annotated[
        float | None, Meta(description="From the grid, used by the load, or produced by solar; null: not known.")
    ]
    export_kwh: Annotated[float | None, Meta(description="To the grid, or used by an inverter.")]
    covered_seconds: Annotated[float, Meta(description="Time covered by readings.")]
    bridged_import_kwh: Annotated[
        float, Meta(description="The part of import_kwh that fills gaps by the difference of the meter's registers.")
    ]
    bridged_export_kwh: float
    bridged_seconds: float
    interpolated_import_kwh: Annotated[
        float, Meta(description="The part of import_kwh that is interpolated over one or two lost rows.")
    ]
    interpolated_export_kwh: float
    interpolated_seconds: float

    @classmethod
    def of(cls, start: int, end: int, window: MeterWindow) -> MeterPeriodEnergy:
        """One window of a meter."""
        known = window.energy or RoleEnergy(0.0, 0.0, 0.0, 0.0)
        parts = {name: getattr(known, name) for name in PARTS}
        if window.energy is None:
            parts["import_kwh"] = parts["export_kwh"] = None
        return cls(start=start, end=end, due_seconds=window.due_seconds, **parts)


class EnergyOfMeter(Resource, frozen=True, kw_only=True):
    """A meter of a role."""

    role: Role
    logger_serial_number: str
    meter: str
    series: str
    name: Annotated[str, Meta(description="Its name on the logger; empty: none.")]
    factor: Annotated[float, Meta(description="The role counts the meter times this factor; the values include it.")]
    windows: list[MeterPeriodEnergy]


class EnergyOfMeters(Resource, frozen=True, kw_only=True):
    """Energy of each meter over a range."""

    step: PeriodStep
    time_zone: str
    meters: list[EnergyOfMeter]


class MeterEnergyApi:
    """``/customers/{customer_id}/energy/meters`` and ``energy/meters.csv``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def read(self, call: Call, customer_id: str) -> Response:
        """As JSON."""
        zone, step, windows, meters = await self._meters(call, customer_id)
        names = await meter_names(self._context.documents, [meter.series for meter in meters])
        of_meters = [
            EnergyOfMeter(
                role=each.role,
                logger_serial_number=each.serial,
                meter=each.meter,
                series=each.series,
                name=names.get(each.series, ""),
                factor=each.factor,
                windows=[
                    MeterPeriodEnergy.of(window.start, window.end, mine)
                    for window, mine in zip(windows, each.windows, strict=True)
                ],
            )
            for each in meters
        ]
        return Response(EnergyOfMeters(step=step, time_zone=zone, meters=of_meters))

    async def read_csv(self, call: Call, customer_id: str) -> Response:
        """As CSV: a row per meter and window, empty cells where nothing is known."""
        zone, step, windows, meters = await self._meters(call, customer_id)
        headers = {"Content-Disposition": f'attachment; filename="energy-of-meters-{step}.csv"'}
        return Response(meters_csv(windows, meters, zone), headers=headers, media_type="text/csv; charset=utf-8")

    async def _meters(
        self, call: Call, customer_id: str
    ) -> tuple[str, PeriodStep, Sequence[EnergyWindow], Sequence[MeterEnergy]]:
        customer, step, windows = await asked_windows(self._context, call, customer_id)
        readings, max_gap = self._context.readings, self._context.max_gap_seconds
        meters = await meter_energies(customer, readings, windows, call.now, max_gap=max_gap)
        return customer.time_zone, step, windows, meters

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        one = "/customers/{customer_id}/energy"
        return (
            Route("GET", f"{one}/meters", self.read, "signed_in", _READ, is_long=True),
            Route("GET", f"{one}/meters.csv", self.read_csv, "signed_in", _READ_CSV, is_long=True),
        )


def meters_csv(windows: Sequence[EnergyWindow], meters: Sequence[MeterEnergy], time_zone: str) -> str:
    """A row per meter and window; times in UTC and the site's zone."""
    zone = zone_or_utc(time_zone)
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\r\n")
    writer.writerow(["role", "logger", "meter", "start_utc", "start_local", "seconds_passed", *PARTS])
    for each in meters:
        for window, mine in zip(windows, each.windows, strict=True):
            moment = datetime.fromtimestamp(window.start, UTC)
            cells: list[object] = [
                each.role, each.serial, each.meter,
                moment.strftime("%Y-%m-%dT%H:%M:%SZ"), moment.astimezone(zone).isoformat(), int(mine.due_seconds),
            ]  # fmt: skip
            known = mine.energy
            cells += [""] * len(PARTS) if known is None else [getattr(known, part) for part in PARTS]
            writer.writerow(cells)
    return target.getvalue()


_READ = openapi.Operation(
    "readEnergyOfMeters", TAG, "Energy of each meter by hour, day, month or year",
    response=EnergyOfMeters, parameters=PARAMETERS,
)  # fmt: skip
_READ_CSV = openapi.Operation(
    "readEnergyOfMetersCsv", TAG, "Energy of each meter as CSV",
    response=str, response_media_type="text/csv", parameters=PARAMETERS,
)  # fmt: skip
