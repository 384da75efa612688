"""Reads and derives a long range chunk by chunk in bounded memory; used by the daemon's backlogs and by ``backfill``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

from cenergyd.customers.model import Customer, TimeRange
from cenergyd.derivation.derive import Derivation, Deriver
from cenergyd.derivation.plan import DerivationSegment
from cenergyd.readings.model import Reading
from cenergyd.readings.store import ReadingStore


class Chunk(NamedTuple):
    """A derived part of a long segment, not yet written."""

    start: int
    end: int
    derivation: Derivation


async def chunks(
    store: ReadingStore,
    deriver: Deriver,
    customer: Customer,
    segment: DerivationSegment,
    *,
    limit: int,
    reached: int | None = None,
) -> AsyncIterator[Chunk]:
    """Derive a segment part by part, ascending and without gaps; write each part before requesting the next.

    :param limit: readings of each series held in memory at once. Increased if it is too small to get beyond the tolerance.
    """
    limit = max(limit, least_limit(deriver.tolerance))
    start = segment.start
    while start < segment.end:
        rest = segment.cut(start, segment.end, deriver.tolerance)
        stored = await store.read(rest.series, rest.read_start, rest.read_end, limit)
        sources = [source.series for source in rest.sources]
        end = complete_until(
            TimeRange(start, rest.end), sources, rest.target, stored, limit=limit, tolerance=deriver.tolerance
        )
        derivation = await deriver.derive(customer, rest.cut(start, end, deriver.tolerance), stored, reached)
        yield Chunk(start, end, derivation)
        if derivation.derived_until is not None:
            reached = max(reached or 0, derivation.derived_until)
        start = end


def least_limit(tolerance: int) -> int:
    """Enough readings for one computed time, even at one reading per second."""
    return 4 * tolerance + 100


def complete_until(
    time_range: TimeRange,
    sources: Sequence[str],
    target: str,
    stored: Mapping[str, Sequence[Reading]],
    *,
    limit: int,
    tolerance: int,
) -> int:
    """The time up to which all inputs of the computed readings of a range have been read.

    :param sources: the series they are computed from.
    :param target: the computed series.
    """
    end = time_range.end
    for series in sources:
        readings = stored[series]
        if len(readings) >= limit:
            end = min(end, readings[-1].time - 2 * tolerance + 1)
    there = stored[target]
    if len(there) >= limit:
        end = min(end, there[-1].time + 1)
    return max(end, time_range.start + 1)
