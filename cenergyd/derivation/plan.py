"""Plans the derivation of a customer's range: what to read, and which computed readings to replace. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import ceil
from typing import NamedTuple

from cenergyd.customers.meter_history import SetupPeriod, setup_periods, uses_sums
from cenergyd.customers.meter_sum import is_sum, terms_of
from cenergyd.customers.model import Customer, Role, TimeRange
from cenergyd.readings.model import Reading, missing_series, series_name, sum_series
from cenergyd.readings.signs import sign_corrected

CHUNK_READINGS = 2000
"""Readings per meter of a backlog held in memory at once: about 10 ms of computation between two writes."""
USUAL_INTERVAL = 60
"""Assumed seconds between readings before any is read; only used to estimate costs."""

_PRESENT: Mapping[Role, tuple[Role, Role]] = {
    "utility": ("load", "solar"),
    "load": ("utility", "solar"),
    "solar": ("utility", "load"),
}
"""The present roles, in the order of ROLES, if one is missing."""


class PresentMeter(NamedTuple):
    """A present meter."""

    role: Role
    series: str
    reversed: bool
    """Its P and Q are read with the opposite sign."""


class DerivationSegment(NamedTuple):
    """A part of a customer's computed meter over which the same meters play the same roles."""

    start: int
    """Computed readings with ``start <= time < end`` are computed again; UTC seconds."""
    end: int
    read_start: int
    """What they depend on: the sources' readings with ``read_start <= time < read_end``."""
    read_end: int
    role: Role
    """The role to compute."""
    target: str
    """Series of the computed meter."""
    sources: tuple[PresentMeter, PresentMeter]

    @property
    def series(self) -> list[str]:
        """All series to read."""
        return [self.sources[0].series, self.sources[1].series, self.target]

    def cut(self, start: int, end: int, tolerance: int) -> DerivationSegment:
        """The part with computed times ``start <= time < end``."""
        return self._replace(
            start=start,
            end=end,
            read_start=max(self.read_start, start - tolerance),
            read_end=min(self.read_end, end + 2 * tolerance),
        )


def touched(start: int, end: int, tolerance: int) -> TimeRange:
    """The computed times that readings of ``start <= time < end`` can change."""
    return TimeRange(max(0, start - 2 * tolerance), end + tolerance)


def reach(customer: Customer, start: int, end: int, tolerance: int) -> TimeRange:
    """As :func:`touched`, if the customer's roles may be sums of meters: readings change sums, and sums change computed readings."""
    time_range = touched(start, end, tolerance)
    return touched(*time_range, tolerance) if uses_sums(customer) else time_range


def derivation_segments(customer: Customer, start: int, end: int, tolerance: int) -> tuple[DerivationSegment, ...]:
    """What to derive after readings of ``start <= time < end`` arrived, ascending.

    Empty if no meter or more than one is missing, or if the settings name no valid series.
    """
    return derivation_segments_between(customer, *reach(customer, start, end, tolerance), tolerance)


def derivation_segments_between(
    customer: Customer, start: int, end: int, tolerance: int
) -> tuple[DerivationSegment, ...]:
    """As :func:`derivation_segments`, for a range of computed times."""
    found = []
    for period in setup_periods(customer, start - tolerance, end + 2 * tolerance):
        segment = _segment(period, max(start, period.start), min(end, period.end), tolerance)
        if segment is not None:
            found.append(segment)
    return tuple(found)


def role_readings(segment: DerivationSegment, stored: Mapping[str, Sequence[Reading]]) -> dict[Role, Sequence[Reading]]:
    """The readings of the present roles that a segment depends on, with signs as in the site equation."""
    found: dict[Role, Sequence[Reading]] = {}
    for role, series, is_reversed in segment.sources:
        readings = between(stored[series], segment.read_start, segment.read_end)
        found[role] = [sign_corrected(reading) for reading in readings] if is_reversed else readings
    return found


def between(readings: Sequence[Reading], start: int, end: int) -> Sequence[Reading]:
    """The readings with ``start <= time < end``; all ascending in time."""
    if not readings or (readings[0][0] >= start and readings[-1][0] < end):
        return readings
    return readings[bisect_left(readings, (start,)) : bisect_left(readings, (end,))]


def expected_per_meter(segment: DerivationSegment) -> int:
    """Expected number of readings of each meter in a segment."""
    return ceil((segment.read_end - segment.read_start) / USUAL_INTERVAL)


class Group(NamedTuple):
    """Customers whose ranges are read together."""

    members: list[int]
    """Indexes into the argument of :func:`grouped`."""
    series: list[str]
    """What the members need."""
    start: int
    end: int
    limit: int
    """Maximum readings of each series in the common read; a series that reaches it may have more, and is read separately."""


def grouped(ranges: Sequence[Sequence[DerivationSegment]], budget: int) -> list[Group]:
    """Group customers with similar ranges, so that few reads serve many customers, each read limited to about ``budget`` readings.

    :param ranges: the segments of each customer, at least one.
    """
    bounds = [(w[0].read_start, max(segment.read_end for segment in w)) for w in ranges]
    order = sorted(range(len(ranges)), key=lambda i: bounds[i])
    groups: list[Group] = []
    for i in order:
        low, high = bounds[i]
        series = [name for segment in ranges[i] for name in segment.series]
        last = groups[-1] if groups else None
        if last is not None and _fits(last, low, high, len(series), budget):
            last.members.append(i)
            last.series.extend(series)
            if high > last.end:
                groups[-1] = last._replace(end=high, limit=_limit(high - last.start))
        else:
            groups.append(Group([i], series, low, high, _limit(high - low)))
    return groups


def _fits(group: Group, low: int, high: int, more: int, budget: int) -> bool:
    length = max(group.end, high) - group.start
    if length > max(1800, 2 * min(high - low, group.end - group.start)):
        return False
    return _limit(length) * (len(group.series) + more) <= budget


def _limit(seconds: int) -> int:
    return 16 + ceil(1.5 * seconds / USUAL_INTERVAL)


def _segment(period: SetupPeriod, start: int, end: int, tolerance: int) -> DerivationSegment | None:
    role = period.setup.missing_role
    if role is None or not period.serial or start >= end:
        return None
    one, other = _PRESENT[role]
    try:
        target = missing_series(period.serial)
        first = PresentMeter(one, _series_of(period, one), _is_reversed(period, one))
        second = PresentMeter(other, _series_of(period, other), _is_reversed(period, other))
    except ValueError:
        return None  # no such series can exist; the fault is reported with the customer's settings
    if target in (first.series, second.series):
        return None
    return DerivationSegment(
        start,
        end,
        max(period.start, start - tolerance),
        min(period.end, end + 2 * tolerance),
        role,
        target,
        (first, second),
    )


def _series_of(period: SetupPeriod, role: Role) -> str:
    """Raises ValueError if the settings name no valid meter."""
    meters = period.setup.meter_of(role)
    if not is_sum(meters):
        return series_name(period.serial, meters)
    terms_of(meters)
    return sum_series(period.serial, role)


def _is_reversed(period: SetupPeriod, role: Role) -> bool:
    return role in period.setup.reversed_roles
