"""The usual time between a meter's readings. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from operator import sub

LONGEST_INTERVAL = 3600
"""An AcquiSuite logs once an hour at least; a longer pause is a gap."""

_CLOCK_INTERVALS = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 180, 240, 300, 360, 600, 720, 900, 1200, 1800, 3600)
_NEAR = 0.1


def typical_interval(times: Sequence[int]) -> int | None:
    """The usual time between readings, s, from ascending times; None if no two are near each other.

    This is the lower quartile, because gaps lengthen intervals and hardly anything shortens them, rounded to the nearest interval that a
    logger can be set to.
    """
    steps = sorted(map(sub, times[1:], times))
    near = bisect_right(steps, LONGEST_INTERVAL)
    if not near:
        return None
    return near_clock_interval(max(1, steps[near // 4]))


@lru_cache(maxsize=4096)
def near_clock_interval(step: int) -> int:
    """The log interval setting nearest to a time between readings, s; the time itself if none is near."""
    near = min(_CLOCK_INTERVALS, key=lambda interval: abs(interval - step))
    return near if abs(near - step) <= _NEAR * near else step
