"""Reading as many readings around a window as decide what its own mean: pauses are evaluated by their neighbours."""

from __future__ import annotations

from bisect import bisect_left

import attrs

from cenergyd.customers.model import Window
from cenergyd.readings.model import Reading
from cenergyd.readings.pauses import NEIGHBOURS
from cenergyd.readings.store import ReadingStore

NEARBY = NEIGHBOURS + 1
"""Readings on either side that decide what the pause between two others is."""

Rows = dict[str, list[Reading]]
"""Readings by series, ascending in time."""


@attrs.frozen(slots=True, kw_only=True)
class NeighbourReader:
    """Reads what is missing, and tells how far what is new reaches."""

    store: ReadingStore
    longest: int
    """No pause of more than this is anything but a gap, s."""
    farthest: int
    """How long a gap may be for both its ends to count, s; at least ``longest``."""
    now: int
    """UTC seconds; what is later is not looked for."""

    async def completed(self, rows: Rows, read: Window, window: Window) -> Rows:
        """``rows``, read over ``read``, and as many more as decide what the pauses that reach into ``window`` are."""
        found = dict(rows)
        for name in found:
            await self._before(found, name, read.start, window.start)
            if read.end <= self.now:
                await self._after(found, name, read.end, window.end)
        return found

    async def _before(self, rows: Rows, name: str, start: int, time: int) -> None:
        while bisect_left(rows[name], (time,)) < NEARBY:
            following = rows[name][0].time if rows[name] else time
            start = min(start, following)
            last = (await self.store.last([name], before=start)).get(name)
            if last is None or following - last.time > self.farthest:
                return
            start = last.time - NEARBY * self.longest
            rows[name] = [*(await self.store.read([name], start, last.time + 1))[name], *rows[name]]
            if following - last.time > self.longest:
                return  # what is before a gap decides nothing beyond it

    async def _after(self, rows: Rows, name: str, end: int, time: int) -> None:
        while len(rows[name]) - bisect_left(rows[name], (time,)) < NEARBY:
            before = rows[name][-1].time if rows[name] else time
            end = max(end, before + 1) if rows[name] else end
            first = (await self.store.first([name], since=end)).get(name)
            if first is None or first.time - before > self.farthest:
                return
            end = first.time + NEARBY * self.longest + 1
            rows[name] = [*rows[name], *(await self.store.read([name], first.time, end))[name]]
            if first.time - before > self.longest:
                return

    def reach(self, rows: Rows, window: Window) -> Window:
        """The times whose pauses may be evaluated otherwise with readings of a window."""
        start, end = window
        for readings in rows.values():
            k = bisect_left(readings, (window.start,))
            if k and readings[k - 1].time >= window.start - self.farthest:
                earliest = readings[k - 1].time - NEIGHBOURS * self.longest
                start = min(start, max(readings[max(0, k - NEARBY)].time, earliest))
            m = bisect_left(readings, (window.end,))
            if m < len(readings) and readings[m].time <= window.end + self.farthest:
                latest = readings[m].time + NEIGHBOURS * self.longest
                end = max(end, min(readings[min(len(readings), m + NEARBY) - 1].time + 1, latest))
        return Window(start, end)
