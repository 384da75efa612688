"""Saving what a page's form edits in a customer's extensions, and detecting changes by others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from cenergyd.customers.model import Customer
from cenergyd.errors import Conflict
from cenergyd.web.views.context import Context
from cenergyd.web.views.customer_service import change_customer

_TRIES = 4


def fingerprint(value: object) -> str:
    """Identifies a stored value; a form carries the fingerprint of the value it was filled with."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]


async def save_extension(context: Context, customer: Customer, name: str, value: object) -> Customer:
    """Store one extension of a customer. Raises Conflict if the customer has changed since it was read."""
    return await change_customer(context, None, customer.id, {"extensions": {name: value}}, customer.etag)


async def change_extension(
    context: Context, customer_id: str, name: str, change: Callable[[Customer], object]
) -> Customer:
    """Store what ``change`` returns for the customer; call it again if somebody else changed the customer meanwhile. For changes that do not
    depend on other fields."""
    for _ in range(_TRIES - 1):
        customer = await context.customer(customer_id)
        try:
            return await save_extension(context, customer, name, change(customer))
        except Conflict:
            continue
    customer = await context.customer(customer_id)
    return await save_extension(context, customer, name, change(customer))
