"""Reads the readings around a range that are needed to classify the pauses in it, which depends on neighbouring pauses."""

from __future__ import annotations

from bisect import bisect_left

import attrs

from cenergyd.customers.model import TimeRange
from cenergyd.readings.corrected import ever_corrected
from cenergyd.readings.model import Reading
from cenergyd.readings.pauses import NEIGHBOURS
from cenergyd.readings.store import ReadingStore

NEARBY = NEIGHBOURS + 1
"""Readings on either side that are needed to classify the pause between two others."""

ReadRows = dict[str, list[Reading]]
"""Readings by series, ascending in time."""


@attrs.frozen(slots=True, kw_only=True)
class NeighbourReader:
    """Reads neighbouring readings, and determines how far new readings have an effect."""

    store: ReadingStore
    longest: int
    """A longer pause is always a gap, s."""
    farthest: int
    """The longest gap whose two ends are both needed, s; at least ``longest``."""
    now: int
    """UTC seconds; later readings are not searched for."""

    async def completed(self, rows: ReadRows, read: TimeRange, time_range: TimeRange) -> ReadRows:
        """``rows``, which were read over ``read``, and the further readings of ``time_range`` and those needed to classify the pauses in it."""
        found = dict(rows)
        if read.end <= self.now:
            for name in found:
                await self._after(found, name, read.end, time_range.end)
        # A series that has ended before the range needs no earlier readings, if all of the range was read.
        ended = await self._ended(found, time_range.start) if read.start <= time_range.start else set()
        for name in found.keys() - ended:  # no pause of the others reaches into the range
            if bisect_left(found[name], (time_range.start,)) < NEARBY:
                await self._before(found, name, read.start, time_range.start)
        return found

    async def _ended(self, rows: ReadRows, time: int) -> set[str]:
        """The series without a reading from a time on, and none that a correction may have removed."""
        found = {name for name, readings in rows.items() if bisect_left(readings, (time,)) == len(readings)}
        return found - await ever_corrected(self.store, sorted(found)) if found else found

    async def _before(self, rows: ReadRows, name: str, start: int, time: int) -> None:
        while bisect_left(rows[name], (time,)) < NEARBY:
            following = rows[name][0].time if rows[name] else max(start, time)
            start = min(start, following)
            last = (await self.store.last([name], before=start)).get(name)
            if last is None or (last.time < time and following - last.time > self.farthest):
                return
            start = last.time - NEARBY * self.longest
            rows[name] = [*(await self.store.read([name], start, last.time + 1))[name], *rows[name]]
            if last.time < time and following - last.time > self.longest:
                return  # readings before a gap have no effect after it

    async def _after(self, rows: ReadRows, name: str, end: int, time: int) -> None:
        while len(rows[name]) - bisect_left(rows[name], (time,)) < NEARBY:
            before = rows[name][-1].time if rows[name] else time
            end = max(end, before + 1) if rows[name] else end
            first = (await self.store.first([name], since=end)).get(name)
            if first is None or (first.time >= time and first.time - before > self.farthest):
                return
            end = first.time + NEARBY * self.longest + 1
            rows[name] = [*rows[name], *(await self.store.read([name], first.time, end))[name]]
            if first.time >= time and first.time - before > self.longest:
                return

    async def reach(self, rows: ReadRows, time_range: TimeRange) -> TimeRange:
        """The times whose pauses may be classified differently because of readings in a range.

        A meter that has stopped has no such times. But if its last reading is the last of all before the range, its hour may be open.
        """
        start, end = time_range
        ended = await self._ended(rows, start)
        latest = max((each[k - 1].time for each in rows.values() if (k := bisect_left(each, (start,)))), default=start)
        for name, readings in rows.items():
            k = bisect_left(readings, (time_range.start,))
            if name in ended and readings and readings[-1].time < latest:
                continue
            if k and readings[k - 1].time >= time_range.start - self.farthest:
                earliest = readings[k - 1].time - NEIGHBOURS * self.longest
                start = min(start, max(readings[max(0, k - NEARBY)].time, earliest))
            m = bisect_left(readings, (time_range.end,))
            if m < len(readings) and readings[m].time <= time_range.end + self.farthest:
                latest = readings[m].time + NEIGHBOURS * self.longest
                end = max(end, min(readings[min(len(readings), m + NEARBY) - 1].time + 1, latest))
        return TimeRange(start, end)
