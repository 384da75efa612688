"""The reading store shared by all jobs of one window, which keeps what one job has read for the next one."""

from __future__ import annotations

from collections.abc import Sequence

from cenergyd.readings.batching import LONG_SECONDS
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.readings.store import ReadingStore


class SharedReads:
    """Keeps the readings of the range that was read last; other calls are passed on.

    It may return readings that are slightly outdated. Readings that arrive later mark the window again, so its jobs are then run again.
    """

    def __init__(self, store: ReadingStore) -> None:
        self._store = store
        self._range = (0, 0)
        self._found: dict[str, list[Reading]] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def read(
        self, series: Sequence[str], start: int, end: int, limit: int | None = None
    ) -> dict[str, list[Reading]]:
        """As the store's; each series of a range is read once."""
        if limit is not None or end - start > LONG_SECONDS:
            return await self._store.read(series, start, end, limit)
        if self._range != (start, end):
            self._range, self._found = (start, end), {}
        found = self._found
        missing = [name for name in dict.fromkeys(series) if name not in found]
        if missing:
            found |= await self._store.read(missing, start, end)
        return {name: list(found[name]) for name in series}

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

    def _forget(self) -> None:
        self._range, self._found = (0, 0), {}
