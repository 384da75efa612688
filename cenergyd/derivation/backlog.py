"""Derives long ranges in the daemon chunk by chunk; each chunk is written and removed from the queue before the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from cenergyd.customers.model import PendingMark
from cenergyd.derivation.chunks import chunks
from cenergyd.derivation.committer import Committer, Task, TaskResult
from cenergyd.derivation.derive import Derivation, Deriver
from cenergyd.derivation.gaps import Gaps, Missing
from cenergyd.derivation.plan import CHUNK_READINGS
from cenergyd.derivation.status import reached_before
from cenergyd.derivation.sum_deriver import SumDeriver
from cenergyd.derivation.task_runner import TaskRunner
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.isolation import PluginFailed
from cenergyd.runtime.yielding import CooperativeYield

CONCURRENT_BACKLOGS = 2
"""Customers whose backlogs are derived at the same time, in addition to all new readings."""
REPORT_SECONDS = 2.0
"""Seconds between progress reports."""


@attrs.define(slots=True, kw_only=True)
class Backlog:
    """A claimed task with a long range, and its results so far."""

    task: Task
    earlier: Mapping[str, Mapping[str, object]]
    """The results of earlier derivations."""
    committer: Committer
    deriver: Deriver
    readings: ReadingStore
    sums: SumDeriver
    clock: Timers
    _sum: Derivation = attrs.field(default=Derivation(None, 0, None, Gaps()), init=False)
    _reported_at: float = attrs.field(default=0.0, init=False)

    async def run(self, limit: int, stopping: Callable[[], bool]) -> None:
        """Derive to the end, or until the claim is lost, a plugin fails, or ``stopping()`` is true; the rest is then released.

        :param limit: readings of each series held in memory at once.
        """
        self._reported_at = self.clock.seconds()
        self.task.in_parts = True
        if self.task.sums and not await self._add_up(stopping):
            return
        try:
            if not await self._all_chunks(limit, stopping):
                return
        except PluginFailed as error:
            await self.committer.fail(TaskResult(self.task, failure=error), self.earlier)
            return
        await self.committer.commit([TaskResult(self.task, [self._sum])], self.earlier)

    async def _add_up(self, stopping: Callable[[], bool]) -> bool:
        if not await self.sums.run(self.task, stopping):
            return False
        # The derivation marks its own chunks for the jobs; sums may also exist at times when no meter is missing.
        customer_id = self.task.customer_id
        await self.committer.job_queue.mark(
            [PendingMark(customer_id, segment.start, segment.end) for segment in self.task.sums]
        )
        return True

    async def _all_chunks(self, limit: int, stopping: Callable[[], bool]) -> bool:
        task, tolerance = self.task, self.deriver.tolerance
        reached = reached_before(self.earlier.get(task.customer_id))
        cooperate = CooperativeYield(self.clock, 0)
        for segment in task.segments:
            async for chunk in chunks(
                self.readings, self.deriver, task.work.customer, segment, limit=limit, reached=reached
            ):
                # No computed reading before chunk.end depends on readings from here on.
                rest = max(task.work.start, min(chunk.end + 2 * tolerance, task.work.end - 1))
                if not await self.committer.commit_part(task, chunk.derivation, chunk.start, chunk.end, rest):
                    return False
                self._sum = joined_derivation(self._sum, chunk.derivation)
                await self._store_progress(chunk.end)
                if stopping():
                    await self.committer.queue.postpone([task.work], int(self.clock.seconds()))
                    return False
                await cooperate()
        return True

    async def _store_progress(self, up_to: int) -> None:
        if self.clock.seconds() - self._reported_at >= REPORT_SECONDS:
            self._reported_at = self.clock.seconds()
            await self.committer.store_progress(TaskResult(self.task, [self._sum]), up_to, self.earlier)


@attrs.frozen(slots=True, kw_only=True)
class Backlogs:
    """Starts backlogs, a few at a time."""

    runner: TaskRunner
    committer: Committer
    deriver: Deriver
    readings: ReadingStore
    sums: SumDeriver
    clock: Timers
    retry_seconds: float
    """Seconds until a task that could not be started is claimed again."""

    async def begin(self, task: Task, earlier: Mapping[str, Mapping[str, object]]) -> None:
        """Start it in the background, or release it if too many run."""
        status = self.committer.status
        if self.runner.stopping or status.backlogs >= CONCURRENT_BACKLOGS:
            await self.runner.release([task], self.clock.seconds() + self.retry_seconds)
            return
        status.backlogs += 1
        self.runner.start(self.runner.guarded([task], self._run(task, earlier)))

    async def _run(self, task: Task, earlier: Mapping[str, Mapping[str, object]]) -> None:
        try:
            backlog = Backlog(
                task=task,
                earlier=earlier,
                committer=self.committer,
                deriver=self.deriver,
                readings=self.readings,
                sums=self.sums,
                clock=self.clock,
            )
            await backlog.run(CHUNK_READINGS, lambda: self.runner.stopping)
        finally:
            self.committer.status.backlogs -= 1
        self.runner.backoff.succeeded()


def joined_derivation(before: Derivation, after: Derivation) -> Derivation:
    """The combined result of two neighbouring parts, both written."""
    derived_until = after.derived_until if after.derived_until is not None else before.derived_until
    waiting_for, since = after.gaps.waiting_for, after.gaps.waiting_since
    earlier = before.gaps.waiting_since
    if earlier is not None and earlier > (derived_until or 0):
        waiting_for, since = before.gaps.waiting_for, earlier
    missing = {gap.role: gap for gap in before.gaps.missing}
    for gap in after.gaps.missing:
        old = missing.get(gap.role)
        missing[gap.role] = Missing(gap.role, old.start, gap.end, old.readings + gap.readings) if old else gap
    no_plugin = before.no_plugin or after.no_plugin
    return Derivation(None, 0, derived_until, Gaps(waiting_for, since, tuple(missing.values())), no_plugin)
