"""The reading store shared by all jobs of one range, which keeps what one job has read for the next one."""

from __future__ import annotations

from collections.abc import Sequence

from cenergyd.customers.model import TimeRange
from cenergyd.readings.batching import LONG_SECONDS
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.readings.store import ReadingStore


class SharedReads:
    """Keeps the readings of the range that was read last, and the first and last readings found; other calls are passed on.

    It may return readings that are slightly outdated. Readings that arrive later mark the range again, so its jobs are then run again.

    :param cached_readings: reads the customer's logger from the cache where possible (:mod:`cenergyd.readings.recent`); None: from the store.
    :param serial: that logger.
    :param at_once: reads it from the cache as well, without waiting for calls to merge with; None: as ``cached_readings``.
    """

    def __init__(
        self,
        store: ReadingStore,
        cached_readings: ReadingStore | None = None,
        serial: str = "",
        *,
        at_once: ReadingStore | None = None,
    ) -> None:
        self._store = store
        self._cached_readings = store if cached_readings is None else cached_readings
        self._at_once = self._cached_readings if at_once is None else at_once
        self._prefix = f"{serial}_"
        self._range = (0, 0)
        self._found: dict[str, list[Reading]] = {}
        self._edges: dict[tuple[str, str, int | None], Reading | None] = {}
        self.stay_open: dict[TimeRange, bool] = {}
        """Ranges of the customer for which :func:`~cenergyd.jobs.open_hour.stays_open` was determined."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def read(
        self, series: Sequence[str], start: int, end: int, limit: int | None = None
    ) -> dict[str, list[Reading]]:
        """As the store's; each series of a range is read once."""
        if limit is not None or end - start > LONG_SECONDS:
            return await self._store.read(series, start, end, limit)
        return await self._read(series, start, end, self._cached_readings)

    async def read_at_once(self, series: Sequence[str], start: int, end: int) -> dict[str, list[Reading]]:
        """As :meth:`read`, but what is cached without waiting: after most uploads the jobs read nothing else."""
        return await self._read(series, start, end, self._at_once)

    async def _read(
        self, series: Sequence[str], start: int, end: int, cached_readings: ReadingStore
    ) -> dict[str, list[Reading]]:
        if self._range != (start, end):
            self._range, self._found = (start, end), {}
        found = self._found
        missing = [name for name in dict.fromkeys(series) if name not in found]
        for store, names in self._sources(missing, cached_readings):
            found |= await store.read(names, start, end)
        return {name: list(found[name]) for name in series}

    async def last(self, series: Sequence[str], before: int | None = None) -> dict[str, Reading]:
        """As the store's; each series is requested once."""
        missing = [name for name in dict.fromkeys(series) if ("last", name, before) not in self._edges]
        for store, names in self._sources(missing, self._cached_readings):
            found = await store.last(names, before)
            self._edges |= {("last", name, before): found.get(name) for name in names}
        return self._known("last", series, before)

    async def first(self, series: Sequence[str], since: int = 0) -> dict[str, Reading]:
        """As the store's; each series is requested once."""
        missing = [name for name in dict.fromkeys(series) if ("first", name, since) not in self._edges]
        for store, names in self._sources(missing, self._cached_readings):
            found = await store.first(names, since)
            self._edges |= {("first", name, since): found.get(name) for name in names}
        return self._known("first", series, since)

    async def write(self, batches: Sequence[SeriesReadings]) -> None:
        """As the store's; kept readings are dropped."""
        self._forget()
        await self._store.write(batches)

    async def replace(self, series: str, start: int, end: int, readings: Sequence[Reading]) -> None:
        """As the store's; kept readings are dropped."""
        self._forget()
        await self._store.replace(series, start, end, readings)

    async def replace_many(self, items: Sequence[tuple[str, int, int, Sequence[Reading]]]) -> None:
        """As the store's; kept readings are dropped."""
        self._forget()
        await self._store.replace_many(items)

    def _sources(self, names: Sequence[str], cached_readings: ReadingStore) -> list[tuple[ReadingStore, list[str]]]:
        """Where to read each series."""
        ours = [name for name in names if name.startswith(self._prefix)]
        others = [name for name in names if not name.startswith(self._prefix)]
        return [(store, some) for store, some in ((cached_readings, ours), (self._store, others)) if some]

    def _known(self, which: str, series: Sequence[str], at: int | None) -> dict[str, Reading]:
        return {name: reading for name in series if (reading := self._edges[which, name, at]) is not None}

    def _forget(self) -> None:
        self._range, self._found = (0, 0), {}
        self._edges = {}
        self.stay_open.clear()
