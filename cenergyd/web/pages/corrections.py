"""Correcting wrong readings: a form for a range, and the list of corrections with author, time and reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cenergyd.customers.model import ROLES, Customer
from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.derivation.corrector import CorrectionRequest, Listed
from cenergyd.errors import Incompatible, InvalidField
from cenergyd.readings.corrections import effect
from cenergyd.readings.model import is_computed
from cenergyd.web.api.corrections import author, corrector_of
from cenergyd.web.api.readings import MAX_TIME
from cenergyd.web.pages import texts
from cenergyd.web.pages.forms import Typed
from cenergyd.web.pages.routing import Page, PageCall, PageRoute, Redirect, customer_path
from cenergyd.web.views.context import Context

KINDS = (
    ("void", "Void: ignore them"),
    ("scale", "Scale: multiply power by a factor"),
    ("shift", "Shift: move them in time"),
)
_FIELDS = ("meter", "kind", "from", "to", "factor", "seconds", "reason", "start", "end")
_DONE = {"made": "Corrected. Everything that depends on these readings is being computed again.", "undone": "Undone."}
_TIME = "%Y-%m-%dT%H:%M:%S"


class CorrectionRow(NamedTuple):
    """A correction as text."""

    id: str
    meter: str
    what: str
    start: int
    end: int
    reason: str
    made: str
    undone: str
    """'' while it is active."""


class CorrectionPages:
    """A customer's ``corrections``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._corrector = corrector_of(context)

    async def show(self, call: PageCall, customer_id: str) -> Page:
        """The form, for the range that the query names (``start``, ``end``), and the list."""
        customer = await self._context.customer(customer_id)
        zone = zone_or_utc(customer.time_zone)
        end = call.query_integer("end", 0, MAX_TIME) or call.now
        start = call.query_integer("start", 0, MAX_TIME)
        start = max(0, end - 3600) if start is None else start
        values = {
            **dict.fromkeys(_FIELDS, ""),
            "kind": "void",
            "from": texts.local_datetime(start, zone).strftime(_TIME),
            "to": texts.local_datetime(end, zone).strftime(_TIME),
            "start": str(start),
            "end": str(end),
        }
        return await self._page(call, customer, Typed(values))

    async def add(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Make a correction."""
        customer = await self._context.customer(customer_id)
        typed = {name: call.form.get(name, "").strip() for name in _FIELDS}
        try:
            wanted = wanted_of(typed, zone_or_utc(customer.time_zone))
            await self._corrector.add(customer, wanted, author(call.principal), call.now)
        except InvalidField as error:
            field = {"start": "from", "end": "to"}.get(error.field, error.field)
            return await self._page(call, customer, Typed(typed, {field: texts.sentence(str(error))}))
        except Incompatible as error:
            return await self._page(call, customer, Typed(typed, {"form": texts.sentence(str(error))}))
        return Redirect(f"{customer_path(customer.id, 'corrections')}?done=made#list")

    async def undo(self, call: PageCall, customer_id: str) -> Page | Redirect:
        """Undo a correction."""
        customer = await self._context.customer(customer_id)
        try:
            await self._corrector.undo(customer, call.form.get("correction", ""), author(call.principal), call.now)
        except Incompatible as error:
            typed = Typed(dict.fromkeys(_FIELDS, ""), {"undo": texts.sentence(str(error))})
            return await self._page(call, customer, typed)
        return Redirect(f"{customer_path(customer.id, 'corrections')}?done=undone#list")

    async def _page(self, call: PageCall, customer: Customer, typed: Typed) -> Page:
        zone = zone_or_utc(customer.time_zone)
        values = {
            "typed": typed,
            "kinds": KINDS,
            "meters": await self._meters(customer),
            "rows": [_row(each, zone) for each in await self._corrector.listed(customer)],
            "done": _DONE.get(call.query("done") or "", ""),
            "zone": zone,
            "zone_name": zone.key,
        }
        return Page("corrections.html", values, 422 if typed.errors else 200, customer, "power")

    async def _meters(self, customer: Customer) -> list[tuple[str, str]]:
        """The measured meters of the present logger, those with roles first: id and description."""
        if not customer.logger_serial_number:
            return []
        names = await self._context.readings.series_of(customer.logger_serial_number)
        meters = {name.partition("_")[2] for name in names if not is_computed(name)}
        roles = {customer.current.meter_of(role): texts.ROLE_NAMES[role] for role in ROLES}
        order = sorted(meters, key=lambda meter: (meter not in roles, int(meter) if meter.isdigit() else 0))
        return [(meter, f"{meter} ({roles[meter]})" if meter in roles else meter) for meter in order]

    def routes(self) -> Sequence[PageRoute]:
        """All of this subject's pages."""
        path = "/customers/<customer_id>/corrections"
        return (
            PageRoute("GET", path, self.show, "signed_in"),
            PageRoute("POST", path, self.add, "signed_in"),
            PageRoute("POST", f"{path}/undo", self.undo, "signed_in"),
        )


def wanted_of(typed: Mapping[str, str], zone: ZoneInfo) -> CorrectionRequest:
    """The correction that a form asks for; its times are local. Raises InvalidField."""
    kind = typed["kind"]
    return CorrectionRequest(
        meter=typed["meter"],
        kind=kind,
        start=_time(typed, "from", "start", zone),
        end=_time(typed, "to", "end", zone),
        factor=_number(typed["factor"]) if kind == "scale" else None,
        seconds=_seconds(typed["seconds"]) if kind == "shift" else None,
        reason=typed["reason"],
    )


def _time(typed: Mapping[str, str], name: str, exact: str, zone: ZoneInfo) -> int:
    """A local time. If the text is what the page showed, the page's exact time: in an hour that occurs twice the text is ambiguous."""
    if typed[exact].isascii() and typed[exact].isdigit() and len(typed[exact]) < 12:
        shown = texts.local_datetime(int(typed[exact]), zone).strftime(_TIME)
        if typed[name] in (shown, shown.removesuffix(":00")):
            return int(typed[exact])
    try:
        return int(datetime.fromisoformat(typed[name]).replace(tzinfo=zone).timestamp())
    except (ValueError, OverflowError):
        raise InvalidField(name, "choose a date and time") from None


def _number(text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise InvalidField("factor", "a number is needed, such as 2 or 0.5") from None


def _seconds(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidField("seconds", "whole seconds are needed, such as 3600 or -60") from None


def _row(listed: Listed, zone: ZoneInfo) -> CorrectionRow:
    each = listed.correction
    undone = ""
    if each.undone_at is not None:
        undone = f"{each.undone_by}, {texts.local_minute(each.undone_at, zone)}"
    return CorrectionRow(
        listed.id, listed.series.partition("_")[2], effect(each).capitalize(), each.start, each.end, each.reason,
        f"{each.by}, {texts.local_minute(each.at, zone)}", undone,
    )  # fmt: skip
