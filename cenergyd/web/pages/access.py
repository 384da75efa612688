"""Tokens of operators and customers: create, list and revoke them. For operators."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from cenergyd.customers.model import Customer
from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.errors import InvalidField
from cenergyd.jobs.windows import day_start
from cenergyd.web.pages import texts
from cenergyd.web.pages.forms import Typed
from cenergyd.web.pages.owners import owners
from cenergyd.web.pages.routing import Page, PageCall, PageRoute, Redirect, customer_path
from cenergyd.web.views.context import Context

ALL = "/access"
_DAY_NEEDED = "a day is needed, such as 2027-12-31, or nothing"
_DONE = {"revoked": "Revoked. Anyone signed in with it is signed out.", "gone": "That token was already revoked."}


class ShownToken(NamedTuple):
    """A new token and its text, which is shown only once."""

    name: str
    secret: str


class AccessPages:
    """``/access`` and a customer's ``access``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def everybody(self, call: PageCall) -> Page:
        """All tokens, and a form for an operator's token."""
        return await self._page(call, None)

    async def of_customer(self, call: PageCall, customer_id: str) -> Page:
        """A customer's tokens, and a form for another one."""
        return await self._page(call, await self._context.customer(customer_id))

    async def add_operator(self, call: PageCall) -> Page:
        """Create a token for an operator; only this page shows its text."""
        return await self._add(call, None)

    async def add_for_customer(self, call: PageCall, customer_id: str) -> Page:
        """Create a token for a customer; only this page shows its text."""
        return await self._add(call, await self._context.customer(customer_id))

    async def revoke(self, call: PageCall) -> Redirect:
        """Revoke a token and end its sessions."""
        known = await self._context.tokens.revoke(call.form.get("token", ""))
        customer_id = call.form.get("customer", "")
        path = customer_path(customer_id, "access") if customer_id else ALL
        return Redirect(f"{path}?done={'revoked' if known else 'gone'}")

    async def _add(self, call: PageCall, customer: Customer | None) -> Page:
        typed = Typed({name: call.form.get(name, "").strip() for name in ("name", "last_day")})
        name, day = typed.values["name"], typed.values["last_day"]
        try:
            secret, token = await self._context.tokens.add(
                "customer" if customer else "operator", name, call.now,
                customer_id=customer.id if customer else None,
                expires=end_of(day, _zone(customer), call.now) if day else None,
            )  # fmt: skip
        except InvalidField as error:
            refused = Typed(typed.values, {error.field: texts.sentence(str(error))})
            return await self._page(call, customer, refused, status=422)
        return await self._page(call, customer, made=ShownToken(token.name, secret), status=201)

    async def _page(
        self,
        call: PageCall,
        customer: Customer | None,
        typed: Typed | None = None,
        *,
        made: ShownToken | None = None,
        status: int = 200,
    ) -> Page:
        limit = self._context.page_size
        cursor = call.query("cursor") or None
        found = await self._context.tokens.page(
            after=cursor, limit=limit + 1, customer_id=customer.id if customer else None
        )
        shown = found[:limit]
        path = customer_path(customer.id, "access") if customer else ALL
        values = {
            "path": path,
            "tokens": shown,
            "paged": cursor is not None,
            "next": f"{path}?{urlencode({'cursor': shown[-1].id})}" if len(found) > limit else None,
            "owners": {} if customer else await owners(self._context, shown, "access"),
            "own": call.principal.token_id,
            "typed": typed or Typed({"name": "", "last_day": ""}),
            "made": made,
            "first": customer is None and call.query("first") is not None,
            "done": _DONE.get(call.query("done") or "", ""),
            "zone": _zone(customer),
        }
        return Page("access.html", values, status, customer, "customer-access" if customer else "access")

    def routes(self) -> Sequence[PageRoute]:
        """All of this subject's pages."""
        one = "/customers/<customer_id>/access"
        return (
            PageRoute("GET", ALL, self.everybody, "operator"),
            PageRoute("POST", ALL, self.add_operator, "operator"),
            PageRoute("POST", f"{ALL}/revoke", self.revoke, "operator"),
            PageRoute("GET", one, self.of_customer, "operator"),
            PageRoute("POST", one, self.add_for_customer, "operator"),
        )


def end_of(day: str, zone: ZoneInfo, now: int) -> int:
    """UTC seconds of the end of a local day (``2027-12-31``) that has not ended. Raises InvalidField for ``last_day``."""
    try:
        found = day_start(date.fromisoformat(day) + timedelta(days=1), zone)
    except (ValueError, OverflowError):
        raise InvalidField("last_day", _DAY_NEEDED) from None
    if found <= now:
        raise InvalidField("last_day", "this day is over")
    return found


def _zone(customer: Customer | None) -> ZoneInfo:
    return zone_or_utc(customer.time_zone if customer else "UTC")
