"""Provenance of computed points, changes of meters, and backfill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, cast

from msgspec import UNSET, Meta, UnsetType

from cenergyd.acquisuite.layouts import MAX_COLUMN
from cenergyd.acquisuite.points import FIRST_POINT
from cenergyd.customers.fields import clean_meter, clean_serial
from cenergyd.customers.meter_history import dated_change, setup_periods
from cenergyd.customers.model import ROLES, Customer, MeterSetup, PendingMark, Role
from cenergyd.derivation.corrector import Listed, corrections_over
from cenergyd.derivation.explain import explanations
from cenergyd.derivation.provenance import Explanation
from cenergyd.documents.json_types import JsonObject
from cenergyd.errors import Conflict
from cenergyd.hookspecs import Formula
from cenergyd.readings.corrections import LATEST
from cenergyd.runtime.structs import Resource, Time, to_json
from cenergyd.web.api import openapi
from cenergyd.web.api.corrections import Moment
from cenergyd.web.api.customers import CustomerJson
from cenergyd.web.api.routing import Call, Response, Route, quoted_etag
from cenergyd.web.server.problems import FieldError, invalid_fields
from cenergyd.web.views.context import Context
from cenergyd.web.views.customer_service import FOREIGN_LOGGER_ANSWER, SERIAL, change_customer

_MAX_METERS = 255
_METERS = ("facility", "load", "solar")

MeterId = Annotated[
    str, Meta(description="Meter id, or a sum of meters such as `1+4`, `1-4`, `2*10` or `1+4*0.5`; empty: not fitted.")
]
Reversed = Annotated[list[Role], Meta(description="Roles whose CT is mounted the wrong way round.")]
Column = Annotated[int, Meta(ge=FIRST_POINT, le=MAX_COLUMN)]
Layouts = Annotated[
    dict[
        Annotated[str, Meta(max_length=8)],
        dict[Literal["P", "L1_PF", "L1_V", "Q", "E_net", "E_import", "E_export"], Column],
    ],
    Meta(max_length=_MAX_METERS, description="Meter id -> channel -> column of its logs, before any table."),
]


class ExplainedSource(Resource, frozen=True, kw_only=True):
    """A reading from which a computed point or a sum of meters was made; time null: there was none."""

    role: Role
    series: str
    time: Time | None
    factor: Annotated[float | None, Meta(description="Of a meter of a sum; null: none.")]
    corrections: Annotated[list[str], Meta(description="Ids of the active corrections that change this reading.")]


class ExplainedMinute(Resource, frozen=True, kw_only=True):
    """Where a computed point comes from, or why there is none."""

    time: Time
    why: Annotated[str, Meta(description="computed, estimated, or why there is no point.")]
    role: Role
    series: str
    sources: list[ExplainedSource]
    formula: Annotated[str, Meta(description="Name and version.")]
    text: str

    @classmethod
    def of(cls, found: Explanation, corrections: Sequence[Listed]) -> ExplainedMinute:
        """The provenance of a minute.

        :param corrections: the active ones near it.
        """
        sources = [
            ExplainedSource(**source._asdict(), corrections=_ids_at(corrections, source.series, source.time))
            for source in found.sources
        ]
        return cls(**{**found._asdict(), "sources": sources})


class Explanations(Resource, frozen=True, kw_only=True):
    """Where the computed points of a range come from."""

    minutes: list[ExplainedMinute]


class MeterSetupJson(Resource, frozen=True, kw_only=True):
    """Which meter plays which role from a time on."""

    since: Annotated[int | None, Meta(description="UTC seconds; null: always.")]
    utility: str
    load: str
    solar: str
    missing_role: Role | None
    reversed: Reversed
    layouts: Layouts

    @classmethod
    def of(cls, start: int, setup: MeterSetup) -> MeterSetupJson:
        """A setup that holds from ``start`` on."""
        return cls(
            since=start or None,
            utility=setup.utility,
            load=setup.load,
            solar=setup.solar,
            missing_role=setup.missing_role,
            reversed=[role for role in ROLES if role in setup.reversed_roles],
            layouts={meter: dict(columns) for meter, columns in setup.layouts.items()},  # type: ignore[misc]
        )


class MeterHistory(Resource, frozen=True, kw_only=True):
    """Which meter played which role, and since when."""

    setups: list[MeterSetupJson]


class MeterChange(Resource, frozen=True, kw_only=True):
    """Meters, CT directions or columns to change from a time on; absent ones are unchanged."""

    effective_from: (
        Annotated[Moment, Meta(description="UTC seconds, not in the future; default: now. 0: from the beginning.")]
        | UnsetType
    ) = UNSET
    facility: MeterId | UnsetType = UNSET
    load: MeterId | UnsetType = UNSET
    solar: MeterId | UnsetType = UNSET
    logger_serial_number: Annotated[str, Meta(description="Serial number of the logger; empty: none.")] | UnsetType = (
        UNSET
    )
    reversed: Reversed | UnsetType = UNSET
    layouts: Layouts | UnsetType = UNSET


class BackfillRange(Resource, frozen=True, kw_only=True):
    """A range to derive again."""

    start: Moment
    end: Annotated[Moment, Meta(description="Exclusive; default: now.")] | UnsetType = UNSET


class HistoryApi:
    """``/customers/{customer_id}/explain``, ``.../meters`` and ``.../backfill``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def explain(self, call: Call, customer_id: str) -> Response:
        """For each computed point, or minute without one: its sources and formula, or why there is none."""
        start, end = _range(call)
        settings = self._context.derivation
        found = await explanations(
            self._context.readings, await self._context.customer(customer_id), start, end,
            tolerance=settings.tolerance_seconds, formula=cast(Formula, settings.formula),
        )  # fmt: skip
        series = {source.series for minute in found for source in minute.sources}
        times = [source.time for minute in found for source in minute.sources if source.time is not None]
        corrections = (
            await corrections_over(self._context.readings, self._context.documents, series, min(times), max(times) + 1)
            if times
            else []
        )
        return Response(Explanations(minutes=[ExplainedMinute.of(minute, corrections) for minute in found]))

    async def meters(self, call: Call, customer_id: str) -> Response:
        """Which meter played which role, and since when."""
        return Response(MeterHistory(setups=_setups(await self._context.customer(customer_id), call.now)))

    async def change_meters(self, call: Call, customer_id: str) -> Response:
        """Change meters, CT directions or columns from a time on; earlier times are not affected."""
        etag = call.if_match()
        given: JsonObject = to_json(call.body(MeterChange))
        since = given.pop("effective_from", call.now)
        for field in (*_METERS, SERIAL):
            if field in given:
                given[field] = clean_serial(given[field]) if field == SERIAL else clean_meter(field, given[field])
        old = await self._context.customer(customer_id)
        if etag is not None and old.etag != etag:
            raise Conflict("the customer was changed meanwhile")
        changes = dated_change(old, since, given, call.now)
        new = await change_customer(self._context, call.principal, customer_id, changes, old.etag)
        return Response(CustomerJson.of(new), headers={"ETag": quoted_etag(new.etag)})

    async def backfill(self, call: Call, customer_id: str) -> Response:
        """Derive a range again; it is queued, and the customer's status shows its progress."""
        given = call.body(BackfillRange)
        start, end = given.start, call.now if given.end is UNSET else given.end
        if end <= start:
            raise invalid_fields([FieldError("end", "must be later than start")])
        customer = await self._context.customer(customer_id)
        await self._context.customers.derivation_queue.mark([PendingMark(customer.id, start, end)])
        return Response(BackfillRange(start=start, end=end), 202)

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        one = "/customers/{customer_id}"
        return (
            Route("GET", f"{one}/explain", self.explain, "signed_in", _EXPLAIN),
            Route("GET", f"{one}/meters", self.meters, "signed_in", _READ_METERS),
            Route("POST", f"{one}/meters", self.change_meters, "signed_in", _CHANGE_METERS),
            Route("POST", f"{one}/backfill", self.backfill, "operator", _BACKFILL),
        )


def _ids_at(corrections: Sequence[Listed], series: str, time: int | None) -> list[str]:
    if time is None:
        return []
    return [each.id for each in corrections if each.series == series and each.correction.touches(time, time + 1)]


def _range(call: Call) -> tuple[int, int]:
    start, end = call.query_integer("start", 0, LATEST), call.query_integer("end", 0, LATEST)
    if start is None or end is None:
        raise invalid_fields([FieldError("start" if start is None else "end", "UTC seconds since 1970 are needed")])
    return start, end


def _setups(customer: Customer, now: int) -> list[MeterSetupJson]:
    return [MeterSetupJson.of(start, setup) for start, _, _, setup in setup_periods(customer, 0, now + 1)]


_TAG = "history"
_START = openapi.query_parameter(
    "start", {"type": "integer", "minimum": 0, "maximum": LATEST}, "UTC seconds.", required=True
)
_END = openapi.query_parameter(
    "end", {"type": "integer", "minimum": 0, "maximum": LATEST}, "UTC seconds, exclusive.", required=True
)
_EXPLAIN = openapi.Operation(
    "explainComputed", _TAG, "Where computed points come from, and why there is none", response=Explanations,
    parameters=[openapi.CUSTOMER_ID, _START, _END],
)  # fmt: skip
_READ_METERS = openapi.Operation(
    "readMeterHistory", _TAG, "Which meter played which role since when", response=MeterHistory,
    parameters=[openapi.CUSTOMER_ID],
)  # fmt: skip
_CHANGE_METERS = openapi.Operation(
    "changeMeters", _TAG, "Change meters, CT directions or columns from a time on", response=CustomerJson, etag=True,
    body=MeterChange, parameters=[openapi.CUSTOMER_ID, openapi.IF_MATCH], description=FOREIGN_LOGGER_ANSWER,
)  # fmt: skip
_BACKFILL = openapi.Operation(
    "backfill", _TAG, "Derive a range again (operators)", response=BackfillRange, status=202,
    body=BackfillRange, parameters=[openapi.CUSTOMER_ID],
)  # fmt: skip
