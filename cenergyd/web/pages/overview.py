"""The operator's overview: all sites with their state, problems first, and the loggers that were rejected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

import attrs

from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.documents.json_types import ReadOnlyJson
from cenergyd.documents.kinds import REJECTED
from cenergyd.jobs.site_state.fleet import FleetPage, FleetQuery, Sort, energy_now
from cenergyd.jobs.site_state.issue_text import TITLES, good_text, issue_text
from cenergyd.jobs.site_state.model import KINDS, LEVELS
from cenergyd.jobs.site_state.summary import SiteSummary
from cenergyd.runtime.gather import gather_limited
from cenergyd.runtime.yielding import CooperativeYield
from cenergyd.web.api.overview import fleet_query
from cenergyd.web.pages.routing import Page, PageCall, PageRoute
from cenergyd.web.views.context import Context

_REJECTED_SHOWN = 5
_MAX_REJECTED = 1000
_AT_ONCE = 20
_LARGEST_FIRST = (
    "utility",
    "load",
    "solar",
    "load_today",
    "solar_today",
    "import_today",
    "export_today",
    "alerts",
    "last_upload",
)


class ListColumn(NamedTuple):
    """A column of the list."""

    sort: Sort
    text: str
    unit: str = ""
    wide: bool = True
    """Left out on a phone."""

    @property
    def is_number(self) -> bool:
        """Whether it is right-aligned."""
        return bool(self.unit) or self.sort == "alerts"


COLUMNS = (
    ListColumn("state", "State", wide=False),
    ListColumn("solar", "Solar now", "kW"),
    ListColumn("load", "Load now", "kW"),
    ListColumn("utility", "Grid now", "kW"),
    ListColumn("solar_today", "Solar today", "kWh"),
    ListColumn("load_today", "Load today", "kWh"),
    ListColumn("alerts", "Alerts"),
    ListColumn("last_upload", "Last upload"),
)


class Row(NamedTuple):
    """One site in the list."""

    site: SiteSummary
    level: str
    title: str
    text: str
    """What is wrong, or why the present power is not known, or empty."""
    cells: Mapping[str, float | None]
    """By the column's ``sort``."""


class Heading(NamedTuple):
    """A column's heading, which sorts by it."""

    column: ListColumn
    path: str
    order: str
    """``ascending`` or ``descending`` where the list is sorted by it, else empty."""


class StateLink(NamedTuple):
    """How many sites are in a state, and the list of them."""

    kind: str
    level: str
    text: str
    sites: int
    path: str
    shown: bool


class OverviewPages:
    """``/overview`` and ``/rejected``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def overview(self, call: PageCall) -> Page:
        """A page of sites; its address holds state, search and order."""
        query = fleet_query(call, self._context.page_size)
        found = await self._context.fleet.page(query, CooperativeYield(self._context.clock))
        after = query.offset + query.limit
        values = {
            "query": query,
            "rows": [row_of(site, call.now) for site in found.sites],
            "headings": headings_of(query),
            "labels": {column.sort: column for column in COLUMNS},
            "name_path": path_of(
                query, offset=0, sort="name", descending=query.sort == "name" and not query.descending
            ),
            "states": state_links(query, found),
            "totals": found.totals,
            "matching": found.matching,
            "paged": query.offset > 0,
            "first": path_of(query, offset=0),
            "next": path_of(query, offset=after) if after < found.matching else None,
            "count": sum(found.counts.values()),
            "pending": await self._context.customers.derivation_queue.summary(),
            "rejected": (await self._rejected())[:_REJECTED_SHOWN],
            "rejected_count": await self._context.documents.count(REJECTED),
            "removed": call.query("done") == "removed",
        }
        return Page("overview.html", values, tab="overview")

    async def rejected(self, call: PageCall) -> Page:
        """All rejected loggers, latest attempt first."""
        return Page("rejected.html", {"rejected": await self._rejected()}, tab="rejected")

    async def _rejected(self) -> list[ReadOnlyJson]:
        # Their number is limited where they are recorded.
        found = await self._context.documents.find(REJECTED, limit=_MAX_REJECTED)
        owners = await gather_limited([self._context.customers.by_serial(document.key) for document in found], _AT_ONCE)
        views = [
            {"serial": document.key, "customer_id": owner.id if owner else None, **document.body}
            for document, owner in zip(found, owners, strict=True)
        ]
        return sorted(views, key=lambda view: -int(view.get("time") or 0))

    def routes(self) -> Sequence[PageRoute]:
        """All of this subject's pages."""
        return (
            PageRoute("GET", "/overview", self.overview, "operator"),
            PageRoute("GET", "/rejected", self.rejected, "operator"),
        )


def row_of(site: SiteSummary, now: int) -> Row:
    """A site as a line of the list."""
    energy = energy_now(site, now)
    cells: dict[str, float | None] = {role: site.power(role, now) for role in ("utility", "load", "solar")}
    cells["solar_today"] = energy["solar"].imported if "solar" in energy else None
    cells["load_today"] = energy["load"].imported if "load" in energy else None
    state, zone = site.state, zone_or_utc(site.time_zone)
    if not state.issues:
        why_unknown = good_text(state, now, zone) if any(each.is_stale(now) for each in state.roles) else ""
        return Row(site, state.level, TITLES[state.kind], why_unknown, cells)
    text = issue_text(state.issues[0], state, now, zone)
    more = f" And {len(state.issues) - 1} more." if len(state.issues) > 1 else ""
    return Row(site, state.level, text.title, text.text + more, cells)


def headings_of(query: FleetQuery) -> list[Heading]:
    """The column headings; a click sorts by it, largest or latest first, and a second click reverses the order."""
    found = []
    for column in COLUMNS:
        mine = column.sort == query.sort
        descending = not query.descending if mine else column.sort in _LARGEST_FIRST
        order = ("descending" if query.descending else "ascending") if mine else ""
        found.append(Heading(column, path_of(query, offset=0, sort=column.sort, descending=descending), order))
    return found


def state_links(query: FleetQuery, found: FleetPage) -> list[StateLink]:
    """The number of sites in each state, worst first; states without a site are left out."""
    links = [StateLink("", "", "All", sum(found.counts.values()), path_of(query, offset=0, state=""), not query.state)]
    for kind in KINDS:
        shown = query.state == kind
        if found.counts[kind] or shown:
            path = path_of(query, offset=0, state=kind)
            links.append(StateLink(kind, LEVELS[kind], TITLES[kind], found.counts[kind], path, shown))
    return links


def path_of(query: FleetQuery, **changes: Any) -> str:
    """The list's address with part of the query changed."""
    changed = attrs.evolve(query, **changes)
    named = {
        "state": changed.state,
        "search": changed.search,
        "sort": changed.sort if changed.sort != "state" else "",
        "order": "descending" if changed.descending else "",
        "cursor": str(changed.offset) if changed.offset else "",
    }
    given = urlencode({name: value for name, value in named.items() if value})
    return f"/overview?{given}" if given else "/overview"
