"""The state of sites for the API and the pages."""

from __future__ import annotations

from collections.abc import Sequence

from cenergyd.customers.model import Customer
from cenergyd.errors import Overloaded, StoreUnavailable
from cenergyd.jobs.site_state.gather import series_of_roles, site_states
from cenergyd.jobs.site_state.model import SiteState
from cenergyd.web.views.context import Context


async def states_of(context: Context, customers: Sequence[Customer], now: int) -> list[SiteState]:
    """The state of each customer's site now; from documents alone while the readings store is down."""
    series = series_of_roles(customers)
    try:
        last = await context.readings.last(series) if series else {}
    except (StoreUnavailable, Overloaded):
        last = None
    return await site_states(customers, context.documents, now, last, context.readings)
