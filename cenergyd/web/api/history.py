"""Where computed points come from, meters that change at a time, and deriving a range again on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from cenergyd.customers.fields import clean_meter, clean_serial
from cenergyd.customers.meter_history import assignments_over, changed
from cenergyd.customers.model import ROLES, Customer, PendingMark
from cenergyd.derivation.explain import explanations
from cenergyd.errors import Conflict
from cenergyd.hookspecs import Formula
from cenergyd.web.api import openapi
from cenergyd.web.api.customers import customer_view
from cenergyd.web.api.routing import Call, Reply, Route, quoted_etag
from cenergyd.web.server.problems import FieldError, invalid_fields
from cenergyd.web.views.context import Context
from cenergyd.web.views.customer_service import FOREIGN_LOGGER_ANSWER, SERIAL, change_customer

_MAX_TIME = 1 << 33
_METERS = ("facility", "load", "solar")


class HistoryApi:
    """``/customers/{customer_id}/explain``, ``.../meters`` and ``.../backfill``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def explain(self, call: Call, customer_id: str) -> Reply:
        """For each computed point, or minute without one: its sources and formula, or why there is none."""
        start, end = _range(call)
        settings = self._context.derivation
        found = await explanations(
            self._context.readings, await self._context.customer(customer_id), start, end,
            tolerance=settings.tolerance_seconds, formula=cast(Formula, settings.formula),
        )  # fmt: skip
        return Reply(
            {"minutes": [{**item._asdict(), "sources": [s._asdict() for s in item.sources]} for item in found]}
        )

    async def meters(self, call: Call, customer_id: str) -> Reply:
        """Which meter played which role, and since when."""
        return Reply({"setups": _assignments(await self._context.customer(customer_id), call.now)})

    async def change_meters(self, call: Call, customer_id: str) -> Reply:
        """Change meters, CT directions or columns from a time on; what was before keeps its meaning."""
        etag = call.if_match()
        given = dict(call.json_object())
        since = _time(given, "effective_from", call.now)
        given.pop("effective_from", None)
        for field in (*_METERS, SERIAL):
            if field in given:
                if not isinstance(given[field], str):
                    raise invalid_fields([FieldError(field, "text is needed")])
                given[field] = clean_serial(given[field]) if field == SERIAL else clean_meter(field, given[field])
        old = await self._context.customer(customer_id)
        if etag is not None and old.etag != etag:
            raise Conflict("the customer was changed meanwhile")
        changes = changed(old, since, given, call.now)
        new = await change_customer(self._context, call.principal, customer_id, changes, old.etag)
        return Reply(customer_view(new), headers={"ETag": quoted_etag(new.etag)})

    async def backfill(self, call: Call, customer_id: str) -> Reply:
        """Derive a range again; it is queued, and the customer's status shows how far it is."""
        given = call.json_object()
        start, end = _time(given, "start", None), _time(given, "end", call.now)
        if end <= start:
            raise invalid_fields([FieldError("end", "must be later than start")])
        customer = await self._context.customer(customer_id)
        await self._context.customers.derivation_queue.mark([PendingMark(customer.id, start, end - 1)])
        return Reply({"start": start, "end": end}, 202)

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        one = "/customers/{customer_id}"
        return (
            Route("GET", f"{one}/explain", self.explain, "signed_in", _EXPLAIN),
            Route("GET", f"{one}/meters", self.meters, "signed_in", _READ_METERS),
            Route("POST", f"{one}/meters", self.change_meters, "signed_in", _CHANGE_METERS),
            Route("POST", f"{one}/backfill", self.backfill, "operator", _BACKFILL),
        )

    def schemas(self) -> Mapping[str, Any]:
        """Schema components."""
        return _SCHEMAS


def _time(given: Mapping[str, Any], field: str, default: int | None) -> int:
    value = given.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_TIME:
        raise invalid_fields([FieldError(field, "UTC seconds since 1970 are needed")])
    return value


def _range(call: Call) -> tuple[int, int]:
    start, end = call.query_integer("start", 0, _MAX_TIME), call.query_integer("end", 0, _MAX_TIME)
    if start is None or end is None:
        raise invalid_fields([FieldError("start" if start is None else "end", "UTC seconds since 1970 are needed")])
    return start, end


def _assignments(customer: Customer, now: int) -> list[dict[str, Any]]:
    return [
        {
            "since": start or None,
            "utility": setup.utility,
            "load": setup.load,
            "solar": setup.solar,
            "missing_role": setup.missing_role,
            "reversed": [role for role in ROLES if role in setup.reversed_roles],
            "layouts": {meter: dict(columns) for meter, columns in setup.layouts.items()},
        }
        for start, _, setup in assignments_over(customer, 0, now + 1)
    ]


_TAG = "history"
_START = openapi.query_parameter(
    "start", {"type": "integer", "minimum": 0, "maximum": _MAX_TIME}, "UTC seconds.", required=True
)
_END = openapi.query_parameter(
    "end", {"type": "integer", "minimum": 0, "maximum": _MAX_TIME}, "UTC seconds, exclusive.", required=True
)
_LAYOUTS = {
    "type": "object",
    "description": "Meter id -> channel (P, L1_PF, L1_V, Q) -> column, before any table.",
    "additionalProperties": {"type": "object", "additionalProperties": {"type": "integer"}},
}
_REVERSED = {
    "type": "array",
    "items": openapi.ref("Role"),
    "description": "Roles whose CT is mounted the wrong way round.",
}
_SCHEMAS: Mapping[str, Any] = {
    "Explanations": openapi.closed(
        {
            "minutes": {
                "type": "array",
                "items": openapi.closed(
                    {
                        "time": openapi.TIME,
                        "why": {"type": "string", "description": "computed, estimated, or why there is no point."},
                        "role": openapi.ref("Role"),
                        "series": {"type": "string"},
                        "sources": {
                            "type": "array",
                            "items": openapi.closed(
                                {
                                    "role": openapi.ref("Role"),
                                    "series": {"type": "string"},
                                    "time": openapi.nullable(openapi.TIME),
                                }
                            ),
                        },
                        "formula": {"type": "string", "description": "Name and version."},
                        "text": {"type": "string"},
                    }
                ),
            }
        }
    ),
    "MeterHistory": openapi.closed(
        {
            "setups": {
                "type": "array",
                "items": openapi.closed(
                    {
                        "since": openapi.nullable(openapi.TIME),
                        **{role: {"type": "string"} for role in ROLES},
                        "missing_role": openapi.nullable(openapi.ref("Role")),
                        "reversed": _REVERSED,
                        "layouts": _LAYOUTS,
                    }
                ),
            }
        }
    ),
    "MeterChange": openapi.closed(
        {
            "effective_from": {
                **openapi.TIME,
                "description": "UTC seconds, not in the future; default: now. 0: it was always so.",
            },
            **{field: {"type": "string", "description": "Meter id; empty: not fitted."} for field in _METERS},
            SERIAL: {"type": "string", "description": "Serial number of the logger; empty: none."},
            "reversed": _REVERSED,
            "layouts": _LAYOUTS,
        },
        optional=("effective_from", *_METERS, SERIAL, "reversed", "layouts"),
    ),
    "BackfillRange": openapi.closed(
        {"start": openapi.TIME, "end": {**openapi.TIME, "description": "Exclusive; default: now."}}, optional=("end",)
    ),
}
_EXPLAIN = openapi.operation(
    "explainComputed", _TAG, "Where computed points come from, and why there is none", reply=openapi.ref("Explanations"),
    parameters=[openapi.CUSTOMER_ID, _START, _END],
)  # fmt: skip
_READ_METERS = openapi.operation(
    "readMeterHistory", _TAG, "Which meter played which role since when", reply=openapi.ref("MeterHistory"),
    parameters=[openapi.CUSTOMER_ID],
)  # fmt: skip
_CHANGE_METERS = openapi.operation(
    "changeMeters", _TAG, "Change meters, CT directions or columns from a time on", reply=openapi.ref("Customer"), etag=True,
    body=openapi.ref("MeterChange"), parameters=[openapi.CUSTOMER_ID, openapi.IF_MATCH], description=FOREIGN_LOGGER_ANSWER,
)  # fmt: skip
_BACKFILL = openapi.operation(
    "backfill", _TAG, "Derive a range again (operators)", reply=openapi.ref("BackfillRange"), status=202,
    body=openapi.ref("BackfillRange"), parameters=[openapi.CUSTOMER_ID],
)  # fmt: skip
