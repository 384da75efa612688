"""Rollups as they are told: from the stored points, and from finer data where a window is not stored.

Not stored are one-minute windows, which of a meter that logs every minute are its readings again, and the window of each resolution that the
meter's newest reading is in, until it is over (:func:`is_final`): what would have to be written again with every upload is computed for
whoever asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from cenergyd.customers.model import Window
from cenergyd.jobs.rollups.aggregate import LOOK_BACK, Columns, interval_finder
from cenergyd.jobs.rollups.points import (
    Fields,
    interval_of,
    part_of,
    stored_day,
    stored_hour,
    told,
    told_again,
    told_hour,
    told_window,
)
from cenergyd.jobs.windows import widen, window_at, windows
from cenergyd.readings.model import FieldPoint
from cenergyd.readings.store import ReadingStore

MAX_POINTS = 20_000
"""Windows in one answer."""
FINAL_SECONDS = 60
"""A window whose last minute has a reading is over: most meters log every minute, and it need not wait for the next upload."""
SLICE = 6 * 3600
"""Seconds of readings that are worked on at once: some milliseconds."""
MAX_TAIL = 2
"""Windows that are computed where they are not stored: that of the newest reading, and one before it, which the jobs may not have reached."""


def is_final(window: Window, newest: int) -> bool:
    """Whether the window with the newest reading may be stored: nothing that is still to come in time would change it."""
    return newest >= window.end - FINAL_SECONDS


async def read_rollup(
    readings: ReadingStore, series: str, resolution: str, within: Window, zone: ZoneInfo
) -> list[FieldPoint]:
    """The windows of a series that start in a range and have readings, ascending, at most MAX_POINTS.

    :param resolution: a key of RESOLUTIONS.
    """
    reader = _Reader(readings, series, zone)
    if resolution == "1m":
        return await reader.minutes(within)
    found = await reader.stored(resolution, within)
    if len(found) < MAX_POINTS:
        found |= await reader.tail(resolution, within, found)
    return [FieldPoint(start, found[start]) for start in sorted(found)]


class _Reader:
    """The rollups of one series."""

    def __init__(self, readings: ReadingStore, series: str, zone: ZoneInfo) -> None:
        self._store = readings
        self._series = series
        self._zone = zone

    async def minutes(self, within: Window) -> list[FieldPoint]:
        """Windows of a minute, from the readings."""
        found: list[FieldPoint] = []
        start = -(-within.start // 60) * 60
        while start < within.end and len(found) < MAX_POINTS:
            end = min(within.end, widen(start, start + SLICE, "1h", self._zone).end)
            columns = await self._columns(Window(start, end))
            if columns.any(start, end + 59):
                found += [FieldPoint(*each) for each in self._computed("1m", Window(start, end), columns)]
                start = end
                continue
            following = await self._store.first([self._series], since=end)
            if not following:
                break
            start = max(end, following[self._series].time // 60 * 60)
        return found[:MAX_POINTS]

    async def stored(self, resolution: str, within: Window) -> dict[int, Fields]:
        """What the stored points tell, by start."""
        points = await self._store.read_points(f"{self._series}_{resolution}", *within, MAX_POINTS)
        intervals: dict[int, int | None] = {}
        if points and resolution not in ("1h", "24h"):
            hours = widen(points[0].time, points[-1].time + 1, "1h", self._zone)
            intervals = {hour.time: interval_of(hour) for hour in await self._hours(hours, points)}
        # Points of a time zone of before overlap those of now.
        mine = [point for point in points if window_at(point.time, resolution, self._zone).start == point.time]
        return {point.time: self._told(resolution, point, intervals) for point in mine}

    async def tail(self, resolution: str, within: Window, stored: dict[int, Fields]) -> dict[int, Fields]:
        """The windows of the range that are not stored yet, from finer data."""
        last = (await self._store.last([self._series])).get(self._series)
        if last is None:
            return {}
        window = window_at(last.time, resolution, self._zone)
        wanted = [] if window.start in stored and is_final(window, last.time) else [window]
        before = await self._store.last([self._series], before=window.start)
        if before and len(wanted) < MAX_TAIL:
            earlier = window_at(before[self._series].time, resolution, self._zone)
            wanted += [] if earlier.start in stored else [earlier]
        found: dict[int, Fields] = {}
        for each in wanted:
            if within.start <= each.start < within.end:
                found |= await self._day(each) if resolution == "24h" else await self._window(resolution, each)
        return found

    async def _hours(self, hours: Window, points: Sequence[FieldPoint]) -> list[FieldPoint]:
        """The stored 1h points of a range; those at its end that are not stored are computed."""
        found = await self._store.read_points(f"{self._series}_1h", *hours)
        starts = {hour.time for hour in found}
        open_hours = [
            hour
            for hour in windows(max(hours.start, hours.end - 2 * LOOK_BACK), hours.end, "1h", self._zone)
            if hour.start not in starts
        ]
        if open_hours:
            columns = await self._columns(Window(open_hours[0].start, open_hours[-1].end))
            found += self._computed_hours(open_hours, columns)
        return found

    async def _window(self, resolution: str, window: Window) -> dict[int, Fields]:
        return dict(self._computed(resolution, window, await self._columns(window)))

    async def _day(self, day: Window) -> dict[int, Fields]:
        hours = list(windows(*day, "1h", self._zone))
        points = {hour.time: hour for hour in await self._store.read_points(f"{self._series}_1h", *day)}
        last = (await self._store.last([self._series], before=day.end))[self._series].time
        since = max((start for start in points if start < last - LOOK_BACK), default=day.start)
        missing = [hour for hour in hours if since <= hour.start <= last]
        columns = await self._columns(Window(since, window_at(last, "1h", self._zone).end))
        points |= {hour.time: hour for hour in self._computed_hours(missing, columns)}
        point = stored_day(day, hours, points)
        return {} if point is None else {day.start: self._told("24h", point, {})}

    async def _columns(self, window: Window) -> Columns:
        """The readings that windows of a range depend on."""
        start = window_at(window.start, "1h", self._zone).start - LOOK_BACK
        end = window_at(window.end - 1, "1h", self._zone).end
        return Columns((await self._store.read([self._series], start, end))[self._series])

    def _computed(self, resolution: str, within: Window, columns: Columns) -> list[tuple[int, Fields]]:
        """What the readings tell of the windows of a range, an hour or shorter."""
        interval = interval_finder(columns.times)
        tell = told_hour if resolution == "1h" else told_window
        found = []
        for hour in windows(*within, "1h", self._zone):
            usual = interval(hour) if columns.any(*hour) else None
            inside = Window(max(hour.start, within.start), min(hour.end, within.end))
            for window in windows(*inside, resolution, self._zone):
                part = columns.part(*window)
                if part is not None:
                    found.append((window.start, tell(window, part, usual)))
        return found

    def _computed_hours(self, hours: Sequence[Window], columns: Columns) -> list[FieldPoint]:
        interval = interval_finder(columns.times)
        parts = ((hour, columns.part(*hour)) for hour in hours)
        return [stored_hour(hour.start, part, interval(hour)) for hour, part in parts if part is not None]

    def _told(self, resolution: str, point: FieldPoint, intervals: dict[int, int | None]) -> Fields:
        window = window_at(point.time, resolution, self._zone)
        usual = intervals.get(window_at(point.time, "1h", self._zone).start)
        if "flags" not in point.fields:
            return told_again(window, point.fields, usual)
        part = part_of(point)
        if resolution == "24h":
            return told(window, part, int(point.fields["expected"]) or None)
        if resolution == "1h":
            return told_hour(window, part, interval_of(point))
        return told_window(window, part, usual)
