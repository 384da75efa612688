"""``/settings`` as the existing front end uses it: five settings of the customer who is signed in.

``GET`` returns them; of the password only whether one is set. ``POST`` takes the same fields; one that is not sent is unchanged, and so is
the password if an empty one is sent, because the front end cannot have read it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cenergyd.customers.model import Customer
from cenergyd.runtime.structs import Resource
from cenergyd.web.access.auth import Principal
from cenergyd.web.api import openapi
from cenergyd.web.api.customers import SettingsEditor
from cenergyd.web.api.routing import Call, Response, Route, Router, quoted_etag, unquoted_etag
from cenergyd.web.server.problems import FieldError, RequestProblem, invalid_fields
from cenergyd.web.views.context import Context

FIELDS = ("facility", "load", "solar", "logger_serial_number", "logger_password")


class OwnSettingsJson(Resource, frozen=True, kw_only=True):
    """The settings as the front end reads them."""

    facility: str
    load: str
    solar: str
    logger_serial_number: str
    logger_password_set: bool


class FrontEndSettings:
    """The existing front end's settings; mount ``app`` at the root, for the one path ``/settings``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._editor = SettingsEditor(context)
        router = Router(
            context.authenticator,
            context.clock,
            max_body_bytes=context.max_json_bytes,
            hsts_seconds=context.settings.hsts_seconds,
        )
        router.add(self)
        self.app = router.app

    async def read(self, call: Call) -> Response:
        """The signed-in customer's settings."""
        return _own(await self._context.customer(_own_id(call.principal)))

    async def change(self, call: Call) -> Response:
        """Change them; with If-Match only if nobody else has."""
        customer_id = _own_id(call.principal)
        given = call.json_object()
        unknown = [FieldError(name[:100], "no such setting") for name in given if name not in FIELDS]
        if unknown:
            raise invalid_fields(unknown)
        if given.get("logger_password") == "":
            given = {name: value for name, value in given.items() if name != "logger_password"}
        match = call.header("if-match")
        etag = unquoted_etag(match) if match not in (None, "*") else None
        return _own(await self._editor.merge(call.principal, customer_id, given, etag))

    def routes(self) -> Sequence[Route]:
        """Both of them; the OpenAPI document leaves them out."""
        return (
            Route("GET", "/settings", self.read, "signed_in", openapi.Operation("readOwn", "settings", "Own settings")),
            Route("POST", "/settings", self.change, "signed_in", openapi.Operation("changeOwn", "settings", "Change")),
        )


def _own_id(principal: Principal) -> str:
    if principal.customer_id is None:
        raise RequestProblem(403, "forbidden", "this is for customers; operators use /api/v1/customers")
    return principal.customer_id


def _own(customer: Customer) -> Response:
    settings = OwnSettingsJson(
        facility=customer.facility,
        load=customer.load,
        solar=customer.solar,
        logger_serial_number=customer.logger_serial_number,
        logger_password_set=bool(customer.logger_password),
    )
    return Response(settings, headers={"ETag": quoted_etag(customer.etag)})
