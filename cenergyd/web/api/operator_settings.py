"""``/customers/{customer_id}/operator``: settings of a customer that only operators may change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from cenergyd.customers.fields import PATTERNS
from cenergyd.customers.model import Customer
from cenergyd.customers.ownership import MAX_RELEASED, released_loggers
from cenergyd.errors import Conflict
from cenergyd.runtime.structs import Resource
from cenergyd.web.api import openapi
from cenergyd.web.api.routing import JSON, MERGE_PATCH, Call, Response, Route, quoted_etag
from cenergyd.web.views.context import Context
from cenergyd.web.views.operator_settings import change_operator_settings

_Plugin = Annotated[
    str,
    Meta(
        max_length=200, description="The only plugin that may compute the missing meter; empty: the first that answers."
    ),
]
_Released = Annotated[
    list[Annotated[str, Meta(pattern=PATTERNS["logger_serial_number"])]],
    Meta(max_length=MAX_RELEASED, description="Loggers that the customer may name although they never had them."),
]


class OperatorSettingsJson(Resource, frozen=True, kw_only=True):
    """Settings of a customer that only operators may change."""

    derivation_plugin: _Plugin
    released_loggers: _Released

    @classmethod
    def of(cls, customer: Customer) -> OperatorSettingsJson:
        """A customer's."""
        return cls(derivation_plugin=customer.derivation_plugin, released_loggers=sorted(released_loggers(customer)))


class OperatorSettingsPatch(Resource, frozen=True, kw_only=True):
    """Changes; what is absent is unchanged."""

    derivation_plugin: _Plugin | UnsetType = UNSET
    released_loggers: _Released | UnsetType = UNSET


class OperatorSettingsApi:
    """``/customers/{customer_id}/operator``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def read(self, call: Call, customer_id: str) -> Response:
        """What is set."""
        return _response(await self._context.customer(customer_id))

    async def merge(self, call: Call, customer_id: str) -> Response:
        """Change some of it."""
        etag, given = call.if_match(), call.body(OperatorSettingsPatch, (JSON, MERGE_PATCH))
        customer = await self._context.customer(customer_id)
        if etag is not None and customer.etag != etag:
            raise Conflict("the customer was changed meanwhile")
        plugin, released = given.derivation_plugin, given.released_loggers
        changed = await change_operator_settings(
            self._context, call.principal, customer, etag=etag,
            plugin=None if plugin is UNSET else plugin, released=None if released is UNSET else released,
        )  # fmt: skip
        return _response(changed)

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        path = "/customers/{customer_id}/operator"
        return (
            Route("GET", path, self.read, "operator", _READ),
            Route("PATCH", path, self.merge, "operator", _MERGE),
        )


def _response(customer: Customer) -> Response:
    return Response(OperatorSettingsJson.of(customer), headers={"ETag": quoted_etag(customer.etag)})


_READ = openapi.Operation(
    "readOperatorSettings", "customers", "Settings that only operators may change (operators)",
    response=OperatorSettingsJson, etag=True, parameters=[openapi.CUSTOMER_ID],
)  # fmt: skip
_MERGE = openapi.Operation(
    "mergeOperatorSettings", "customers", "Release loggers, or choose the derivation plugin (operators)",
    response=OperatorSettingsJson, etag=True, body=OperatorSettingsPatch, body_media_types=(JSON, MERGE_PATCH),
    parameters=[openapi.CUSTOMER_ID, openapi.IF_MATCH],
)  # fmt: skip
