"""A reading store that applies the corrections of :mod:`cenergyd.readings.corrections` to what is read. Pages, API and computations use it.

Writes are passed on unchanged. So the store keeps the measured values, and late or resent readings of a corrected range are corrected
as well. Field points (rollups, energy) are made from corrected readings and are not changed here. A series without corrections costs
one set look-up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, cast

from cenergyd.readings.checks import check_summary_request, window_start
from cenergyd.readings.corrections import BEGINNING, END, CorrectionMap, CorrectionSegment
from cenergyd.readings.model import CHANNELS, Reading
from cenergyd.readings.store import ReadingStore, Summary

MAX_STEPS = 50
"""Maximum readings skipped in the search for the first or last one because nothing remains of them when scaled (they hold only registers)."""


READINGS_AT_ONCE = 5000
"""Readings of one series that are read and corrected at once: some milliseconds of work."""


class Corrections(Protocol):
    """Knows the corrections of series."""

    async def maps(self, series: Sequence[str]) -> Mapping[str, CorrectionMap]:
        """The combined corrections of those of the series that have active ones, by series."""
        ...

    async def ever_corrected(self, series: Sequence[str]) -> frozenset[str]:
        """Those of the series that have, or had, corrections."""
        ...


class CorrectedReadings:
    """A :class:`~cenergyd.readings.store.ReadingStore` in front of another one; see the module's docstring.

    :ivar measured: the store behind it, with the measured values.
    """

    def __init__(self, measured: ReadingStore, corrections: Corrections) -> None:
        self.measured = measured
        self.corrections = corrections

    def __getattr__(self, name: str) -> object:
        return getattr(self.measured, name)

    async def ever_corrected(self, series: Sequence[str]) -> frozenset[str]:
        """Those of the series that have, or had, corrections: unlike measured readings, theirs may disappear."""
        return await self.corrections.ever_corrected(series)

    async def scaled_ranges(self, series: str, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of a range in which the readings of a series are scaled: start and end of each, ascending."""
        view = (await self.corrections.maps([series])).get(series)
        segments = view.between(start, end) if view is not None else []
        return [(each.start, each.end) for each in segments if each.factor != 1.0]

    async def read(
        self, series: Sequence[str], start: int, end: int, limit: int | None = None
    ) -> dict[str, list[Reading]]:
        """As the store's, corrected."""
        maps = await self.corrections.maps(series)
        if not maps:
            return await self.measured.read(series, start, end, limit)
        plain = [name for name in series if name not in maps]
        found = await self.measured.read(plain, start, end, limit) if plain else {}
        for name, view in maps.items():
            found[name] = await self._read(name, view, start, end, limit)
        return {name: found[name] for name in series}

    async def _read(self, name: str, view: CorrectionMap, start: int, end: int, limit: int | None) -> list[Reading]:
        found: list[Reading] = []
        for segment in view.between(start, end):
            since, until = segment.measured
            # Correcting may drop readings, so the limit counts what remains.
            while since < until and (limit is None or len(found) < limit):
                asked = READINGS_AT_ONCE if limit is None else min(READINGS_AT_ONCE, limit - len(found))
                rows = (await self.measured.read([name], since, until, asked))[name]
                found += segment.corrected(rows)
                if len(rows) < asked:
                    break
                since = rows[-1].time + 1
        return found if limit is None else found[:limit]

    async def last(self, series: Sequence[str], before: int | None = None) -> dict[str, Reading]:
        """As the store's, corrected."""
        maps = await self.corrections.maps(series)
        if not maps:
            return await self.measured.last(series, before)
        plain = [name for name in series if name not in maps]
        found = await self.measured.last(plain, before) if plain else {}
        for name, view in maps.items():
            reading = await self._last(name, view, END if before is None else before)
            if reading is not None:
                found[name] = reading
        return found

    async def _last(self, name: str, view: CorrectionMap, before: int) -> Reading | None:
        for segment in reversed(view.between(BEGINNING, before)):
            since, end = segment.measured
            until = None if end == END else end
            for _ in range(MAX_STEPS):
                reading = (await self.measured.last([name], until)).get(name)
                if reading is None or reading.time < since:
                    break
                if kept := segment.corrected([reading]):
                    return kept[0]
                until = reading.time
        return None

    async def first(self, series: Sequence[str], since: int = 0) -> dict[str, Reading]:
        """As the store's, corrected."""
        maps = await self.corrections.maps(series)
        if not maps:
            return await self.measured.first(series, since)
        plain = [name for name in series if name not in maps]
        found = await self.measured.first(plain, since) if plain else {}
        for name, view in maps.items():
            reading = await self._first(name, view, since)
            if reading is not None:
                found[name] = reading
        return found

    async def _first(self, name: str, view: CorrectionMap, since: int) -> Reading | None:
        for segment in view.between(since, END):
            start, end = segment.measured
            for _ in range(MAX_STEPS):
                reading = (await self.measured.first([name], start)).get(name)
                if reading is None or reading.time >= end:
                    break
                if kept := segment.corrected([reading]):
                    return kept[0]
                start = reading.time + 1
        return None

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
        """As the store's, corrected."""
        check_summary_request(resolution, channels, CHANNELS)
        maps = await self.corrections.maps(series)
        plain = [name for name in series if name not in maps]
        found: dict[str, list[Summary]] = {}
        if plain:
            found = await self.measured.summarise(plain, start, end, resolution, channels, offset=offset)
        if not maps:
            return found
        for name, view in maps.items():
            windows = _Windows(resolution, offset)
            summing = _Summing(self.measured, name, windows, [each for each in CHANNELS if each in channels])
            found[name] = await summing.all(view.between(start, end))
        return {name: found[name] for name in series}


class _Windows(NamedTuple):
    resolution: int
    offset: int

    def start_of(self, time: int) -> int:
        """Start of the window that contains a time."""
        return window_start(time, self.resolution, self.offset)


class _Summing:
    """Summaries of one corrected series."""

    def __init__(self, store: ReadingStore, name: str, windows: _Windows, channels: Sequence[str]) -> None:
        self._store = store
        self._name = name
        self._windows = windows
        self._channels = channels
        self._whole: dict[int, Summary] = {}
        self._parts: dict[int, _WindowMerge] = {}

    async def all(self, segments: Sequence[CorrectionSegment]) -> list[Summary]:
        """The summaries over ascending segments."""
        # A window that spans segments is merged from its parts, each with its own count.
        owners = Counter(
            window
            for segment in segments
            for window in {self._windows.start_of(segment.start), self._windows.start_of(segment.end - 1)}
        )
        shared = {window for window, count in owners.items() if count > 1}
        for segment in segments:
            await self._segment(segment, shared)
        for window, part in self._parts.items():
            summary = part.summary(window, self._channels)
            if summary is not None:
                self._whole[window] = summary
        return [self._whole[window] for window in sorted(self._whole)]

    async def _segment(self, segment: CorrectionSegment, shared: set[int]) -> None:
        resolution = self._windows.resolution
        first, last = self._windows.start_of(segment.start), self._windows.start_of(segment.end - 1)
        inner = segment
        for window in dict.fromkeys((first, last)):
            if window in shared:
                await self._counted(segment.cut(window, window + resolution), window)
        if first in shared:
            inner = inner._replace(start=first + resolution)
        if last in shared:
            inner = inner._replace(end=min(inner.end, last))
        if inner.start < inner.end:
            for summary in await self._summaries(inner, self._channels):
                if summary.channels:
                    self._whole[summary.time] = summary

    async def _counted(self, segment: CorrectionSegment, window: int) -> None:
        """Add a part of a window, one query per channel, so that each channel's count is known."""
        part = self._parts.setdefault(window, _WindowMerge())
        for channel in self._channels:
            for summary in await self._summaries(segment, [channel]):
                part.add(channel, summary)

    async def _summaries(self, segment: CorrectionSegment, channels: Sequence[str]) -> list[Summary]:
        """The corrected summaries of a segment. The store's windows are offset so that the time shift moves them onto the requested ones."""
        found = await self._store.summarise(
            [self._name], *segment.measured, self._windows.resolution, channels,
            offset=(self._windows.offset - segment.shift) % self._windows.resolution,
        )  # fmt: skip
        return [segment.corrected_summary(summary) for summary in found[self._name]]


class _Stat(NamedTuple):
    number: int
    low: float
    total: float
    high: float


class _WindowMerge:
    """A window merged from the parts seen so far."""

    def __init__(self) -> None:
        self._stats: dict[str, _Stat] = {}
        self._estimated = False

    def add(self, channel: str, summary: Summary) -> None:
        """Add one channel of a part of the window."""
        if channel in summary.channels:
            low, mean, high = summary.channels[channel]
            self._merge(channel, _Stat(summary.readings, low, mean * summary.readings, high))
            self._estimated = self._estimated or summary.estimated

    def _merge(self, channel: str, new: _Stat) -> None:
        old = self._stats.get(channel)
        if old is not None:
            new = _Stat(old.number + new.number, min(old.low, new.low), old.total + new.total, max(old.high, new.high))
        self._stats[channel] = new

    def summary(self, window: int, channels: Sequence[str]) -> Summary | None:
        """The whole window; None if it has no value."""
        if not self._stats:
            return None
        counted = next(self._stats[channel].number for channel in channels if channel in self._stats)
        triples = {
            channel: (stat.low, stat.total / stat.number, stat.high)
            for channel in channels
            if (stat := self._stats.get(channel)) is not None
        }
        return Summary(window, counted, triples, self._estimated)


def corrected_store(measured: ReadingStore, corrections: Corrections) -> ReadingStore:
    """The store, with corrections applied to what is read from it."""
    return cast(ReadingStore, CorrectedReadings(measured, corrections))


def as_measured(store: ReadingStore) -> ReadingStore:
    """The store of measured values behind a corrected store; any other store itself."""
    return store.measured if isinstance(store, CorrectedReadings) else store


async def ever_corrected(store: ReadingStore, series: Sequence[str]) -> frozenset[str]:
    """Those of the series whose readings may have disappeared because of a correction."""
    ask = getattr(store, "ever_corrected", None)
    return cast(frozenset[str], await ask(series)) if ask is not None else frozenset()


async def scaled_ranges(store: ReadingStore, series: str, start: int, end: int) -> list[tuple[int, int]]:
    """The parts of a range in which the readings of a series are scaled, so that their registers are left out, ascending."""
    ask = getattr(store, "scaled_ranges", None)
    return cast(list[tuple[int, int]], await ask(series, start, end)) if ask is not None else []
