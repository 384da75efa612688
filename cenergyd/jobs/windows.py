"""The windows of rollups and energy: where each starts and ends.

Windows shorter than a day follow the customer's local time: a ``1h`` window starts at a full local hour. In almost every zone that is
also a full UTC hour; if the offset is not a whole number of hours (Kolkata, Lord Howe), this keeps a day a whole number of hours.
Windows up to 15 minutes are the same in UTC and in every present zone. A clock change of less than a window (Lord Howe's half hour)
splits the window in which it occurs, so windows never overlap and leave no gaps.

A ``24h`` window is the customer's calendar day, from midnight to midnight: 23 or 25 hours if the clock changes. If midnight is skipped
the day starts with its first instant; if midnight occurs twice, with the first.

All times are UTC seconds; every window is half-open, ``start <= time < end``, and identified by its start.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from cenergyd.customers.model import TimeRange

RESOLUTIONS = {"1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "24h": 86400}
"""Name -> nominal length, seconds; finest first."""

_DAY = 86400
_ALIGNED_EVERYWHERE = 900  # every offset in use since 2000 is a multiple of 15 minutes


def window_at(time: int, resolution: str, zone: ZoneInfo) -> TimeRange:
    """The window of a resolution (a key of RESOLUTIONS) that contains ``time``."""
    if resolution == "24h":
        return _day_at(time, zone)
    length = RESOLUTIONS[resolution]
    if length <= _ALIGNED_EVERYWHERE:
        start = time - time % length
        return TimeRange(start, start + length)
    return _clock_window(time - time % _ALIGNED_EVERYWHERE, length, zone)


def windows(start: int, end: int, resolution: str, zone: ZoneInfo) -> Iterator[TimeRange]:
    """Every window that contains any time of ``start <= time < end``, ascending."""
    if start >= end:
        return
    window = window_at(start, resolution, zone)
    yield window
    while window.end < end:
        window = window_at(window.end, resolution, zone)
        yield window


@functools.lru_cache(maxsize=128)
def windows_of_hours(hours: TimeRange, resolution: str, zone: ZoneInfo) -> tuple[TimeRange, ...]:
    """As :func:`windows`, for a few hours: those of many sites end at the same time."""
    return tuple(windows(*hours, resolution, zone))


def widen(start: int, end: int, resolution: str, zone: ZoneInfo) -> TimeRange:
    """The smallest range of full windows that contains ``start <= time < end``."""
    first = window_at(start, resolution, zone)
    return TimeRange(first.start, max(first.end, window_at(end - 1, resolution, zone).end))


def local_date(time: int, zone: ZoneInfo) -> date:
    """The calendar day whose 24h window contains ``time``."""
    day = datetime.fromtimestamp(time, zone).date()
    while day_start(day, zone) > time:
        day -= timedelta(days=1)
    while day_start(day + timedelta(days=1), zone) <= time:
        day += timedelta(days=1)
    return day


@functools.lru_cache(maxsize=8192)
def day_start(day: date, zone: ZoneInfo) -> int:
    """The first instant of a local calendar day."""
    # For a skipped wall-clock time, fold=0 uses the old offset, which gives the instant of the change.
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


@functools.lru_cache(maxsize=4096)
def _day_at(time: int, zone: ZoneInfo) -> TimeRange:
    day = local_date(time, zone)
    following = day + timedelta(days=1)
    end = day_start(following, zone)
    while end <= time:  # a day that the zone skipped (Samoa, 30 December 2011) is empty
        following += timedelta(days=1)
        end = day_start(following, zone)
    return TimeRange(day_start(day, zone), end)


def _offset(time: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(time, zone).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


@functools.lru_cache(maxsize=16384)
def _clock_window(time: int, length: int, zone: ZoneInfo) -> TimeRange:
    offset = _offset(time, zone)
    start = time - (time + offset) % length
    end = start + length
    if (_offset(start, zone) - offset) % length:
        start = _change(start, time, zone)
    if (_offset(end - 1, zone) - offset) % length:
        end = _change(time, end - 1, zone)
    return TimeRange(start, end)


def _change(before: int, after: int, zone: ZoneInfo) -> int:
    """The first second with the later offset; the offsets at the two times differ."""
    old = _offset(before, zone)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(middle, zone) == old:
            before = middle
        else:
            after = middle
    return after
