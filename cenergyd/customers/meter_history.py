"""Which meter played which role when.

``extensions["history"]`` is a list, ascending in time, of the settings that were valid before the present ones::

    {"until": 1700000000, "logger_serial_number": "001EC6001433",
     "facility": "1", "load": "2", "solar": "", "reversed": ["utility"], "layouts": {"1": {"P": 14}}}

Each entry is valid from the end of the one before it (the first: from the beginning) to ``until``, exclusive, UTC seconds; the present
settings from the last ``until`` on. So a reading keeps its meaning when a meter, a logger or a layout is changed later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import attrs

from cenergyd.customers.meter_sum import is_sum
from cenergyd.customers.model import FIELD_OF_ROLE, ROLES, Customer, MeterSetup, Role
from cenergyd.customers.ownership import FOREVER, Held, held_loggers, parts_held
from cenergyd.errors import InvalidField

MAX_HISTORY = 500
"""Entries in a customer's history."""

CHANGEABLE = ("facility", "load", "solar", "logger_serial_number", "reversed", "layouts")
"""Fields that can change from a time on."""


class RoleSegment(NamedTuple):
    """A time over which one series plays a role, with the same meaning throughout."""

    start: int
    """UTC seconds, inclusive."""
    end: int
    """Exclusive."""
    series: str
    computed: bool
    """Whether it is computed from the other two roles."""
    reversed: bool
    """Whether the meter's CTs are mounted the wrong way round: :mod:`cenergyd.readings.signs`."""
    sum: str = ""
    """The sum of meters (:mod:`cenergyd.customers.meter_sum`) if the series is one, else ''."""


class SetupPeriod(NamedTuple):
    """A time over which the setup does not change."""

    start: int
    """UTC seconds, inclusive."""
    end: int
    """Exclusive."""
    serial: str
    """The logger's serial number at that time, '' if none was set or it was not the customer's (:mod:`cenergyd.customers.ownership`)."""
    setup: MeterSetup

    def series_of(self, role: Role) -> str | None:
        """The series that holds a role at that time: a meter's, its sum's, the computed one, or None."""
        return self.setup.series_of(role, self.serial)

    def segment_of(self, role: Role) -> RoleSegment | None:
        """Where the role's readings are at that time, or None."""
        series = self.series_of(role)
        if series is None:
            return None
        meters = self.setup.meter_of(role)
        is_reversed = bool(meters) and role in self.setup.reversed_roles
        return RoleSegment(self.start, self.end, series, not meters, is_reversed, meters if is_sum(meters) else "")


def setup_periods(customer: Customer, start: int, end: int) -> list[SetupPeriod]:
    """The setup periods that cover ``start`` to ``end`` (exclusive), cut to it, ascending; the present settings last."""
    if start >= end:
        return []
    if not isinstance(customer.extensions.get("history"), list | tuple):
        found = [SetupPeriod(start, end, customer.logger_serial_number, customer.current)]
    else:
        found = [
            period._replace(start=max(period.start, start), end=min(period.end, end))
            for period in _all_periods(customer)
            if period.end > start and period.start < end
        ]
    held = held_loggers(customer)
    return found if held is None else [part for period in found for part in _held_parts(period, held)]


def role_segments(customer: Customer, role: Role, start: int, end: int) -> list[RoleSegment]:
    """Where to find a role's readings over ``start <= time < end``, ascending, without times that have no series.

    Neighbouring setup periods in which nothing changes for the role are one segment.
    """
    found: list[RoleSegment] = []
    for period in setup_periods(customer, start, end):
        segment = period.segment_of(role)
        if segment is None:
            continue
        if found and found[-1].end == segment.start and found[-1][2:] == segment[2:]:
            found[-1] = found[-1]._replace(end=segment.end)
        else:
            found.append(segment)
    return found


def uses_sums(customer: Customer) -> bool:
    """Whether a role is, or was at some time, a sum of meters."""
    if is_sum(customer.facility) or is_sum(customer.load) or is_sum(customer.solar):
        return True
    history = customer.extensions.get("history")
    entries = history if isinstance(history, list | tuple) else ()
    fields = FIELD_OF_ROLE.values()
    return any(
        is_sum(str(entry.get(field) or "")) for entry in entries if isinstance(entry, Mapping) for field in fields
    )


def changed(customer: Customer, effective_from: int, changes: Mapping[str, Any], now: int) -> dict[str, Any]:
    """The update (for ``CustomerStore.update``) that makes ``changes`` valid from a time on and keeps the old settings before it.

    What an earlier change had set for times from ``effective_from`` on is replaced. Times from then on are to be derived anew: mark the
    derivation queue from ``effective_from`` to ``now``. To correct what was wrong from the beginning, pass 0: that needs no history.

    :param effective_from: UTC seconds, not in the future: the fields of a customer say what is valid now.
    :param changes: any of :data:`CHANGEABLE`; ``reversed`` a list of roles, ``layouts`` meter id -> channel -> column.
    :raises InvalidField: unknown field, a time in the future, roles that are none, too long a history.
    """
    for name in changes:
        if name not in CHANGEABLE:
            raise InvalidField(name, f"{name} cannot change from a time on; {', '.join(CHANGEABLE)} can")
    if not 0 <= effective_from <= now:
        raise InvalidField("effective_from", "a time up to now is needed")
    history = [_entry(span) for span in setup_periods(customer, 0, effective_from)]
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
    """When its meters, CTs, columns or logger were changed, UTC seconds, ascending: what :func:`taken_back` takes."""
    if not isinstance(customer.extensions.get("history"), list | tuple):
        return []
    return [period.start for period in _all_periods(customer)][1:]


def taken_back(customer: Customer, at: int) -> dict[str, object]:
    """The update that removes a change: the settings before it then last until the next change, or are valid now.

    :raises InvalidField: there is no change at that time.
    """
    if at not in change_times(customer):
        raise InvalidField("since", "there is no change at that time any more")
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


def _entry(span: SetupPeriod) -> dict[str, object]:
    setup = span.setup
    return {
        "until": span.end,
        "logger_serial_number": span.serial,
        "facility": setup.utility,
        "load": setup.load,
        "solar": setup.solar,
        "reversed": [role for role in ROLES if role in setup.reversed_roles],
        "layouts": {meter: dict(columns) for meter, columns in setup.layouts.items()},
    }


def _held_parts(period: SetupPeriod, held: Sequence[Held]) -> list[SetupPeriod]:
    """The period cut where its logger became or ceased to be the customer's; the parts where it was not have no logger."""
    if not period.serial:
        return [period]
    return [
        period._replace(start=start, end=end, serial=period.serial if is_held else "")
        for start, end, is_held in parts_held(held, period.serial, period.start, period.end)
    ]


def _all_periods(customer: Customer) -> Iterator[SetupPeriod]:
    since = 0
    for entry in customer.extensions["history"]:
        until = entry.get("until") if isinstance(entry, Mapping) else None
        if not isinstance(until, int) or until <= since:
            continue  # the collection is shared with others: a damaged entry must not stop the derivation
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
