"""Keeps the rollups of every meter up to date: reads what a window of new or late readings touches, and replaces just that.

Windows up to an hour are computed from readings, a day from its stored hours. One thing reaches further than the touched windows: the usual
interval of an hour, from which follows how complete its windows are, rests on two hours before it too. It is kept in the hour's
point, so a look at that tells whether the other windows of the hour are to be written anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cenergyd.customers.model import Customer, Window
from cenergyd.customers.time_zones import zone_of
from cenergyd.hookspecs import JobContext
from cenergyd.jobs.backlog_walk import PIECE, Chunk, Replacement, following_hours, replace_in_turn, series_between, walk
from cenergyd.jobs.rollups.aggregate import LOOK_BACK, Columns, day_point, hour_point, interval_finder, window_point
from cenergyd.jobs.windows import RESOLUTIONS, widen, windows
from cenergyd.readings.model import FieldPoint, Reading

_HOUR = RESOLUTIONS["1h"]


class _Dirty(NamedTuple):
    """An hour to be written anew."""

    hour: Window
    interval: int | None
    within: Window
    """The part of it whose finer windows are to be written anew."""


async def roll_up(customer: Customer, start: int, end: int, context: JobContext) -> None:
    """Bring the rollups of a customer's meters up to date with the readings of ``start <= time < end``.

    :raises InvalidField: the customer's time zone is none.
    """
    roller = _Roller(context, zone_of(customer.time_zone))
    await roller.run(series_between(customer, start, end), Window(start, end))


class _Roller:
    """One run of :func:`roll_up`."""

    def __init__(self, context: JobContext, zone: ZoneInfo) -> None:
        chosen = context.settings.rollups.resolutions
        self._context = context
        self._zone = zone
        self._fine = [name for name in chosen if RESOLUTIONS[name] < _HOUR]
        self._coarse = [name for name in chosen if RESOLUTIONS[name] > _HOUR]

    async def run(self, names: Sequence[str], window: Window) -> None:
        store = self._context.readings
        async for chunk, readings in walk(store, names, window, zone=self._zone, around=self._around):
            if chunk.skipped:
                await replace_in_turn(store, [item for name in names for item in self._nothing(name, chunk)])
                continue
            stored = await store.read_points_many([(f"{name}_1h", *self._days(chunk)) for name in names])
            first: list[Replacement] = []
            then: list[Replacement] = []
            for name, hours_before in zip(names, stored, strict=True):
                known = {point.time: point for point in hours_before}
                more_first, more_then = await self._series(name, chunk, readings[name], known)
                first += more_first
                then += more_then
            # What an hour's point says of its interval must not be stored before its other windows are: a crash between
            # would hide that they are out of date.
            await replace_in_turn(store, first)
            await replace_in_turn(store, then)

    def _around(self, chunk: Chunk) -> Window:
        hours = widen(chunk.start, chunk.end, "1h", self._zone)
        end = following_hours(hours.end, self._zone).end if chunk.last else hours.end
        return Window(hours.start - LOOK_BACK, end)

    def _days(self, chunk: Chunk) -> Window:
        """The days whose hours are written anew."""
        start = widen(chunk.start, chunk.end, "1h", self._zone).start
        return widen(start, self._around(chunk).end, "24h", self._zone)

    def _nothing(self, name: str, chunk: Chunk) -> list[Replacement]:
        return [(f"{name}_{each}", chunk.start, chunk.end, ()) for each in (*self._fine, "1h", *self._coarse)]

    async def _series(
        self, name: str, chunk: Chunk, readings: Sequence[Reading], stored: dict[int, FieldPoint]
    ) -> tuple[list[Replacement], list[Replacement]]:
        """What is to be replaced of a series, first and after that.

        :param stored: its points of 1h over the days in question.
        """
        columns = await self._columns(readings)
        dirty, changed = self._dirty(chunk, self._around(chunk).end, columns, stored)
        fine = await self._fine_windows(name, dirty, columns)
        coarse = self._hours_and_days(name, dirty, columns, stored)
        return (fine, coarse) if changed else ([], fine + coarse)

    async def _columns(self, readings: Sequence[Reading]) -> Columns:
        columns = Columns()
        for start in range(0, len(readings), PIECE):
            columns.add(readings[start : start + PIECE])
            if start:
                await self._context.pause()
        return columns

    def _dirty(
        self, chunk: Chunk, end: int, columns: Columns, stored: dict[int, FieldPoint]
    ) -> tuple[list[_Dirty], bool]:
        """The hours to be written anew, ascending, and whether any is so just for its interval."""
        interval_of = interval_finder(columns.times)
        found: list[_Dirty] = []
        any_changed = False
        for hour in windows(chunk.start, end, "1h", self._zone):
            interval = interval_of(hour)
            point = stored.get(hour.start)
            known = point.fields.get("interval") if point else None
            changed = interval != known and (point is not None or columns.any(*hour))
            if hour.start < chunk.end:
                within = Window(max(hour.start, chunk.start), min(hour.end, chunk.end))
                found.append(_Dirty(hour, interval, hour if changed else within))
            elif changed:
                found.append(_Dirty(hour, interval, hour))
            any_changed = any_changed or changed
        return found, any_changed

    async def _fine_windows(self, name: str, dirty: Sequence[_Dirty], columns: Columns) -> list[Replacement]:
        items: list[Replacement] = []
        done = 0
        for resolution in self._fine:
            for _, interval, within in dirty:
                reach = widen(*within, resolution, self._zone)
                points = []
                for window in windows(*reach, resolution, self._zone):
                    part = columns.part(*window)
                    if part is not None:
                        points.append(window_point(window, part, interval))
                    done += 1
                _extend(items, f"{name}_{resolution}", reach, points)
                if done >= PIECE:
                    done = 0
                    await self._context.pause()
        return items

    def _hours_and_days(
        self, name: str, dirty: Sequence[_Dirty], columns: Columns, stored: dict[int, FieldPoint]
    ) -> list[Replacement]:
        items: list[Replacement] = []
        points = dict(stored)
        for hour, interval, _ in dirty:
            points.pop(hour.start, None)
            part = columns.part(*hour)
            if part is not None:
                points[hour.start] = hour_point(hour, part, interval)
            _extend(items, f"{name}_1h", hour, [points[hour.start]] if part is not None else [])
        for resolution in self._coarse:
            for window in windows(dirty[0].hour.start, dirty[-1].hour.end, resolution, self._zone):
                point = day_point(window, list(windows(*window, "1h", self._zone)), points)
                _extend(items, f"{name}_{resolution}", window, [point] if point is not None else [])
        return items


def _extend(items: list[Replacement], series: str, window: Window, points: Sequence[FieldPoint]) -> None:
    """Add a replacement; one that follows on the last one's end is joined to it."""
    if items and items[-1][0] == series and items[-1][2] == window.start:
        name, start, _, before = items.pop()
        items.append((name, start, window.end, [*before, *points]))
    else:
        items.append((series, window.start, window.end, points))
