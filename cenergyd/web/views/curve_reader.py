"""Reads curves of limited size, for the API and the pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import NamedTuple, Protocol, TypeVar
from zoneinfo import ZoneInfo

from cenergyd.errors import InvalidField
from cenergyd.readings.corrected import as_measured
from cenergyd.readings.model import CHANNELS, Reading
from cenergyd.readings.store import ReadingStore, Summary
from cenergyd.runtime.gather import gather_limited
from cenergyd.runtime.yielding import CooperativeYield
from cenergyd.web.views.context import Context
from cenergyd.web.views.curve_windows import DAY, WindowRun, runs, window_slices
from cenergyd.web.views.curves import (
    AUTO_RESOLUTIONS,
    Curve,
    CurvePart,
    CurvePoint,
    auto_resolution,
    check_resolution,
    joined_window,
    point_of_reading,
    whole_window,
)
from cenergyd.web.views.sources import SeriesSource, Track, ranges_without_change, series_names

T = TypeVar("T")

TARGET_POINTS = 1000
"""Points per curve that ``auto`` aims at: about as many as a wide chart has pixels."""
MAX_POINTS = 10_000
"""Points per curve in one response: about 1 MB of JSON."""
_RUNS_AT_ONCE = 4
_WINDOWS_AT_ONCE = 1000
"""Windows of a curve that are read at once: some milliseconds of work for each."""
_POINTS_OF_SLICE = 4000
"""The same of all curves together."""
_POINTS_AT_ONCE = 256
"""Points that are computed between two checks of the time: a millisecond or two."""


class Curves(NamedTuple):
    """What was read for a range."""

    start: int
    end: int
    resolution: int | None
    """Seconds; None: single readings."""
    next_start: int | None
    """Where to continue if there were too many single readings for one response."""
    curves: list[Curve]


class CurveQuery(Protocol):
    """Curves that are about to be read."""

    @property
    def resolution(self) -> int | None:
        """Seconds; None: single readings."""
        ...

    @property
    def channels(self) -> Sequence[str]:
        """The channels that the points may have."""
        ...

    @property
    def next_start(self) -> int | None:
        """Where to continue if there are too many single readings for one response."""
        ...

    @property
    def held(self) -> int:
        """Number of readings that it keeps in memory."""
        ...

    def together(self, tracks: Sequence[Track]) -> Iterable[Sequence[Track]]:
        """The tracks in groups, each few enough to be read at once."""
        ...

    def pieces(self, tracks: Sequence[Track]) -> AsyncIterator[list[Iterable[CurvePoint]]]:
        """The points of some of the tracks, in pieces of time: each has the points of each track."""
        ...


class _Found(NamedTuple):
    """A summary of a part of a window, and where it is from."""

    source: SeriesSource
    run: WindowRun
    summary: Summary


class CurveReader:
    """Reads the curves of a context's readings.

    ``auto`` aims at :data:`TARGET_POINTS` per curve; more than :data:`MAX_POINTS` are refused.

    :param original: whether meters are shown as measured, without corrections.
    """

    def __init__(self, context: Context, *, original: bool = False) -> None:
        self._readings = as_measured(context.readings) if original else context.readings
        self._clock = context.clock

    async def read(
        self,
        tracks: Sequence[Track],
        start: int,
        end: int,
        *,
        zone: ZoneInfo,
        resolution: str = "auto",
        channels: Sequence[str] = CHANNELS,
    ) -> Curves:
        """Read the curves of :meth:`ask` completely into memory; for few points."""
        query = await self.ask(tracks, start, end, zone=zone, resolution=resolution, channels=channels)
        found: list[list[CurvePoint]] = [[] for _ in tracks]
        async for piece in query.pieces(tracks):
            for points, more in zip(found, piece, strict=True):
                points.extend(more)
        curves = [Curve(track, query.resolution, points) for track, points in zip(tracks, found, strict=True)]
        return Curves(start, end, query.resolution, query.next_start, curves)

    async def ask(
        self,
        tracks: Sequence[Track],
        start: int,
        end: int,
        *,
        zone: ZoneInfo,
        resolution: str = "auto",
        channels: Sequence[str] = CHANNELS,
    ) -> CurveQuery:
        """Curves of tracks over ``start <= time < end``; ``resolution`` is ``auto``, ``raw`` or seconds. Raises InvalidField.

        Fewer ``channels`` of a long range cost less. Whole days are those of ``zone``.
        """
        if resolution == "raw":
            return await self._raw(tracks, channels)
        if resolution != "auto":
            seconds = int(resolution)
            check_resolution(start, end, seconds, MAX_POINTS)
            return self._summaries(WindowRun(start, end, seconds, 0), zone, channels)
        seconds = auto_resolution(start, end, TARGET_POINTS)
        if seconds == AUTO_RESOLUTIONS[0]:
            raw = await self._raw(tracks, channels)
            if raw.next_start is None:
                return raw
        return self._summaries(WindowRun(start, end, seconds, 0), zone, channels)

    async def _raw(self, tracks: Sequence[Track], channels: Sequence[str]) -> _SingleReadings:
        limit = MAX_POINTS
        found: list[list[_Rows]] = [[] for _ in tracks]
        for since, until in ranges_without_change(tracks):
            sources = _sources_at(tracks, since)
            read = await self._readings.read(series_names(sources), since, until, limit=limit + 1)
            for rows, source in zip(found, sources, strict=True):
                if source is not None:
                    rows.append(_Rows(source, read[source.series]))
            if any(sum(len(rows.readings) for rows in each) > limit for each in found):
                break
        # All curves end at the same time, so that the next response continues them all from there.
        cuts = [cut for each in found if (cut := _time_of(each, limit)) is not None]
        by_track = {id(track): each for track, each in zip(tracks, found, strict=True)}
        return _SingleReadings(by_track, channels, min(cuts) if cuts else None, CooperativeYield(self._clock))

    def _summaries(self, asked: WindowRun, zone: ZoneInfo, channels: Sequence[str]) -> _Summaries:
        channels = [channel for channel in channels if channel in CHANNELS]
        if not channels:
            raise InvalidField("channel", "energy registers come with single readings only: resolution=raw")
        return _Summaries(self._readings, asked, zone, channels, CooperativeYield(self._clock))


class _Rows(NamedTuple):
    """Readings of one source."""

    source: SeriesSource
    readings: Sequence[Reading]


class _SingleReadings:
    """A :class:`CurveQuery` whose readings are read."""

    resolution = None

    def __init__(
        self,
        rows: Mapping[int, Sequence[_Rows]],
        channels: Sequence[str],
        cut: int | None,
        cooperate: CooperativeYield,
    ) -> None:
        self._rows = rows
        """By the identity of the track."""
        self.channels = channels
        self.next_start = cut
        self.held = sum(len(each.readings) for parts in rows.values() for each in parts)
        self._cooperate = cooperate

    def together(self, tracks: Sequence[Track]) -> Iterable[Sequence[Track]]:
        """See :class:`CurveQuery`. One after the other: all are read."""
        return _batched(tracks, 1)

    async def pieces(self, tracks: Sequence[Track]) -> AsyncIterator[list[Iterable[CurvePoint]]]:
        """See :class:`CurveQuery`. Points are made on demand."""
        if len(tracks) != 1:
            yield [self._points(track) for track in tracks]
            return
        for batch in _batched(self._points(tracks[0]), _POINTS_AT_ONCE):
            yield [batch]
            await self._cooperate()

    def _points(self, track: Track) -> Iterator[CurvePoint]:
        for source, readings in self._rows[id(track)]:
            for reading in readings:
                if self.next_start is not None and reading.time >= self.next_start:
                    return
                yield point_of_reading(reading, source)


class _Summaries:
    """A :class:`CurveQuery` that reads windows slice by slice."""

    next_start = None
    held = 0

    def __init__(
        self,
        readings: ReadingStore,
        asked: WindowRun,
        zone: ZoneInfo,
        channels: Sequence[str],
        cooperate: CooperativeYield,
    ) -> None:
        self._readings = readings
        self._asked = asked
        self._zone = zone
        self.channels = channels
        self._cooperate = cooperate

    @property
    def resolution(self) -> int:
        """Seconds."""
        return self._asked.resolution

    def together(self, tracks: Sequence[Track]) -> Iterable[Sequence[Track]]:
        """See :class:`CurveQuery`. A store reads several at the same time."""
        windows = -(-(self._asked.end - self._asked.start) // self._asked.resolution)
        return _batched(tracks, max(1, _POINTS_OF_SLICE // max(1, windows)))

    async def pieces(self, tracks: Sequence[Track]) -> AsyncIterator[list[Iterable[CurvePoint]]]:
        """See :class:`CurveQuery`."""
        asked = self._asked
        most = max(1, min(_WINDOWS_AT_ONCE, _POINTS_OF_SLICE // max(1, len(tracks))))
        ranges = ranges_without_change(tracks)
        if not ranges:
            return
        # Nothing is asked where no track has a source: the range may be much longer.
        first, last = max(asked.start, ranges[0][0]), min(asked.end, ranges[-1][1])
        for start, end in window_slices(first, last, asked.resolution, self._zone, most):
            within = asked._replace(start=start, end=end)
            yield await self._piece(tracks, [_cut(part, within) for part in ranges if _overlap(part, within)])

    async def _piece(self, tracks: Sequence[Track], ranges: Sequence[WindowRun]) -> list[Iterable[CurvePoint]]:
        found: list[list[_Found]] = [[] for _ in tracks]
        for asked in ranges:
            sources = _sources_at(tracks, asked.start)
            for run, read in await self._read_runs(series_names(sources), asked):
                await self._cooperate()
                for parts, source in zip(found, sources, strict=True):
                    if source is not None:
                        parts += [_Found(source, run, summary) for summary in read.get(source.series, ())]
                        await self._cooperate()
        piece: list[Iterable[CurvePoint]] = []
        for each in found:
            points: list[CurvePoint] = []
            for windows in _batched(_by_window(each), _POINTS_AT_ONCE):
                points += [
                    whole_window(parts[0].source, parts[0].summary) if len(parts) == 1 else await self._point(parts)
                    for parts in windows
                ]
                await self._cooperate()
            piece.append(points)
        return piece

    async def _read_runs(
        self, names: Sequence[str], asked: WindowRun
    ) -> list[tuple[WindowRun, dict[str, list[Summary]]]]:
        start, end = asked.start, asked.end
        # Days of different lengths need a request each, so nothing is read where there are no readings.
        if asked.resolution % DAY == 0 and names:
            first = await self._readings.first(names, since=start)
            last = await self._readings.last(names, before=end)
            start = max(start, min((reading.time for reading in first.values()), default=end))
            end = min(end, max((reading.time + 1 for reading in last.values()), default=start))
        wanted = runs(start, end, asked.resolution, self._zone) if start < end and names else []
        read = [
            self._readings.summarise(names, run.start, run.end, run.resolution, self.channels, offset=run.offset)
            for run in wanted
        ]
        return list(zip(wanted, await gather_limited(read, _RUNS_AT_ONCE), strict=True))

    async def _point(self, parts: Sequence[_Found]) -> CurvePoint:
        """A window in which the source or the setup of another role changed: its parts are weighted by the number of readings per channel."""
        shared = [channel for channel in CHANNELS if sum(channel in part.summary.channels for part in parts) > 1]
        counted = []
        for source, run, summary in parts:
            counts: dict[str, int] = {}
            for channel in shared:
                if channel in summary.channels:
                    only = await self._readings.summarise(
                        [source.series],
                        max(run.start, summary.time),
                        min(run.end, summary.time + run.resolution),
                        run.resolution,
                        [channel],
                        offset=run.offset,
                    )
                    counts[channel] = sum(each.readings for each in only[source.series])
            counted.append(CurvePart(source, summary, counts))
        return joined_window(counted)


def _overlap(part: tuple[int, int], within: WindowRun) -> bool:
    return part[0] < within.end and within.start < part[1]


def _cut(part: tuple[int, int], within: WindowRun) -> WindowRun:
    return within._replace(start=max(part[0], within.start), end=min(part[1], within.end))


def _time_of(parts: Sequence[_Rows], position: int) -> int | None:
    """The time of the reading at a position; None if there are fewer."""
    for rows in parts:
        if position < len(rows.readings):
            return rows.readings[position].time
        position -= len(rows.readings)
    return None


def _by_window(found: Sequence[_Found]) -> Iterator[list[_Found]]:
    for _, parts in groupby(found, key=lambda each: each.summary.time):
        yield list(parts)


def _batched(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    """Items in lists of a size, the last one shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _sources_at(tracks: Sequence[Track], time: int) -> list[SeriesSource | None]:
    return [track.source_at(time) for track in tracks]
