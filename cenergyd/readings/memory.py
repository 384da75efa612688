"""A reading store in memory, for tests, including those of plugin authors. It passes the same contract tests as the real stores."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from cenergyd.errors import StoreUnavailable
from cenergyd.readings.checks import (
    check_fields,
    check_series,
    check_summary_request,
    only_fields,
    points_to_keep,
    readings_to_keep,
    storable,
    storable_points,
    window_start,
)
from cenergyd.readings.merging import merged_reading
from cenergyd.readings.model import CHANNELS, MISSING_METER, FieldPoint, Reading, SeriesReadings
from cenergyd.readings.store import Summary


class MemoryReadingStore:
    """Keeps everything in dictionaries. While :attr:`down` is set to a reason, every call raises StoreUnavailable with it."""

    def __init__(self) -> None:
        self.down: str | None = None
        self._readings: defaultdict[str, dict[int, Reading]] = defaultdict(dict)
        self._points: defaultdict[str, dict[int, FieldPoint]] = defaultdict(dict)

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do; the data stay."""

    async def ping(self) -> None:
        """Raise StoreUnavailable while :attr:`down`."""
        self._check()

    async def write(self, batches: Sequence[SeriesReadings]) -> None:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        self._check(*(batch.series for batch in batches))
        for name, kept in [(batch.series, storable(batch.readings)) for batch in batches]:
            stored = self._readings[name]
            for reading in kept:
                old = stored.get(reading.time)
                stored[reading.time] = merged_reading(old, reading) if old else reading

    async def replace(self, series: str, start: int, end: int, readings: Sequence[Reading]) -> None:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        await self.replace_many([(series, start, end, readings)])

    async def replace_many(self, items: Sequence[tuple[str, int, int, Sequence[Reading]]]) -> None:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        self._check(*(item[0] for item in items))
        for series, start, end, new in [(s, a, b, readings_to_keep(readings, a, b)) for s, a, b, readings in items]:
            stored = {time: r for time, r in self._readings[series].items() if not start <= time < end}
            self._readings[series] = stored | new

    async def read(
        self, series: Sequence[str], start: int, end: int, limit: int | None = None
    ) -> dict[str, list[Reading]]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        self._check(*series)
        return {name: self._range(name, start, end)[:limit] for name in series}

    async def last(self, series: Sequence[str], before: int | None = None) -> dict[str, Reading]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        self._check(*series)
        found: dict[str, Reading] = {}
        for name in series:
            times = [time for time in self._readings.get(name, ()) if before is None or time < before]
            if times:
                found[name] = self._readings[name][max(times)]
        return found

    async def first(self, series: Sequence[str], since: int = 0) -> dict[str, Reading]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        self._check(*series)
        found: dict[str, Reading] = {}
        for name in series:
            times = [time for time in self._readings.get(name, ()) if time >= since]
            if times:
                found[name] = self._readings[name][min(times)]
        return found

    async def summarise(
        self,
        series: Sequence[str],
        start: int,
        end: int,
        resolution: int,
        channels: Sequence[str] = CHANNELS,
        *,
        offset: int = 0,
    ) -> dict[str, list[Summary]]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        self._check(*series)
        check_summary_request(resolution, channels, CHANNELS)
        return {name: summaries(self._range(name, start, end), resolution, channels, offset) for name in series}

    async def series_of(self, serial: str) -> list[str]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        self._check()
        kind = re.compile(rf"{re.escape(serial)}_(?:[0-9]+|{MISSING_METER})\Z")
        return sorted(name for name, stored in self._readings.items() if stored and kind.match(name))

    async def write_points(self, series: str, points: Sequence[FieldPoint]) -> None:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        self._check(series)
        self._points[series].update(storable_points(points))

    async def replace_points(self, series: str, start: int, end: int, points: Sequence[FieldPoint]) -> None:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        await self.replace_points_many([(series, start, end, points)])

    async def replace_points_many(
        self, items: Sequence[tuple[str, int, int, Sequence[FieldPoint]]], field: str = ""
    ) -> None:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        self._check(*(item[0] for item in items))
        for series, start, end, new in [(s, a, b, points_to_keep(points, a, b)) for s, a, b, points in items]:
            stored = {time: point for time, point in self._points[series].items() if not start <= time < end}
            self._points[series] = stored | new

    async def merge_points_many(self, items: Sequence[tuple[str, Sequence[FieldPoint]]]) -> None:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        self._check(*(series for series, _ in items))
        for series, new in [(series, storable_points(points)) for series, points in items]:
            stored = self._points[series]
            for time, point in new.items():
                old = stored[time].fields if time in stored else {}
                stored[time] = FieldPoint(time, {**old, **point.fields})

    async def read_points(self, series: str, start: int, end: int, limit: int | None = None) -> list[FieldPoint]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        self._check(series)
        stored = self._points.get(series, {})
        times = sorted(time for time in stored if start <= time < end)[:limit]
        return [FieldPoint(time, dict(stored[time].fields)) for time in times]

    async def read_points_many(
        self, ranges: Sequence[tuple[str, int, int]], fields: Sequence[str] = ()
    ) -> list[list[FieldPoint]]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_fields(fields)
        return [only_fields(await self.read_points(*asked), fields) for asked in ranges]

    def _check(self, *series: str) -> None:
        if self.down is not None:
            raise StoreUnavailable(self.down)
        check_series(*series)

    def _range(self, series: str, start: int, end: int) -> list[Reading]:
        stored = self._readings.get(series, {})
        return [stored[time] for time in sorted(stored) if start <= time < end]


def summaries(
    readings: Iterable[Reading], resolution: int, channels: Sequence[str] = CHANNELS, offset: int = 0
) -> list[Summary]:
    """Summaries of readings of one series; windows without a value of the channels are left out."""
    windows: defaultdict[int, list[Reading]] = defaultdict(list)
    for reading in readings:
        windows[window_start(reading.time, resolution, offset)].append(reading)
    found = (_summary(time, windows[time], channels) for time in sorted(windows))
    return [summary for summary in found if summary.channels]


def _summary(time: int, readings: list[Reading], channels: Sequence[str]) -> Summary:
    values: dict[str, list[float]] = {}
    for channel in CHANNELS:
        present = [getattr(reading, channel) for reading in readings]
        present = [value for value in present if value is not None]
        if channel in channels and present:
            values[channel] = present
    return Summary(
        time=time,
        readings=len(next(iter(values.values()), [])),
        channels={c: (min(v), sum(v) / len(v), max(v)) for c, v in values.items()},
        estimated=any(reading.estimated for reading in readings),
    )
