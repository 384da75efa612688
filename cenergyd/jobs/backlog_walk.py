"""Shared by the jobs on readings: iterates over a backlog in bounded parts, and finds a customer's series over a range."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cenergyd.customers.meter_history import role_segments
from cenergyd.customers.model import ROLES, Customer, TimeRange
from cenergyd.jobs.windows import widen, window_at
from cenergyd.readings.model import FieldPoint, Reading
from cenergyd.readings.store import ReadingStore

CHUNK_HOURS = 6
"""Hours of readings of one customer's backlog held in memory at once."""
READ_AROUND = 7200
"""Seconds of readings to read on either side of a chunk's hours; the same for every job, so that they share the readings."""
STEP_ITEMS = 300
"""Windows or readings processed between two yields to the reactor: a few milliseconds of work."""

Replacement = tuple[str, int, int, Sequence[FieldPoint]]
"""Arguments of ``ReadingStore.replace_points``: series, start, end, points."""


class BacklogPart(NamedTuple):
    """A part of a backlog, UTC seconds, end exclusive. Parts meet at full hours."""

    start: int
    end: int
    last: bool
    """Whether it is the last part of the backlog."""
    skipped: bool = False
    """Whether it is a number of whole days without any reading; any other part is within one day."""


class Walked(NamedTuple):
    """A part and the readings around it."""

    chunk: BacklogPart
    readings: dict[str, list[Reading]]
    """By series, ascending."""


async def walk(
    store: ReadingStore,
    names: Sequence[str],
    time_range: TimeRange,
    *,
    zone: ZoneInfo,
    around: Callable[[BacklogPart], TimeRange],
) -> AsyncIterator[Walked]:
    """Iterate over a range of readings of some series, a bounded number of hours at a time; days without readings are one step.

    :param around: returns the range of readings that a part needs.
    """
    cursor = time_range.start
    while names and cursor < time_range.end:
        chunk = _chunk(cursor, time_range.end, CHUNK_HOURS, zone)
        start, end = around(chunk)
        readings = await store.read(names, start, end)
        yield Walked(chunk, readings)
        cursor = chunk.end
        if cursor < time_range.end and not any(readings.values()) and window_at(cursor, "24h", zone).start == cursor:
            target = await _next_day(store, names, cursor, time_range.end, zone)
            if target > cursor:
                yield Walked(BacklogPart(cursor, target, last=False, skipped=True), {name: [] for name in names})
                cursor = target


async def _next_day(store: ReadingStore, names: Sequence[str], cursor: int, end: int, zone: ZoneInfo) -> int:
    """The start of the day of the next reading, or of the range's last day."""
    first = await store.first(names, since=cursor)
    following = min((reading.time for reading in first.values()), default=end)
    return window_at(min(following, end - 1), "24h", zone).start


def _chunk(start: int, end: int, hours: int, zone: ZoneInfo) -> BacklogPart:
    day = window_at(start, "24h", zone)
    reach = window_at(min(day.end, start + hours * 3600) - 1, "1h", zone)
    # If the start is within an hour, the part would be longer than requested: end it one hour earlier, if possible.
    until = reach.end if reach.start <= start or reach.end - start <= hours * 3600 else reach.start
    until = min(until, day.end, end)
    return BacklogPart(start, until, last=until == end)


def around_hours(chunk: BacklogPart, zone: ZoneInfo) -> TimeRange:
    """The full hours of a part and READ_AROUND on either side."""
    hours = widen(chunk.start, chunk.end, "1h", zone)
    return TimeRange(hours.start - READ_AROUND, hours.end + READ_AROUND)


async def replace_in_turn(store: ReadingStore, items: Sequence[Replacement], field: str) -> None:
    """Replace points in order, a limited number at a time, because a store needs time to check and encode them.

    :param field: a field that every point of these series has.
    """
    together: list[Replacement] = []
    count = 0
    for item in items:
        if together and count + len(item[3]) > STEP_ITEMS:
            await store.replace_points_many(together, field)
            together, count = [], 0
        together.append(item)
        count += len(item[3])
    if together:
        await store.replace_points_many(together, field)


def series_between(customer: Customer, start: int, end: int) -> list[str]:
    """Every series that holds any role at any time of the range, sorted."""
    return sorted({each.series for role in ROLES for each in role_segments(customer, role, start, end)})
