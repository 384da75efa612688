"""Keeps the rollups of every meter up to date: reads what a window of new or late readings touches, and writes just that.

Windows up to an hour are computed from readings, a day from its stored hours. A window is written once it is over, and again where late data
touch it; until then, and for windows of a minute, :mod:`cenergyd.jobs.rollups.read` computes it. So when readings go on after a pause, the
windows that the last reading before it is in are written too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cenergyd.customers.model import Customer, Window
from cenergyd.customers.time_zones import zone_of
from cenergyd.hookspecs import JobContext
from cenergyd.jobs.backlog_walk import (
    PIECE,
    BacklogPart,
    Replacement,
    around_hours,
    replace_in_turn,
    series_between,
    walk,
)
from cenergyd.jobs.rollups.aggregate import ReadingColumns
from cenergyd.jobs.rollups.points import stored_day, stored_hour, stored_window
from cenergyd.jobs.rollups.read import is_final, pauses_of_day
from cenergyd.jobs.rollups.usual_interval import hour_interval
from cenergyd.jobs.windows import RESOLUTIONS, widen, window_at, windows
from cenergyd.readings.corrected import ever_corrected
from cenergyd.readings.model import FieldPoint, Reading, is_computed

_HOUR = RESOLUTIONS["1h"]
_MINUTE = RESOLUTIONS["1m"]


async def roll_up(customer: Customer, start: int, end: int, context: JobContext) -> None:
    """Bring the rollups of a customer's meters up to date with the readings of ``start <= time < end``.

    :raises InvalidField: the customer's time zone is none.
    """
    roller = _Roller(context, zone_of(customer.time_zone))
    await roller.run(series_between(customer, start, end), Window(start, end))


class _Touched(NamedTuple):
    """What a chunk touches of one series."""

    name: str
    window: Window
    """The chunk's."""
    before: int | None
    """The last reading before it, if it is of the same hour: windows may have been left open for it."""
    hours: Window
    """The full hours of the chunk."""
    last: bool
    """Whether the chunk is the end of the backlog."""
    newest: int | None
    """The series' newest reading; None where it is not among those that were read."""
    columns: ReadingColumns

    def is_open(self, window: Window) -> bool:
        """Whether a window is not over: the reader computes it."""
        newest = self.newest
        return newest is not None and window.start <= newest < window.end and not is_final(window, newest)


class _Roller:
    """One run of :func:`roll_up`."""

    def __init__(self, context: JobContext, zone: ZoneInfo) -> None:
        chosen = context.settings.rollups.resolutions
        self._context = context
        self._zone = zone
        self._fine = [name for name in chosen if _MINUTE < RESOLUTIONS[name] < _HOUR]
        self._coarse = [name for name in chosen if RESOLUTIONS[name] > _HOUR]

    async def run(self, names: Sequence[str], window: Window, *, goes_on: bool = False) -> None:
        """Go over a window.

        :param goes_on: readings of every series are known to go on after it.
        """
        store = self._context.readings
        first = True
        async for chunk, readings in walk(store, names, window, zone=self._zone, around=self._around):
            if chunk.skipped:
                await replace_in_turn(store, [item for name in names for item in self._nothing(name, chunk)])
                continue
            before = await self._before(names, readings, chunk) if first and not goes_on else {}
            first = False
            newest = {} if goes_on or not chunk.last else await self._newest(names, readings, chunk)
            touched = [
                await self._touched(name, chunk, readings[name], before.get(name), newest.get(name)) for name in names
            ]
            await self._write(touched)

    def _around(self, chunk: BacklogPart) -> Window:
        return around_hours(chunk, self._zone)

    def _nothing(self, name: str, chunk: BacklogPart) -> list[Replacement]:
        return [(f"{name}_{each}", chunk.start, chunk.end, ()) for each in (*self._fine, "1h", *self._coarse)]

    async def _before(
        self, names: Sequence[str], readings: dict[str, list[Reading]], chunk: BacklogPart
    ) -> dict[str, int]:
        """The last reading of each series before the chunk, if it is of the same hour; windows of an earlier one that it left open are written."""
        found = {
            name: earlier[-1]
            for name in names
            if (earlier := [reading.time for reading in readings[name] if reading.time < chunk.start])
        }
        silent = [name for name in names if name not in found]
        if silent:
            last = await self._context.readings.last(silent, before=chunk.start)
            found |= {name: reading.time for name, reading in last.items()}
        hour = window_at(chunk.start, "1h", self._zone)
        for name, time in found.items():
            if time < hour.start and self._left_open(time, chunk.start):
                await self.run([name], Window(time, time + 1), goes_on=True)
        return {name: time for name, time in found.items() if time >= hour.start}

    def _left_open(self, before: int, start: int) -> bool:
        """Whether an hour or day that is over now was not while ``before`` was the newest reading."""
        found = (window_at(before, resolution, self._zone) for resolution in ("1h", *self._coarse))
        return any(window.end <= start and not is_final(window, before) for window in found)

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
        self, name: str, chunk: BacklogPart, readings: Sequence[Reading], before: int | None, newest: int | None
    ) -> _Touched:
        columns = ReadingColumns(series=name)
        hours = widen(chunk.start, chunk.end, "1h", self._zone)
        touched = _Touched(name, Window(chunk.start, chunk.end), before, hours, chunk.last, newest, columns)
        first, last = bisect_left(readings, (self._needed_since(touched),)), bisect_left(readings, (hours.end,))
        for start in range(first, last, PIECE):
            columns.add(readings[start : min(start + PIECE, last)])
            if start > first:
                await self._context.pause()
        return touched

    def _needed_since(self, touched: _Touched) -> int:
        """The start of the first window that is over: the readings before it decide nothing that is written."""
        hours = list(windows(*touched.hours, "1h", self._zone))
        if len(hours) > 1 or not touched.is_open(hours[0]):
            return touched.hours.start
        return min((self._reach(touched, each).start for each in self._fine), default=touched.hours.end)

    async def _write(self, touched: Sequence[_Touched]) -> None:
        replaced: list[Replacement] = []
        written: list[tuple[str, Sequence[FieldPoint]]] = []
        days = await self._days(touched)
        voidable = await ever_corrected(self._context.readings, [each.name for each in touched])
        for each in touched:
            items = [*await self._fine_windows(each), *self._hour_windows(each), *days.get(each.name, ())]
            if is_computed(each.name) or each.name in voidable:
                replaced += items  # computed and corrected readings, unlike measured ones, may be gone
            else:
                written += [(series, points) for series, _, _, points in items if points]
        await self._context.readings.merge_points_many(written)
        await replace_in_turn(self._context.readings, replaced)

    async def _fine_windows(self, touched: _Touched) -> list[Replacement]:
        items: list[Replacement] = []
        done = 0
        for resolution in self._fine:
            reach = self._reach(touched, resolution)
            over = [window for window in windows(*reach, resolution, self._zone) if not touched.is_open(window)]
            points = []
            for window in over:
                part = touched.columns.part(*window)
                if part is not None:
                    points.append(stored_window(window.start, part))
                done += 1
                if done % PIECE == 0:
                    await self._context.pause()
            if over:
                items.append((f"{touched.name}_{resolution}", over[0].start, over[-1].end, points))
        return items

    def _reach(self, touched: _Touched, resolution: str) -> Window:
        """The windows of a resolution that the chunk is in, and one before it that was left open."""
        start, end = touched.window
        if touched.before is not None:
            window = window_at(touched.before, resolution, self._zone)
            start = start if is_final(window, touched.before) else touched.before
        return widen(start, end, resolution, self._zone)

    def _hour_windows(self, touched: _Touched) -> list[Replacement]:
        points = self._hour_points(touched)
        name = f"{touched.name}_1h"
        over = [hour for hour in windows(*touched.hours, "1h", self._zone) if not touched.is_open(hour)]
        items: list[Replacement] = []
        for hour in over:
            there = [points[hour.start]] if hour.start in points else []
            if items and items[-1][2] == hour.start:
                items[-1] = (name, items[-1][1], hour.end, [*items[-1][3], *there])
            else:
                items.append((name, *hour, there))
        return items

    def _hour_points(self, touched: _Touched) -> dict[int, FieldPoint]:
        """The points of the hours that are over and have readings."""
        found = {}
        for hour in windows(*touched.hours, "1h", self._zone):
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
            points = {hour.time: hour for hour in before if not start <= hour.time < end} | self._hour_points(each)
            pauses = await pauses_of_day(self._context.readings, each.name, day, points)
            point = stored_day(day, list(windows(*day, "1h", self._zone)), points, pauses)
            item = (f"{each.name}_{resolution}", *day, [] if point is None else [point])
            found.setdefault(each.name, []).append(item)
        return found

    async def _stored_hours(self, ranges: Sequence[tuple[str, int, int]]) -> list[list[FieldPoint]]:
        return await self._context.readings.read_points_many(ranges) if ranges else []

    def _days_of(self, touched: _Touched, resolution: str) -> list[Window]:
        """The days of the chunk's hours; the last chunk of each writes it."""
        days = windows(*touched.hours, resolution, self._zone)
        return [day for day in days if touched.last or day.end <= touched.hours.end]
