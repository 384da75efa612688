"""Splits a customer's range into the parts that are passed to jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cenergyd.customers.meter_history import setup_periods
from cenergyd.customers.model import ROLES, Customer, TimeRange
from cenergyd.readings.store import ReadingStore

LONGEST_SECONDS = 24 * 3600
"""Maximum length of a part of a backlog, s."""


async def range_parts(readings: ReadingStore, customer: Customer, time_range: TimeRange) -> AsyncIterator[TimeRange]:
    """A range in parts that end at multiples of LONGEST_SECONDS, so that later ranges are split at the same times.

    Parts without any reading are joined: a logger whose clock was reset to the year 2000 must not cause ten thousand calls.
    """
    start, end = time_range
    while start < end:
        cut = (start // LONGEST_SECONDS + 1) * LONGEST_SECONDS
        if end - cut > LONGEST_SECONDS:
            first = await _first_reading(readings, customer, TimeRange(start, end))
            cut = max(cut, first - first % LONGEST_SECONDS)
        yield TimeRange(start, min(cut, end))
        start = cut


async def _first_reading(readings: ReadingStore, customer: Customer, time_range: TimeRange) -> int:
    """Time of the first reading of any of the customer's series, at most the range's end."""
    series = {span.series_of(role) for span in setup_periods(customer, *time_range) for role in ROLES}
    found = await readings.first(sorted(filter(None, series)), time_range.start)
    return min([time_range.end, *(reading.time for reading in found.values())])
