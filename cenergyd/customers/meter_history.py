"""The history of a customer's meters: which meter measured which role at which time.

``extensions["history"]`` is a list, ascending in time, of the settings that were valid before the present ones::

    {"until": 1700000000, "logger_serial_number": "001EC6001433",
     "facility": "1", "load": "2", "solar": "", "reversed": ["utility"], "layouts": {"1": {"P": 14}}}

Each entry is valid from the end of the one before it (the first: from the beginning) to ``until``, exclusive, UTC seconds. The present
settings are valid from the last ``until`` on. So a reading keeps its meaning when a meter, logger or layout is changed later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import attrs

from cenergyd.customers.meter_sum import is_sum
from cenergyd.customers.model import FIELD_OF_ROLE, ROLES, Customer, MeterSetup, Role
from cenergyd.customers.ownership import FOREVER, OwnedLogger, owned_loggers, ownership_parts
from cenergyd.errors import InvalidField

MAX_HISTORY = 500
"""Maximum entries in a customer's history."""

CHANGEABLE = ("facility", "load", "solar", "logger_serial_number", "reversed", "layouts")
"""Fields that can be changed as of a time."""


class RoleSegment(NamedTuple):
    """A range of times over which one series holds a role, with the same meaning throughout."""

    start: int
    """UTC seconds, inclusive."""
    end: int
    """Exclusive."""
    series: str
    computed: bool
    """Whether the role is computed from the other two."""
    reversed: bool
    """Whether the meter's CTs are mounted the wrong way round (:mod:`cenergyd.readings.signs`)."""
    sum: str = ""
    """The sum of meters (:mod:`cenergyd.customers.meter_sum`) if the series is one, otherwise ''."""


_new_segment: Final = partial(tuple.__new__, RoleSegment)
"""Makes a segment from a tuple of all its fields without a call in Python."""


class SetupPeriod(NamedTuple):
    """A range of times over which the setup does not change."""

    start: int
    """UTC seconds, inclusive."""
    end: int
    """Exclusive."""
    serial: str
    """The logger's serial number at that time; '' if none was set, or it was not the customer's (:mod:`cenergyd.customers.ownership`)."""
    setup: MeterSetup

    def series_of(self, role: Role) -> str | None:
        """The series that holds a role at that time: a meter's, its sum's, the computed one, or None."""
        return self.setup.series_of(role, self.serial)

    def segment_of(self, role: Role) -> RoleSegment | None:
        """The role's segment over this period, or None if no series holds it."""
        series = self.series_of(role)
        if series is None:
            return None
        meters = self.setup.meter_of(role)
        is_reversed = bool(meters) and role in self.setup.reversed_roles
        return _new_segment((self.start, self.end, series, not meters, is_reversed, meters if is_sum(meters) else ""))


def setup_periods(customer: Customer, start: int, end: int) -> list[SetupPeriod]:
    """The setup periods that cover ``start <= time < end``, cut to it, ascending; the present settings are the last."""
    if start >= end:
        return []
    if not customer.setup_history:
        customer.setup_history[:] = _owned_periods(customer)  # all at once, because another thread may ask
    return [
        SetupPeriod(max(each.start, start), min(each.end, end), each.serial, each.setup)
        for each in customer.setup_history
        if each.end > start and each.start < end
    ]


def role_segments(customer: Customer, role: Role, start: int, end: int) -> list[RoleSegment]:
    """The segments of a role over ``start <= time < end``, ascending, without times at which no series holds it.

    Neighbouring setup periods between which nothing changes for the role give one segment.
    """
    if start >= end:
        return []
    if not customer.role_history:
        periods = setup_periods(customer, -FOREVER, FOREVER)
        segments = {each: _joined(periods, each) for each in ROLES}
        customer.role_history.update(segments)  # all at once, because another thread may ask
    # Half the time of _replace, max and min: a site asks some dozens of times for each upload.
    return [
        _new_segment(
            (since if since > start else start, until if until < end else end, series, computed, is_reversed, summed)
        )
        for since, until, series, computed, is_reversed, summed in customer.role_history[role]
        if until > start and since < end
    ]


def _owned_periods(customer: Customer) -> list[SetupPeriod]:
    """The setup periods over all times."""
    if isinstance(customer.extensions.get("history"), list | tuple):
        found = list(_all_periods(customer))
    else:
        found = [SetupPeriod(-FOREVER, FOREVER, customer.logger_serial_number, customer.current)]
    owned = owned_loggers(customer)
    return found if owned is None else [part for period in found for part in _owned_parts(period, owned)]


def _joined(periods: Sequence[SetupPeriod], role: Role) -> list[RoleSegment]:
    """The segments of a role; periods between which nothing changes for it give one."""
    found: list[RoleSegment] = []
    for period in periods:
        segment = period.segment_of(role)
        if segment is None:
            continue
        if found and found[-1].end == segment.start and found[-1][2:] == segment[2:]:
            found[-1] = found[-1]._replace(end=segment.end)
        else:
            found.append(segment)
    return found


def uses_sums(customer: Customer) -> bool:
    """Whether a role is, or ever was, a sum of meters."""
    if is_sum(customer.facility + customer.load + customer.solar):
        return True
    history = customer.extensions.get("history")
    if history is None or not isinstance(history, list | tuple):
        return False
    fields = FIELD_OF_ROLE.values()
    return any(
        is_sum(str(entry.get(field) or "")) for entry in history if isinstance(entry, Mapping) for field in fields
    )


def dated_change(customer: Customer, effective_from: int, changes: Mapping[str, Any], now: int) -> dict[str, Any]:
    """The update (for ``CustomerStore.update``) that makes ``changes`` valid from a time on and keeps the old settings before it.

    It replaces what an earlier change had set for times from ``effective_from`` on. The caller has these times derived again, by marking
    them in the derivation queue. To correct settings that were always wrong, pass 0; that adds no history.

    :param effective_from: UTC seconds, not in the future, because a customer's fields are the settings that are valid now.
    :param changes: any of :data:`CHANGEABLE`; ``reversed`` is a list of roles, ``layouts`` is meter id -> channel -> column.
    :raises InvalidField: an unknown field or role, a time in the future, or too long a history.
    """
    for name in changes:
        if name not in CHANGEABLE:
            raise InvalidField(name, f"{name} cannot be changed as of a time; {', '.join(CHANGEABLE)} can")
    if not 0 <= effective_from <= now:
        raise InvalidField("effective_from", "a time that is not in the future is needed")
    history = [_entry(period) for period in setup_periods(customer, 0, effective_from)]
    if len(history) > MAX_HISTORY:
        raise InvalidField("effective_from", f"there are {MAX_HISTORY} changes already")
    update: dict[str, object] = {name: value for name, value in changes.items() if name not in ("reversed", "layouts")}
    extensions: dict[str, object] = {"history": history or None}
    if "reversed" in changes or "layouts" in changes:
        meters = dict(customer.extensions.get("meters") or {})
        if "reversed" in changes:
            meters["reversed"] = _roles(changes["reversed"])
        if "layouts" in changes:
            meters["layouts"] = dict(changes["layouts"] or {})
        extensions["meters"] = meters
    update["extensions"] = extensions
    return update


def change_times(customer: Customer) -> list[int]:
    """The times at which its meters, CTs, columns or logger were changed, UTC seconds, ascending; arguments for :func:`without_change`."""
    if not isinstance(customer.extensions.get("history"), list | tuple):
        return []
    return [period.start for period in _all_periods(customer)][1:]


def without_change(customer: Customer, at: int) -> dict[str, object]:
    """The update that removes a change: the settings before it are then valid until the next change, or now.

    :raises InvalidField: there is no change at that time.
    """
    if at not in change_times(customer):
        raise InvalidField("since", "there is no change at that time")
    periods = list(_all_periods(customer))
    place = next(index for index, period in enumerate(periods) if period.start == at)
    before, gone = periods[place - 1], periods.pop(place)
    kept = [_entry(period) for period in periods[:-1]]
    if place < len(periods):
        kept[place - 1] = _entry(before._replace(end=gone.end))
        return {"extensions": {"history": kept}}
    entry = _entry(before)
    meters = {**(customer.extensions.get("meters") or {}), "reversed": entry["reversed"], "layouts": entry["layouts"]}
    names = ("facility", "load", "solar", "logger_serial_number")
    return {**{name: entry[name] for name in names}, "extensions": {"history": kept or None, "meters": meters}}


def _roles(value: object) -> list[Role]:
    if not isinstance(value, list | tuple | set | frozenset) or not set(value) <= set(ROLES):
        raise InvalidField("reversed", f"a list of roles ({', '.join(ROLES)}) is needed")
    return [role for role in ROLES if role in value]


def _entry(period: SetupPeriod) -> dict[str, object]:
    setup = period.setup
    return {
        "until": period.end,
        "logger_serial_number": period.serial,
        "facility": setup.utility,
        "load": setup.load,
        "solar": setup.solar,
        "reversed": [role for role in ROLES if role in setup.reversed_roles],
        "layouts": {meter: dict(columns) for meter, columns in setup.layouts.items()},
    }


def _owned_parts(period: SetupPeriod, owned: Sequence[OwnedLogger]) -> list[SetupPeriod]:
    """The period, cut where ownership of its logger changes; the parts in which it was not the customer's have no logger."""
    if not period.serial:
        return [period]
    return [
        SetupPeriod(start, end, period.serial if is_owned else "", period.setup)
        for start, end, is_owned in ownership_parts(owned, period.serial, period.start, period.end)
    ]


def _all_periods(customer: Customer) -> Iterator[SetupPeriod]:
    since = 0
    for entry in customer.extensions["history"]:
        until = entry.get("until") if isinstance(entry, Mapping) else None
        if not isinstance(until, int) or until <= since:
            continue  # other programs write to the collection: an invalid entry must not stop the derivation
        setup = MeterSetup(
            effective_from=since,
            utility=str(entry.get("facility") or ""),
            load=str(entry.get("load") or ""),
            solar=str(entry.get("solar") or ""),
            reversed_roles=frozenset(entry.get("reversed") or ()),
            layouts=entry.get("layouts") or {},
        )
        yield SetupPeriod(since, until, str(entry.get("logger_serial_number") or customer.logger_serial_number), setup)
        since = until
    yield SetupPeriod(
        since, FOREVER, customer.logger_serial_number, attrs.evolve(customer.current, effective_from=since)
    )
