"""The newest readings of one series over a range of times, known to agree with the store. Pure.

They are packed in consecutive blocks of time: a packed reading takes a sixth of the memory of its objects.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from cenergyd.readings.checks import LATEST
from cenergyd.readings.merging import merged_reading
from cenergyd.readings.model import Reading

CACHED_SECONDS = 4 * 3600
"""Readings of this many seconds before the newest one are cached: the jobs read two hours before the hour that has ended."""
MAX_READINGS = 1500
"""Maximum readings of one series: of a logger that logs more often than once in ten seconds a shorter time is cached."""
SMALL_BLOCK = 8
"""If the last block has fewer readings, later ones are packed together with it, so that there are not many small blocks."""
SERIES_BYTES = 700
"""Memory of a series besides its blocks."""
BLOCK_BYTES = 250
"""Memory of a block besides its packed readings."""


class Unknown:
    """The reading before the cached ones has not been looked up."""


UNKNOWN = Unknown()


_ENCODER, _DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(list[Reading])


class _Block(NamedTuple):
    first: int
    last: int
    length: int
    packed: bytes

    def readings(self) -> list[Reading]:
        return _DECODER.decode(self.packed)


def _packed(readings: Sequence[Reading]) -> _Block:
    return _Block(readings[0].time, readings[-1].time, len(readings), _ENCODER.encode(readings))


class RecentSeries:
    """The readings of a series with ``start <= time < end``: the store holds these and no others.

    :ivar end: LATEST if the store has no later readings either.
    :ivar before: the last reading before ``start``, None if there is none, or UNKNOWN.
    :ivar since: when the range was first read from the store, UTC seconds.
    """

    __slots__ = ("_blocks", "before", "end", "since", "size", "start")

    def __init__(self, start: int, end: int, readings: Sequence[Reading], since: float) -> None:
        self.start = start
        self.end = end
        self.since = since
        self.before: Reading | Unknown | None = UNKNOWN
        self._blocks: list[_Block] = []
        self.size = SERIES_BYTES
        """Estimated bytes in memory."""
        self._append(list(readings))
        self._trim()

    @property
    def length(self) -> int:
        """Number of readings."""
        return sum(block.length for block in self._blocks)

    def holds(self, start: int, end: int) -> bool:
        """Whether every reading of a range is known."""
        return self.start <= start and end <= self.end

    def read(self, start: int, end: int) -> list[Reading]:
        """The readings of a range for which :meth:`holds` is true."""
        found: list[Reading] = []
        for block in self._blocks:
            if block.last < start:
                continue
            if block.first >= end:
                break
            readings = block.readings()
            if block.first < start or block.last >= end:
                readings = readings[bisect_left(readings, (start,)) : bisect_left(readings, (end,))]
            found += readings
        return found

    def last(self, before: int) -> Reading | Unknown | None:
        """The last reading before a time in ``start <= time <= end``."""
        for block in reversed(self._blocks):
            if block.first < before:
                readings = block.readings()
                return readings[bisect_left(readings, (before,)) - 1]
        return self.before

    def newest(self) -> Reading | Unknown | None:
        """The series' last reading of all, UNKNOWN if there may be later ones than those in memory."""
        return self.last(LATEST) if self.end == LATEST else UNKNOWN

    def nothing_after(self, newest: Reading) -> None:
        """Record which reading is the last of all, as read from the store."""
        if self.start <= newest.time < self.end:
            self.end = LATEST

    def first(self, since: int) -> Reading | None:
        """The first reading in memory from a time on; None if there is none."""
        for block in self._blocks:
            if block.last >= since:
                readings = block.readings()
                return readings[bisect_left(readings, (since,))]
        return None

    def merge(self, readings: Iterable[Reading]) -> None:
        """Apply a write of readings, in the order in which they were given (see :meth:`ReadingStore.write`)."""
        new: dict[int, Reading] = {}
        for reading in readings:
            time = reading[0]
            if time < self.start:
                self.before = UNKNOWN
            elif time < self.end:
                new[time] = merged_reading(new[time], reading) if time in new else reading
        if not new:
            return
        times = sorted(new)
        if not self._blocks or times[0] > self._blocks[-1].last:
            self._append([new[time] for time in times])
        else:
            stored = self._cut(times[0], times[-1] + 1)
            for time, reading in new.items():
                stored[time] = merged_reading(stored[time], reading) if time in stored else reading
            self._insert([stored[time] for time in sorted(stored)])
        self._trim()

    def replace(self, start: int, end: int, readings: Sequence[Reading]) -> None:
        """Apply a replacement of a range by these readings."""
        if start < self.start:
            self.before = UNKNOWN
        low, high = max(start, self.start), min(end, self.end)
        if low >= high:
            return
        kept = {time: each for time, each in self._cut(low, high).items() if not low <= time < high}
        kept |= {each.time: each for each in readings if low <= each.time < high}
        self._insert([kept[time] for time in sorted(kept)])
        self._trim()

    def extend(self, start: int, end: int, readings: Sequence[Reading]) -> None:
        """Add a range that was read from the store and is adjacent to, or overlaps, the present one."""
        if start == self.end:
            self.end = end
            self._append(list(readings))
            self._trim()
            return
        if start < self.start:
            self.before = UNKNOWN
        merged = {each.time: each for block in self._blocks for each in block.readings()}
        merged = {time: each for time, each in merged.items() if not start <= time < end}
        merged |= {each.time: each for each in readings}
        self.start, self.end = min(self.start, start), max(self.end, end)
        self._blocks.clear()
        self.size = SERIES_BYTES
        self._append([merged[time] for time in sorted(merged)])
        self._trim()

    def forget_since(self, time: int) -> bool:
        """Drop the readings from a time on. False if the range would be empty; then nothing is changed."""
        if time <= self.start:
            return False
        if time < self.end:
            kept = self._cut(time, LATEST + 1)
            self._insert([kept[each] for each in sorted(kept) if each < time])
            self.end = time
        return True

    def shorten(self) -> bool:
        """Drop all but the last block. False if there is only one."""
        if len(self._blocks) < 2:
            return False
        self._forget(len(self._blocks) - 1)
        return True

    def _append(self, readings: list[Reading]) -> None:
        if not readings:
            return
        if self._blocks and self._blocks[-1].length < SMALL_BLOCK:
            readings = [*self._pop(len(self._blocks) - 1).readings(), *readings]
        self._add(len(self._blocks), readings)

    def _insert(self, readings: Sequence[Reading]) -> None:
        """Insert readings where :meth:`_cut` has removed blocks."""
        if readings:
            place = bisect_left(self._blocks, readings[0].time, key=lambda block: block.first)
            self._add(place, readings)

    def _cut(self, start: int, end: int) -> dict[int, Reading]:
        """Remove the blocks that have readings in a range; returns all their readings by time."""
        found: dict[int, Reading] = {}
        for number in reversed(range(len(self._blocks))):
            block = self._blocks[number]
            if block.first < end and block.last >= start:
                found |= {each.time: each for each in self._pop(number).readings()}
        return found

    def _add(self, place: int, readings: Sequence[Reading]) -> None:
        block = _packed(readings)
        self._blocks.insert(place, block)
        self.size += BLOCK_BYTES + len(block.packed)

    def _pop(self, number: int) -> _Block:
        block = self._blocks.pop(number)
        self.size -= BLOCK_BYTES + len(block.packed)
        return block

    def _trim(self) -> None:
        """Drop blocks older than CACHED_SECONDS or beyond MAX_READINGS."""
        oldest = self._blocks[-1].last - CACHED_SECONDS if self._blocks else self.start
        count, old = 0, 0
        for number in reversed(range(len(self._blocks))):
            if count >= MAX_READINGS or self._blocks[number].last < oldest:
                old = number + 1
                break
            count += self._blocks[number].length
        if old:
            self._forget(old)
        if count > 2 * MAX_READINGS:
            self._halve()

    def _halve(self) -> None:
        """Keep the newest readings of a large first block."""
        readings = self._pop(0).readings()
        self.before = readings[-MAX_READINGS - 1]
        self.start = self.before.time + 1
        self._add(0, readings[-MAX_READINGS:])

    def _forget(self, blocks: int) -> None:
        """Drop the oldest blocks."""
        for _ in range(blocks):
            last = self._pop(0)
        self.before = last.readings()[-1]
        self.start = last.last + 1
