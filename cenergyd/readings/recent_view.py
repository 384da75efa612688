"""Reads readings from memory where they are held, otherwise from the store, and keeps what was read (:mod:`cenergyd.readings.recent`)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from cenergyd.readings.checks import LATEST
from cenergyd.readings.model import Reading
from cenergyd.readings.recent_rows import RecentRows, Unknown
from cenergyd.readings.store import ReadingStore

AHEAD_SECONDS = 2 * 3600
"""A range is read so much further, s, because the next readings fall there."""
LONGEST_FILL = 4 * 3600
"""A range that is no longer than this, s, InfluxDB is asked for in one round trip."""

_Part = tuple[int, int]


class KeptReadings(Protocol):
    """The part of :class:`~cenergyd.readings.recent.RecentReadings` that is used here."""

    store: ReadingStore
    answered: int
    asked: int

    def held(self, series: str) -> RecentRows | None:
        """What is held of a series."""
        ...

    def may_keep(self, series: str, start: int, end: int) -> bool:
        """Whether a range of a series may be kept."""
        ...

    def filling(self, names: Sequence[str]) -> AbstractContextManager[Spoilable]:
        """Read from the store, to keep what was read unless it is spoiled."""
        ...

    def keep(self, series: str, start: int, end: int, readings: Sequence[Reading]) -> None:
        """Keep a range as it was just read from the store."""
        ...


class Spoilable(Protocol):
    """A read in progress."""

    spoiled: set[str]
    """Series that were changed meanwhile."""


class RecentView:
    """A :class:`~cenergyd.readings.store.ReadingStore`; writes and other reads are passed on."""

    def __init__(self, kept: KeptReadings) -> None:
        self._kept = kept

    def __getattr__(self, name: str) -> object:
        return getattr(self._kept, name)

    async def read(
        self, series: Sequence[str], start: int, end: int, limit: int | None = None
    ) -> dict[str, list[Reading]]:
        """As the store's."""
        found: dict[str, list[Reading]] = {}
        missing: list[str] = []
        for name in dict.fromkeys(series):
            rows = self._kept.held(name)
            if rows is not None and rows.holds(start, end):
                found[name] = rows.read(start, end)[:limit]
            else:
                missing.append(name)
        self._kept.answered += len(found)
        if missing:
            found |= await self._read(missing, start, end, limit)
        return {name: found[name] for name in series}

    async def _read(self, names: Sequence[str], start: int, end: int, limit: int | None) -> dict[str, list[Reading]]:
        """Read from the store what is not held, and keep it."""
        parts: dict[_Part, list[str]] = {}
        for name in names:
            part = self._missing(name, start, end) if self._kept.may_keep(name, start, end) else (start, end)
            parts.setdefault(part, []).append(name)
        found: dict[str, list[Reading]] = {}
        for part, some in parts.items():
            found |= await self._part(some, part, (start, end), limit)
        return found

    def _missing(self, name: str, start: int, end: int) -> _Part:
        """The range to read so that all of one is held."""
        until = max(end, min(end + AHEAD_SECONDS, start + LONGEST_FILL))
        rows = self._kept.held(name)
        if rows is None or rows.start > end or rows.end < start:
            return start, until
        if start >= rows.start:
            return rows.end, until
        return (start, rows.start) if end <= rows.end else (start, until)

    async def _part(
        self, names: Sequence[str], part: _Part, asked: _Part, limit: int | None
    ) -> dict[str, list[Reading]]:
        """Read a part and keep it; the readings of the whole range that was asked for."""
        start, end = asked
        with self._kept.filling(names) as fill:
            read = await self._kept.store.read(names, *part, limit)
            self._kept.asked += len(names)
            for name in names:
                is_whole = limit is None or len(read[name]) < limit
                if is_whole and name not in fill.spoiled and self._kept.may_keep(name, start, end):
                    self._kept.keep(name, *part, read[name])
        found: dict[str, list[Reading]] = {}
        for name in names:
            rows = self._kept.held(name)
            if part[0] <= start and end <= part[1]:
                found[name] = read[name][: bisect_left(read[name], (end,))][:limit]
            elif rows is not None and rows.holds(start, end):
                found[name] = rows.read(start, end)[:limit]
        others = [name for name in names if name not in found]
        if others:
            self._kept.asked += len(others)
            found |= await self._kept.store.read(others, start, end, limit)
        return found

    async def last(self, series: Sequence[str], before: int | None = None) -> dict[str, Reading]:
        """As the store's."""
        found: dict[str, Reading] = {}
        missing: list[str] = []
        for name in dict.fromkeys(series):
            rows = self._kept.held(name)
            answer = _newest_held(rows) if before is None else _last_held(rows, before)
            if isinstance(answer, Unknown):
                missing.append(name)
            elif answer is not None:
                found[name] = answer
        if missing:
            found |= await self._last(missing, before)
        return {name: found[name] for name in series if name in found}

    async def _last(self, names: Sequence[str], before: int | None) -> dict[str, Reading]:
        with self._kept.filling(names) as fill:
            found = await self._kept.store.last(names, before)
            for name in names:
                rows = self._kept.held(name)
                if rows is None or name in fill.spoiled:
                    continue
                if before is not None:
                    _learn_last(rows, before, found.get(name))
                elif name in found:
                    rows.nothing_after(found[name])
        return found

    async def first(self, series: Sequence[str], since: int = 0) -> dict[str, Reading]:
        """As the store's."""
        found: dict[str, Reading] = {}
        missing: list[str] = []
        for name in dict.fromkeys(series):
            rows = self._kept.held(name)
            if rows is None or rows.start > since:
                missing.append(name)
            elif (reading := rows.first(since)) is not None:
                found[name] = reading
            elif rows.end < LATEST:
                missing.append(name)
        if missing:
            found |= await self._kept.store.first(missing, since)
        return {name: found[name] for name in series if name in found}


def _newest_held(rows: RecentRows | None) -> Reading | Unknown | None:
    """The last reading of all, if what is held tells it."""
    return Unknown() if rows is None else rows.newest()


def _last_held(rows: RecentRows | None, before: int) -> Reading | Unknown | None:
    """The last reading before a time, if what is held tells it."""
    if rows is None or before > rows.end:
        return Unknown()
    if before >= rows.start:
        return rows.last(before)
    earlier = rows.before
    return earlier if earlier is None or (isinstance(earlier, Reading) and earlier.time < before) else Unknown()


def _learn_last(rows: RecentRows, before: int, reading: Reading | None) -> None:
    """Remember what the store said is the last reading before a time, if it is the last before those that are held."""
    if rows.start <= before <= rows.end and isinstance(rows.last(before), Unknown):
        rows.before = reading
