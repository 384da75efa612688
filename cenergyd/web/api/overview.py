"""The list of all sites: states, present power, and energy of the day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, cast

from msgspec import Meta

from cenergyd.customers.model import Role
from cenergyd.documents.kinds import REJECTED
from cenergyd.errors import InvalidField
from cenergyd.jobs.site_state.fleet import MAX_SITES, RENAMED_SORTS, SORTS, FleetQuery, energy_now
from cenergyd.jobs.site_state.model import KINDS, IssueKind
from cenergyd.jobs.site_state.summary import SiteSummary
from cenergyd.runtime.structs import Resource, Time
from cenergyd.runtime.yielding import CooperativeYield
from cenergyd.web.api import openapi
from cenergyd.web.api.openapi import Next
from cenergyd.web.api.routing import MAX_SEARCH, Call, Response, Route
from cenergyd.web.api.site_state import SiteStateJson
from cenergyd.web.views.context import Context


class PendingCustomers(Resource, frozen=True, kw_only=True):
    """Customers whose readings wait for derivation."""

    customers: int
    oldest: Time | None


class EnergyOfDay(Resource, frozen=True, kw_only=True):
    """A role's energy, kWh."""

    role: Role
    import_kwh: float
    export_kwh: float


class OverviewEntry(Resource, frozen=True, kw_only=True):
    """One site in the list."""

    customer_id: str
    name: str
    logger_serial_number: str
    time_zone: str
    state: SiteStateJson
    today: Annotated[list[EnergyOfDay], Meta(description="Of the site's day so far; roles without any are left out.")]
    alerts: Annotated[int, Meta(description="Alerts that are active.")]

    @classmethod
    def of(cls, site: SiteSummary, now: int) -> OverviewEntry:
        """A site's summary."""
        energy = energy_now(site, now).values()
        return cls(
            customer_id=site.customer_id,
            name=site.name,
            logger_serial_number=site.serial,
            time_zone=site.time_zone,
            state=SiteStateJson.of(site.state, site.time_zone, now),
            today=[EnergyOfDay(role=each.role, import_kwh=each.imported, export_kwh=each.exported) for each in energy],
            alerts=site.alerts,
        )


class OverviewTotals(Resource, frozen=True, kw_only=True):
    """Totals of all sites that match the search."""

    power: Annotated[
        dict[Role, float],
        Meta(description="kW now, of the sites that are current; without roles that none of them knows."),
    ]
    current: Annotated[int, Meta(description="Sites whose power is known now.")]
    today: Annotated[list[EnergyOfDay], Meta(description="Of each site's day so far.")]


class Overview(Resource, frozen=True, kw_only=True):
    """A page of all customers' states as last evaluated, some seconds ago."""

    customers: list[OverviewEntry]
    next: Next
    now: Time
    matching: Annotated[int, Meta(description="Customers on all pages.")]
    counts: Annotated[
        dict[IssueKind, int], Meta(description="Customers in each state, of those that match the search.")
    ]
    totals: OverviewTotals
    pending: PendingCustomers
    rejected: Annotated[int, Meta(description="Rejected serial numbers.")]


class OverviewApi:
    """``/overview``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def overview(self, call: Call) -> Response:
        """All customers' states."""
        query = fleet_query(call, self._context.page_size)
        found = await self._context.fleet.page(query, CooperativeYield(self._context.clock))
        pending = await self._context.customers.derivation_queue.summary()
        after = query.offset + query.limit
        totals = found.totals
        overview = Overview(
            customers=[OverviewEntry.of(site, call.now) for site in found.sites],
            next=str(after) if after < found.matching else None,
            now=call.now,
            matching=found.matching,
            counts=dict(found.counts),
            totals=OverviewTotals(
                power=dict(totals.power),
                current=totals.current,
                today=[
                    EnergyOfDay(role=each.role, import_kwh=each.imported, export_kwh=each.exported)
                    for each in totals.energy.values()
                ],
            ),
            pending=PendingCustomers(customers=pending.customers, oldest=pending.oldest),
            rejected=await self._context.documents.count(REJECTED),
        )
        return Response(overview)

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        paging = openapi.page_parameters(self._context.page_size)
        return (Route("GET", "/overview", self.overview, "operator", _overview(paging)),)


def fleet_query(call: Call, page_size: int) -> FleetQuery:
    """What ``state``, ``search``, ``sort``, ``order``, ``cursor`` and ``limit`` ask for. Raises InvalidField."""
    state, sort, order = call.query("state") or "", call.query("sort") or "state", call.query("order") or "ascending"
    if state not in ("", "problems", *KINDS):
        raise InvalidField("state", f"one of problems, {', '.join(KINDS)} is needed")
    sort = RENAMED_SORTS.get(sort, sort)
    if sort not in SORTS:
        raise InvalidField("sort", f"one of {', '.join(SORTS)} is needed")
    if order not in ("ascending", "descending"):
        raise InvalidField("order", "ascending or descending is needed")
    return FleetQuery(
        state=cast(Any, state),
        sort=cast(Any, sort),
        descending=order == "descending",
        search=(call.query("search", MAX_SEARCH) or "").strip(),
        offset=call.query_integer("cursor", 0, MAX_SITES) or 0,
        limit=call.limit(page_size),
    )


_TAG = "loggers"


def _overview(paging: Sequence[openapi.SpecObject]) -> openapi.Operation:
    parameters = [
        openapi.query_parameter(
            "search", {"type": "string", "maxLength": MAX_SEARCH}, "Part of a name or serial number, any case."
        ),
        openapi.query_parameter(
            "state", {"enum": ["problems", *KINDS]}, "Only sites in this state; `problems`: in any state except good and computing."
        ),
        openapi.query_parameter(
            "sort", {"enum": list(SORTS)},
            "`state` (default): problems first, then by name. `utility`, `load`, `solar`: kW now. `load_today`, `solar_today`, `import_today`, "
            "`export_today`: kWh today of load, of solar, from and to the grid. Unknown values come last.",
        ),
        openapi.query_parameter("order", {"enum": ["ascending", "descending"]}, "Default: ascending."),
    ]  # fmt: skip
    return openapi.Operation(
        "readOverview", _TAG, "State of all customers (operators)",
        response=Overview, parameters=[*paging, *parameters],
    )  # fmt: skip
