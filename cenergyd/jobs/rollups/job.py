"""Keeps the rollups of every meter up to date: reads what a window of new or late readings touches, and writes just that.

Windows up to an hour are computed from readings, a day from its stored hours. All windows of an hour are written once the hour has ended,
and again when late data affect it; until then :mod:`cenergyd.jobs.rollups.read` computes them, as it does the windows that are never stored.
So when readings continue after a pause, the hour and day of the last reading before it are written too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cenergyd.customers.meter_history import role_segments
from cenergyd.customers.model import ROLES, Customer, TimeRange
from cenergyd.customers.time_zones import zone_of
from cenergyd.hookspecs import JobContext
from cenergyd.jobs.backlog_walk import (
    STEP_ITEMS,
    BacklogPart,
    Replacement,
    around_hours,
    replace_in_turn,
    series_between,
    walk,
)
from cenergyd.jobs.open_hour import stays_open
from cenergyd.jobs.rollups.aggregate import ReadingColumns
from cenergyd.jobs.rollups.completeness import hour_interval
from cenergyd.jobs.rollups.points import stored_day, stored_hour, window_point
from cenergyd.jobs.rollups.read import is_from_readings, pauses_of_day
from cenergyd.jobs.windows import RESOLUTIONS, widen, window_at, windows, windows_of_hours
from cenergyd.readings.corrected import ever_corrected
from cenergyd.readings.model import FieldPoint, Reading, is_computed

_HOUR = RESOLUTIONS["1h"]


async def roll_up(customer: Customer, start: int, end: int, context: JobContext) -> None:
    """Bring the rollups of a customer's meters up to date with the readings of ``start <= time < end``.

    :raises InvalidField: the customer's time zone is unknown.
    """
    window, zone = TimeRange(start, end), zone_of(customer.time_zone)
    if await stays_open(customer, window, context.readings, context.now, zone):
        return
    roller = _Roller(context, zone)
    names = series_between(customer, start, end)
    await roller.run(names, window)
    for name, until in _ended_before(customer, start, zone).items():
        if name not in names:
            await roller.run([name], TimeRange(until - 1, until), goes_on=True)


def _ended_before(customer: Customer, time: int, zone: ZoneInfo) -> dict[str, int]:
    """The series whose role ended in the hour of a time or in the one before it, and when: nothing else writes their last hour."""
    since = window_at(window_at(time, "1h", zone).start - 1, "1h", zone).start
    segments = (segment for role in ROLES for segment in role_segments(customer, role, since, time + 1))
    return {segment.series: segment.end for segment in segments if segment.end <= time}


class _Touched(NamedTuple):
    """What a chunk touches of one series."""

    name: str
    hours: TimeRange
    """The full hours of the chunk, and one before it that was left open."""
    last: bool
    """Whether the chunk is the end of the backlog."""
    newest: int | None
    """The series' newest reading; None where it is not among those that were read."""
    closed: Sequence[TimeRange]
    """The ranges of neighbouring hours that are over, ascending."""
    columns: ReadingColumns

    def is_open(self, window: TimeRange) -> bool:
        """Whether a window is not over: the reader computes it."""
        return _is_open(window, self.newest)


def _is_open(window: TimeRange, newest: int | None) -> bool:
    return newest is not None and window.start <= newest < window.end


def _closed(hours: TimeRange, newest: int | None, zone: ZoneInfo) -> list[TimeRange]:
    """The ranges of neighbouring hours of a range that are over, ascending."""
    found: list[TimeRange] = []
    for hour in windows_of_hours(hours, "1h", zone):
        if _is_open(hour, newest):
            continue
        if found and found[-1].end == hour.start:
            found[-1] = TimeRange(found[-1].start, hour.end)
        else:
            found.append(hour)
    return found


class _Roller:
    """One run of :func:`roll_up`."""

    def __init__(self, context: JobContext, zone: ZoneInfo) -> None:
        chosen = context.settings.rollups.resolutions
        self._context = context
        self._zone = zone
        keep_days = context.settings.readings.keep_days
        self._fine = [name for name in chosen if RESOLUTIONS[name] < _HOUR and not is_from_readings(name, keep_days)]
        self._coarse = [name for name in chosen if RESOLUTIONS[name] > _HOUR]

    async def run(self, names: Sequence[str], window: TimeRange, *, goes_on: bool = False) -> None:
        """Go over a window.

        :param goes_on: readings of every series are known to continue after it.
        """
        store = self._context.readings
        first = True
        async for chunk, readings in walk(store, names, window, zone=self._zone, around=self._around):
            if chunk.skipped:
                await replace_in_turn(
                    store, [item for name in names for item in self._nothing(name, chunk)], "readings"
                )
                continue
            since = await self._open_before(names, readings, chunk) if first and not goes_on else {}
            first = False
            newest = {} if goes_on or not chunk.last else await self._newest(names, readings, chunk)
            touched = [
                await self._touched(
                    name,
                    TimeRange(since.get(name, chunk.start), chunk.end),
                    chunk.last,
                    readings[name],
                    newest.get(name),
                )
                for name in names
            ]
            await self._write(touched)

    def _around(self, chunk: BacklogPart) -> TimeRange:
        return around_hours(chunk, self._zone)

    def _nothing(self, name: str, chunk: BacklogPart) -> list[Replacement]:
        return [(f"{name}_{each}", chunk.start, chunk.end, ()) for each in (*self._fine, "1h", *self._coarse)]

    async def _open_before(
        self, names: Sequence[str], readings: dict[str, list[Reading]], chunk: BacklogPart
    ) -> dict[str, int]:
        """The last reading of each series before the chunk, whose hour may have been left open; an hour long before is written at once."""
        found = {
            name: earlier[at - 1].time
            for name in names
            if (earlier := readings[name]) and (at := bisect_left(earlier, (chunk.start,)))
        }
        silent = [name for name in names if name not in found]
        if silent:
            last = await self._context.readings.last(silent, before=chunk.start)
            found |= {name: reading.time for name, reading in last.items()}
        hour, read = window_at(chunk.start, "1h", self._zone), self._around(chunk)
        near: dict[str, int] = {}
        for name, time in found.items():
            before = window_at(time, "1h", self._zone)
            if before.start >= read.start:
                near[name] = time
            elif before.start < hour.start:
                await self.run([name], TimeRange(time, time + 1), goes_on=True)
        return near

    async def _newest(
        self, names: Sequence[str], readings: dict[str, list[Reading]], chunk: BacklogPart
    ) -> dict[str, int]:
        """The newest reading of each series that has none after those that were read."""
        newest = {name: readings[name][-1].time for name in names if readings[name]}
        read_until = self._around(chunk).end
        if read_until <= self._context.now and newest:
            later = await self._context.readings.first(list(newest), since=read_until)
            return {name: time for name, time in newest.items() if name not in later}
        return newest

    async def _touched(
        self, name: str, window: TimeRange, last: bool, readings: Sequence[Reading], newest: int | None
    ) -> _Touched:
        columns = ReadingColumns(series=name)
        hours = widen(*window, "1h", self._zone)
        closed = _closed(hours, newest, self._zone)
        touched = _Touched(name, hours, last, newest, closed, columns)
        if not closed:
            return touched  # nothing is written, so no reading is needed
        first, after = bisect_left(readings, (closed[0].start,)), bisect_left(readings, (closed[-1].end,))
        for start in range(first, after, STEP_ITEMS):
            columns.add(readings[start : min(start + STEP_ITEMS, after)])
            if start > first:
                await self._context.pause()
        return touched

    async def _write(self, touched: Sequence[_Touched]) -> None:
        if not any(each.closed for each in touched):
            return
        replaced: list[Replacement] = []
        written: list[tuple[str, Sequence[FieldPoint]]] = []
        days = await self._days(touched)
        voidable = await ever_corrected(self._context.readings, [each.name for each in touched])
        for each in touched:
            items = [*await self._fine_windows(each), *self._hour_windows(each), *days.get(each.name, ())]
            if is_computed(each.name) or each.name in voidable:
                replaced += items  # computed and corrected readings, unlike measured ones, may have been removed
            else:
                written += [(series, points) for series, _, _, points in items if points]
        await self._context.readings.merge_points_many(written)
        await replace_in_turn(self._context.readings, replaced, "readings")

    async def _fine_windows(self, touched: _Touched) -> list[Replacement]:
        items: list[Replacement] = []
        done = 0
        for resolution in self._fine:
            for over in touched.closed:
                points = []
                for window in windows_of_hours(over, resolution, self._zone):
                    part = touched.columns.part(*window)
                    if part is not None:
                        points.append(window_point(window.start, part))
                    done += 1
                    if done % STEP_ITEMS == 0:
                        await self._context.pause()
                items.append((f"{touched.name}_{resolution}", *over, points))
        return items

    def _hour_windows(self, touched: _Touched) -> list[Replacement]:
        points = self._hour_points(touched)
        name = f"{touched.name}_1h"
        return [
            (name, *over, [points[start] for start in sorted(points) if over.start <= start < over.end])
            for over in touched.closed
        ]

    def _hour_points(self, touched: _Touched) -> dict[int, FieldPoint]:
        """The points of the hours that are over and have readings."""
        found = {}
        for hour in windows_of_hours(touched.hours, "1h", self._zone):
            part = None if touched.is_open(hour) else touched.columns.part(*hour)
            if part is not None:
                interval = hour_interval(touched.columns.times_within(*hour))
                found[hour.start] = stored_hour(hour.start, part, interval)
        return found

    async def _days(self, touched: Sequence[_Touched]) -> dict[str, list[Replacement]]:
        """The days that are over, from their hours; few chunks touch any."""
        wanted = [
            (each, resolution, day)
            for each in touched
            for resolution in self._coarse
            for day in self._days_of(each, resolution)
            if not each.is_open(day)
        ]
        stored = await self._stored_hours([(f"{each.name}_1h", *day) for each, _, day in wanted])
        found: dict[str, list[Replacement]] = {}
        for (each, resolution, day), before in zip(wanted, stored, strict=True):
            start, end = each.hours
            points = {hour.time: hour for hour in before if not start <= hour.time < end}
            points |= {hour: point for hour, point in self._hour_points(each).items() if day.start <= hour < day.end}
            pauses = await pauses_of_day(self._context.readings, each.name, day, points)
            point = stored_day(day, list(windows(*day, "1h", self._zone)), points, pauses)
            item = (f"{each.name}_{resolution}", *day, [] if point is None else [point])
            found.setdefault(each.name, []).append(item)
        return found

    async def _stored_hours(self, ranges: Sequence[tuple[str, int, int]]) -> list[list[FieldPoint]]:
        return await self._context.readings.read_points_many(ranges) if ranges else []

    def _days_of(self, touched: _Touched, resolution: str) -> list[TimeRange]:
        """The days of the chunk's hours; the last chunk of each writes it."""
        days = windows(*touched.hours, resolution, self._zone)
        return [day for day in days if touched.last or day.end <= touched.hours.end]
