"""What the jobs on readings share: walking over a backlog, and which series means what for a customer over a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cenergyd.customers.meter_history import setup_periods
from cenergyd.customers.model import ROLES, Customer, Window
from cenergyd.jobs.windows import widen, window_at
from cenergyd.readings.model import FieldPoint, Reading
from cenergyd.readings.store import ReadingStore

CHUNK_HOURS = 6
"""Hours of readings of one customer held at once of a backlog: bounds memory."""
READ_AROUND = 7200
"""Seconds of readings that are read on either side of the hours that a chunk is in, by every job, so that they are read once for all."""
PIECE = 300
"""Windows or readings that are worked on between two pauses: a few milliseconds."""

Replacement = tuple[str, int, int, Sequence[FieldPoint]]
"""Arguments of ``ReadingStore.replace_points``: series, start, end, points."""


class BacklogPart(NamedTuple):
    """A piece of a backlog; two of them meet at a full hour. UTC seconds, end exclusive."""

    start: int
    end: int
    last: bool
    """Whether it is the end of the backlog."""
    skipped: bool = False
    """Whether it is whole days without any reading, however many; any other chunk is within one day."""


class Walked(NamedTuple):
    """A chunk and the readings around it."""

    chunk: BacklogPart
    readings: dict[str, list[Reading]]


async def walk(
    store: ReadingStore,
    names: Sequence[str],
    window: Window,
    *,
    zone: ZoneInfo,
    around: Callable[[BacklogPart], Window],
) -> AsyncIterator[Walked]:
    """Go over a window of readings of some series, a bounded number of hours at a time; days without any in one step.

    :param around: which readings a chunk needs.
    """
    cursor = window.start
    while names and cursor < window.end:
        chunk = _chunk(cursor, window.end, CHUNK_HOURS, zone)
        start, end = around(chunk)
        readings = await store.read(names, start, end)
        yield Walked(chunk, readings)
        cursor = chunk.end
        if cursor < window.end and not any(readings.values()) and window_at(cursor, "24h", zone).start == cursor:
            target = await _next_day(store, names, cursor, window.end, zone)
            if target > cursor:
                yield Walked(BacklogPart(cursor, target, last=False, skipped=True), {name: [] for name in names})
                cursor = target


async def _next_day(store: ReadingStore, names: Sequence[str], cursor: int, end: int, zone: ZoneInfo) -> int:
    """The start of the day of the next reading, or of the window's last day."""
    first = await store.first(names, since=cursor)
    following = min((reading.time for reading in first.values()), default=end)
    return window_at(min(following, end - 1), "24h", zone).start


def _chunk(start: int, end: int, hours: int, zone: ZoneInfo) -> BacklogPart:
    day = window_at(start, "24h", zone)
    reach = window_at(min(day.end, start + hours * 3600) - 1, "1h", zone)
    # A start within an hour would make a chunk longer than asked for: end it with the hour before, if there is one.
    until = reach.end if reach.start <= start or reach.end - start <= hours * 3600 else reach.start
    until = min(until, day.end, end)
    return BacklogPart(start, until, last=until == end)


def around_hours(chunk: BacklogPart, zone: ZoneInfo) -> Window:
    """The full hours of a chunk and READ_AROUND on either side."""
    hours = widen(chunk.start, chunk.end, "1h", zone)
    return Window(hours.start - READ_AROUND, hours.end + READ_AROUND)


async def replace_in_turn(store: ReadingStore, items: Sequence[Replacement]) -> None:
    """Replace points in order, not too many at a time: a store takes its time to check and encode them."""
    together: list[Replacement] = []
    count = 0
    for item in items:
        if together and count + len(item[3]) > PIECE:
            await store.replace_points_many(together)
            together, count = [], 0
        together.append(item)
        count += len(item[3])
    if together:
        await store.replace_points_many(together)


def series_between(customer: Customer, start: int, end: int) -> list[str]:
    """Every series that plays any role at any time of the range, sorted."""
    found = {
        series for span in setup_periods(customer, start, end) for role in ROLES if (series := span.series_of(role))
    }
    return sorted(found)
