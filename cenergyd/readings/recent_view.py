"""Reads readings from the cache of :mod:`cenergyd.readings.recent` where possible, otherwise from the store, and caches what was read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from cenergyd.readings.checks import LATEST
from cenergyd.readings.model import FieldPoint, Reading
from cenergyd.readings.recent_series import RecentSeries, Unknown
from cenergyd.readings.store import ReadingStore

AHEAD_SECONDS = 2 * 3600
"""Seconds by which more than the requested range is read, because the next readings will be there."""
MAX_READ_SECONDS = 4 * 3600
"""InfluxDB returns a range of up to this many seconds in one round trip."""

_Part = tuple[int, int]


class ReadingCache(Protocol):
    """The part of :class:`~cenergyd.readings.recent.RecentReadings` that is used here."""

    store: ReadingStore
    from_cache: int
    from_store: int

    def cached(self, series: str) -> RecentSeries | None:
        """The cached part of a series; None if there is none."""
        ...

    def may_cache(self, series: str, start: int, end: int) -> bool:
        """Whether a range of a series may be cached."""
        ...

    def reading(self, names: Sequence[str]) -> AbstractContextManager[CacheableRead]:
        """Read from the store within this context, to cache the series that are not ``changed`` meanwhile."""
        ...

    def add(self, series: str, start: int, end: int, readings: Sequence[Reading]) -> None:
        """Cache a range as it was just read from the store."""
        ...

    def cached_points(self, asked: tuple[str, int, int], fields: Sequence[str]) -> list[FieldPoint] | None:
        """The points of a range as they were read last; None if they are not cached."""
        ...

    def add_points(self, asked: tuple[str, int, int], fields: Sequence[str], points: Sequence[FieldPoint]) -> None:
        """Cache the points of a range as they were just read from the store."""
        ...


class CacheableRead(Protocol):
    """A read in progress."""

    changed: set[str]
    """Series that were changed meanwhile."""


class RecentView:
    """A :class:`~cenergyd.readings.store.ReadingStore`; writes and other reads are passed on.

    :param store: reads what is not cached, such as one that merges calls; None: the cache's store.
    """

    def __init__(self, cache: ReadingCache, store: ReadingStore | None = None) -> None:
        self._cache = cache
        self._store = cache.store if store is None else store

    def __getattr__(self, name: str) -> object:
        return getattr(self._cache, name)

    async def read(
        self, series: Sequence[str], start: int, end: int, limit: int | None = None
    ) -> dict[str, list[Reading]]:
        """As the store's."""
        found: dict[str, list[Reading]] = {}
        missing: list[str] = []
        for name in dict.fromkeys(series):
            cached = self._cache.cached(name)
            if cached is not None and cached.holds(start, end):
                found[name] = cached.read(start, end)[:limit]
            else:
                missing.append(name)
        self._cache.from_cache += len(found)
        if missing:
            found |= await self._read(missing, start, end, limit)
        return {name: found[name] for name in series}

    async def _read(self, names: Sequence[str], start: int, end: int, limit: int | None) -> dict[str, list[Reading]]:
        """Read from the store what is not cached, and cache it."""
        parts: dict[_Part, list[str]] = {}
        for name in names:
            part = self._missing(name, start, end) if self._cache.may_cache(name, start, end) else (start, end)
            parts.setdefault(part, []).append(name)
        found: dict[str, list[Reading]] = {}
        for part, some in parts.items():
            found |= await self._part(some, part, (start, end), limit)
        return found

    async def read_points_many(
        self, ranges: Sequence[tuple[str, int, int]], fields: Sequence[str] = ()
    ) -> list[list[FieldPoint]]:
        """As the store's. Only points of which some fields are read are cached: those that are read often."""
        if not fields:
            return await self._store.read_points_many(ranges)
        found = {asked: self._cache.cached_points(asked, fields) for asked in ranges}
        missing = [asked for asked, points in found.items() if points is None]
        if missing:
            with self._cache.reading([series for series, *_ in missing]) as pending:
                read = await self._store.read_points_many(missing, fields)
                for asked, points in zip(missing, read, strict=True):
                    found[asked] = points
                    if asked[0] not in pending.changed:
                        self._cache.add_points(asked, fields, points)
        return [found[asked] or [] for asked in ranges]

    def _missing(self, name: str, start: int, end: int) -> _Part:
        """The range to read so that all of a requested range is cached."""
        until = max(end, min(end + AHEAD_SECONDS, start + MAX_READ_SECONDS))
        cached = self._cache.cached(name)
        if cached is None or cached.start > end or cached.end < start:
            return start, until
        if start >= cached.start:
            return cached.end, until
        return (start, cached.start) if end <= cached.end else (start, until)

    async def _part(
        self, names: Sequence[str], part: _Part, requested: _Part, limit: int | None
    ) -> dict[str, list[Reading]]:
        """Read a part and cache it; returns the readings of the whole requested range."""
        start, end = requested
        with self._cache.reading(names) as pending:
            read = await self._store.read(names, *part, limit)
            self._cache.from_store += len(names)
            for name in names:
                is_whole = limit is None or len(read[name]) < limit
                if is_whole and name not in pending.changed and self._cache.may_cache(name, start, end):
                    self._cache.add(name, *part, read[name])
        found: dict[str, list[Reading]] = {}
        for name in names:
            cached = self._cache.cached(name)
            if part[0] <= start and end <= part[1]:
                found[name] = read[name][: bisect_left(read[name], (end,))][:limit]
            elif cached is not None and cached.holds(start, end):
                found[name] = cached.read(start, end)[:limit]
        others = [name for name in names if name not in found]
        if others:
            self._cache.from_store += len(others)
            found |= await self._store.read(others, start, end, limit)
        return found

    async def last(self, series: Sequence[str], before: int | None = None) -> dict[str, Reading]:
        """As the store's."""
        found: dict[str, Reading] = {}
        missing: list[str] = []
        for name in dict.fromkeys(series):
            cached = self._cache.cached(name)
            answer = _newest_cached(cached) if before is None else _last_cached(cached, before)
            if isinstance(answer, Unknown):
                missing.append(name)
            elif answer is not None:
                found[name] = answer
        if missing:
            found |= await self._last(missing, before)
        return {name: found[name] for name in series if name in found}

    async def _last(self, names: Sequence[str], before: int | None) -> dict[str, Reading]:
        with self._cache.reading(names) as pending:
            found = await self._store.last(names, before)
            for name in names:
                cached = self._cache.cached(name)
                if cached is None or name in pending.changed:
                    continue
                if before is not None:
                    _learn_last(cached, before, found.get(name))
                elif name in found:
                    cached.nothing_after(found[name])
        return found

    async def first(self, series: Sequence[str], since: int = 0) -> dict[str, Reading]:
        """As the store's."""
        found: dict[str, Reading] = {}
        missing: list[str] = []
        for name in dict.fromkeys(series):
            cached = self._cache.cached(name)
            if cached is None or cached.start > since:
                missing.append(name)
            elif (reading := cached.first(since)) is not None:
                found[name] = reading
            elif cached.end < LATEST:
                missing.append(name)
        if missing:
            found |= await self._store.first(missing, since)
        return {name: found[name] for name in series if name in found}


def _newest_cached(cached: RecentSeries | None) -> Reading | Unknown | None:
    """The last reading of all; Unknown if the cache does not show it."""
    return Unknown() if cached is None else cached.newest()


def _last_cached(cached: RecentSeries | None, before: int) -> Reading | Unknown | None:
    """The last reading before a time; Unknown if the cache does not show it."""
    if cached is None or before > cached.end:
        return Unknown()
    if before >= cached.start:
        return cached.last(before)
    earlier = cached.before
    return earlier if earlier is None or (isinstance(earlier, Reading) and earlier.time < before) else Unknown()


def _learn_last(cached: RecentSeries, before: int, reading: Reading | None) -> None:
    """Record the last reading before a time, as read from the store, if it is the last one before the cached readings."""
    if cached.start <= before <= cached.end and isinstance(cached.last(before), Unknown):
        cached.before = reading
