"""Customers and their settings: list, create, read, merge, replace, remove."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import attrs
from msgspec import UNSET, Meta, UnsetType, defstruct

from cenergyd.customers.fields import CLEANERS, PATTERNS, clean_settings, time_zones
from cenergyd.customers.model import ROLES, Customer, Role
from cenergyd.customers.place import PLACE_FIELDS, clean_place, own_place, place_change
from cenergyd.documents.json_types import JsonObject, ReadOnlyJson
from cenergyd.errors import Conflict, InvalidField
from cenergyd.runtime.structs import Resource
from cenergyd.web.access.auth import Principal
from cenergyd.web.api import openapi
from cenergyd.web.api.openapi import Next
from cenergyd.web.api.routing import JSON, MAX_SEARCH, MERGE_PATCH, Call, Response, Route, quoted_etag
from cenergyd.web.server.problems import FieldError, invalid_fields
from cenergyd.web.views.context import Context
from cenergyd.web.views.customer_service import FOREIGN_LOGGER_ANSWER, add_customer, change_customer

Change = Callable[[Principal | None, str, Mapping[str, object], str | None], Awaitable[Customer]]
_DESCRIBED: Mapping[str, str] = {
    "facility": "Modbus address of the utility (grid) meter, or a sum of meters such as `1+4` or `2*10`; empty: not fitted.",
    "load": "Modbus address of the load meter, or a sum of meters.",
    "solar": "Modbus address of the solar meter, or a sum of meters.",
    "logger_serial_number": "The AcquiSuite's serial number, its MAC address.",
    "logger_password": "The logger's password; never returned. Empty: no password, so the logger is refused.",
    "name": "The site's name, for people.",
    "time_zone": "IANA name; empty: UTC.",
    "latitude": "Of the site, degrees, north positive; with `longitude`. null: that of the time zone's city.",
    "longitude": "Degrees, east positive.",
}


def _input(field: str) -> Any:
    if field == "time_zone":
        return Literal[("", *time_zones())]
    # JSON text has no lone surrogates, and not every tool can read a pattern that names them.
    return Annotated[str, Meta(pattern=PATTERNS[field].replace(r"\ud800-\udfff", ""))]


def _input_type(name: str, about: str) -> object:
    fields = []
    for field in CLEANERS:
        meta = Meta(
            description=_DESCRIBED[field],
            extra_json_schema={"writeOnly": True} if field == "logger_password" else None,
        )
        fields.append((field, Annotated[_input(field) | None, meta] | UnsetType, UNSET))
    for field, most in (("latitude", 90.0), ("longitude", 180.0)):
        degrees = Annotated[float, Meta(ge=-most, le=most)]
        fields.append((field, Annotated[degrees | None, Meta(description=_DESCRIBED[field])] | UnsetType, UNSET))
    return defstruct(name, fields, bases=(Resource,), namespace={"__doc__": about}, frozen=True, kw_only=True)


# The values are checked by clean_settings, as those of the pages and the command line are: it names all faults, not only the first.
SettingsInput = _input_type(
    "SettingsInput", "Settings that are absent or null become empty; an absent password is kept."
)
SettingsPatch = _input_type(
    "SettingsPatch", "A JSON merge patch (RFC 7396): absent settings are unchanged, null empties one."
)


class SettingsJson(Resource, frozen=True, kw_only=True):
    """The settings, without the password."""

    facility: str
    load: str
    solar: str
    logger_serial_number: str
    name: str
    time_zone: str
    latitude: Annotated[float | None, Meta(description="Degrees; null: none was entered.")]
    longitude: float | None
    logger_password_set: Annotated[bool, Meta(description="Whether a logger password is set.")]

    @classmethod
    def of(cls, customer: Customer) -> SettingsJson:
        """A customer's settings."""
        return SettingsJson(**_settings_of(customer))


class SettingsProblem(Resource, frozen=True, kw_only=True):
    """What keeps a meter from being computed, and the field to change."""

    field: str
    code: str
    message: str

    @classmethod
    def all_of(cls, customer: Customer) -> list[SettingsProblem]:
        """A customer's."""
        return [cls(**problem._asdict()) for problem in customer.problems()]


class SeriesOfRoles(Resource, frozen=True, kw_only=True):
    """The series of each role's readings; null: none."""

    utility: str | None
    load: str | None
    solar: str | None

    @classmethod
    def of(cls, customer: Customer) -> SeriesOfRoles:
        """A customer's, now."""
        return cls(**{role: customer.series_of(role) for role in ROLES})


class CustomerJson(SettingsJson, frozen=True, kw_only=True):
    """The settings and what follows from them."""

    id: str
    missing_role: Annotated[Role | None, Meta(description="The meter that is computed.")]
    series: SeriesOfRoles
    problems: list[SettingsProblem]

    @classmethod
    def of(cls, customer: Customer) -> CustomerJson:
        """A customer."""
        return cls(
            id=customer.id,
            missing_role=customer.missing_role,
            series=SeriesOfRoles.of(customer),
            problems=SettingsProblem.all_of(customer),
            **_settings_of(customer),
        )


class CustomerList(Resource, frozen=True, kw_only=True):
    """A page of customers."""

    customers: list[CustomerJson]
    next: Next


def _settings_of(customer: Customer) -> JsonObject:
    place = own_place(customer)
    return {
        "latitude": place.latitude if place else None,
        "longitude": place.longitude if place else None,
        "facility": customer.facility,
        "load": customer.load,
        "solar": customer.solar,
        "logger_serial_number": customer.logger_serial_number,
        "name": customer.name,
        "time_zone": customer.time_zone,
        "logger_password_set": bool(customer.logger_password),
    }


class SettingsEditor:
    """Changes settings: checks them, hashes the password, compares entity tags, notifies listeners. Used by the API and the pages.

    Everything raises InvalidField or a 422 problem (all faults at once), SerialTaken, NotFound, Conflict, StoreUnavailable, and a
    403 problem for a logger that a customer may not name (:mod:`cenergyd.web.views.customer_service`).
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    async def create(self, given: Mapping[str, object]) -> Customer:
        """Add a customer."""
        changes = await self._hashed(_cleaned(given))
        if changes.get("extensions") == place_change(None):
            del changes["extensions"]
        return await add_customer(self._context, attrs.evolve(Customer(id=""), **changes))

    async def merge(
        self, caller: Principal | None, customer_id: str, given: Mapping[str, object], etag: str | None
    ) -> Customer:
        """Change the settings that are given, with a caller's permissions; None empties one. ``etag`` None: whatever is stored now."""
        cleaned = _cleaned(_with_place(given, await self._context.customer(customer_id)))
        old = await self._unchanged(customer_id, etag)
        if not cleaned:
            return old
        changes = await self._hashed(cleaned)
        password = str(cleaned.get("logger_password", ""))
        return await change_customer(self._context, caller, customer_id, changes, etag, password=password)

    async def replace(
        self, caller: Principal | None, customer_id: str, given: Mapping[str, object], etag: str | None
    ) -> Customer:
        """Set all settings; those not given become empty, except the password, which cannot be read."""
        emptied = {field: "" for field in (*CLEANERS, *PLACE_FIELDS) if field != "logger_password"}
        return await self.merge(caller, customer_id, {**emptied, **given}, etag)

    async def remove(self, customer_id: str, etag: str | None) -> None:
        """Remove a customer and revoke their tokens; the readings stay."""
        old = await self._unchanged(customer_id, etag)
        await self._context.customers.remove(customer_id, expected_etag=etag)
        await self._context.on_change(old, None)
        await self._context.tokens.revoke_customer(customer_id)

    async def _unchanged(self, customer_id: str, etag: str | None) -> Customer:
        # The store compares again; this saves hashing a password for a change that is already too late.
        customer = await self._context.customer(customer_id)
        if etag is not None and customer.etag != etag:
            raise Conflict("the customer was changed meanwhile")
        return customer

    async def _hashed(self, cleaned: Mapping[str, object]) -> JsonObject:
        password = cleaned.get("logger_password")
        return (
            {**cleaned, "logger_password": await self._context.hash_password(str(password))}
            if password
            else {**cleaned}
        )


def _with_place(given: Mapping[str, object], old: Customer) -> Mapping[str, object]:
    """A change of latitude or longitude alone, completed by the stored other one."""
    place = own_place(old)
    if place is None or not any(name in given for name in PLACE_FIELDS):
        return given
    return {**place._asdict(), **given}


def _cleaned(given: ReadOnlyJson) -> dict[str, object]:
    cleaned, faults = clean_settings({name: value for name, value in given.items() if name not in PLACE_FIELDS})
    changes: dict[str, object] = {**cleaned}
    if any(name in given for name in PLACE_FIELDS):
        try:
            changes["extensions"] = place_change(clean_place(given.get("latitude"), given.get("longitude")))
        except InvalidField as fault:
            faults.append(fault)
    if faults:
        raise invalid_fields([FieldError(fault.field, str(fault)) for fault in faults])
    return changes


class CustomersApi:
    """``/customers``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._editor = SettingsEditor(context)

    async def page(self, call: Call) -> Response:
        """A page of customers; a customer sees only itself."""
        limit = call.limit(self._context.page_size)
        cursor, search = call.query("cursor"), call.query("search", MAX_SEARCH)
        if call.principal.is_operator:
            found = await self._context.customers.page(after=cursor or None, limit=limit + 1, search=search or None)
        else:
            found = [await self._context.customer(str(call.principal.customer_id))]
        more = found[limit - 1].id if len(found) > limit else None
        return Response(CustomerList(customers=[CustomerJson.of(customer) for customer in found[:limit]], next=more))

    async def create(self, call: Call) -> Response:
        """Add a customer."""
        customer = await self._editor.create(call.json_object())
        headers = {"ETag": quoted_etag(customer.etag), "Location": f"/api/v1/customers/{customer.id}"}
        return Response(CustomerJson.of(customer), 201, headers)

    async def read(self, call: Call, customer_id: str) -> Response:
        """One customer."""
        return _with_etag(call, await self._context.customer(customer_id), CustomerJson)

    async def read_settings(self, call: Call, customer_id: str) -> Response:
        """The settings alone."""
        return _with_etag(call, await self._context.customer(customer_id), SettingsJson)

    async def merge(self, call: Call, customer_id: str) -> Response:
        """Change some settings."""
        return await self._change(call, customer_id, self._editor.merge, CustomerJson)

    async def merge_settings(self, call: Call, customer_id: str) -> Response:
        """Change some settings."""
        return await self._change(call, customer_id, self._editor.merge, SettingsJson)

    async def replace(self, call: Call, customer_id: str) -> Response:
        """Set all settings."""
        return await self._change(call, customer_id, self._editor.replace, CustomerJson)

    async def replace_settings(self, call: Call, customer_id: str) -> Response:
        """Set all settings."""
        return await self._change(call, customer_id, self._editor.replace, SettingsJson)

    async def remove(self, call: Call, customer_id: str) -> Response:
        """Remove a customer."""
        await self._editor.remove(customer_id, call.if_match())
        return Response(status=204)

    async def _change(self, call: Call, customer_id: str, change: Change, kind: type[SettingsJson]) -> Response:
        etag = call.if_match()
        media_types = (JSON, MERGE_PATCH) if call.request.method == b"PATCH" else (JSON,)
        given = call.json_object(media_types)
        return _response(await change(call.principal, customer_id, given, etag), kind)

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        customers, one, settings = "/customers", "/customers/{customer_id}", "/customers/{customer_id}/settings"
        return (
            Route("GET", customers, self.page, "signed_in", _list_operation(self._context.page_size)),
            Route("POST", customers, self.create, "operator", _CREATE),
            Route("GET", one, self.read, "signed_in", _read("Customer")),
            Route("PATCH", one, self.merge, "signed_in", _merge("Customer")),
            Route("PUT", one, self.replace, "signed_in", _replace("Customer")),
            Route("DELETE", one, self.remove, "operator", _REMOVE),
            Route("GET", settings, self.read_settings, "signed_in", _read("Settings")),
            Route("PATCH", settings, self.merge_settings, "signed_in", _merge("Settings")),
            Route("PUT", settings, self.replace_settings, "signed_in", _replace("Settings")),
        )


def _with_etag(call: Call, customer: Customer, kind: type[SettingsJson]) -> Response:
    etag = quoted_etag(customer.etag)
    if call.header("if-none-match") == etag:
        return Response(status=304, headers={"ETag": etag})
    return _response(customer, kind)


def _response(customer: Customer, kind: type[SettingsJson]) -> Response:
    return Response(kind.of(customer), headers={"ETag": quoted_etag(customer.etag)})


_TAG = "customers"
_CREATE = openapi.Operation(
    "createCustomer", _TAG, "Add a customer (operators)",
    response=CustomerJson, status=201, etag=True, body=SettingsInput,
)  # fmt: skip
_REMOVE = openapi.Operation(
    "removeCustomer", _TAG, "Remove a customer (operators); the readings stay",
    status=204, parameters=[openapi.CUSTOMER_ID, openapi.IF_MATCH],
)  # fmt: skip


def _list_operation(page_size: int) -> openapi.Operation:
    search = openapi.query_parameter(
        "search", {"type": "string", "maxLength": MAX_SEARCH}, "Part of a name or serial number, any case."
    )
    return openapi.Operation(
        "listCustomers", _TAG, "Customers by id; a customer sees only itself",
        response=CustomerList, parameters=[*openapi.page_parameters(page_size), search], errors=[404],
    )  # fmt: skip


def _read(name: str) -> openapi.Operation:
    return openapi.Operation(
        f"read{name}", _TAG, f"Read {_OF[name]}", response=_TYPES[name], etag=True, parameters=[openapi.CUSTOMER_ID]
    )


def _merge(name: str) -> openapi.Operation:
    return openapi.Operation(
        f"merge{name}", _TAG, f"Change some of {_OF[name]}",
        response=_TYPES[name], etag=True, body=SettingsPatch, body_media_types=(JSON, MERGE_PATCH),
        parameters=[openapi.CUSTOMER_ID, openapi.IF_MATCH], description=FOREIGN_LOGGER_ANSWER,
    )  # fmt: skip


def _replace(name: str) -> openapi.Operation:
    return openapi.Operation(
        f"replace{name}", _TAG, f"Replace {_OF[name]}",
        response=_TYPES[name], etag=True, body=SettingsInput,
        parameters=[openapi.CUSTOMER_ID, openapi.IF_MATCH], description=FOREIGN_LOGGER_ANSWER,
    )  # fmt: skip


_OF = {"Customer": "a customer and what follows from the settings", "Settings": "a customer's settings"}
_TYPES: Mapping[str, type[SettingsJson]] = {"Customer": CustomerJson, "Settings": SettingsJson}
