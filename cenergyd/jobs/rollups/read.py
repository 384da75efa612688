"""Rollups as they are shown: from the stored points, and from finer data where a window is not stored.

Windows of one minute and, if readings are kept as long as rollups, of five are not stored: for a meter that logs as often they would only
repeat its readings. Nor are the windows of the hour and day of the meter's newest reading, which would have to be written again with every
upload; they are computed on request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cenergyd.customers.model import TimeRange
from cenergyd.jobs.rollups.aggregate import PartialRollup, ReadingColumns, sign_corrected_rollup
from cenergyd.jobs.rollups.completeness import (
    NEARBY_SECONDS,
    Pauses,
    expected_readings,
    hour_interval,
)
from cenergyd.jobs.rollups.points import (
    Fields,
    doubtful_of,
    fields_of_first_version,
    hour_fields,
    intervals_of,
    rollup_of_point,
    stored_day,
    stored_hour,
    window_fields,
)
from cenergyd.jobs.windows import RESOLUTIONS, widen, window_at, windows
from cenergyd.readings.model import FieldPoint
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.yielding import Cooperate, without_yielding

MAX_POINTS = 20_000
"""Windows in one answer."""
POINTS_AT_ONCE = 500
"""Stored windows processed between two yields to the reactor: some milliseconds of work."""
SLICE = 6 * 3600
"""Seconds of readings processed between two yields to the reactor: some milliseconds of work."""


def is_from_readings(resolution: str, keep_days: Mapping[str, int]) -> bool:
    """Whether the windows of a resolution are never stored.

    :param keep_days: the ini's ``[readings] keep_days``: windows of five minutes are stored where they outlive the readings.
    """
    return resolution == "1m" or (resolution == "5m" and keep_days.get("longer", 0) == keep_days.get("raw", 0))


async def read_rollup(
    readings: ReadingStore,
    series: str,
    resolution: str,
    within: TimeRange,
    zone: ZoneInfo,
    *,
    is_reversed: bool = False,
    keep_days: Mapping[str, int] = {},
    cooperate: Cooperate = without_yielding,
) -> list[FieldPoint]:
    """The windows of a series that start in a range and have readings, ascending, at most MAX_POINTS.

    :param resolution: a key of RESOLUTIONS.
    :param is_reversed: show what the meter would have measured with its CTs mounted correctly.
    :param keep_days: the ini's ``[readings] keep_days``.
    :param cooperate: awaited every few milliseconds of computation.
    """
    reader = _RollupReader(readings, series, zone, is_reversed, cooperate)
    if is_from_readings(resolution, keep_days):
        return await reader.from_readings(resolution, within)
    found = await reader.stored(resolution, within)
    if len(found) < MAX_POINTS:
        found |= await reader.tail(resolution, within, found)
    return [FieldPoint(start, found[start]) for start in sorted(found)[:MAX_POINTS]]


async def pauses_of_day(
    readings: ReadingStore, series: str, day: TimeRange, hours: Mapping[int, FieldPoint]
) -> Pauses | None:
    """The pauses of a day's readings if its hours (stored points by start) do not determine how many readings it would have; otherwise None."""
    if not doubtful_of(hours):
        return None
    return Pauses([reading.time for reading in (await readings.read([series], *day))[series]])


class _Expectation(NamedTuple):
    """The number of readings that windows would have without lost rows."""

    zone: ZoneInfo
    intervals: Mapping[int, int]
    """The usual interval of the hours, s, by start."""
    doubtful: Mapping[int, Pauses]
    """The pauses in and around hours whose interval is not known, by start."""

    def interval(self, time: int) -> int | None:
        """The usual interval of the hour that holds a time, s."""
        return self.intervals.get(window_at(time, "1h", self.zone).start)

    def of(self, window: TimeRange) -> int | None:
        """The number of readings of a window of an hour or less; None if unknown."""
        start = window_at(window.start, "1h", self.zone).start
        if start in self.doubtful and (found := self.doubtful[start].expected(window)) is not None:
            return found
        interval = self.intervals.get(start)
        return None if interval is None else expected_readings(window, interval)


class _RollupReader:
    """The rollups of one series."""

    def __init__(
        self, readings: ReadingStore, series: str, zone: ZoneInfo, is_reversed: bool, cooperate: Cooperate
    ) -> None:
        self._is_reversed = is_reversed
        self._cooperate = cooperate
        self._store = readings
        self._series = series
        self._zone = zone

    async def from_readings(self, resolution: str, within: TimeRange) -> list[FieldPoint]:
        """Windows of some minutes, from the readings."""
        found: list[FieldPoint] = []
        length = RESOLUTIONS[resolution]
        start = -(-within.start // length) * length
        while start < within.end and len(found) < MAX_POINTS:
            end = min(within.end, widen(start, start + SLICE, "1h", self._zone).end)
            columns = await self._columns(TimeRange(start, end))
            await self._cooperate()
            if columns.any(start, end + length - 1):
                part = TimeRange(start, end)
                expectation = await self._expectation(part)
                found += [FieldPoint(*each) for each in self._computed(resolution, part, columns, expectation)]
                start = end
                continue
            following = await self._store.first([self._series], since=end)
            if not following:
                break
            start = max(end, following[self._series].time // length * length)
        return found[:MAX_POINTS]

    async def stored(self, resolution: str, within: TimeRange) -> dict[int, Fields]:
        """The fields of the stored points, by start."""
        found: dict[int, Fields] = {}
        since, read = within.start, 0
        while read < MAX_POINTS:
            most = min(POINTS_AT_ONCE, MAX_POINTS - read)
            points = await self._store.read_points(f"{self._series}_{resolution}", since, within.end, most)
            await self._cooperate()
            found |= await self._of_points(resolution, points)
            if len(points) < most:
                break
            since, read = points[-1].time + 1, read + most
        return found

    async def _of_points(self, resolution: str, points: Sequence[FieldPoint]) -> dict[int, Fields]:
        # Points of an earlier time zone overlap those of the present one.
        mine = [point for point in points if window_at(point.time, resolution, self._zone).start == point.time]
        if not mine:
            return {}
        expectation = None
        if resolution != "24h":
            expectation = await self._expectation(TimeRange(mine[0].time, mine[-1].time + 1))
            await self._cooperate()
        return {point.time: self._fields_of_point(resolution, point, expectation) for point in mine}

    async def tail(self, resolution: str, within: TimeRange, stored: dict[int, Fields]) -> dict[int, Fields]:
        """The windows of the range that are not stored yet, from finer data. All windows of an hour, or of a day, are stored together."""
        last = (await self._store.last([self._series])).get(self._series)
        if last is None:
            return {}
        whole = "24h" if resolution == "24h" else "1h"
        span = window_at(last.time, whole, self._zone)
        wanted = [span]
        before = await self._store.last([self._series], before=span.start)
        if before:  # the jobs may not have reached it
            time = before[self._series].time
            is_stored = window_at(time, resolution, self._zone).start in stored
            wanted += [] if is_stored else [window_at(time, whole, self._zone)]
        found: dict[int, Fields] = {}
        for each in wanted:
            if within.start < each.end and each.start < within.end:
                day = resolution == "24h"
                found |= await self._day(each, last.time) if day else await self._windows(resolution, each)
        return {start: fields for start, fields in found.items() if within.start <= start < within.end}

    async def _expectation(self, within: TimeRange) -> _Expectation:
        hours = await self._hours(widen(*within, "1h", self._zone))
        doubtful: dict[int, Pauses] = {}
        for start in doubtful_of(hours):
            if within.start - RESOLUTIONS["1h"] < start < within.end:
                near = TimeRange(start - NEARBY_SECONDS, start + RESOLUTIONS["1h"] + NEARBY_SECONDS)
                doubtful[start] = Pauses((await self._columns(near)).times)
        return _Expectation(self._zone, intervals_of(hours), doubtful)

    async def _hours(self, hours: TimeRange, newest: int | None = None) -> dict[int, FieldPoint]:
        """The 1h points of a range and of the hours near it, by start; those at the end that are not stored are computed.

        :param newest: the time of the series' newest reading: its hour is computed even if it is stored, because earlier versions stored it too soon.
        """
        near = widen(hours.start - NEARBY_SECONDS, hours.end + NEARBY_SECONDS, "1h", self._zone)
        found = {hour.time: hour for hour in await self._store.read_points(f"{self._series}_1h", *near)}
        if newest is not None:
            found.pop(window_at(newest, "1h", self._zone).start, None)
        last = (await self._store.last([self._series], before=near.end)).get(self._series)
        if last is not None and last.time >= near.start:
            open_from = max(near.start, last.time - NEARBY_SECONDS)
            missing = [hour for hour in windows(open_from, last.time + 1, "1h", self._zone) if hour.start not in found]
            if missing:
                columns = await self._columns(TimeRange(missing[0].start, missing[-1].end))
                found |= {hour.time: hour for hour in self._computed_hours(missing, columns)}
        return found

    async def _windows(self, resolution: str, hour: TimeRange) -> dict[int, Fields]:
        expectation = await self._expectation(hour)
        return dict(self._computed(resolution, hour, await self._columns(hour), expectation))

    async def _day(self, day: TimeRange, newest: int) -> dict[int, Fields]:
        hours = await self._hours(day, newest)
        points = {start: hour for start, hour in hours.items() if day.start <= start < day.end}
        pauses = await pauses_of_day(self._store, self._series, day, points)
        point = stored_day(day, list(windows(*day, "1h", self._zone)), points, pauses)
        return {} if point is None else {day.start: self._fields_of_point("24h", point, None)}

    async def _columns(self, window: TimeRange) -> ReadingColumns:
        """The readings of the hours of a range."""
        hours = widen(*window, "1h", self._zone)
        return ReadingColumns((await self._store.read([self._series], *hours))[self._series], series=self._series)

    def _computed(
        self, resolution: str, within: TimeRange, columns: ReadingColumns, expectation: _Expectation
    ) -> list[tuple[int, Fields]]:
        """The fields of the windows of a range, from readings; the windows are an hour or shorter."""
        found = []
        for window in windows(*within, resolution, self._zone):
            part = columns.part(*window)
            if part is not None:
                found.append((window.start, self._fields_of_part(resolution, window, part, expectation)))
        return found

    def _computed_hours(self, hours: Sequence[TimeRange], columns: ReadingColumns) -> list[FieldPoint]:
        parts = ((hour, columns.part(*hour)) for hour in hours)
        return [
            stored_hour(hour.start, part, hour_interval(columns.times_within(*hour)))
            for hour, part in parts
            if part is not None
        ]

    def _fields_of_part(
        self, resolution: str, window: TimeRange, part: PartialRollup, expectation: _Expectation
    ) -> Fields:
        expected = expectation.of(window)
        part = sign_corrected_rollup(part) if self._is_reversed else part
        if resolution == "1h":
            return hour_fields(window, part, expected, expectation.interval(window.start))
        return window_fields(window, part, expected)

    def _fields_of_point(self, resolution: str, point: FieldPoint, expectation: _Expectation | None) -> Fields:
        window = window_at(point.time, resolution, self._zone)
        if "flags" not in point.fields:
            expected = expectation.of(window) if expectation else None
            return fields_of_first_version(point.fields, expected, is_reversed=self._is_reversed)
        part = rollup_of_point(point)
        if expectation is not None:
            return self._fields_of_part(resolution, window, part, expectation)
        return window_fields(
            window, sign_corrected_rollup(part) if self._is_reversed else part, int(point.fields["expected"]) or None
        )
