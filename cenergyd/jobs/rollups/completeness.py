"""How many readings a window would have without lost rows. Pure.

An hour's usual interval is determined from its own readings if there are at least four, otherwise also from the hours around it: the longer
of the intervals before and after, on either side the shorter of the two nearest hours'. This is the rule for pauses
(:mod:`cenergyd.readings.pauses`), applied to hours. So after a change of the log period, no hour expects readings that only others had. The
hour of the change itself is evaluated by its individual pauses.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median_low

from cenergyd.customers.model import TimeRange
from cenergyd.readings.interval import LONGEST_INTERVAL, near_clock_interval
from cenergyd.readings.pauses import is_even, usual_intervals, valid_seconds

ENOUGH_READINGS = 4
"""Minimum number of readings in an hour that determine its usual interval; fewer may be the remainder of many."""
SIDE_HOURS = 2
"""Hours with readings on either side from which the interval of an hour with few readings is determined."""
NEARBY_SECONDS = 3 * 3600
"""Range in which those hours are searched, s: no logger has an interval of more than an hour."""
CHANGED_FACTOR = 1.5
"""If the usual intervals of neighbouring hours differ by more than this factor, the log period was changed."""
LONGEST_PAUSE = 5400
"""A longer pause between readings is always a gap: the longest log period is an hour."""


def expected_readings(window: TimeRange, interval: int) -> int:
    """The number of readings of a full window; at least one, because a window may be shorter than the interval."""
    return max(1, round((window.end - window.start) / interval))


def expected_by_validity(window: TimeRange, valid: Sequence[int]) -> int | None:
    """The number of readings that a window would have, from how long each existing one is valid (:func:`valid_seconds`); None if unknown."""
    covered = sum(valid)
    if not covered:
        return None
    return max(1, round(len(valid) * max(1.0, (window.end - window.start) / covered)))


def hour_interval(times: Sequence[int]) -> int:
    """The usual interval from the times of an hour's own readings (ascending), s; 0 if they do not determine it."""
    if len(times) >= ENOUGH_READINGS and is_even(times, LONGEST_INTERVAL):
        return near_clock_interval(times[1] - times[0])
    usual = [each for each in usual_intervals(times, LONGEST_INTERVAL) if each is not None]
    if len(times) >= ENOUGH_READINGS and usual:
        return near_clock_interval(median_low(usual))
    pauses = [later - earlier for earlier, later in pairwise(times)]
    return near_clock_interval(min(pauses)) if pauses else 0


def usual_intervals_of_hours(hours: Mapping[int, tuple[int, int]]) -> dict[int, int]:
    """The usual interval of hours, s, by their start; hours with an unknown interval are left out.

    :param hours: start -> the number of readings in an hour (at least one), and the interval that they determine (0: none).
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
    """The hours (starts, ascending) that seem to lack readings and are next to an hour with another interval: only their pauses show which.

    :param readings: the number of readings of each hour; ``intervals``: the usual interval of each hour, s; both by start.
    """
    found = []
    for start, interval in intervals.items():
        if readings[start] >= expected_readings(TimeRange(start, start + LONGEST_INTERVAL), interval):
            continue
        near = (intervals.get(start - LONGEST_INTERVAL), intervals.get(start + LONGEST_INTERVAL))
        if any(other and max(other, interval) > CHANGED_FACTOR * min(other, interval) for other in near):
            found.append(start)
    return sorted(found)


class Pauses:
    """The expected number of readings of windows, from the pauses between readings.

    :param times: the times of the readings, ascending, including those around the windows as far as known.
    """

    def __init__(self, times: Sequence[int]) -> None:
        self._times = times
        self._valid = valid_seconds(times, LONGEST_PAUSE)

    def expected(self, window: TimeRange) -> int | None:
        """The number of readings that a window would have; None if unknown."""
        first, last = bisect_left(self._times, window.start), bisect_left(self._times, window.end)
        return expected_by_validity(window, self._valid[first:last])
