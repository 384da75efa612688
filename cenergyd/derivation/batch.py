"""Reads, derives and writes the new readings of many customers together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cenergyd.customers.claims import DerivationQueue
from cenergyd.customers.model import PendingWork
from cenergyd.derivation.backlog import Backlogs
from cenergyd.derivation.committer import Committer, Task, TaskResult
from cenergyd.derivation.corrector import widened
from cenergyd.derivation.derive import Deriver
from cenergyd.derivation.late_plugins import LatePlugins, take_result
from cenergyd.derivation.plan import CHUNK_READINGS, Group, derivation_segments, expected_per_meter, grouped
from cenergyd.derivation.status import reached_before, results_of
from cenergyd.derivation.sum_deriver import SumDeriver
from cenergyd.derivation.sum_plan import sum_segments
from cenergyd.derivation.task_runner import TaskRunner
from cenergyd.documents.store import DocumentStore
from cenergyd.errors import StoreRejected
from cenergyd.readings.model import Reading
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.gather import gather_limited
from cenergyd.runtime.isolation import PluginFailed, error_text
from cenergyd.runtime.yielding import CooperativeYield

CONCURRENT_SUMS = 20
"""Customers of a batch whose sums of meters are computed concurrently; their store calls are merged."""

log = Logger()


@attrs.frozen(slots=True, kw_only=True)
class BatchDeriver:
    """Derives the customers of a batch. Long ranges are passed to the backlogs; customers whose plugin is slow are finished separately."""

    runner: TaskRunner
    committer: Committer
    deriver: Deriver
    sums: SumDeriver
    backlogs: Backlogs
    late: LatePlugins
    readings: ReadingStore
    documents: DocumentStore
    queue: DerivationQueue
    clock: Timers

    async def run(self, works: Sequence[tuple[PendingWork, float]]) -> None:
        """Derive claimed ranges. Raises nothing: what fails is logged and released.

        :param works: with the time when each was claimed, UTC seconds.
        """
        tolerance = self.deriver.tolerance
        tasks = []
        cooperate = CooperativeYield(self.clock)
        for work, claimed_at in works:
            await cooperate()
            place = (work.customer, work.start, work.end, tolerance)
            tasks.append(Task(work, derivation_segments(*place), claimed_at, work.start, sum_segments(*place)))
        await self.runner.guarded(tasks, self._dispatch(tasks))

    async def _dispatch(self, tasks: Sequence[Task]) -> None:
        """Handle each task by what it needs: no derivation, a backlog, or derivation together with others."""
        kept = set(map(id, await widened([task.work for task in tasks], self.readings, self.queue)))
        tasks = [task for task in tasks if id(task.work) in kept]
        earlier = await self._earlier_results(tasks)
        tasks = await self._add_up(tasks, earlier)
        idle = [task for task in tasks if not task.segments]
        if idle:
            await self.committer.commit([TaskResult(task) for task in idle], earlier)
        short = []
        for task in tasks:
            if not task.segments:
                continue
            if sum(map(expected_per_meter, task.segments)) > CHUNK_READINGS:
                await self.backlogs.begin(task, earlier)
            else:
                short.append(task)
        for group in grouped([task.segments for task in short], 4 * CHUNK_READINGS):
            members = [short[i] for i in group.members]
            if self.runner.stopping:
                await self.runner.release(members, self.clock.seconds())
            else:
                await self.runner.guarded(members, self._derive_group(group, members, earlier))

    async def _add_up(self, tasks: Sequence[Task], earlier: Mapping[str, Mapping[str, object]]) -> list[Task]:
        """Compute the sums of meters; returns the tasks still to derive. Long ranges are passed to the backlogs."""
        remaining = [task for task in tasks if not task.sums]
        short = []
        for task in tasks:
            if task.sums and sum(segment.expected_readings for segment in task.sums) > CHUNK_READINGS:
                await self.backlogs.begin(task, earlier)
            elif task.sums:
                short.append(task)
        held = await gather_limited([self._sums_of(task, earlier) for task in short], CONCURRENT_SUMS)
        return remaining + [task for task, ours in zip(short, held, strict=True) if ours]

    async def _sums_of(self, task: Task, earlier: Mapping[str, Mapping[str, object]]) -> bool:
        try:
            return await self.sums.run(task, lambda: self.runner.stopping)
        except StoreRejected as error:
            refused = PluginFailed("cenergyd", f"the store refused a sum of meters: {error}")
            await self.committer.commit([TaskResult(task, failure=refused)], earlier)
            return False

    async def _derive_group(self, group: Group, tasks: list[Task], earlier: Mapping[str, Mapping[str, object]]) -> None:
        """Read, derive and write customers with similar ranges; those that take longer are removed from ``tasks``."""
        tasks[:] = await self.committer.still_claimed(tasks)
        stored = await self.readings.read(group.series, group.start, group.end, group.limit)
        cut = {name for name, readings in stored.items() if len(readings) >= group.limit}
        cooperate = CooperativeYield(self.clock)
        results: list[TaskResult] = []
        waiting: list[tuple[Task, Deferred[TaskResult]]] = []
        for task in list(tasks):
            await cooperate()
            if cut and any(not cut.isdisjoint(segment.series) for segment in task.segments):
                tasks.remove(task)
                await self.backlogs.begin(task, earlier)
                continue
            deferred = Deferred.fromCoroutine(self._derive(task, stored, reached_before(earlier.get(task.customer_id))))
            if not take_result(deferred, results):
                waiting.append((task, deferred))
        results += await self.late.separate(tasks, waiting, earlier)
        await self.committer.commit(results, earlier)
        self.runner.backoff.succeeded()

    async def _derive(self, task: Task, stored: Mapping[str, Sequence[Reading]], reached: int | None) -> TaskResult:
        customer = task.work.customer
        try:
            return TaskResult(
                task, [await self.deriver.derive(customer, segment, stored, reached) for segment in task.segments]
            )
        except PluginFailed as error:
            return TaskResult(task, failure=error)
        except Exception as error:
            log.failure("deriving customer {customer_id} failed", customer_id=customer.id)
            return TaskResult(task, failure=PluginFailed("cenergyd", error_text(error)))

    async def _earlier_results(self, tasks: Sequence[Task]) -> dict[str, Mapping[str, object]]:
        return await results_of([task.work.customer for task in tasks], self.documents)
