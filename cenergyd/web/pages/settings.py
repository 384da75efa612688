"""Adding, changing and removing a customer."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from cenergyd.customers.fields import time_zones
from cenergyd.customers.model import FIELD_OF_ROLE, Customer
from cenergyd.customers.place import PLACE_FIELDS
from cenergyd.documents.kinds import REJECTED
from cenergyd.errors import Conflict, InvalidField, NotFound
from cenergyd.web.api.customers import SettingsEditor
from cenergyd.web.api.loggers import StatusReader
from cenergyd.web.pages.routing import Page, PageCall, PageRoute, Redirect, customer_path
from cenergyd.web.pages.settings_draft import (
    PASSWORD,
    Draft,
    changes_of,
    draft_from,
    draft_of,
    with_conflict,
    with_errors,
    with_meter,
)
from cenergyd.web.server.problems import RequestProblem
from cenergyd.web.views.context import Context

_FIELDS = (*FIELD_OF_ROLE.values(), "name", "time_zone", "logger_serial_number", PASSWORD, *PLACE_FIELDS)

_ASKED_FOR = {
    "name": "Enter the site's name.",
    "time_zone": "Choose the site's time zone: days and charges follow it.",
}
"""Of a new customer."""


class SettingsPages:
    """``/customers/new``, a customer's ``settings`` and ``remove``.

    :param upload_path: where loggers upload to.
    """

    def __init__(self, context: Context, upload_path: str) -> None:
        self._context = context
        self._editor = SettingsEditor(context)
        self._reader = StatusReader(context)
        self._upload_path = upload_path

    async def index(self, call: PageCall, customer_id: str) -> Redirect:
        """A customer's first page."""
        return Redirect(customer_path(customer_id, "power"))

    async def new(self, call: PageCall) -> Page:
        """The empty form; a rejected logger's serial number may be given."""
        empty = draft_of(Customer(id=""))
        serial = (call.query("serial") or "")[:32]
        # No zone is assumed here: the browser fills in its own, and a wrong one gives wrong days and bills.
        values = {**empty.values, "logger_serial_number": serial, "time_zone": ""}
        return self._new_page(call, attrs.evolve(empty, values=values))

    async def create(self, call: PageCall) -> Page | Redirect:
        """Add a customer."""
        draft = draft_from(call.form)
        if lacking := {name: text for name, text in _ASKED_FOR.items() if not draft.values[name].strip()}:
            return self._new_page(call, attrs.evolve(draft, errors=lacking), 422)
        try:
            customer = await self._editor.create(changes_of(call.form))
        except (InvalidField, RequestProblem) as error:
            return self._new_page(call, _faulty(draft, error), 422)
        return Redirect(customer_path(customer.id, "settings") + "?done=added")

    async def show(self, call: PageCall, customer_id: str) -> Page:
        """The form with what is stored."""
        customer = await self._context.customer(customer_id)
        return await self._page(call, customer, draft_of(customer))

    async def change(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Save, or show the errors."""
        draft = draft_from(call.form)
        if "use" in call.form:
            return await self._page(
                call, await self._context.customer(customer_id), with_meter(draft, call.form["use"])
            )
        try:
            await self._editor.merge(call.principal, customer_id, changes_of(call.form), draft.etag)
        except Conflict:
            customer = await self._context.customer(customer_id)
            return await self._page(call, customer, with_conflict(draft, customer), 409)
        except (InvalidField, RequestProblem) as error:
            draft = _faulty(draft, error)
            status = error.details.status if isinstance(error, RequestProblem) else 422
            return await self._page(call, await self._context.customer(customer_id), draft, status)
        return Redirect(customer_path(customer_id, "settings") + "?done=saved")

    async def ask_remove(self, call: PageCall, customer_id: str) -> Page:
        """The confirmation page before removing."""
        return self._remove_page(await self._context.customer(customer_id))

    async def remove(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Remove a customer."""
        try:
            await self._editor.remove(customer_id, call.form.get("etag", ""))
        except Conflict:
            return self._remove_page(await self._context.customer(customer_id), changed=True, status=409)
        except NotFound:
            return Redirect("/overview")
        return Redirect("/overview?done=removed")

    def _new_page(self, call: PageCall, draft: Draft, status: int = 200) -> Page:
        values = {"draft": draft, "done": None, **self._common(call), "password_set": False, "logger": None}
        return Page("new_customer.html", values, status, tab="overview")

    async def _page(self, call: PageCall, customer: Customer, draft: Draft, status: int = 200) -> Page:
        (state,) = await self._reader.status([customer], call.now)
        serial = customer.logger_serial_number
        logger = await self._reader.own_logger(customer) if serial else None
        if logger is not None:
            logger.meters.sort(key=lambda meter: (len(meter.meter), meter.meter))
        rejected = await self._context.documents.get(REJECTED, serial) if serial else None
        values = {
            "draft": draft,
            "done": call.query("done"),
            **self._common(call),
            "password_set": bool(customer.logger_password),
            "status": state,
            "logger": logger,
            "rejected": rejected.body if rejected else None,
        }
        return Page("settings.html", values, status, customer, "settings")

    def _common(self, call: PageCall) -> dict[str, object]:
        return {"zones": time_zones(), "upload_url": call.client.origin + self._upload_path}

    def _remove_page(self, customer: Customer, *, changed: bool = False, status: int = 200) -> Page:
        return Page("remove.html", {"etag": customer.etag, "changed": changed}, status, customer, "settings")

    def routes(self) -> Sequence[PageRoute]:
        """All of this subject's pages."""
        one = "/customers/<customer_id>"
        return (
            PageRoute("GET", "/customers/new", self.new, "operator"),
            PageRoute("POST", "/customers/new", self.create, "operator"),
            PageRoute("GET", one, self.index, "signed_in"),
            PageRoute("GET", f"{one}/settings", self.show, "signed_in"),
            PageRoute("POST", f"{one}/settings", self.change, "signed_in"),
            PageRoute("GET", f"{one}/remove", self.ask_remove, "operator"),
            PageRoute("POST", f"{one}/remove", self.remove, "operator"),
        )


def _faulty(draft: Draft, error: InvalidField | RequestProblem) -> Draft:
    """The form with its errors; an error that no field of the form can show is raised again."""
    faulty = with_errors(draft, error)
    if not faulty.errors or not set(faulty.errors) <= set(_FIELDS):
        raise error
    return faulty
