"""Loggers: last upload, meters with their last reading, STATUS, rejected serial numbers; state of customers.

Names and addresses come from devices and are hostile text: here they are JSON strings, pages must escape them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from msgspec import Meta
from msgspec.structs import asdict, replace

from cenergyd.customers.model import Customer, Role
from cenergyd.customers.ownership import owned_since
from cenergyd.derivation.status import results_of
from cenergyd.documents.json_types import JsonObject
from cenergyd.documents.kinds import LOGGER, LOGGER_STATUS, REJECTED
from cenergyd.documents.loggers import logger_of, up_to_date, uploads_in, with_uploads
from cenergyd.documents.meters import meters_of_logger
from cenergyd.documents.store import Document
from cenergyd.errors import NotFound
from cenergyd.jobs.alerts.job import AlertView, alert_views
from cenergyd.jobs.site_state.gather import SiteDocuments, documents_of, series_of_roles, site_states
from cenergyd.jobs.site_state.model import SiteState
from cenergyd.readings.model import CHANNELS, Reading
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.gather import concurrently
from cenergyd.runtime.structs import Resource, Time
from cenergyd.web.api import openapi
from cenergyd.web.api.customers import SettingsProblem
from cenergyd.web.api.derivation_state import DerivationState, derivation_state
from cenergyd.web.api.openapi import Next
from cenergyd.web.api.routing import Call, Response, Route
from cenergyd.web.api.site_state import SiteStateJson
from cenergyd.web.views.context import Context


class LastValues(Resource, frozen=True, kw_only=True):
    """The last reading: kW, power factor, V, kvar."""

    P: float | None
    L1_PF: float | None
    L1_V: float | None
    Q: float | None


class OtherRows(Resource, frozen=True, kw_only=True):
    """Rows of a log that were left out because they have more or fewer points than the meter's: of another meter, or damaged."""

    rows: Annotated[int, Meta(description="In the latest log that had any.")]
    time: Annotated[Time, Meta(description="When that log came.")]


class MeterJson(Resource, frozen=True, kw_only=True):
    """A meter behind a logger; its names are as typed on the device."""

    series: str
    meter: Annotated[str, Meta(description="The id to put into `facility`, `load` or `solar`.")]
    name: str
    device_type: str
    device_class: str
    last_upload: Time | None
    last_time: Time | None
    last: LastValues | None
    other_rows: OtherRows | None

    @classmethod
    def of(cls, document: Document) -> MeterJson:
        """A meter's document."""
        body = document.body
        last, others = body.get("last"), body.get("other_rows")
        return cls(
            series=document.key,
            meter=document.key.split("_", 1)[-1],
            name=_text(body, "name"),
            device_type=_text(body, "device_type"),
            device_class=_text(body, "device_class"),
            last_upload=body.get("last_upload"),
            last_time=body.get("last_time"),
            last=LastValues(**{channel: last.get(channel) for channel in CHANNELS}) if last else None,
            other_rows=OtherRows(rows=others["rows"], time=others["time"]) if others else None,
        )


class LoggerJson(Resource, frozen=True, kw_only=True):
    """A logger's last upload."""

    serial: str
    loop_name: Annotated[str, Meta(description="Site name as typed on the device: hostile text.")]
    address: str
    last_upload: Time | None

    @classmethod
    def of(cls, serial: str, document: Document | None) -> LoggerJson:
        """A logger's document; None: never seen."""
        return LoggerJson(**_seen(serial, document))

    @classmethod
    def of_customer(cls, customer: Customer, document: Document | None, last: Mapping[str, Reading]) -> LoggerJson:
        """The document of a customer's logger; nothing of it before the logger has sent a reading as theirs."""
        serial, since = customer.logger_serial_number, owned_since(customer)
        used = since == 0 or any(name in last and last[name].time >= since for name in customer.role_series)
        return cls.of(serial, document if used else None)


class StatusMessage(Resource, frozen=True, kw_only=True):
    """The latest STATUS of a logger."""

    time: Time | None
    fields: dict[str, str]


class LoggerDetails(LoggerJson, frozen=True, kw_only=True):
    """A logger with its meters and latest STATUS; empty if it was never seen."""

    status: StatusMessage | None
    meters: list[MeterJson]
    customer_id: str | None = None

    @property
    def known(self) -> bool:
        """Whether it was ever seen."""
        return self.last_upload is not None or bool(self.meters) or self.status is not None


class LoggerList(Resource, frozen=True, kw_only=True):
    """A page of loggers."""

    loggers: list[LoggerJson]
    next: Next


class RejectedJson(Resource, frozen=True, kw_only=True):
    """A rejected logger."""

    serial: str
    time: Time | None
    address: str
    count: int
    reason: str

    @classmethod
    def of(cls, document: Document) -> RejectedJson:
        """A rejected logger's document."""
        body = document.body
        return cls(
            serial=document.key,
            time=body.get("time"),
            address=_text(body, "address"),
            count=body.get("count", 0),
            reason=_text(body, "reason"),
        )


class RejectedList(Resource, frozen=True, kw_only=True):
    """A page of rejected loggers."""

    rejected: list[RejectedJson]
    next: Next


class StatusEntry(Resource, frozen=True, kw_only=True):
    """A customer's state."""

    customer_id: str
    name: str
    time_zone: str
    state: SiteStateJson
    missing_role: Role | None
    problems: list[SettingsProblem]
    logger: LoggerJson | None
    derivation: DerivationState


class CustomerStatus(StatusEntry, frozen=True, kw_only=True):
    """A customer's state, and the time it is of."""

    now: Time


class SiteNow(NamedTuple):
    """The state of a customer's site, and what was read with it."""

    state: SiteState
    last: Mapping[str, Reading | None]
    """The newest reading of each series of a role, and of the meters of sums; None: it has none."""
    alerts: Sequence[AlertView]
    """Those that are active or have a history."""


class StatusReader:
    """Reads the states of customers, in a few queries however many they are. Used by the API and the pages."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def status(self, customers: Sequence[Customer], now: int) -> list[StatusEntry]:
        """One entry per customer."""
        documents, readings = self._context.documents, self._context.readings
        series = series_of_roles(customers)
        stored, last = await concurrently(documents_of(customers, documents), _last(readings, series))
        results = await results_of(customers, documents)
        states = await site_states(customers, documents, now, last, readings, stored=stored)
        return [
            self._entry(customer, _logger_of(customer, stored), last, results.get(customer.id), state, now=now)
            for customer, state in zip(customers, states, strict=True)
        ]

    async def site(self, customer: Customer, now: int, newest: ReadingStore) -> SiteNow:
        """The state of one customer's site, and its alerts, which are read by the same query.

        :param newest: the store that the newest readings are read from (:meth:`Context.newest_readings`).
        """
        documents, readings = self._context.documents, self._context.readings
        series = customer.role_series
        stored, last = await concurrently(
            documents_of([customer], documents, alerts_of=customer.id),
            _last(newest, series),
        )
        (state,) = await site_states([customer], documents, now, last, readings, stored=stored)
        return SiteNow(state, {name: last.get(name) for name in series}, alert_views(stored.alerts.values()))

    def _entry(
        self,
        customer: Customer,
        logger: Document | None,
        last: Mapping[str, Reading],
        result: Mapping[str, Any] | None,
        state: SiteState,
        *,
        now: int,
    ) -> StatusEntry:
        serial = customer.logger_serial_number
        return StatusEntry(
            customer_id=customer.id,
            name=customer.name,
            time_zone=customer.time_zone,
            state=SiteStateJson.of(state, customer.time_zone, now),
            missing_role=customer.missing_role,
            problems=SettingsProblem.all_of(customer),
            logger=LoggerJson.of_customer(customer, logger, last) if serial else None,
            derivation=derivation_state(customer, last, result),
        )

    async def logger(self, serial: str) -> LoggerDetails:
        """A logger with its meters, by meter id, and latest STATUS; empty if it was never seen."""
        documents = self._context.documents
        status = await documents.get(LOGGER_STATUS, serial)
        logger = await logger_of(documents, serial)
        meters = await meters_of_logger(documents, serial, logger)
        return LoggerDetails(
            **_seen(serial, logger),
            status=StatusMessage(time=status.body.get("time"), fields=dict(status.body.get("fields", {})))
            if status
            else None,
            meters=[MeterJson.of(meter) for meter in meters.values()],
        )

    async def own_logger(self, customer: Customer) -> LoggerDetails:
        """A customer's logger, without the data that it sent while it belonged to another customer."""
        serial, since = customer.logger_serial_number, owned_since(customer)
        details = await self.logger(serial)
        if since == 0:
            return details
        meters = [meter for meter in details.meters if meter.last_time is not None and meter.last_time >= since]
        if not meters:
            return LoggerDetails(**_seen(serial, None), status=None, meters=[])
        return replace(details, meters=meters)


class LoggersApi:
    """``/loggers``, ``/rejected``, a customer's ``logger`` and ``status``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reader = StatusReader(context)

    async def page(self, call: Call) -> Response:
        """Loggers that have uploaded."""
        found, more = await self._documents(call, LOGGER)
        loggers = await up_to_date(self._context.documents, found)
        return Response(
            LoggerList(loggers=[LoggerJson.of(serial, each) for serial, each in loggers.items()], next=more)
        )

    async def rejected(self, call: Call) -> Response:
        """Rejected loggers."""
        found, more = await self._documents(call, REJECTED)
        return Response(RejectedList(rejected=[RejectedJson.of(document) for document in found], next=more))

    async def read(self, call: Call, serial: str) -> Response:
        """One logger."""
        details = await self._reader.logger(serial)
        customer = await self._context.customers.by_serial(serial)
        if not details.known:
            raise NotFound("there is no such logger")
        return Response(replace(details, customer_id=customer.id if customer else None))

    async def read_own(self, call: Call, customer_id: str) -> Response:
        """The logger that a customer's settings name."""
        customer = await self._context.customer(customer_id)
        if not customer.logger_serial_number:
            raise NotFound("no logger serial number is set")
        details = await self._reader.own_logger(customer)
        return Response(replace(details, customer_id=customer.id))

    async def status(self, call: Call, customer_id: str) -> Response:
        """A customer's state."""
        customer = await self._context.customer(customer_id)
        (entry,) = await self._reader.status([customer], call.now)
        return Response(CustomerStatus(**asdict(entry), now=call.now))

    async def _documents(self, call: Call, kind: str) -> tuple[list[Document], str | None]:
        limit = call.limit(self._context.page_size)
        found = await self._context.documents.find(kind, after_key=call.query("cursor") or None, limit=limit + 1)
        return found[:limit], found[limit - 1].key if len(found) > limit else None

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        paging = openapi.page_parameters(self._context.page_size)
        one = "/customers/{customer_id}"
        return (
            Route("GET", "/loggers", self.page, "operator", _list("Logger", LoggerList, "that have uploaded", paging)),
            Route("GET", "/loggers/{serial}", self.read, "operator", _READ),
            Route(
                "GET",
                "/rejected",
                self.rejected,
                "operator",
                _list("Rejected", RejectedList, "that were rejected", paging),
            ),
            Route("GET", f"{one}/logger", self.read_own, "signed_in", _READ_OWN),
            Route("GET", f"{one}/status", self.status, "signed_in", _STATUS),
        )


async def _last(readings: ReadingStore, series: Sequence[str]) -> dict[str, Reading]:
    return await readings.last(series) if series else {}


def _logger_of(customer: Customer, stored: SiteDocuments) -> Document | None:
    """The document of a customer's logger, with the regular uploads since."""
    logger = stored.loggers.get(customer.logger_serial_number)
    return with_uploads(logger, uploads_in(stored.sites.get(customer.id))) if logger is not None else None


def _seen(serial: str, document: Document | None) -> JsonObject:
    body: Mapping[str, object] = document.body if document else {}
    return {
        "serial": serial,
        "loop_name": _text(body, "loop_name"),
        "address": _text(body, "address"),
        "last_upload": body.get("last_upload"),
    }


def _text(body: Mapping[str, object], name: str) -> str:
    return str(body.get(name) or "")


_TAG = "loggers"
_READ = openapi.Operation(
    "readLogger", _TAG, "A logger with its meters and latest STATUS (operators)",
    response=LoggerDetails, parameters=[openapi.path_parameter("serial", "The logger's serial number.")],
)  # fmt: skip
_READ_OWN = openapi.Operation(
    "readCustomerLogger", _TAG, "A customer's logger with its meters and latest STATUS",
    response=LoggerDetails, parameters=[openapi.CUSTOMER_ID],
)  # fmt: skip
_STATUS = openapi.Operation(
    "readCustomerStatus", _TAG, "Last upload and derivation lag of a customer",
    response=CustomerStatus, parameters=[openapi.CUSTOMER_ID],
)  # fmt: skip


def _list(name: str, kind: type[Resource], which: str, paging: Sequence[openapi.SpecObject]) -> openapi.Operation:
    return openapi.Operation(f"list{name}", _TAG, f"Loggers {which} (operators)", response=kind, parameters=paging)
