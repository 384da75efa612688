"""Energy per role by hour, day, month or year of the customer's calendar, as JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated

from msgspec import Meta

from cenergyd.customers.model import ROLES, Customer, Role
from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.errors import InvalidField
from cenergyd.jobs.energy.periods import STEPS, EnergyWindow, PeriodStep, RoleEnergy, energy_windows
from cenergyd.runtime.structs import Resource, Time
from cenergyd.web.api import openapi
from cenergyd.web.api.routing import Call, Response, Route
from cenergyd.web.views.context import Context


class RolePeriodEnergy(Resource, frozen=True, kw_only=True):
    """A role's energy over a window."""

    import_kwh: Annotated[float, Meta(description="From the grid, used by the load, or produced by solar.")]
    export_kwh: Annotated[float, Meta(description="To the grid, or used by an inverter.")]
    covered_seconds: Annotated[float, Meta(description="Time covered by readings.")]
    computed_seconds: Annotated[
        float, Meta(description="Part of that in which the meter is computed from the other two.")
    ]
    bridged_import_kwh: Annotated[
        float, Meta(description="The part of import_kwh that fills gaps by the difference of the meters' registers.")
    ]
    bridged_export_kwh: float
    bridged_seconds: float
    interpolated_import_kwh: Annotated[
        float, Meta(description="The part of import_kwh that is interpolated over one or two lost rows.")
    ]
    interpolated_export_kwh: float
    interpolated_seconds: float


class EnergyPeriod(Resource, frozen=True, kw_only=True):
    """One hour, day, month or year of the customer's calendar."""

    start: Time
    end: Time
    due_seconds: Annotated[float, Meta(description="How much of it has passed.")]
    roles: dict[Role, RolePeriodEnergy]


class EnergyPeriods(Resource, frozen=True, kw_only=True):
    """Energy over a range."""

    step: PeriodStep
    time_zone: str
    windows: list[EnergyPeriod]


class EnergyApi:
    """``/customers/{customer_id}/energy`` and ``energy.csv``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def read(self, call: Call, customer_id: str) -> Response:
        """As JSON."""
        customer, step, found = await asked_windows(self._context, call, customer_id)
        windows = [
            EnergyPeriod(
                start=window.start,
                end=window.end,
                due_seconds=window.due_seconds,
                roles={role: RolePeriodEnergy(**each._asdict()) for role, each in window.roles.items()},
            )
            for window in found
        ]
        return Response(EnergyPeriods(step=step, time_zone=customer.time_zone, windows=windows))

    async def read_csv(self, call: Call, customer_id: str) -> Response:
        """As CSV: a row per window, an empty cell where nothing is known."""
        customer, step, found = await asked_windows(self._context, call, customer_id)
        headers = {"Content-Disposition": f'attachment; filename="energy-{step}.csv"'}
        return Response(energy_csv(found, customer.time_zone), headers=headers, media_type="text/csv; charset=utf-8")

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        one = "/customers/{customer_id}"
        return (
            Route("GET", f"{one}/energy", self.read, "signed_in", _READ, is_long=True),
            Route("GET", f"{one}/energy.csv", self.read_csv, "signed_in", _READ_CSV, is_long=True),
        )


async def asked_windows(
    context: Context, call: Call, customer_id: str
) -> tuple[Customer, PeriodStep, list[EnergyWindow]]:
    """The energy that a request asks for by ``start``, ``end`` and ``step``. Raises InvalidField and NotFound."""
    first, after = _day(call, "start"), _day(call, "end")
    step = call.query("step") or "day"
    if step not in STEPS:
        raise InvalidField("step", f"one of {', '.join(STEPS)} is needed")
    customer = await context.customer(customer_id)
    found = await energy_windows(
        customer, context.readings, (first, after), step, call.now, max_gap=context.max_gap_seconds
    )
    return customer, step, found


def energy_csv(windows: Sequence[EnergyWindow], time_zone: str) -> str:
    """A row per window; times in UTC and the site's zone."""
    zone = zone_or_utc(time_zone)
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\r\n")
    parts = RoleEnergy._fields
    writer.writerow(
        ["start_utc", "start_local", "seconds_passed", *(f"{role}_{part}" for role in ROLES for part in parts)]
    )
    for window in windows:
        moment = datetime.fromtimestamp(window.start, UTC)
        cells: list[object] = [
            moment.strftime("%Y-%m-%dT%H:%M:%SZ"), moment.astimezone(zone).isoformat(), int(window.due_seconds),
        ]  # fmt: skip
        for role in ROLES:
            cells += window.roles.get(role) or [""] * len(parts)
        writer.writerow(cells)
    return target.getvalue()


def _day(call: Call, name: str) -> date:
    try:
        return date.fromisoformat(call.query(name) or "")
    except ValueError:
        raise InvalidField(name, "a day such as 2026-11-24 is needed") from None


TAG = "jobs"
"""Tag of the operations on energy."""
_DAY = {"type": "string", "format": "date"}
PARAMETERS = (
    openapi.CUSTOMER_ID,
    openapi.query_parameter("start", _DAY, "First day, in the customer's zone.", required=True),
    openapi.query_parameter("end", _DAY, "Day after the last one.", required=True),
    openapi.query_parameter("step", {"enum": list(STEPS)}, "Default: day."),
)
_READ = openapi.Operation(
    "readEnergy", TAG, "Energy per role by hour, day, month or year", response=EnergyPeriods, parameters=PARAMETERS
)
_READ_CSV = openapi.Operation(
    "readEnergyCsv", TAG, "Energy per role as CSV",
    response=str, response_media_type="text/csv", parameters=PARAMETERS,
)  # fmt: skip
