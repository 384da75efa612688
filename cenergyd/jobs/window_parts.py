"""Splits a customer's window into the parts that are passed to jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cenergyd.customers.meter_history import setup_periods
from cenergyd.customers.model import ROLES, Customer, TimeRange
from cenergyd.readings.store import ReadingStore

LONGEST_SECONDS = 24 * 3600
"""Maximum length of a part of a backlog, s."""


async def window_parts(readings: ReadingStore, customer: Customer, window: TimeRange) -> AsyncIterator[TimeRange]:
    """A window in parts that end at multiples of LONGEST_SECONDS, so that later windows are split at the same times.

    Parts without any reading are joined: a logger whose clock was reset to the year 2000 must not cause ten thousand calls.
    """
    start, end = window
    while start < end:
        cut = (start // LONGEST_SECONDS + 1) * LONGEST_SECONDS
        if end - cut > LONGEST_SECONDS:
            first = await _first_reading(readings, customer, TimeRange(start, end))
            cut = max(cut, first - first % LONGEST_SECONDS)
        yield TimeRange(start, min(cut, end))
        start = cut


async def _first_reading(readings: ReadingStore, customer: Customer, window: TimeRange) -> int:
    """Time of the first reading of any of the customer's series, at most the window's end."""
    series = {span.series_of(role) for span in setup_periods(customer, *window) for role in ROLES}
    found = await readings.first(sorted(filter(None, series)), window.start)
    return min([window.end, *(reading.time for reading in found.values())])
