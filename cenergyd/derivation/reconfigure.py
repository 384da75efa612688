"""Adds and changes customers. What a change of meters affects is derived again, whatever fails meanwhile.

The affected times are determined before the change is stored: if the readings cannot be queried, nothing changes. The change and its
pending range are then stored in one write (:meth:`~cenergyd.customers.store.CustomerStore.update`), so that no failure can leave one
without the other. A derivation in progress with the old settings has its own working range; the new pending range is claimed after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import attrs
from twisted.logger import Logger

from cenergyd.customers import meter_history
from cenergyd.customers.changes import changed, checked_changes, normalised
from cenergyd.customers.front_end import FrontEndChange
from cenergyd.customers.meter_history import CHANGEABLE, setup_periods
from cenergyd.customers.model import MISSING_METER, ROLES, Customer, TimeRange
from cenergyd.customers.ownership import FOREVER, OWNED, OwnedLogger, after_giving_up, owned_loggers, recorded
from cenergyd.customers.store import CustomerStore
from cenergyd.customers.time_zones import midnight_before
from cenergyd.derivation.corrector import end_corrections
from cenergyd.errors import ChangedElsewhere, Conflict, InvalidField, NotFound
from cenergyd.readings.corrected import as_measured
from cenergyd.readings.store import ReadingStore

_TRIES = 5
log = Logger()
_STORING_SECONDS = 60
"""Seconds after a change that are derived again too: readings that arrive while it is stored may be derived with the old settings."""

CheckChange = Callable[[Customer, Customer], Awaitable[None]]
"""Called with the customer before and after the change, before it is stored; raises to refuse it."""


class Changed(NamedTuple):
    """A customer before and after a change."""

    old: Customer
    new: Customer


async def add_customer(customers: CustomerStore, readings: ReadingStore, customer: Customer, now: int) -> Customer:
    """Add a customer, as operators do; readings that its meters already have are derived.

    Raises InvalidField, SerialTaken, StoreUnavailable (nothing was added, unless the store's reply was lost).
    """
    customer = normalised(customer)
    nobody = attrs.evolve(customer, logger_serial_number="", extensions={})
    owned = await _ownership(customers, readings, nobody, customer, by_operator=True)
    customer = changed(customer, {"extensions": owned})
    time_range = await touched_range(readings, None, customer, now)
    return await customers.add(customer, pending=time_range)


async def change_customer(
    customers: CustomerStore,
    readings: ReadingStore,
    customer_id: str,
    changes: Mapping[str, object],
    now: int,
    *,
    etag: str | None = None,
    check: CheckChange | None = None,
    by_operator: bool = True,
) -> Changed:
    """Set fields as :meth:`CustomerStore.update` does, and derive again what that affects.

    Ownership of loggers is recorded (:mod:`cenergyd.customers.ownership`). If an operator makes the change, the customer gets all readings
    stored since the last other customer gave the logger up; otherwise only those stored from now on.

    Raises NotFound, InvalidField, SerialTaken, StoreUnavailable, whatever ``check`` raises, and Conflict if ``etag`` is given and differs
    from the stored customer's.
    """
    checked = checked_changes(changes)
    for tries_left in reversed(range(_TRIES)):
        old = await _unchanged(customers, customer_id, etag)
        new = changed(old, checked)
        if check is not None:
            await check(old, new)
        owned = await _ownership(customers, readings, old, new, by_operator=by_operator)
        update = {**checked, "extensions": {**checked.get("extensions", {}), **owned}} if owned else checked
        time_range = await touched_range(readings, old, changed(old, update), now)
        await _end_corrections(readings, old, new, now)
        try:
            # Always compared, because the range was determined from ``old``.
            return Changed(old, await customers.update(customer_id, update, expected_etag=old.etag, pending=time_range))
        except ChangedElsewhere:
            if not tries_left:
                raise
            await _follow_one(customers, readings, customer_id, now)
        except Conflict:
            if etag is not None or not tries_left:
                raise
    raise AssertionError("unreachable")


async def _unchanged(customers: CustomerStore, customer_id: str, etag: str | None) -> Customer:
    customer = await customers.get(customer_id)
    if customer is None:
        raise NotFound("there is no such customer")
    if etag is not None and customer.etag != etag:
        raise Conflict("the customer was changed meanwhile")
    return customer


async def _ownership(
    customers: CustomerStore, readings: ReadingStore, old: Customer, new: Customer, *, by_operator: bool
) -> dict[str, object]:
    """The change of extensions that records which loggers the customer holds after a change; empty if nothing changes."""
    before, after = old.logger_serial_number, new.logger_serial_number
    if before == after and old.extensions.get("history") == new.extensions.get("history"):
        return {}
    owned = owned_loggers(old)
    if owned is None:
        owned = _ownership_of_earlier_version(old)
    elif before == after:
        return {}
    if before != after:
        if before:
            first, last = await _stored_times(readings, before)
            # What was computed has points that begin with an hour or a day, which must stay the customer's: no readings are before ``first``.
            owned = after_giving_up(owned, before, first and midnight_before(first, old.time_zone), last)
        if after:
            _, last = await _stored_times(readings, after)
            others = await customers.holders(after)
            since = max(
                (each.until for other in others if other.id != old.id for each in _earlier_ownership(other, after)),
                default=0,
            )
            if not by_operator:
                since = max(since, 0 if last is None else last + 1)
            owned = [*owned, OwnedLogger(after, since)]
    return {OWNED: recorded(owned)}


def _ownership_of_earlier_version(customer: Customer) -> list[OwnedLogger]:
    periods = [period for period in setup_periods(customer, 0, FOREVER) if period.serial]
    return [OwnedLogger(period.serial, period.start, period.end) for period in periods]


def _earlier_ownership(customer: Customer, serial: str) -> list[OwnedLogger]:
    """The times at which a customer owned a logger that they no longer own."""
    return [each for each in owned_loggers(customer) or () if each.serial == serial and each.until != FOREVER]


async def _stored_times(readings: ReadingStore, serial: str) -> tuple[int | None, int | None]:
    """Times of the first and last measured reading of a logger's meters; corrections do not affect ownership."""
    readings = as_measured(readings)
    series = [name for name in await readings.series_of(serial) if not name.endswith(f"_{MISSING_METER}")]
    if not series:
        return None, None
    first, last = await readings.first(series), await readings.last(series)
    return (
        min((reading.time for reading in first.values()), default=None),
        max((reading.time for reading in last.values()), default=None),
    )


async def _end_corrections(readings: ReadingStore, old: Customer, new: Customer, now: int) -> None:
    """When a logger is given up, its corrections end with the customer's last reading."""
    serial = old.logger_serial_number
    if serial and serial != new.logger_serial_number:
        _, last = await _stored_times(readings, serial)
        await end_corrections(readings, serial, 0 if last is None else last + 1, now)


async def _follow_one(customers: CustomerStore, readings: ReadingStore, customer_id: str, now: int) -> None:
    change = await customers.front_end.change_of(customer_id) if customers.front_end else None
    if change is not None:
        await follow_front_end(customers, readings, change, now)


async def follow_front_end(customers: CustomerStore, readings: ReadingStore, change: FrontEndChange, now: int) -> bool:
    """Adopt a change of a customer by the existing front end; False if the customer has been changed again meanwhile.

    A change of meters or logger takes effect now, when it is noticed: what was computed before stays. If no meter could be computed before,
    the change completes the settings and applies to all times. Raises StoreUnavailable.
    """
    front_end, old = customers.front_end, change.customer
    assert front_end is not None
    if change.changes is None:
        return await front_end.follow(change, {})
    update = checked_changes(followed(old, change.changes, now))
    try:
        changed(old, update)
    except InvalidField:
        update = checked_changes(change.changes)  # the history is full
    serial = update.get("logger_serial_number")
    owner = await customers.by_serial(serial) if serial else None
    if owner is not None and owner.id != old.id:
        log.warn(
            "the front end sets logger {serial} for customer {customer_id}, but it belongs to {owner_id}: ignored",
            customer_id=old.id, serial=serial, owner_id=owner.id,
        )  # fmt: skip
        update["logger_serial_number"] = ""
    owned = await _ownership(customers, readings, old, changed(old, update), by_operator=False)
    update["extensions"] = {**update.get("extensions", {}), **owned}
    time_range = await touched_range(readings, old, changed(old, update), now)
    await _end_corrections(readings, old, changed(old, update), now)
    return await front_end.follow(change, update, time_range)


def followed(old: Customer, changes: Mapping[str, str], now: int) -> dict[str, object]:
    """The update that adopts a change by the front end."""
    meters = {field: value for field, value in changes.items() if field in CHANGEABLE}
    computes = old.missing_role is not None or old.current.has_sums
    if not meters or not computes or not old.logger_serial_number:
        return dict(changes)
    try:
        return {**changes, **meter_history.dated_change(old, now, meters, now)}
    except InvalidField:
        return dict(changes)  # the history is full


async def touched_range(readings: ReadingStore, old: Customer | None, new: Customer, now: int) -> TimeRange | None:
    """The times to derive again: from the time of an effective-dated change, otherwise from the first reading; None if there is none."""
    if old is not None and _meters(old) == _meters(new):
        return None
    # The computed series too: with the old settings it may reach further back than the readings of the present meters.
    series = [name for role in ROLES if (name := new.series_of(role))]
    series += [name for role in ROLES for name in new.measured_series_of(role) if name not in series]
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
    return TimeRange(start, latest + 1)


def _meters(customer: Customer) -> tuple[object, ...]:
    """Everything that determines which series are read and which is computed."""
    extensions = customer.extensions
    return customer.logger_serial_number, customer.current, extensions.get("history"), extensions.get(OWNED)
