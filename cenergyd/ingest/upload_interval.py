"""The usual upload interval of a logger, learned from its own uploads, so that its silence can be recognised.

Pure. The longest time between two uploads is kept for each of the last days; their median is the usual one. So a logger that does not upload at
night, or uploads once a day, is not reported as silent, and one long outage does not make the next one seem usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low

SAME_SESSION = 45
"""Files that follow each other within this many seconds belong to one upload, and gaps that differ by no more count as equal."""
SETTLING = 120
"""Seconds after an upload in which the logger may still be sending the log of another meter."""
SHORT_GAP = 300
"""A first day whose longest gap is shorter, s, may have had one upload only, whose files came slowly: that gap is not known to be usual."""
DAYS = 8
_DAY = 86400

DayGap = tuple[int, int]
"""Day (UTC seconds // 86400) and the longest gap that ended on it, seconds; the real one may be longer by SAME_SESSION."""


def with_upload(days: Sequence[DayGap], previous: int | None, uploaded: int) -> list[DayGap]:
    """The days' longest gaps after an upload that follows the one at ``previous``; UTC seconds."""
    kept = [(int(day), int(gap)) for day, gap in days]
    if previous is None or uploaded - previous <= SAME_SESSION:
        return kept
    day, gap = uploaded // _DAY, uploaded - previous
    if not kept or kept[-1][0] != day:
        kept.append((day, gap))
    elif is_longer(gap, kept[-1][1]):
        kept[-1] = (day, gap)
    return kept[-DAYS:]


def is_longer(gap: int, known: int) -> bool:
    """Whether a gap is longer than the longest known one, and not only because no logger uploads to the second."""
    return gap > known + SAME_SESSION


def usual_gap(days: Sequence[DayGap]) -> int | None:
    """The usual longest time between two uploads, seconds; None where it is not known yet."""
    gaps = [gap for _, gap in days]
    if len(gaps) <= 2 and gaps and gaps[0] < SHORT_GAP:
        del gaps[0]
    return median_low(gaps) if gaps else None


def after_outage(
    known: Sequence[int] | None, days: Sequence[DayGap], previous: int | None, uploads: tuple[int, int]
) -> tuple[int, int, int] | None:
    """The last outage, a gap that was longer than usual, and what followed it, after further uploads; UTC seconds.

    :param known: the last one before these uploads.
    :param days: the days' longest gaps before these uploads.
    :param previous: the upload before these.
    :param uploads: the first and the last of them.
    :returns: the last upload before the outage, the first one after it, and the last of those that have followed without a pause since.
    """
    first, last = uploads
    usual = usual_gap(days)
    if previous is not None and usual is not None and is_longer(first - previous, usual):
        return previous, first, last
    if known is None:
        return None
    start, end, reached = known
    return start, end, last if first - reached <= SETTLING else reached
