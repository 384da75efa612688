"""The operator's overview: all customers with their state, and the loggers that were refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from cenergyd.documents.kinds import DERIVATION, REJECTED
from cenergyd.web.api.loggers import OverviewEntry, StatusReader
from cenergyd.web.pages.routing import Page, PageCall, PageRoute
from cenergyd.web.views.context import Context

_MAX_SEARCH = 100
_REJECTED_SHOWN = 5
_MAX_REJECTED = 1000
SILENT_SECONDS = 26 * 3600
"""AcquiSuites upload at least once a day; later than this one is called silent."""


class State(NamedTuple):
    """How a customer is doing, in a word."""

    level: str
    """``ok``, ``warn``, ``bad`` or ``idle``."""
    text: str
    more: str = ""


def customer_state(status: OverviewEntry, derivation: Mapping[str, Any] | None, now: int) -> State:
    """A customer's state from what StatusReader says and from the derivation's own document."""
    failure = (derivation or {}).get("failure")
    logger, derived = status.logger, status.derivation
    if status.problems:
        return State("warn", "Settings incomplete", status.problems[0].message)
    if isinstance(failure, Mapping):
        return State("bad", "Computing fails", f"{failure.get('plugin')}: {failure.get('message')}")
    if logger is None or logger.last_upload is None:
        return State("idle", "Never uploaded")
    if now - logger.last_upload > SILENT_SECONDS:
        return State("bad", "Silent")
    if derived.state == "no_data":
        return State("warn", "Waits for a meter", "not both meters have uploaded yet")
    if derived.state == "off":
        return State("ok", "Three meters", "nothing is to be computed")
    return State("ok", "Computing" if derived.state == "pending" else "Current")


class OverviewPages:
    """``/overview`` and ``/rejected``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reader = StatusReader(context)

    async def overview(self, call: PageCall) -> Page:
        """A page of customers."""
        search, cursor = (call.query("search") or "")[:_MAX_SEARCH].strip(), call.query("cursor")
        limit = self._context.page_size
        customers = await self._context.customers.page(after=cursor or None, limit=limit + 1, search=search or None)
        shown = customers[:limit]
        derivations = await self._context.documents.get_many(DERIVATION, [customer.id for customer in shown])
        states = await self._reader.status(shown)
        rows = []
        for customer, status in zip(shown, states, strict=True):
            known = derivations.get(customer.id)
            rows.append((customer, status, customer_state(status, known.body if known else None, call.now)))
        more = {"cursor": shown[-1].id, **({"search": search} if search else {})} if len(customers) > limit else None
        pending = await self._context.customers.derivation_queue.summary()
        values = {
            "rows": rows,
            "search": search,
            "paged": bool(cursor),
            "next": f"/overview?{urlencode(more)}" if more else None,
            "count": await self._context.customers.count(),
            "pending": pending,
            "rejected": (await self._rejected())[:_REJECTED_SHOWN],
            "rejected_count": await self._context.documents.count(REJECTED),
            "removed": call.query("done") == "removed",
        }
        return Page("overview.html", values, tab="overview")

    async def rejected(self, call: PageCall) -> Page:
        """Every refused logger, the latest attempt first."""
        return Page("rejected.html", {"rejected": await self._rejected()}, tab="rejected")

    async def _rejected(self) -> list[Mapping[str, Any]]:
        # Their number is bounded where they are gathered.
        found = await self._context.documents.find(REJECTED, limit=_MAX_REJECTED)
        views = [{"serial": document.key, **document.body} for document in found]
        return sorted(views, key=lambda view: -int(view.get("time") or 0))

    def routes(self) -> Sequence[PageRoute]:
        """All of this subject's pages."""
        return (
            PageRoute("GET", "/overview", self.overview, "operator"),
            PageRoute("GET", "/rejected", self.rejected, "operator"),
        )
