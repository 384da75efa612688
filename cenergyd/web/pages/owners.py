"""The customers that tokens and sessions belong to, for the operators' lists."""

from __future__ import annotations

from collections.abc import Iterable

from cenergyd.web.access.sessions import SessionInfo
from cenergyd.web.access.tokens import TokenInfo
from cenergyd.web.pages.routing import customer_path
from cenergyd.web.views.context import Context


async def owners(context: Context, owned: Iterable[TokenInfo | SessionInfo], page: str) -> dict[str, tuple[str, str]]:
    """Name, and path of one of its pages, of each customer, by id."""
    found: dict[str, tuple[str, str]] = {}
    for customer_id in sorted({each.customer_id for each in owned if each.customer_id}):
        customer = await context.customers.get(customer_id)
        name = customer.name if customer is not None else ""
        found[customer_id] = (name or f"Customer {customer_id}", customer_path(customer_id, page))
    return found
