"""Customers and their settings: list, create, read, merge, replace, remove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from cenergyd.customers.fields import CLEANERS, PATTERNS, clean_settings, time_zones
from cenergyd.customers.model import ROLES, Customer
from cenergyd.errors import Conflict
from cenergyd.web.access.auth import Principal
from cenergyd.web.api import openapi
from cenergyd.web.api.routing import JSON, MAX_SEARCH, MERGE_PATCH, Call, Reply, Route, quoted_etag
from cenergyd.web.server.problems import FieldError, invalid_fields
from cenergyd.web.views.context import Context
from cenergyd.web.views.customer_service import FOREIGN_LOGGER_ANSWER, add_customer, change_customer


def settings_view(customer: Customer) -> dict[str, Any]:
    """The settings; of the password only whether there is one."""
    return {
        "facility": customer.facility,
        "load": customer.load,
        "solar": customer.solar,
        "logger_serial_number": customer.logger_serial_number,
        "logger_password_set": bool(customer.logger_password),
        "name": customer.name,
        "time_zone": customer.time_zone,
    }


def customer_view(customer: Customer) -> dict[str, Any]:
    """The settings and what follows from them."""
    return {
        "id": customer.id,
        **settings_view(customer),
        "missing_role": customer.missing_role,
        "series": {role: customer.series_of(role) for role in ROLES},
        "problems": [problem._asdict() for problem in customer.problems()],
    }


class SettingsEditor:
    """Changes settings: cleans, hashes, compares entity tags, tells who must know. Used by the API and the pages.

    Everything raises InvalidField or a 422 problem (all faults at once), SerialTaken, NotFound, Conflict, StoreUnavailable, and a
    403 problem for a logger that a customer may not name (:mod:`cenergyd.web.views.customer_service`).
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    async def create(self, given: Mapping[str, Any]) -> Customer:
        """Add a customer."""
        changes = await self._hashed(_cleaned(given))
        return await add_customer(self._context, attrs.evolve(Customer(id=""), **changes))

    async def merge(
        self, caller: Principal | None, customer_id: str, given: Mapping[str, Any], etag: str | None
    ) -> Customer:
        """Change the settings that are given, with a caller's rights; None empties one. ``etag`` None: whatever is there now."""
        cleaned = _cleaned(given)
        old = await self._unchanged(customer_id, etag)
        if not cleaned:
            return old
        changes = await self._hashed(cleaned)
        return await change_customer(self._context, caller, customer_id, changes, etag)

    async def replace(
        self, caller: Principal | None, customer_id: str, given: Mapping[str, Any], etag: str | None
    ) -> Customer:
        """Set all settings; what is not given is emptied, but for the password, which nobody can have read."""
        emptied = {field: "" for field in CLEANERS if field != "logger_password"}
        return await self.merge(caller, customer_id, {**emptied, **given}, etag)

    async def remove(self, customer_id: str, etag: str | None) -> None:
        """Remove a customer and revoke their tokens; the readings stay."""
        old = await self._unchanged(customer_id, etag)
        await self._context.customers.remove(customer_id, expected_etag=etag)
        await self._context.on_change(old, None)
        await self._context.tokens.revoke_customer(customer_id)

    async def _unchanged(self, customer_id: str, etag: str | None) -> Customer:
        # The store compares again; this spares a hash for a change that is too late already.
        customer = await self._context.customer(customer_id)
        if etag is not None and customer.etag != etag:
            raise Conflict("the customer was changed meanwhile")
        return customer

    async def _hashed(self, cleaned: Mapping[str, str]) -> dict[str, Any]:
        password = cleaned.get("logger_password")
        return {**cleaned, "logger_password": await self._context.hash_password(password)} if password else {**cleaned}


def _cleaned(given: Mapping[str, Any]) -> dict[str, str]:
    cleaned, faults = clean_settings(given)
    if faults:
        raise invalid_fields([FieldError(fault.field, str(fault)) for fault in faults])
    return cleaned


class CustomersApi:
    """``/customers``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._editor = SettingsEditor(context)

    async def page(self, call: Call) -> Reply:
        """A page of customers; a customer's own list is as long as it can be."""
        limit = call.query_integer("limit", 1, self._context.settings.page_size) or self._context.settings.page_size
        cursor, search = call.query("cursor"), call.query("search", MAX_SEARCH)
        if call.principal.is_operator:
            found = await self._context.customers.page(after=cursor or None, limit=limit + 1, search=search or None)
        else:
            found = [await self._context.customer(str(call.principal.customer_id))]
        more = found[limit - 1].id if len(found) > limit else None
        return Reply({"customers": [customer_view(customer) for customer in found[:limit]], "next": more})

    async def create(self, call: Call) -> Reply:
        """Add a customer."""
        customer = await self._editor.create(call.json_object())
        headers = {"ETag": quoted_etag(customer.etag), "Location": f"/api/v1/customers/{customer.id}"}
        return Reply(customer_view(customer), 201, headers)

    async def read(self, call: Call, customer_id: str) -> Reply:
        """One customer."""
        return _with_etag(call, await self._context.customer(customer_id), customer_view)

    async def read_settings(self, call: Call, customer_id: str) -> Reply:
        """The settings alone."""
        return _with_etag(call, await self._context.customer(customer_id), settings_view)

    async def merge(self, call: Call, customer_id: str) -> Reply:
        """Change some settings."""
        return await self._change(call, customer_id, self._editor.merge, customer_view)

    async def merge_settings(self, call: Call, customer_id: str) -> Reply:
        """Change some settings."""
        return await self._change(call, customer_id, self._editor.merge, settings_view)

    async def replace(self, call: Call, customer_id: str) -> Reply:
        """Set all settings."""
        return await self._change(call, customer_id, self._editor.replace, customer_view)

    async def replace_settings(self, call: Call, customer_id: str) -> Reply:
        """Set all settings."""
        return await self._change(call, customer_id, self._editor.replace, settings_view)

    async def remove(self, call: Call, customer_id: str) -> Reply:
        """Remove a customer."""
        await self._editor.remove(customer_id, call.if_match())
        return Reply(status=204)

    async def _change(self, call: Call, customer_id: str, change: Any, view: Any) -> Reply:
        etag = call.if_match()
        media_types = (JSON, MERGE_PATCH) if call.request.method == b"PATCH" else (JSON,)
        given = call.json_object(media_types)
        return _reply(await change(call.principal, customer_id, given, etag), view)

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        customers, one, settings = "/customers", "/customers/{customer_id}", "/customers/{customer_id}/settings"
        return (
            Route("GET", customers, self.page, "signed_in", _list_operation(self._context.settings.page_size)),
            Route("POST", customers, self.create, "operator", _CREATE),
            Route("GET", one, self.read, "signed_in", _read("Customer")),
            Route("PATCH", one, self.merge, "signed_in", _merge("Customer")),
            Route("PUT", one, self.replace, "signed_in", _replace("Customer")),
            Route("DELETE", one, self.remove, "operator", _REMOVE),
            Route("GET", settings, self.read_settings, "signed_in", _read("Settings")),
            Route("PATCH", settings, self.merge_settings, "signed_in", _merge("Settings")),
            Route("PUT", settings, self.replace_settings, "signed_in", _replace("Settings")),
        )

    def schemas(self) -> Mapping[str, Any]:
        """Schema components."""
        return _SCHEMAS


def _with_etag(call: Call, customer: Customer, view: Any) -> Reply:
    etag = quoted_etag(customer.etag)
    if call.header("if-none-match") == etag:
        return Reply(status=304, headers={"ETag": etag})
    return _reply(customer, view)


def _reply(customer: Customer, view: Any) -> Reply:
    return Reply(view(customer), headers={"ETag": quoted_etag(customer.etag)})


def _pattern(field: str) -> str:
    # JSON text has no halves of surrogate pairs, and not every tool can read a pattern that names them.
    return PATTERNS[field].replace(r"\ud800-\udfff", "")


_TAG = "customers"
_WRITABLE: Mapping[str, Any] = {
    "facility": {
        "type": "string", "pattern": _pattern("facility"),
        "description": "Modbus address of the utility (grid) meter; empty: not fitted.",
    },
    "load": {"type": "string", "pattern": _pattern("load"), "description": "Modbus address of the load meter."},
    "solar": {"type": "string", "pattern": _pattern("solar"), "description": "Modbus address of the solar meter."},
    "logger_serial_number": {
        "type": "string", "pattern": _pattern("logger_serial_number"), "description": "The AcquiSuite's serial number, its MAC address.",
    },
    "name": {"type": "string", "pattern": _pattern("name"), "description": "The site's name, for people."},
    "time_zone": {"enum": ["", *time_zones()], "description": "IANA name; empty: UTC."},
}  # fmt: skip
_PASSWORD: Mapping[str, Any] = {
    "type": "string", "pattern": _pattern("logger_password"), "writeOnly": True,
    "description": "The logger's password; never returned. Empty: no password, so the logger is refused.",
}  # fmt: skip
_PASSWORD_SET = {"type": "boolean", "description": "Whether a logger password is set."}
_ROLE = {"enum": list(ROLES)}
_SETTINGS = {**{name: {"type": "string"} for name in _WRITABLE}, "logger_password_set": _PASSWORD_SET}
_INPUT = {**_WRITABLE, "logger_password": _PASSWORD}
_NULLABLE = {name: openapi.nullable(schema) for name, schema in _INPUT.items()}
_SCHEMAS: Mapping[str, Any] = {
    "Role": _ROLE,
    "Settings": openapi.closed(_SETTINGS),
    "SettingsInput": openapi.closed(
        _NULLABLE, list(_INPUT), "Settings not named, or null, are empty; but a password not named stays."
    ),
    "SettingsPatch": openapi.closed(
        _NULLABLE, list(_INPUT), "A JSON merge patch (RFC 7396): settings not named stay, null empties one."
    ),
    "SettingsProblem": openapi.closed(
        {"field": {"type": "string"}, "code": {"type": "string"}, "message": {"type": "string"}},
        description="What keeps a meter from being computed, and the field to change.",
    ),
    "Customer": openapi.closed(
        {
            "id": {"type": "string"},
            **_SETTINGS,
            "missing_role": {**openapi.nullable(openapi.ref("Role")), "description": "The meter that is computed."},
            "series": {
                **openapi.closed({role: openapi.nullable({"type": "string"}) for role in ROLES}),
                "description": "Where each role's readings are; null: nowhere.",
            },
            "problems": {"type": "array", "items": openapi.ref("SettingsProblem")},
        }
    ),
    "CustomerList": openapi.listing("customers", openapi.ref("Customer")),
}
_CREATE = openapi.operation(
    "createCustomer", _TAG, "Add a customer (operators)",
    reply=openapi.ref("Customer"), status=201, etag=True, body=openapi.ref("SettingsInput"),
)  # fmt: skip
_REMOVE = openapi.operation(
    "removeCustomer", _TAG, "Remove a customer (operators); the readings stay",
    status=204, parameters=[openapi.CUSTOMER_ID, openapi.IF_MATCH],
)  # fmt: skip


def _list_operation(page_size: int) -> openapi.JsonObject:
    search = openapi.query_parameter(
        "search", {"type": "string", "maxLength": MAX_SEARCH}, "Part of a name or serial number, any case."
    )
    return openapi.operation(
        "listCustomers", _TAG, "Customers by id; a customer sees only itself",
        reply=openapi.ref("CustomerList"), parameters=[*openapi.page_parameters(page_size), search], errors=[404],
    )  # fmt: skip


def _read(name: str) -> openapi.JsonObject:
    return openapi.operation(
        f"read{name}", _TAG, f"Read {_OF[name]}", reply=openapi.ref(name), etag=True, parameters=[openapi.CUSTOMER_ID]
    )


def _merge(name: str) -> openapi.JsonObject:
    return openapi.operation(
        f"merge{name}", _TAG, f"Change some of {_OF[name]}",
        reply=openapi.ref(name), etag=True, body=openapi.ref("SettingsPatch"), body_media_types=(JSON, MERGE_PATCH),
        parameters=[openapi.CUSTOMER_ID, openapi.IF_MATCH], description=FOREIGN_LOGGER_ANSWER,
    )  # fmt: skip


def _replace(name: str) -> openapi.JsonObject:
    return openapi.operation(
        f"replace{name}", _TAG, f"Replace {_OF[name]}",
        reply=openapi.ref(name), etag=True, body=openapi.ref("SettingsInput"),
        parameters=[openapi.CUSTOMER_ID, openapi.IF_MATCH], description=FOREIGN_LOGGER_ANSWER,
    )  # fmt: skip


_OF = {"Customer": "a customer and what follows from the settings", "Settings": "a customer's settings"}
