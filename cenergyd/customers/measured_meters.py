"""The meters that measure a customer's roles over a range of times, each separately, including those of sums. Pure functions."""

from __future__ import annotations

from typing import NamedTuple

from cenergyd.customers.meter_history import SetupPeriod, setup_periods
from cenergyd.customers.meter_sum import InvalidSum, Term, is_sum, terms_of
from cenergyd.customers.model import ROLES, Customer, Role


class MeterSegment(NamedTuple):
    """A range of times over which one meter measures a role, or is a part of its sum, with the same meaning throughout."""

    start: int
    """UTC seconds, inclusive."""
    end: int
    """Exclusive."""
    role: Role
    serial: str
    """Its logger's serial number."""
    meter: str
    """The meter id."""
    factor: float
    """Factor of its power and energy; negative if it is subtracted."""
    in_sum: bool
    """Whether the role is a sum of meters."""
    reversed: bool
    """Whether the CTs of the role are mounted the wrong way round."""

    @property
    def series(self) -> str:
        """The series of its readings."""
        return f"{self.serial}_{self.meter}"

    @property
    def counts_backwards(self) -> bool:
        """Whether the meter's import is the role's export."""
        return self.reversed != (self.factor < 0)


def meter_segments(customer: Customer, start: int, end: int) -> list[MeterSegment]:
    """The meters of each role over ``start <= time < end``, by role, then meter, then time.

    Neighbouring setup periods between which nothing changes for a meter give one segment.
    """
    found: dict[tuple[Role, str], list[MeterSegment]] = {}
    for period in setup_periods(customer, start, end):
        for segment in _meters_of(period):
            mine = found.setdefault((segment.role, segment.series), [])
            if mine and mine[-1].end == segment.start and mine[-1][2:] == segment[2:]:
                mine[-1] = mine[-1]._replace(end=segment.end)
            else:
                mine.append(segment)
    order = sorted(found, key=lambda key: ROLES.index(key[0]))
    return [segment for key in order for segment in found[key]]


def _meters_of(period: SetupPeriod) -> list[MeterSegment]:
    if not period.serial:
        return []
    found = []
    for role in ROLES:
        text = period.setup.meter_of(role)
        is_reversed = role in period.setup.reversed_roles
        for meter, factor in _terms(text):
            found.append(
                MeterSegment(period.start, period.end, role, period.serial, meter, factor, is_sum(text), is_reversed)
            )
    return found


def _terms(text: str) -> tuple[Term, ...]:
    if not is_sum(text):
        return (Term(text, 1.0),) if text else ()
    try:
        return terms_of(text)
    except InvalidSum:
        return ()
