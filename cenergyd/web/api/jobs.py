"""Results of the jobs for a customer (rollups, energy, net load, charges, alerts, setup checks) and the jobs' settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import attrs
from msgspec import Meta

from cenergyd.customers.model import ROLES, Customer, Role, TimeRange
from cenergyd.documents.json_types import JsonObject
from cenergyd.errors import Conflict
from cenergyd.jobs.alerts.job import alerts_for
from cenergyd.jobs.alerts.receivers import By, edit_receivers, public_settings
from cenergyd.jobs.alerts.rules import AlertSettings, alerts_of
from cenergyd.jobs.doctor.report import doctor
from cenergyd.jobs.front_end_settings import alerts_json
from cenergyd.jobs.messages.receiver_codes import send_code, use_code
from cenergyd.jobs.rollups import report
from cenergyd.jobs.tariff.costs import charges_csv, charges_overview
from cenergyd.jobs.tariff.parsing import described, tariff_from_json, tariff_of, tariff_to_json
from cenergyd.jobs.tariff.schema import TariffJson
from cenergyd.jobs.windows import RESOLUTIONS
from cenergyd.runtime.structs import Resource
from cenergyd.runtime.yielding import CooperativeYield
from cenergyd.web.api import openapi
from cenergyd.web.api.routing import Call, Response, Route, json_list, quoted_etag
from cenergyd.web.server.problems import FieldError, invalid_fields
from cenergyd.web.views.context import Context
from cenergyd.web.views.customer_service import change_customer
from cenergyd.web.views.receivers import confirm_receiver, send_codes

_MAX_TIME = 1 << 33
_BASES = ("billing", "calendar")


Report = JsonObject
"""A JSON object; its description names the members."""


class Rollups(Resource, frozen=True, kw_only=True):
    """Stored windows of a role."""

    role: Role
    resolution: Annotated[str, Meta(extra_json_schema={"enum": list(RESOLUTIONS)})]
    series: str | None
    windows: Annotated[
        list[Report],
        Meta(
            description="time (start, UTC seconds), series, and per channel mean, min, max, count, import positive even if a CT is reversed; PF from the sums of P and Q."
        ),
    ]


class NetLoad(Resource, frozen=True, kw_only=True):
    """Net load per 15 minutes."""

    windows: list[Report]


class TariffAnswer(Resource, frozen=True, kw_only=True):
    """The tariff; null if none is set."""

    tariff: TariffJson | None


class AlertsAnswer(Resource, frozen=True, kw_only=True):
    """The alert settings; null if there are none."""

    alerts: AlertSettings | None


class AlertStates(Resource, frozen=True, kw_only=True):
    """Alerts that are active or were."""

    alerts: list[Report]


class Messages(Resource, frozen=True, kw_only=True):
    """Messages that were sent or wait to be sent."""

    messages: list[Report]


class Queued(Resource, frozen=True, kw_only=True):
    """The key of a message that waits to be sent."""

    key: str


EnergyToday = Annotated[
    Report, Meta(description="date, start, end, and per role import_kwh, export_kwh and covered_seconds.")
]
ChargesJson = Annotated[
    Report,
    Meta(
        description="this, last and last_year: energy per period, demand peaks with time, amounts as text; null: not known. "
        "to_same_day: last and last_year up to the day that this period has reached. projected: an estimate of import_kwh, export_kwh and total at the end of this period. today: import_charge, export_credit, total. saved: what solar saved today and in this "
        "period, over the hours in which load and grid are both known."
    ),
]
DoctorFindings = Annotated[Report, Meta(description="findings: severity, code, field, message, advice, evidence.")]
ChannelJson = Annotated[
    Report,
    Meta(
        description='One channel: {"type": "email", "to": ...}, {"type": "sms", "to": ...}, {"type": "webhook", "url": ...}.'
    ),
]


class Confirmation(Resource, frozen=True, kw_only=True):
    """A receiver to confirm."""

    channel: ChannelJson
    code: Annotated[
        Annotated[str, Meta(max_length=40)] | None,
        Meta(description="The code that was sent there; operators may leave it out."),
    ] = None


class JobsApi:
    """``/customers/{customer_id}/rollups``, ``energy``, ``net-load``, ``charges``, ``tariff``, ``alerts``, ``doctor``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def rollups(self, call: Call, customer_id: str) -> Response:
        """Stored windows of a role."""
        role, resolution = call.query("role"), call.query("resolution") or "15m"
        if role not in ROLES:
            raise invalid_fields([FieldError("role", f"one of {', '.join(ROLES)} is needed")])
        if resolution not in RESOLUTIONS:
            raise invalid_fields([FieldError("resolution", f"one of {', '.join(RESOLUTIONS)} is needed")])
        start, end = _range(call)
        customer = await self._context.customer(customer_id)
        within = TimeRange(start, end)
        cooperate = CooperativeYield(self._context.clock)
        found = await report.role_rollup(
            customer, self._context.readings, role, resolution, within,
            keep_days=self._context.keep_days, cooperate=cooperate,
        )  # fmt: skip
        head = Rollups(role=role, resolution=resolution, series=customer.series_of(role), windows=[])
        return Response(json_list(head, found, cooperate))

    async def energy_today(self, call: Call, customer_id: str) -> Response:
        """Energy per role since the customer's midnight."""
        customer = await self._context.customer(customer_id)
        readings, max_gap = self._context.readings, self._context.max_gap_seconds
        return Response(await report.energy_today(customer, readings, call.now, max_gap=max_gap))

    async def net_load(self, call: Call, customer_id: str) -> Response:
        """Net load per 15 minutes."""
        start, end = _range(call)
        customer = await self._context.customer(customer_id)
        found = await report.net_load(customer, self._context.readings, start, end, call.now)
        return Response(json_list(NetLoad(windows=[]), found, CooperativeYield(self._context.clock)))

    async def charges(self, call: Call, customer_id: str) -> Response:
        """Charges of this period, the last one and the same one last year."""
        basis = call.query("basis") or "billing"
        if basis not in _BASES:
            raise invalid_fields([FieldError("basis", f"one of {', '.join(_BASES)} is needed")])
        return Response(await self._charges(call, customer_id, basis))

    async def charges_csv(self, call: Call, customer_id: str) -> Response:
        """The same as CSV."""
        basis = call.query("basis") or "billing"
        if basis not in _BASES:
            raise invalid_fields([FieldError("basis", f"one of {', '.join(_BASES)} is needed")])
        found = await self._charges(call, customer_id, basis)
        name = f"charges-{found['this']['first_day']}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(charges_csv(found), headers=headers, media_type="text/csv; charset=utf-8")

    async def _charges(self, call: Call, customer_id: str, basis: str) -> Report:
        context = self._context
        customer = await context.customer(customer_id)
        max_gap = context.max_gap_seconds
        return await charges_overview(customer, context.readings, call.now, basis, max_gap)  # type: ignore[arg-type]

    async def doctor(self, call: Call, customer_id: str) -> Response:
        """The setup checks."""
        context = self._context
        customer = await context.customer(customer_id)
        return Response((await doctor(customer, context.readings, context.documents, call.now)).to_json())

    async def read_tariff(self, call: Call, customer_id: str) -> Response:
        """The tariff."""
        return _tariff_answer(await self._context.customer(customer_id))

    async def set_tariff(self, call: Call, customer_id: str) -> Response:
        """Set the tariff."""
        etag = call.if_match()
        tariff = tariff_to_json(tariff_from_json(call.json_object()))
        return _tariff_answer(await self._set(customer_id, "tariff", tariff, etag))

    async def remove_tariff(self, call: Call, customer_id: str) -> Response:
        """Remove the tariff."""
        await self._set(customer_id, "tariff", None, call.if_match())
        return Response(status=204)

    async def read_alerts(self, call: Call, customer_id: str) -> Response:
        """Alert settings."""
        return _alerts_answer(await self._context.customer(customer_id))

    async def set_alerts(self, call: Call, customer_id: str) -> Response:
        """Set the alert settings; secrets that are not sent are kept."""
        etag = call.if_match()
        customer = await self._context.customer(customer_id)
        edited = edit_receivers(
            alerts_json(customer), call.json_object(), self._context.channel_types, self._context.alert_rules,
            by_operator=call.principal.is_operator, now=call.now,
        )  # fmt: skip
        if etag is not None and customer.etag != etag:
            raise Conflict("the customer was changed meanwhile")
        changed = await self._set(customer_id, "alerts", edited, customer.etag)
        await send_codes(self._context.outbox, customer, changed, call.now)
        return _alerts_answer(changed)

    async def send_code(self, call: Call, customer_id: str) -> Response:
        """Send a code to a receiver that is not confirmed."""
        customer = await self._context.customer(customer_id)
        return Response(
            Queued(key=await send_code(self._context.required_outbox(), customer, call.json_object(), call.now)), 202
        )

    async def confirm(self, call: Call, customer_id: str) -> Response:
        """Confirm a receiver by its code; operators need none."""
        given = call.body(Confirmation)
        await self._context.customer(customer_id)
        if not call.principal.is_operator or given.code is not None:
            await use_code(self._context.documents, customer_id, given.channel, given.code or "", call.now)
        by: By = "owner" if given.code is not None else "operator"
        return _alerts_answer(await confirm_receiver(self._context, customer_id, given.channel, by))

    async def alert_states(self, call: Call, customer_id: str) -> Response:
        """Alerts that are active or were."""
        await self._context.customer(customer_id)
        found = await alerts_for(self._context.documents, customer_id)
        return Response(
            AlertStates(
                alerts=[attrs.asdict(view.state) | {"kind": view.kind, "series": view.series} for view in found]
            )
        )

    async def deliveries(self, call: Call, customer_id: str) -> Response:
        """Messages that were sent or wait to be sent."""
        await self._context.customer(customer_id)
        return Response(
            Messages(
                messages=[item._asdict() for item in await self._context.required_outbox().deliveries(customer_id)]
            )
        )

    async def test_message(self, call: Call, customer_id: str) -> Response:
        """Queue a test message."""
        customer = await self._context.customer(customer_id)
        key = await self._context.required_outbox().enqueue_test(customer, call.json_object(), call.now)
        return Response(Queued(key=key), 202)

    async def _set(self, customer_id: str, name: str, value: object, etag: str | None) -> Customer:
        return await change_customer(self._context, None, customer_id, {"extensions": {name: value}}, etag)

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        one = "/customers/{customer_id}"
        return (
            Route("GET", f"{one}/rollups", self.rollups, "signed_in", _ROLLUPS, is_long=True),
            Route("GET", f"{one}/energy/today", self.energy_today, "signed_in", _ENERGY),
            Route("GET", f"{one}/net-load", self.net_load, "signed_in", _NET_LOAD, is_long=True),
            Route("GET", f"{one}/charges", self.charges, "signed_in", _CHARGES, is_long=True),
            Route("GET", f"{one}/charges.csv", self.charges_csv, "signed_in", _CHARGES_CSV, is_long=True),
            Route("GET", f"{one}/doctor", self.doctor, "signed_in", _DOCTOR, is_long=True),
            Route("GET", f"{one}/tariff", self.read_tariff, "signed_in", _READ_TARIFF),
            Route("PUT", f"{one}/tariff", self.set_tariff, "signed_in", _SET_TARIFF),
            Route("DELETE", f"{one}/tariff", self.remove_tariff, "signed_in", _REMOVE_TARIFF),
            Route("GET", f"{one}/alerts", self.read_alerts, "signed_in", _READ_ALERTS),
            Route("PUT", f"{one}/alerts", self.set_alerts, "signed_in", _SET_ALERTS),
            Route("GET", f"{one}/alerts/states", self.alert_states, "signed_in", _STATES),
            Route("GET", f"{one}/alerts/messages", self.deliveries, "signed_in", _MESSAGES),
            Route("POST", f"{one}/alerts/test", self.test_message, "signed_in", _TEST),
            Route("POST", f"{one}/alerts/code", self.send_code, "signed_in", _SEND_CODE),
            Route("POST", f"{one}/alerts/confirm", self.confirm, "signed_in", _CONFIRM),
        )


def _tariff_answer(customer: Customer) -> Response:
    tariff = tariff_of(customer)
    answer = TariffAnswer(tariff=None if tariff is None else described(tariff))
    return Response(answer, headers={"ETag": quoted_etag(customer.etag)})


def _alerts_answer(customer: Customer) -> Response:
    settings = alerts_of(customer)
    answer = AlertsAnswer(alerts=None if settings is None else public_settings(settings, alerts_json(customer)))
    return Response(answer, headers={"ETag": quoted_etag(customer.etag)})


def _range(call: Call) -> tuple[int, int]:
    end = call.query_integer("end", 0, _MAX_TIME)
    end = call.now if end is None else end
    start = call.query_integer("start", 0, _MAX_TIME)
    start = end - 86400 if start is None else start
    if start >= end:
        raise invalid_fields([FieldError("end", "must be later than start")])
    return start, end


_TAG = "jobs"
_TIMES = (
    openapi.query_parameter(
        "start", {"type": "integer", "minimum": 0, "maximum": _MAX_TIME}, "UTC seconds; default: a day before end."
    ),
    openapi.query_parameter(
        "end", {"type": "integer", "minimum": 0, "maximum": _MAX_TIME}, "UTC seconds, exclusive; default: now."
    ),
)
_ROLLUPS = openapi.Operation(
    "readRollups", _TAG, "A role's rollups", response=Rollups,
    parameters=[
        openapi.CUSTOMER_ID, openapi.query_parameter("role", {"enum": list(ROLES)}, "The role.", required=True),
        openapi.query_parameter("resolution", {"enum": list(RESOLUTIONS)}, "Default: 15m."), *_TIMES,
    ],
)  # fmt: skip
_ENERGY = openapi.Operation(
    "readEnergyToday",
    _TAG,
    "Energy since the customer's midnight",
    response=EnergyToday,
    parameters=[openapi.CUSTOMER_ID],
)
_NET_LOAD = openapi.Operation(
    "readNetLoad",
    _TAG,
    "Net load (load - solar) per 15 minutes",
    response=NetLoad,
    parameters=[openapi.CUSTOMER_ID, *_TIMES],
)
_CHARGES = openapi.Operation(
    "readCharges", _TAG, "Charges of this, the last and last year's period", response=ChargesJson,
    parameters=[openapi.CUSTOMER_ID, openapi.query_parameter("basis", {"enum": list(_BASES)}, "Billing periods or calendar months.")],
)  # fmt: skip
_CHARGES_CSV = openapi.Operation(
    "readChargesCsv", _TAG, "Charges as CSV", response=str, response_media_type="text/csv",
    parameters=[openapi.CUSTOMER_ID, openapi.query_parameter("basis", {"enum": list(_BASES)}, "Billing periods or calendar months.")],
)  # fmt: skip
_DOCTOR = openapi.Operation(
    "readDoctor", _TAG, "Setup checks: swapped meters, reversed CTs, clocks, agreement", response=DoctorFindings,
    parameters=[openapi.CUSTOMER_ID],
)  # fmt: skip
_READ_TARIFF = openapi.Operation(
    "readTariff", _TAG, "The tariff", response=TariffAnswer, etag=True, parameters=[openapi.CUSTOMER_ID]
)
_SET_TARIFF = openapi.Operation(
    "setTariff", _TAG, "Set the tariff", response=TariffAnswer, etag=True, body=TariffJson,
    parameters=[openapi.CUSTOMER_ID, openapi.IF_MATCH],
)  # fmt: skip
_REMOVE_TARIFF = openapi.Operation(
    "removeTariff", _TAG, "Remove the tariff", status=204, parameters=[openapi.CUSTOMER_ID, openapi.IF_MATCH]
)
_READ_ALERTS = openapi.Operation(
    "readAlerts", _TAG, "Alert settings", response=AlertsAnswer, etag=True, parameters=[openapi.CUSTOMER_ID]
)
_SET_ALERTS = openapi.Operation(
    "setAlerts", _TAG, "Set the alert settings", response=AlertsAnswer, etag=True, body=AlertSettings,
    parameters=[openapi.CUSTOMER_ID, openapi.IF_MATCH],
)  # fmt: skip
_STATES = openapi.Operation(
    "listAlertStates",
    _TAG,
    "Alerts that are active or were",
    response=AlertStates,
    parameters=[openapi.CUSTOMER_ID],
)
_MESSAGES = openapi.Operation(
    "listMessages",
    _TAG,
    "Messages that were sent or wait to be sent",
    response=Messages,
    parameters=[openapi.CUSTOMER_ID],
)
_TEST = openapi.Operation(
    "sendTestMessage", _TAG, "Queue a test message to a channel", response=Queued, status=202,
    body=ChannelJson, parameters=[openapi.CUSTOMER_ID],
)  # fmt: skip
_SEND_CODE = openapi.Operation(
    "sendConfirmationCode", _TAG, "Send a code to an e-mail address or number that is not confirmed", response=Queued, status=202,
    body=ChannelJson, parameters=[openapi.CUSTOMER_ID],
)  # fmt: skip
_CONFIRM = openapi.Operation(
    "confirmReceiver", _TAG, "Confirm an e-mail address or number by its code; operators need none", response=AlertsAnswer,
    body=Confirmation, etag=True, parameters=[openapi.CUSTOMER_ID],
)  # fmt: skip
