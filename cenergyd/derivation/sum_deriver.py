"""Computes the sums of meters of a claimed range, before the missing meter is derived from them.

A segment is read and written part by part in bounded memory. The claim is checked before each write, as for the missing meter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import attrs

from cenergyd.customers.model import TimeRange
from cenergyd.derivation.chunks import complete_until, least_limit
from cenergyd.derivation.committer import Committer, Task, write_derived
from cenergyd.derivation.derive import Derivation
from cenergyd.derivation.plan import CHUNK_READINGS
from cenergyd.derivation.sum_plan import SumSegment, sum_derivation
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.yielding import CooperativeYield


@attrs.frozen(slots=True, kw_only=True)
class SumDeriver:
    """Computes sums in the daemon."""

    readings: ReadingStore
    committer: Committer
    tolerance: int
    """The greatest distance of readings that belong together, s."""
    clock: Timers

    async def run(self, task: Task, stopping: Callable[[], bool]) -> bool:
        """Compute the sums of a task; False if the claim is lost, or released because ``stopping()`` is true.

        Raises StoreUnavailable, Overloaded, StoreRejected.
        """
        cooperate = CooperativeYield(self.clock, 0)
        for segment in task.sums:
            async for part in sum_parts(self.readings, segment, self.tolerance):
                if not await self.committer.still_claimed([task]):
                    return False
                await self.committer.write_part(task, part)
                if stopping():
                    await self.committer.queue.postpone([task.work], int(self.clock.seconds()))
                    return False
                await cooperate()
        return bool(await self.committer.still_claimed([task]))


async def write_sums(readings: ReadingStore, segments: Sequence[SumSegment], tolerance: int) -> int:
    """Compute and write sums; returns the number of readings written."""
    written = 0
    for segment in segments:
        async for part in sum_parts(readings, segment, tolerance):
            await write_derived(readings, [part])
            written += len(part.change.readings) if part.change else 0
    return written


async def sum_parts(readings: ReadingStore, segment: SumSegment, tolerance: int) -> AsyncIterator[Derivation]:
    """The sums of a segment, part by part, ascending; write each part before requesting the next."""
    limit = max(CHUNK_READINGS // len(segment.terms), least_limit(tolerance))
    sources = [term.series for term in segment.terms]
    start = segment.start
    while start < segment.end:
        rest = segment.cut(start, segment.end, tolerance)
        stored = await readings.read(rest.series, rest.read_start, rest.read_end, limit)
        end = complete_until(TimeRange(start, rest.end), sources, rest.target, stored, limit=limit, tolerance=tolerance)
        yield sum_derivation(rest.cut(start, end, tolerance), stored, tolerance)
        start = end
