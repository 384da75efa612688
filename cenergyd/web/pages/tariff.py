"""A customer's tariff: a form of rows, with a diagram of each season's week."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from cenergyd.customers.model import Customer
from cenergyd.errors import Conflict, InvalidField
from cenergyd.jobs.front_end_settings import is_existing, tariff_json
from cenergyd.jobs.tariff.model import DAYS
from cenergyd.web.pages.routing import Page, PageCall, PageRoute, Redirect, customer_path
from cenergyd.web.pages.saving import fingerprint, save_extension
from cenergyd.web.pages.tariff_form import (
    DAY_NAMES,
    ENERGY_FROM,
    HOLIDAY_KINDS,
    NTHS,
    SECTIONS,
    TariffDraft,
    checked,
    draft_from,
    draft_of,
    with_prices,
    with_row,
    without_row,
)
from cenergyd.web.pages.tariff_presets import PRESETS, with_preset
from cenergyd.web.pages.tariff_week import time_of_quarter, weeks_of
from cenergyd.web.pages.written_dates import MONTHS
from cenergyd.web.views.context import Context

_DONE = {"saved": "Saved.", "removed": "The tariff was removed."}


class TariffPages:
    """A customer's ``tariff``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def show(self, call: PageCall, customer_id: str) -> Page:
        """The form with what is stored."""
        customer = await self._context.customer(customer_id)
        draft, broken = _stored(customer)
        return self._page(call, customer, draft, broken=broken)

    async def change(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Save, or show the errors; or add a row to the form, or draw what was typed."""
        draft = draft_from(call.form)
        customer = await self._context.customer(customer_id)
        if "preset" in call.form:
            return self._page(call, customer, with_preset(draft, call.form["preset"]), preset=call.form["preset"])
        if "add" in call.form:
            return self._page(call, customer, with_row(draft, call.form["add"]), added=call.form["add"])
        if "remove" in call.form:
            section = call.form["remove"].partition(".")[0]
            return self._page(call, customer, without_row(draft, call.form["remove"]), added=section)
        if "draw" in call.form:
            return self._page(call, customer, draft, added="schedules")
        draft, body = checked(draft)
        if body is None:
            return self._page(call, customer, draft, 422)
        if draft.was != fingerprint(customer.extensions.get("tariff")):
            return self._conflict(call, customer, draft)
        try:
            await save_extension(self._context, customer, "tariff", body)
        except Conflict:
            return self._conflict(call, await self._context.customer(customer_id), draft)
        return Redirect(customer_path(customer_id, "tariff") + "?done=saved")

    async def remove(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Remove the tariff."""
        customer = await self._context.customer(customer_id)
        stored = customer.extensions.get("tariff")
        if stored is None:
            return Redirect(customer_path(customer_id, "tariff"))
        draft, broken = _stored(customer)
        if call.form.get("was") != draft.was:
            return self._page(call, customer, draft, 409, broken=broken, changed=True)
        try:
            await save_extension(self._context, customer, "tariff", None)
        except Conflict:
            return self._page(call, customer, draft, 409, broken=broken, changed=True)
        return Redirect(customer_path(customer_id, "tariff") + "?done=removed")

    def _conflict(self, call: PageCall, customer: Customer, draft: TariffDraft) -> Page:
        stored, _ = _stored(customer)
        differing = [section.title for name, section in SECTIONS.items() if stored.rows[name] != _filled(draft, name)]
        if stored.plain != draft.plain:
            differing.append("Currency, fixed charge, energy and billing")
        now = attrs.evolve(draft, was=stored.was)
        return self._page(call, customer, now, 409, stored=stored, differing=differing)

    def _page(
        self,
        call: PageCall,
        customer: Customer,
        draft: TariffDraft,
        status: int = 200,
        *,
        broken: str = "",
        stored: TariffDraft | None = None,
        differing: Sequence[str] = (),
        changed: bool = False,
        added: str = "",
        preset: str = "",
    ) -> Page:
        values: dict[str, object] = {
            "draft": with_prices(draft),
            "weeks": weeks_of(draft),
            "stored": stored,
            "stored_weeks": weeks_of(stored) if stored else None,
            "differing": differing,
            "changed": changed,
            "added": added,
            "times_open": _shows_times(draft, added),
            "seasons_open": not draft.rows["seasons"] or added == "seasons" or _is_faulty(draft, "seasons"),
            "preset": preset,
            "presets": PRESETS,
            "broken": broken,
            "is_set": customer.extensions.get("tariff") is not None,
            "from_existing": is_existing(customer, "tariff"),
            "done": _DONE.get(call.query("done") or "", ""),
            "sections": SECTIONS,
            "days": DAYS,
            "energy_from": ENERGY_FROM,
            "day_names": DAY_NAMES,
            "holiday_kinds": HOLIDAY_KINDS,
            "nths": NTHS,
            "months": MONTHS,
            "time_of_quarter": time_of_quarter,
        }
        return Page("tariff.html", values, status, customer, "tariff")

    def routes(self) -> Sequence[PageRoute]:
        """All of this subject's pages."""
        base = "/customers/<customer_id>/tariff"
        return (
            PageRoute("GET", base, self.show, "signed_in"),
            PageRoute("POST", base, self.change, "signed_in"),
            PageRoute("POST", f"{base}/remove", self.remove, "signed_in"),
        )


def _shows_times(draft: TariffDraft, changed: str) -> bool:
    """Whether the schedule's rows are unfolded: if there are none, they are being edited, or have errors. Otherwise the diagram of the week
    shows the same.
    """
    rows = draft.rows["schedules"]
    is_wrong = _is_faulty(draft, "schedules") or any(week.faults for week in weeks_of(draft).weeks)
    return not rows or changed == "schedules" or is_wrong


def _is_faulty(draft: TariffDraft, section: str) -> bool:
    return any(name.partition(".")[0] == section for name in draft.errors)


def _stored(customer: Customer) -> tuple[TariffDraft, str]:
    """A form of what is stored; if that is not valid, an empty one and the error."""
    was = fingerprint(customer.extensions.get("tariff"))
    try:
        return draft_of(tariff_json(customer), was), ""
    except InvalidField as error:
        return draft_of(None, was), f"{error.field}: {error}"


def _filled(draft: TariffDraft, name: str) -> list[object]:
    section = SECTIONS[name]
    return [row for row in draft.rows[name] if any(row[field].strip() for field in section.blank)]
