"""Which sums of meters are to be made for a window of a customer, and from what. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cenergyd.customers.meter_history import RoleSegment, role_segments, uses_sums
from cenergyd.customers.meter_sum import NoSum, sum_text, terms_of
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


class SumPiece(NamedTuple):
    """A stretch of one role over which it is the same sum of meters."""

    start: int
    """Sums with ``start <= time < end`` are made anew; UTC seconds."""
    end: int
    read_start: int
    """What they depend on: the meters' readings with ``read_start <= time < read_end``."""
    read_end: int
    role: Role
    target: str
    """Series of the sum."""
    terms: tuple[SumTerm, ...]
    """In the order of meter ids, so that ``4+1`` is exactly ``1+4``."""
    text: str
    """The sum in that order."""

    @property
    def series(self) -> list[str]:
        """All series to read."""
        return [*(term.series for term in self.terms), self.target]

    @property
    def expected_readings(self) -> int:
        """How many readings of all meters together it probably has."""
        return len(self.terms) * (self.read_end - self.read_start) // USUAL_INTERVAL

    def cut(self, start: int, end: int, tolerance: int) -> SumPiece:
        """The part with sums from ``start`` to ``end``."""
        return self._replace(
            start=start,
            end=end,
            read_start=max(self.read_start, start - tolerance),
            read_end=min(self.read_end, end + 2 * tolerance),
        )


def sum_pieces(customer: Customer, start: int, end: int, tolerance: int) -> tuple[SumPiece, ...]:
    """The sums that readings of ``start <= time < end`` can change, by role, ascending."""
    return sum_pieces_between(customer, *touched(start, end, tolerance), tolerance)


def sum_pieces_between(customer: Customer, start: int, end: int, tolerance: int) -> tuple[SumPiece, ...]:
    """As :func:`sum_pieces`, by the sums' own times."""
    if not uses_sums(customer):
        return ()
    found = []
    for role in ROLES:
        for segment in role_segments(customer, role, start - tolerance, end + 2 * tolerance):
            piece = _piece(segment, role, max(start, segment.start), min(end, segment.end), tolerance)
            if piece is not None:
                found.append(piece)
    return tuple(found)


def summed(piece: SumPiece, stored: Mapping[str, Sequence[Reading]], tolerance: int) -> Derivation:
    """What leads from the stored sums of a piece to the right ones.

    :param stored: readings by series, ascending, at least those of the piece's range.
    """
    found = add_up([term.factor for term in piece.terms], meter_readings(piece, stored), tolerance)
    readings = between(found, piece.start, piece.end)
    changed = change(piece.target, piece.start, piece.end, stored[piece.target], readings)
    kept = kept_readings(piece.target, readings, changed)
    return Derivation(changed, len(readings), readings[-1].time if readings else None, NO_GAPS, kept=kept)


def meter_readings(piece: SumPiece, stored: Mapping[str, Sequence[Reading]]) -> list[Sequence[Reading]]:
    """The readings of each meter that a piece depends on."""
    return [between(stored[term.series], piece.read_start, piece.read_end) for term in piece.terms]


def _piece(segment: RoleSegment, role: Role, start: int, end: int, tolerance: int) -> SumPiece | None:
    if not segment.sum or start >= end or not is_series_name(segment.series):
        return None
    try:
        terms = sorted(terms_of(segment.sum), key=lambda term: int(term.meter))
    except NoSum:
        return None  # told in the customer's settings
    serial = segment.series.partition("_")[0]
    return SumPiece(
        start,
        end,
        max(segment.start, start - tolerance),
        min(segment.end, end + 2 * tolerance),
        role,
        segment.series,
        tuple(SumTerm(f"{serial}_{term.meter}", term.factor) for term in terms),
        sum_text(terms),
    )
