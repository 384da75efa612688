"""Finds the readings of a sum's meters at the times of the sum's readings, so that each meter's registers are checked by themselves.

The sum of the registers does not show that one meter's register was reset, or rolled over, while the others counted on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cenergyd.customers.meter_history import RoleSegment
from cenergyd.customers.meter_sum import InvalidSum, terms_of
from cenergyd.readings.model import Reading
from cenergyd.readings.signs import sign_corrected
from cenergyd.readings.store import ReadingStore

MAX_APART = 1800
"""Maximum seconds from the time of a sum to the latest of its meters' readings: the largest allowed ``tolerance_seconds``."""


class Part(NamedTuple):
    """A meter of a sum."""

    segment: RoleSegment
    """Its readings as a role of its own, reversed if its import is the role's export."""
    factor: float


def parts_of(segment: RoleSegment) -> list[Part]:
    """The meters of a segment with a sum; none if the sum is invalid."""
    try:
        terms = terms_of(segment.sum)
    except InvalidSum:
        return []
    serial = segment.series.partition("_")[0]
    return [
        Part(
            RoleSegment(
                segment.start, segment.end, f"{serial}_{term.meter}", False, segment.reversed != (term.factor < 0)
            ),
            term.factor,
        )
        for term in terms
    ]


async def readings_at(
    part: Part, times: Iterable[int], rows: Mapping[str, Sequence[Reading]], store: ReadingStore
) -> dict[int, Reading]:
    """A meter's reading that belongs to each of the sum's times: its first one at or after that time. Sign-corrected.

    :param rows: readings by series, ascending and without omissions; times that are not among them are read.
    """
    segment = part.segment
    own = rows.get(segment.series, ())
    found: dict[int, Reading] = {}
    for time in times:
        near = own
        if not own or not own[0].time <= time <= own[-1].time:
            near = (await store.read([segment.series], time, time + MAX_APART + 1, 1))[segment.series]
        index = bisect_left(near, (time,))
        if index < len(near) and near[index].time < min(segment.end, time + MAX_APART + 1):
            found[time] = sign_corrected(near[index]) if segment.reversed else near[index]
    return found
