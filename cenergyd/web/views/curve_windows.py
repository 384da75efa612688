"""The windows of curves: whole days are the customer's, shorter ones start at multiples of their length. Pure."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cenergyd.jobs.windows import day_start, local_date

DAY = 86400


class WindowRun(NamedTuple):
    """Neighbouring windows that a store can summarise in one query."""

    start: int
    """UTC seconds."""
    end: int
    resolution: int
    """A window's length, s; more than that where the run is one odd window."""
    offset: int
    """Windows start at multiples of the resolution plus this."""


def runs(start: int, end: int, resolution: int, zone: ZoneInfo) -> list[WindowRun]:
    """The windows that overlap ``start <= time < end``, cut to it, in as few runs as possible, ascending.

    Windows of whole days begin at local midnight, so one in which the clock changes is an hour longer or shorter.
    """
    if resolution % DAY:
        return [WindowRun(start, end, resolution, 0)]
    found: list[WindowRun] = []
    for since, until in _day_windows(start, end, resolution // DAY, zone):
        is_odd = until - since != resolution
        last = found[-1] if found else None
        if last and not is_odd and last.resolution == resolution and (since - last.offset) % resolution == 0:
            found[-1] = last._replace(end=until)
        else:
            found.append(WindowRun(since, until, 2 * resolution if is_odd else resolution, since))
    return [run._replace(start=max(run.start, start), end=min(run.end, end)) for run in found]


def window_slices(start: int, end: int, resolution: int, zone: ZoneInfo, most: int) -> list[tuple[int, int]]:
    """The range cut between windows, into parts of at most so many windows each, ascending."""
    if resolution % DAY:
        first = start - start % resolution
        edges = [start, *range(first + most * resolution, end, most * resolution), end]
    else:
        edges = [start, *(since for since, _ in _day_windows(start, end, resolution // DAY, zone)[most::most]), end]
    return list(pairwise(edges))


def _day_windows(start: int, end: int, days: int, zone: ZoneInfo) -> list[tuple[int, int]]:
    """Windows of so many local days, counted from the calendar's first one, ascending."""
    first = local_date(start, zone)
    first = date.fromordinal(max(1, first.toordinal() - first.toordinal() % days))
    found = []
    while (since := day_start(first, zone)) < end:
        first += timedelta(days=days)
        until = day_start(first, zone)
        if since < until:  # Samoa had no 30 December 2011
            found.append((since, until))
    return found
