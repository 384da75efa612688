"""Meters whose logs are held unread: their columns, and the choice of what these are, as on the Meters page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from cenergyd.errors import Conflict, InvalidField, NotFound
from cenergyd.runtime.structs import Resource, Time
from cenergyd.web.api import openapi
from cenergyd.web.api.customers import CustomerJson
from cenergyd.web.api.history import Column
from cenergyd.web.api.routing import Call, Response, Route, quoted_etag
from cenergyd.web.views.context import Context
from cenergyd.web.views.customer_service import change_customer
from cenergyd.web.views.held_meters import HeldView, checked_columns, dismiss, held_views, with_columns

Value = Literal["P", "L1_PF", "L1_V", "Q", "E_net", "E_import", "E_export"]


class HeldColumnJson(Resource, frozen=True, kw_only=True):
    """A column of the held rows. Texts are the device's."""

    column: Annotated[int, Meta(description="The number to choose it by: the first after time and alarms is 4.")]
    name: Annotated[str, Meta(description="Its name in the logs, with its unit; empty if they have none.")]
    values: Annotated[list[str], Meta(description="Its values in the first held rows.")]


class HeldMeterJson(Resource, frozen=True, kw_only=True):
    """A meter whose logs are held unread. Texts are the device's."""

    meter: str
    state: Annotated[str, Meta(description="unknown: its columns should be chosen. other: it measures no power.")]
    reason: str
    doubts: Annotated[list[str], Meta(description="Columns that may be real power, and why they were not used.")]
    logs: Annotated[int, Meta(description="Number of held logs.")]
    bytes: int
    since: Time
    until: Time
    device_name: str
    device_type: str
    device_class: str
    columns: list[HeldColumnJson]

    @classmethod
    def of(cls, view: HeldView) -> HeldMeterJson:
        """A meter with the columns of its held rows."""
        meter = view.meter
        return cls(
            meter=meter.meter,
            state=meter.state,
            reason=meter.reason,
            doubts=list(meter.doubts),
            logs=meter.logs,
            bytes=meter.bytes,
            since=meter.since,
            until=meter.until,
            device_name=meter.device_name,
            device_type=meter.device_type,
            device_class=meter.device_class,
            columns=[HeldColumnJson(column=c.number, name=c.name, values=list(c.values)) for c in view.columns],
        )


class HeldMetersJson(Resource, frozen=True, kw_only=True):
    """Meters whose columns should be chosen, and those that a role names."""

    meters: list[HeldMeterJson]


class HeldChoice(Resource, frozen=True, kw_only=True):
    """What the meter's columns are, or that it is no power meter; one of the two."""

    columns: (
        Annotated[
            dict[Value, Column],
            Meta(description="Value -> column; P is needed. They apply to all times of this logger."),
        ]
        | UnsetType
    ) = UNSET
    no_power_meter: bool = False


class HeldMetersApi:
    """``/customers/{customer_id}/held-meters``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def read(self, call: Call, customer_id: str) -> Response:
        """The meters, each with the columns of its first held rows."""
        views = await held_views(self._context, await self._context.customer(customer_id))
        return Response(HeldMetersJson(meters=[HeldMeterJson.of(view) for view in views]))

    async def choose(self, call: Call, customer_id: str, meter: str) -> Response:
        """Choose the columns of a meter; its held logs are read soon after."""
        etag = call.if_match()
        given = call.body(HeldChoice)
        customer = await self._context.customer(customer_id)
        if meter not in [view.meter.meter for view in await held_views(self._context, customer)]:
            raise NotFound("no logs of this meter are held")
        if etag is not None and customer.etag != etag:
            raise Conflict("the customer was changed meanwhile")
        if given.no_power_meter == (given.columns is not UNSET):
            raise InvalidField("columns", "either columns or no_power_meter is needed")
        if given.columns is UNSET:
            await dismiss(self._context, customer, meter)
            return Response(CustomerJson.of(customer), headers={"ETag": quoted_etag(customer.etag)})
        columns: Mapping[str, int] = {str(name): number for name, number in given.columns.items()}
        update = with_columns(customer, meter, checked_columns(columns, "columns"))
        new = await change_customer(self._context, call.principal, customer_id, update, customer.etag)
        return Response(CustomerJson.of(new), headers={"ETag": quoted_etag(new.etag)})

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        one = "/customers/{customer_id}/held-meters"
        return (
            Route("GET", one, self.read, "signed_in", _READ),
            Route("POST", f"{one}/{{meter}}", self.choose, "signed_in", _CHOOSE),
        )


_TAG = "history"
_METER = openapi.path_parameter("meter", "Meter id, such as 7.")
_READ = openapi.Operation(
    "readHeldMeters", _TAG, "Meters whose logs are held unread, and what their columns hold", response=HeldMetersJson,
    parameters=[openapi.CUSTOMER_ID],
)  # fmt: skip
_CHOOSE = openapi.Operation(
    "chooseHeldMeter", _TAG, "Choose the columns of a meter whose logs are held unread", response=CustomerJson, etag=True,
    body=HeldChoice, parameters=[openapi.CUSTOMER_ID, _METER, openapi.IF_MATCH],
)  # fmt: skip
