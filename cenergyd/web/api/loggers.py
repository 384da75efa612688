"""Loggers as they were seen: last upload, meters with their last reading, LOGGER_STATUS, rejected serials; state of customers.

Names and addresses come from devices and are hostile text: here they are JSON strings, pages must escape them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cenergyd.customers.model import ROLES, Customer
from cenergyd.documents.kinds import DERIVATION, LOGGER, LOGGER_STATUS, METER, REJECTED
from cenergyd.documents.store import Document
from cenergyd.errors import NotFound
from cenergyd.readings.model import CHANNELS, Reading
from cenergyd.web.api import openapi
from cenergyd.web.api.routing import MAX_SEARCH, Call, Reply, Route
from cenergyd.web.views.context import Context
from cenergyd.web.views.sources import role_sources

_MAX_METERS = 300


def meter_view(document: Document) -> dict[str, Any]:
    """A meter behind a logger."""
    body = document.body
    last = body.get("last")
    return {
        "series": document.key,
        "meter": document.key.split("_", 1)[-1],
        "name": _text(body, "name"),
        "device_type": _text(body, "device_type"),
        "device_class": _text(body, "device_class"),
        "last_upload": body.get("last_upload"),
        "last_time": body.get("last_time"),
        "last": {channel: last.get(channel) for channel in CHANNELS} if last else None,
    }


def logger_view(serial: str, document: Document | None) -> dict[str, Any]:
    """A logger's last upload."""
    body: Mapping[str, Any] = document.body if document else {}
    return {
        "serial": serial,
        "loop_name": _text(body, "loop_name"),
        "address": _text(body, "address"),
        "last_upload": body.get("last_upload"),
    }


def derivation_view(
    customer: Customer, last: Mapping[str, Reading], told: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """How far the computed meter is behind the two measured ones; ``told`` is what derivation itself says.

    ``failing``: a plugin fails. ``off``: no meter is computed. ``no_data``: not both meters have readings. ``pending``: readings wait for the next tick.
    ``waiting``: one meter has newer readings than the other. ``current``: nothing to do.
    """
    role = customer.missing_role
    places = {each: customer.series_of(each) or "" for each in ROLES}
    measured = [last[place].time for other, place in places.items() if other != role and place in last]
    computed = last.get(places[role]) if role else None
    common = min(measured) if len(measured) == 2 else None
    body = told or {}
    failure = body.get("failure")
    if role is None:
        state = "off"
    elif failure:
        state = "failing"
    elif customer.pending_since is not None:
        state = "pending"
    elif common is None:
        state = "no_data"
    else:
        state = "waiting" if max(measured) > (computed.time if computed else 0) else "current"
    return {
        "state": state,
        "pending_since": customer.pending_since,
        "pending_until": customer.pending_until,
        "last_measured": max(measured) if measured else None,
        "last_computed": computed.time if computed else None,
        "lag_seconds": max(0, common - computed.time) if common is not None and computed else None,
        "waiting_for": body.get("waiting_for"),
        "waiting_since": body.get("waiting_since"),
        "missing": body.get("missing"),
        # What the plugin's error says is for the log and for operators' pages.
        "failure": {"plugin": failure["plugin"], "since": failure["since"]} if failure else None,
        "no_plugin": bool(body.get("no_plugin")),
    }


class StatusReader:
    """What is known about the state of customers, in few queries however many. Used by the API and the pages."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def status(self, customers: Sequence[Customer]) -> list[dict[str, Any]]:
        """One view per customer."""
        serials = [customer.logger_serial_number for customer in customers if customer.logger_serial_number]
        loggers = await self._context.documents.get_many(LOGGER, serials) if serials else {}
        series = list({source.series for customer in customers for source in role_sources(customer)})
        last = await self._context.readings.last(series) if series else {}
        ids = [customer.id for customer in customers]
        told = await self._context.documents.get_many(DERIVATION, ids) if ids else {}
        return [self._view(customer, loggers, last, told.get(customer.id)) for customer in customers]

    def _view(
        self,
        customer: Customer,
        loggers: Mapping[str, Document],
        last: Mapping[str, Reading],
        told: Document | None,
    ) -> dict[str, Any]:
        serial = customer.logger_serial_number
        return {
            "customer_id": customer.id,
            "name": customer.name,
            "time_zone": customer.time_zone,
            "missing_role": customer.missing_role,
            "problems": [problem._asdict() for problem in customer.problems()],
            "logger": logger_view(serial, loggers.get(serial)) if serial else None,
            "derivation": derivation_view(customer, last, told.body if told else None),
        }

    async def logger(self, serial: str) -> dict[str, Any]:
        """A logger with its meters and latest LOGGER_STATUS; empty where it was never seen."""
        documents = self._context.documents
        status = await documents.get(LOGGER_STATUS, serial)
        meters = await documents.find(METER, owner=serial, limit=_MAX_METERS)
        return {
            **logger_view(serial, await documents.get(LOGGER, serial)),
            "status": {"time": status.body.get("time"), "fields": dict(status.body.get("fields", {}))}
            if status
            else None,
            "meters": [meter_view(meter) for meter in meters],
        }


class LoggersApi:
    """``/loggers``, ``/rejected``, ``/overview``, a customer's ``logger`` and ``status``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reader = StatusReader(context)

    async def page(self, call: Call) -> Reply:
        """Loggers that have uploaded."""
        found, more = await self._documents(call, LOGGER)
        return Reply({"loggers": [logger_view(document.key, document) for document in found], "next": more})

    async def rejected(self, call: Call) -> Reply:
        """Loggers that were refused."""
        found, more = await self._documents(call, REJECTED)
        views = [
            {
                "serial": document.key,
                "time": document.body.get("time"),
                "address": _text(document.body, "address"),
                "count": document.body.get("count", 0),
                "reason": _text(document.body, "reason"),
            }
            for document in found
        ]
        return Reply({"rejected": views, "next": more})

    async def read(self, call: Call, serial: str) -> Reply:
        """One logger."""
        view = await self._reader.logger(serial)
        customer = await self._context.customers.by_serial(serial)
        if view["last_upload"] is None and not view["meters"] and view["status"] is None:
            raise NotFound("there is no such logger")
        return Reply({**view, "customer_id": customer.id if customer else None})

    async def read_own(self, call: Call, customer_id: str) -> Reply:
        """The logger that a customer's settings name."""
        customer = await self._context.customer(customer_id)
        if not customer.logger_serial_number:
            raise NotFound("no logger serial number is set")
        view = await self._reader.logger(customer.logger_serial_number)
        return Reply({**view, "customer_id": customer.id})

    async def status(self, call: Call, customer_id: str) -> Reply:
        """A customer's state."""
        customer = await self._context.customer(customer_id)
        return Reply({**(await self._reader.status([customer]))[0], "now": call.now})

    async def overview(self, call: Call) -> Reply:
        """All customers' states."""
        limit = call.query_integer("limit", 1, self._context.settings.page_size) or self._context.settings.page_size
        customers = await self._context.customers.page(
            after=call.query("cursor") or None, limit=limit + 1, search=call.query("search", MAX_SEARCH) or None
        )
        pending = await self._context.customers.derivation_queue.summary()
        body = {
            "customers": await self._reader.status(customers[:limit]),
            "next": customers[limit - 1].id if len(customers) > limit else None,
            "now": call.now,
            "pending": {"customers": pending.customers, "oldest": pending.oldest},
            "rejected": await self._context.documents.count(REJECTED),
        }
        return Reply(body)

    async def _documents(self, call: Call, kind: str) -> tuple[list[Document], str | None]:
        limit = call.query_integer("limit", 1, self._context.settings.page_size) or self._context.settings.page_size
        found = await self._context.documents.find(kind, after_key=call.query("cursor") or None, limit=limit + 1)
        return found[:limit], found[limit - 1].key if len(found) > limit else None

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        paging = openapi.page_parameters(self._context.settings.page_size)
        one = "/customers/{customer_id}"
        return (
            Route("GET", "/loggers", self.page, "operator", _list("Logger", "that have uploaded", paging)),
            Route("GET", "/loggers/{serial}", self.read, "operator", _READ),
            Route("GET", "/rejected", self.rejected, "operator", _list("Rejected", "that were refused", paging)),
            Route("GET", "/overview", self.overview, "operator", _overview(paging)),
            Route("GET", f"{one}/logger", self.read_own, "signed_in", _READ_OWN),
            Route("GET", f"{one}/status", self.status, "signed_in", _STATUS),
        )

    def schemas(self) -> Mapping[str, Any]:
        """Schema components."""
        return _SCHEMAS


def _text(body: Mapping[str, Any], name: str) -> str:
    return str(body.get(name) or "")


_TAG = "loggers"
_SEEN = {
    "serial": {"type": "string"},
    "loop_name": {"type": "string", "description": "Site name as typed on the device: hostile text."},
    "address": {"type": "string"},
    "last_upload": openapi.nullable(openapi.TIME),
}
_METER = openapi.closed(
    {
        "series": {"type": "string"},
        "meter": {"type": "string", "description": "The id to put into `facility`, `load` or `solar`."},
        "name": {"type": "string"},
        "device_type": {"type": "string"},
        "device_class": {"type": "string"},
        "last_upload": openapi.nullable(openapi.TIME),
        "last_time": openapi.nullable(openapi.TIME),
        "last": openapi.nullable(
            openapi.closed({channel: openapi.nullable({"type": "number"}) for channel in CHANNELS})
        ),
    },
    description="A meter; its names are as typed on the device.",
)
_STATUS_MESSAGE = openapi.closed(
    {
        "time": openapi.nullable(openapi.TIME),
        "fields": {"type": "object", "additionalProperties": {"type": "string"}},
    }
)
_STATUS_VIEW = {
    "customer_id": {"type": "string"},
    "name": {"type": "string"},
    "time_zone": {"type": "string"},
    "missing_role": openapi.nullable(openapi.ref("Role")),
    "problems": {"type": "array", "items": openapi.ref("SettingsProblem")},
    "logger": openapi.nullable(openapi.ref("Logger")),
    "derivation": openapi.ref("DerivationState"),
}
_SCHEMAS: Mapping[str, Any] = {
    "Logger": openapi.closed(_SEEN),
    "LoggerList": openapi.listing("loggers", openapi.ref("Logger")),
    "Meter": _METER,
    "LoggerDetails": openapi.closed(
        {
            **_SEEN,
            "status": openapi.nullable(_STATUS_MESSAGE),
            "meters": {"type": "array", "items": openapi.ref("Meter")},
            "customer_id": openapi.nullable({"type": "string"}),
        }
    ),
    "Rejected": openapi.closed(
        {
            "serial": {"type": "string"},
            "time": openapi.nullable(openapi.TIME),
            "address": {"type": "string"},
            "count": {"type": "integer"},
            "reason": {"type": "string"},
        }
    ),
    "RejectedList": openapi.listing("rejected", openapi.ref("Rejected")),
    "DerivationState": openapi.closed(
        {
            "state": {"enum": ["off", "failing", "no_data", "pending", "waiting", "current"]},
            "pending_since": openapi.nullable(openapi.TIME),
            "pending_until": openapi.nullable(openapi.TIME),
            "last_measured": openapi.nullable(openapi.TIME),
            "last_computed": openapi.nullable(openapi.TIME),
            "lag_seconds": {
                **openapi.nullable({"type": "integer"}),
                "description": "Time from the last computed reading to the last one that could be computed.",
            },
            "waiting_for": {
                **openapi.nullable(openapi.ref("Role")),
                "description": "The role whose meter has not uploaded yet.",
            },
            "waiting_since": openapi.nullable(openapi.TIME),
            "missing": {
                **openapi.nullable(
                    openapi.closed(
                        {
                            "role": openapi.ref("Role"),
                            "since": openapi.TIME,
                            "until": openapi.TIME,
                            "readings": {"type": "integer"},
                        }
                    )
                ),
                "description": "The latest gap that a silent meter left.",
            },
            "failure": openapi.nullable(openapi.closed({"plugin": {"type": "string"}, "since": openapi.TIME})),
            "no_plugin": {"type": "boolean", "description": "No enabled plugin computes the missing role."},
        }
    ),
    "CustomerStatus": openapi.closed({**_STATUS_VIEW, "now": openapi.TIME}),
    "OverviewEntry": openapi.closed(_STATUS_VIEW),
    "Overview": openapi.closed(
        {
            "customers": {"type": "array", "items": openapi.ref("OverviewEntry")},
            "next": openapi.nullable({"type": "string"}),
            "now": openapi.TIME,
            "pending": openapi.closed({"customers": {"type": "integer"}, "oldest": openapi.nullable(openapi.TIME)}),
            "rejected": {"type": "integer", "description": "Serial numbers that were refused."},
        }
    ),
}
_READ = openapi.operation(
    "readLogger", _TAG, "A logger with its meters and latest LOGGER_STATUS (operators)",
    reply=openapi.ref("LoggerDetails"), parameters=[openapi.path_parameter("serial", "The logger's serial number.")],
)  # fmt: skip
_READ_OWN = openapi.operation(
    "readCustomerLogger", _TAG, "A customer's logger with its meters and latest LOGGER_STATUS",
    reply=openapi.ref("LoggerDetails"), parameters=[openapi.CUSTOMER_ID],
)  # fmt: skip
_STATUS = openapi.operation(
    "readCustomerStatus", _TAG, "Last upload and derivation lag of a customer",
    reply=openapi.ref("CustomerStatus"), parameters=[openapi.CUSTOMER_ID],
)  # fmt: skip


def _list(name: str, which: str, paging: Sequence[openapi.JsonObject]) -> openapi.JsonObject:
    return openapi.operation(
        f"list{name}", _TAG, f"Loggers {which} (operators)", reply=openapi.ref(f"{name}List"), parameters=paging
    )


def _overview(paging: Sequence[openapi.JsonObject]) -> openapi.JsonObject:
    search = openapi.query_parameter(
        "search", {"type": "string", "maxLength": MAX_SEARCH}, "Part of a name or serial number."
    )
    return openapi.operation(
        "readOverview", _TAG, "State of all customers (operators)",
        reply=openapi.ref("Overview"), parameters=[*paging, search],
    )  # fmt: skip
