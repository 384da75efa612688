"""Adding and changing customers, such that what a change of meters affects is derived again, whatever fails meanwhile.

The affected times are determined before the change is stored: if the readings cannot be queried, nothing changes. The change and its
pending window are then stored in one write (:meth:`~cenergyd.customers.store.CustomerStore.update`), so that no failure can leave one
without the other. A derivation under way with the old settings has a working window of its own; the new pending window is claimed after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from cenergyd.customers.changes import changed, checked_changes, normalised
from cenergyd.customers.model import ROLES, Customer, Window
from cenergyd.customers.store import CustomerStore
from cenergyd.errors import Conflict, NotFound
from cenergyd.readings.store import ReadingStore

_TRIES = 5
_STORING_SECONDS = 60
"""Readings that arrive while a change is being stored may have been derived with the old settings."""

Check = Callable[[Customer, Customer], Awaitable[None]]
"""Called with the customer before and after the change, before it is stored; raises to refuse it."""


class Changed(NamedTuple):
    """A customer before and after a change."""

    old: Customer
    new: Customer


async def add_customer(customers: CustomerStore, readings: ReadingStore, customer: Customer, now: int) -> Customer:
    """Add a customer; readings that its meters already have are derived.

    Raises InvalidField, SerialTaken, StoreUnavailable (then nothing was added, unless the store's reply was lost).
    """
    window = await touched_window(readings, None, normalised(customer), now)
    return await customers.add(customer, pending=window)


async def change_customer(
    customers: CustomerStore,
    readings: ReadingStore,
    customer_id: str,
    changes: Mapping[str, Any],
    now: int,
    *,
    etag: str | None = None,
    check: Check | None = None,
) -> Changed:
    """Set fields as :meth:`CustomerStore.update` does, and have what that affects derived again.

    Raises NotFound, InvalidField, SerialTaken, StoreUnavailable, what ``check`` raises, and Conflict where ``etag`` is given and the
    stored customer has another one (None: no comparison).
    """
    checked = checked_changes(changes)
    for tries_left in reversed(range(_TRIES)):
        old = await customers.get(customer_id)
        if old is None:
            raise NotFound("there is no such customer")
        if etag is not None and old.etag != etag:
            raise Conflict("the customer was changed meanwhile")
        new = changed(old, checked)
        if check is not None:
            await check(old, new)
        window = await touched_window(readings, old, new, now)
        try:
            # Always compared, because the window was determined for this ``old``.
            return Changed(old, await customers.update(customer_id, checked, expected_etag=old.etag, pending=window))
        except Conflict:
            if etag is not None or not tries_left:
                raise
    raise AssertionError("unreachable")


async def touched_window(readings: ReadingStore, old: Customer | None, new: Customer, now: int) -> Window | None:
    """The times to derive again: from that of an effective-dated change, else from the first reading; None if there is none."""
    if old is not None and _meters(old) == _meters(new):
        return None
    # The computed series as well: by the old settings it may reach further back than the readings of the present meters.
    series = [name for role in ROLES if (name := new.series_of(role))]
    history = new.extensions.get("history")
    if history and (old is None or history != old.extensions.get("history")):
        start: int | None = int(history[-1]["until"])
    else:
        first = await readings.first(series) if series else {}
        start = min((reading.time for reading in first.values()), default=None)
    if start is None:
        return None
    last = await readings.last(series) if series else {}
    latest = max(now + _STORING_SECONDS, *(reading.time for reading in last.values()), start)
    return Window(start, latest + 1)


def _meters(customer: Customer) -> tuple[Any, ...]:
    """Everything that decides which series are read and which is computed."""
    return customer.logger_serial_number, customer.current, customer.extensions.get("history")
