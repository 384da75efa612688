"""Plans which sums of meters to compute for a customer's range. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cenergyd.customers.meter_history import RoleSegment, role_segments, uses_sums
from cenergyd.customers.meter_sum import InvalidSum, sum_text, terms_of
from cenergyd.customers.model import ROLES, Customer, Role
from cenergyd.derivation.derive import Derivation, kept_readings
from cenergyd.derivation.diff import change
from cenergyd.derivation.gaps import NO_GAPS
from cenergyd.derivation.plan import USUAL_INTERVAL, between, touched
from cenergyd.derivation.sums import add_up
from cenergyd.readings.model import Reading, is_series_name


class SumTerm(NamedTuple):
    """A meter of a sum."""

    series: str
    factor: float
    """Factor of its power and energy; negative if it is subtracted."""


class SumSegment(NamedTuple):
    """A range of times over which a role is the same sum of meters."""

    start: int
    """Sums with ``start <= time < end`` are computed again; UTC seconds."""
    end: int
    read_start: int
    """What they depend on: the meters' readings with ``read_start <= time < read_end``."""
    read_end: int
    role: Role
    target: str
    """The series of the sum."""
    terms: tuple[SumTerm, ...]
    """In the order of meter ids, so that ``4+1`` is exactly ``1+4``."""
    text: str
    """The sum as text, in that order."""

    @property
    def series(self) -> list[str]:
        """All series to read."""
        return [*(term.series for term in self.terms), self.target]

    @property
    def expected_readings(self) -> int:
        """Expected number of readings of all meters together."""
        return len(self.terms) * (self.read_end - self.read_start) // USUAL_INTERVAL

    def cut(self, start: int, end: int, tolerance: int) -> SumSegment:
        """The part with sums at ``start <= time < end``."""
        return self._replace(
            start=start,
            end=end,
            read_start=max(self.read_start, start - tolerance),
            read_end=min(self.read_end, end + 2 * tolerance),
        )


def sum_segments(customer: Customer, start: int, end: int, tolerance: int) -> tuple[SumSegment, ...]:
    """The sums that readings of ``start <= time < end`` can change, by role, ascending."""
    return sum_segments_between(customer, *touched(start, end, tolerance), tolerance)


def sum_segments_between(customer: Customer, start: int, end: int, tolerance: int) -> tuple[SumSegment, ...]:
    """As :func:`sum_segments`, for a range of the sums' own times."""
    if not uses_sums(customer):
        return ()
    found = []
    for role in ROLES:
        for role_segment in role_segments(customer, role, start - tolerance, end + 2 * tolerance):
            segment = _segment(
                role_segment, role, max(start, role_segment.start), min(end, role_segment.end), tolerance
            )
            if segment is not None:
                found.append(segment)
    return tuple(found)


def sum_derivation(segment: SumSegment, stored: Mapping[str, Sequence[Reading]], tolerance: int) -> Derivation:
    """The change from the stored sums of a segment to the correct ones.

    :param stored: readings by series, ascending, at least those of the segment's range.
    """
    found = add_up([term.factor for term in segment.terms], meter_readings(segment, stored), tolerance)
    readings = between(found, segment.start, segment.end)
    changed = change(segment.target, segment.start, segment.end, stored[segment.target], readings)
    kept = kept_readings(segment.target, readings, changed)
    return Derivation(changed, len(readings), readings[-1].time if readings else None, NO_GAPS, kept=kept)


def meter_readings(segment: SumSegment, stored: Mapping[str, Sequence[Reading]]) -> list[Sequence[Reading]]:
    """The readings of each meter that a segment depends on."""
    return [between(stored[term.series], segment.read_start, segment.read_end) for term in segment.terms]


def _segment(role_segment: RoleSegment, role: Role, start: int, end: int, tolerance: int) -> SumSegment | None:
    if not role_segment.sum or start >= end or not is_series_name(role_segment.series):
        return None
    try:
        terms = sorted(terms_of(role_segment.sum), key=lambda term: int(term.meter))
    except InvalidSum:
        return None  # reported with the customer's settings
    serial = role_segment.series.partition("_")[0]
    return SumSegment(
        start,
        end,
        max(role_segment.start, start - tolerance),
        min(role_segment.end, end + 2 * tolerance),
        role,
        role_segment.series,
        tuple(SumTerm(f"{serial}_{term.meter}", term.factor) for term in terms),
        sum_text(terms),
    )
