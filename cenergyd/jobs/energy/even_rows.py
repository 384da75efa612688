"""Leaves out readings that have no effect on a range of times: jobs read hours on either side of it, because some loggers log rarely.

What is computed from a range depends on the readings next to it: on as many pauses as determine the usual interval, and as many readings as
may lack registers. If all readings around the range are evenly spaced and have power, there is no gap whose ends could be further away.
"""

from __future__ import annotations

from bisect import bisect_left

from cenergyd.customers.model import TimeRange
from cenergyd.jobs.energy.gap_bridging import has_power
from cenergyd.jobs.neighbour_readings import ReadRows
from cenergyd.readings.model import Reading
from cenergyd.readings.pauses import is_even

ENOUGH = 8
"""Readings on either side of a range: more than two pauses next to a step of the registers over two readings without them."""


def rows_near(rows: ReadRows, window: TimeRange, longest: int) -> ReadRows:
    """The readings, by series, from which the same follows for a range as from all.

    :param longest: a longer pause is always a gap, s.
    """
    return {name: _near(readings, window, longest) for name, readings in rows.items()}


def _near(readings: list[Reading], window: TimeRange, longest: int) -> list[Reading]:
    first = max(0, bisect_left(readings, (window.start,)) - ENOUGH)
    some = readings[first : bisect_left(readings, (window.end,)) + ENOUGH]
    if len(some) < len(readings) and is_even([reading[0] for reading in some], longest) and has_power(some):
        return some
    return readings
