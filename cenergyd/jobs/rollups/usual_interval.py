"""How many readings a window would have if no row were lost. Pure.

An hour's usual interval is a fact of its own readings where there are at least four, otherwise of the hours around it as well: the longer
of what is usual before and after, on either side the shorter of the two nearest hours'. It is the rule by which pauses are judged
(:mod:`cenergyd.readings.pauses`), one step coarser. So after a change of the log period no hour expects what only others had. The hour in
which it changed is judged by its single pauses.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median_low

from cenergyd.customers.model import Window
from cenergyd.readings.interval import LONGEST_INTERVAL, near_clock_interval
from cenergyd.readings.pauses import spans, usual_intervals

ENOUGH_READINGS = 4
"""So many readings of an hour tell its usual interval; fewer may be what is left of many."""
SIDE_HOURS = 2
"""Hours with readings on either side that an hour with few is judged by."""
NEARBY_SECONDS = 3 * 3600
"""Where those hours are looked for: no logger has an interval of more than an hour."""
CHANGED_FACTOR = 1.5
"""Where the usual intervals of neighbouring hours differ more than this, the log period was changed."""
LONGEST_PAUSE = 5400
"""A longer pause between readings is a gap whatever is usual: the longest log period is an hour."""


def expected_readings(window: Window, interval: int) -> int:
    """How many readings a full window has; one at least, as a window may be shorter than the interval."""
    return max(1, round((window.end - window.start) / interval))


def expected_by_spans(window: Window, stand_for: Sequence[int]) -> int | None:
    """How many readings a window would have, by how long those that it has stand for (:func:`spans`), s; None where nobody knows."""
    covered = sum(stand_for)
    if not covered:
        return None
    return max(1, round(len(stand_for) * max(1.0, (window.end - window.start) / covered)))


def hour_interval(times: Sequence[int]) -> int:
    """The usual interval by the times of an hour's own readings (ascending), s; 0 where they tell nothing."""
    usual = [each for each in usual_intervals(times, LONGEST_INTERVAL) if each is not None]
    if len(times) >= ENOUGH_READINGS and usual:
        return near_clock_interval(median_low(usual))
    pauses = [later - earlier for earlier, later in pairwise(times)]
    return near_clock_interval(min(pauses)) if pauses else 0


def usual_intervals_of_hours(hours: Mapping[int, tuple[int, int]]) -> dict[int, int]:
    """The usual interval of hours, s, by their start; those of which nobody knows are left out.

    :param hours: start -> how many readings an hour has (at least one), and what they tell of their interval (0: nothing).
    """
    starts = sorted(hours)
    own = [hours[start][1] or (LONGEST_INTERVAL if hours[start][0] == 1 else 0) for start in starts]
    found: dict[int, int] = {}
    for index, start in enumerate(starts):
        readings, interval = hours[start]
        if readings < ENOUGH_READINGS:
            near = (
                range(index - 1, max(-1, index - 1 - SIDE_HOURS), -1),
                range(index + 1, min(len(starts), index + 1 + SIDE_HOURS)),
            )
            sides = [[own[k] for k in side if abs(starts[k] - start) <= NEARBY_SECONDS and own[k]] for side in near]
            interval = max((min(side) for side in sides if side), default=interval)
        if interval:
            found[start] = interval
    return found


def doubtful_hours(readings: Mapping[int, int], intervals: Mapping[int, int]) -> list[int]:
    """The hours (starts, ascending) that lack readings, or seem to, beside an hour with another interval: only their readings' own pauses tell.

    :param readings: how many each hour has; ``intervals``: the usual interval of each hour, s; both by start.
    """
    found = []
    for start, interval in intervals.items():
        if readings[start] >= expected_readings(Window(start, start + LONGEST_INTERVAL), interval):
            continue
        near = (intervals.get(start - LONGEST_INTERVAL), intervals.get(start + LONGEST_INTERVAL))
        if any(other and max(other, interval) > CHANGED_FACTOR * min(other, interval) for other in near):
            found.append(start)
    return sorted(found)


class Pauses:
    """What the pauses between readings make their windows expect.

    :param times: of the readings, ascending; as many around the windows as are known.
    """

    def __init__(self, times: Sequence[int]) -> None:
        self._times = times
        self._stand_for = spans(times, LONGEST_PAUSE)

    def expected(self, window: Window) -> int | None:
        """How many readings a window would have; None where nobody knows."""
        first, last = bisect_left(self._times, window.start), bisect_left(self._times, window.end)
        return expected_by_spans(window, self._stand_for[first:last])
