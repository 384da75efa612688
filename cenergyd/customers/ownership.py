"""Ownership of loggers over time. Pure functions.

At any time a logger belongs to one customer at most: the customer stores check that (``SerialTaken`` of ``CustomerStore.add`` and
``update``), because only they can do so for all daemons. This module tells who owned it when.

``extensions["loggers"]`` is a list of the loggers that a customer really had, each with the range of times whose readings are theirs::

    {"serial": "001EC6001433", "since": 0, "until": 1700000000}

``since`` is inclusive, ``until`` exclusive, UTC seconds; without ``until`` the logger is still the customer's. The history applies only within these
ranges (:func:`cenergyd.customers.meter_history.setup_periods`), so nobody gets another customer's readings by entering a logger or an
earlier time. A customer without the list was stored by an earlier version; then the history is trusted until the next change of logger or
history writes the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from cenergyd.customers.model import Customer
from cenergyd.errors import InvalidField

OWNED = "loggers"
"""The extension with the loggers that a customer owns or owned."""
RELEASED = "released"
"""The extension with the serial numbers that an operator has released to a customer, who may then enter them."""
FOREVER = 1 << 53
"""Later than every time (JavaScript's largest exact integer, so that it is preserved in JSON)."""
MAX_RELEASED = 200
"""Maximum loggers released to one customer."""
MAX_OWNED = 200
"""Maximum entries in a customer's list of owned loggers."""


class OwnedLogger(NamedTuple):
    """A logger, and the range of times whose readings are the customer's."""

    serial: str
    since: int
    """UTC seconds, inclusive."""
    until: int = FOREVER
    """Exclusive."""


def owned_loggers(customer: Customer) -> list[OwnedLogger] | None:
    """The loggers that a customer owns or owned; None if nothing is recorded because an earlier version stored the customer."""
    recorded = customer.extensions.get(OWNED)
    if not isinstance(recorded, list | tuple):
        return None
    found = []
    for entry in recorded:
        if isinstance(entry, Mapping) and isinstance(entry.get("serial"), str) and isinstance(entry.get("since"), int):
            until = entry.get("until")
            found.append(OwnedLogger(entry["serial"], entry["since"], until if isinstance(until, int) else FOREVER))
    return found


def owns_or_owned(customer: Customer, serial: str) -> bool:
    """Whether a logger is, or has been, the customer's."""
    return customer.logger_serial_number == serial or any(
        each.serial == serial for each in owned_loggers(customer) or ()
    )


def first_owned(customer: Customer) -> int:
    """The earliest time at which the present logger was the customer's, UTC seconds; 0 if no ownership is recorded."""
    serial = customer.logger_serial_number
    times = [each.since for each in owned_loggers(customer) or () if each.serial == serial]
    return min(times, default=0)


def own_parts(customer: Customer, serial: str, start: int, end: int) -> list[tuple[int, int]]:
    """The parts of a range in which a logger's readings are the customer's, ascending; the whole range where no ownership is recorded."""
    owned = owned_loggers(customer)
    if owned is None:
        return [(start, end)] if start < end else []
    return [(since, until) for since, until, is_owned in ownership_parts(owned, serial, start, end) if is_owned]


def owns(customer: Customer, serial: str, time: int) -> bool:
    """Whether a logger's readings of a time are the customer's."""
    return bool(own_parts(customer, serial, time, time + 1))


def owned_since(customer: Customer) -> int:
    """The time since which the present logger has been the customer's without interruption, UTC seconds; 0 if no ownership is recorded."""
    parts = own_parts(customer, customer.logger_serial_number, 0, FOREVER)
    return parts[-1][0] if parts else FOREVER


class Timed(Protocol):
    """Anything with a time, UTC seconds."""

    @property
    def time(self) -> int: ...


T = TypeVar("T", bound=Timed)


def own_rows(customer: Customer, serial: str, rows: Sequence[T]) -> Sequence[T]:
    """The readings (ascending) of times at which the logger was the customer's."""
    if not rows or _always_owned(customer, serial, rows[0].time):
        return rows
    parts = own_parts(customer, serial, rows[0].time, rows[-1].time + 1)
    if len(parts) == 1 and parts[0] == (rows[0].time, rows[-1].time + 1):
        return rows
    return [row for row in rows if any(since <= row.time < until for since, until in parts)]


def _always_owned(customer: Customer, serial: str, start: int) -> bool:
    """A quick check for the usual case: whether the logger is certainly the customer's from a time on."""
    recorded = customer.extensions.get(OWNED)
    if not isinstance(recorded, list | tuple):
        return True
    if len(recorded) != 1 or not isinstance(recorded[0], Mapping):
        return False
    entry = recorded[0]
    since = entry.get("since")
    return entry.get("serial") == serial and "until" not in entry and isinstance(since, int) and since <= start


def without_foreign(customer: Customer, last: Mapping[str, T]) -> Mapping[str, T]:
    """Newest readings by series, without those of the customer's present roles that belong to another customer's time."""
    serial = customer.logger_serial_number
    times = {name: last[name].time for name in customer.role_series if name in last}
    if not times or _always_owned(customer, serial, min(times.values())):
        return last
    foreign = {name for name, time in times.items() if not owns(customer, serial, time)}
    return {name: reading for name, reading in last.items() if name not in foreign} if foreign else last


def released_loggers(customer: Customer) -> frozenset[str]:
    """Serial numbers that an operator has released to the customer."""
    released = customer.extensions.get(RELEASED)
    return (
        frozenset(each for each in released if isinstance(each, str))
        if isinstance(released, list | tuple)
        else frozenset()
    )


def released_change(serials: Iterable[str]) -> dict[str, object]:
    """The change of extensions that releases exactly these loggers to a customer. Raises InvalidField for too many."""
    released = sorted(set(serials))
    if len(released) > MAX_RELEASED:
        raise InvalidField("released_loggers", f"at most {MAX_RELEASED} loggers")
    return {RELEASED: released or None}


def ownership_parts(owned: Sequence[OwnedLogger], serial: str, start: int, end: int) -> list[tuple[int, int, bool]]:
    """A range of times, cut where ownership of a logger begins or ends: (start, end, whether it is owned), ascending."""
    inside = sorted(
        (max(each.since, start), min(each.until, end))
        for each in owned
        if each.serial == serial and max(each.since, start) < min(each.until, end)
    )
    parts: list[tuple[int, int, bool]] = []
    reached = start
    for since, until in inside:
        if since > reached:
            parts.append((reached, since, False))
        if until > reached:
            parts.append((max(since, reached), until, True))
            reached = until
    if reached < end:
        parts.append((reached, end, False))
    return parts


def after_giving_up(
    owned: Iterable[OwnedLogger], serial: str, first: int | None, last: int | None
) -> list[OwnedLogger]:
    """The ownership after a logger is given up: of that logger only the range of its stored readings remains, or nothing.

    :param first: a time up to the first stored reading of the logger, None if there is none; ``last``: the time of the last one.
    """
    found = []
    for each in owned:
        if each.serial != serial or each.until != FOREVER:
            found.append(each)
        elif first is not None and last is not None and last >= each.since:
            found.append(each._replace(since=max(each.since, first), until=last + 1))
    return found


def recorded(owned: Iterable[OwnedLogger]) -> list[dict[str, object]]:
    """The value of ``extensions["loggers"]``."""
    return [
        {"serial": each.serial, "since": each.since, **({} if each.until == FOREVER else {"until": each.until})}
        for each in list(owned)[-MAX_OWNED:]
    ]
