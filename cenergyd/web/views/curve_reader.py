"""Reads curves of limited size, for the API and the pages."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import attrgetter
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from cenergyd.errors import InvalidField
from cenergyd.readings.corrected import as_measured
from cenergyd.readings.model import CHANNELS
from cenergyd.readings.store import Summary
from cenergyd.runtime.gather import gather_limited
from cenergyd.runtime.yielding import CooperativeYield
from cenergyd.web.views.context import Context
from cenergyd.web.views.curve_windows import DAY, WindowRun, runs
from cenergyd.web.views.curves import (
    LADDER,
    Curve,
    CurvePart,
    CurvePoint,
    auto_resolution,
    check_resolution,
    joined_window,
    points_of_readings,
)
from cenergyd.web.views.sources import SeriesSource, Track, ranges_without_change

T = TypeVar("T")

TARGET_POINTS = 1000
"""Points per curve that ``auto`` aims at: about as many as a wide chart has pixels."""
MAX_POINTS = 10_000
"""Points per curve in one response: about 1 MB of JSON."""
_RUNS_AT_ONCE = 4
_POINTS_AT_ONCE = 256
"""Points that are made between two checks of the time: a millisecond or two."""


class Curves(NamedTuple):
    """What was read for a range."""

    start: int
    end: int
    resolution: int | None
    """Seconds; None: single readings."""
    next_start: int | None
    """Where to continue if there were too many single readings for one response."""
    curves: list[Curve]
    channels: Sequence[str] = CHANNELS
    """What was asked for."""


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
        self._points = TARGET_POINTS
        self._max_points = MAX_POINTS

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
        """Curves of tracks over ``start <= time < end``; ``resolution`` is ``auto``, ``raw`` or seconds. Raises InvalidField.

        Fewer ``channels`` of a long range cost less. Whole days are those of ``zone``.
        """
        if resolution == "raw":
            return await self._raw(tracks, start, end, channels)
        if resolution != "auto":
            seconds = int(resolution)
            check_resolution(start, end, seconds, self._max_points)
            return await self._summaries(tracks, WindowRun(start, end, seconds, 0), zone, channels)
        seconds = auto_resolution(start, end, self._points)
        if seconds == LADDER[0]:
            curves = await self._raw(tracks, start, end, channels)
            if curves.next_start is None:
                return curves
        return await self._summaries(tracks, WindowRun(start, end, seconds, 0), zone, channels)

    async def _raw(self, tracks: Sequence[Track], start: int, end: int, channels: Sequence[str]) -> Curves:
        limit = self._max_points
        cooperate = CooperativeYield(self._clock)
        found: list[list[CurvePoint]] = [[] for _ in tracks]
        for since, until in ranges_without_change(tracks):
            sources = _sources_at(tracks, since)
            read = await self._readings.read(_names(sources), since, until, limit=limit + 1)
            for points, source in zip(found, sources, strict=True):
                if source is not None:
                    for rows in _batched(read[source.series], _POINTS_AT_ONCE):
                        points.extend(points_of_readings(source, rows))
                        await cooperate()
            if any(len(points) > limit for points in found):
                break
        # All curves end at the same time, so that the next response continues them all from there.
        cuts = [points[limit].time for points in found if len(points) > limit]
        cut = min(cuts) if cuts else None
        curves = [
            Curve(track, None, points if cut is None else points[: bisect_left(points, cut, key=attrgetter("time"))])
            for track, points in zip(tracks, found, strict=True)
        ]
        return Curves(start, end, None, cut, curves, channels)

    async def _summaries(
        self, tracks: Sequence[Track], asked: WindowRun, zone: ZoneInfo, channels: Sequence[str]
    ) -> Curves:
        channels = [channel for channel in channels if channel in CHANNELS]
        if not channels:
            raise InvalidField("channel", "energy registers come with single readings only: resolution=raw")
        cooperate = CooperativeYield(self._clock)
        found: list[list[_Found]] = [[] for _ in tracks]
        for since, until in ranges_without_change(tracks):
            sources = _sources_at(tracks, since)
            for run, read in await self._read_runs(
                _names(sources), asked._replace(start=since, end=until), zone, channels
            ):
                for parts, source in zip(found, sources, strict=True):
                    if source is not None:
                        parts += [_Found(source, run, summary) for summary in read.get(source.series, ())]
                        await cooperate()
        curves = []
        for track, each in zip(tracks, found, strict=True):
            points = []
            for windows in _batched(_by_window(each), _POINTS_AT_ONCE):
                points += [await self._point(parts) for parts in windows]
                await cooperate()
            curves.append(Curve(track, asked.resolution, points))
        return Curves(asked.start, asked.end, asked.resolution, None, curves, channels)

    async def _read_runs(
        self, names: Sequence[str], asked: WindowRun, zone: ZoneInfo, channels: Sequence[str]
    ) -> list[tuple[WindowRun, dict[str, list[Summary]]]]:
        start, end = asked.start, asked.end
        if (
            asked.resolution % DAY == 0 and names
        ):  # many days of another length are many requests: none where nothing is
            first = await self._readings.first(names, since=start)
            last = await self._readings.last(names, before=end)
            start = max(start, min((reading.time for reading in first.values()), default=end))
            end = min(end, max((reading.time + 1 for reading in last.values()), default=start))
        wanted = runs(start, end, asked.resolution, zone) if start < end and names else []
        read = [
            self._readings.summarise(names, run.start, run.end, run.resolution, channels, offset=run.offset)
            for run in wanted
        ]
        return list(zip(wanted, await gather_limited(read, _RUNS_AT_ONCE), strict=True))

    async def _point(self, parts: Sequence[_Found]) -> CurvePoint:
        """One window; if its source or the setup of another role changed in it, its parts are weighted by the number of readings per channel."""
        if len(parts) == 1:
            return joined_window([CurvePart(parts[0].source, parts[0].summary, {})])
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


def _by_window(found: Sequence[_Found]) -> Iterator[list[_Found]]:
    for _, parts in groupby(found, key=lambda each: each.summary.time):
        yield list(parts)


def _batched(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    """Items in lists of a size, the last one shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _names(sources: Sequence[SeriesSource | None]) -> list[str]:
    return list(dict.fromkeys(source.series for source in sources if source is not None))


def _sources_at(tracks: Sequence[Track], time: int) -> list[SeriesSource | None]:
    return [track.source_at(time) for track in tracks]
