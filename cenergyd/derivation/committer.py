"""Commits derived ranges in an order that loses nothing: write, hand over to the jobs, store the status.

A daemon may be suspended and continue after another daemon has taken over its work. So older claims are renewed before a write, and if a
claim turns out to be lost after a write, its range is marked again so that whatever was overwritten is derived again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import attrs
from twisted.logger import Logger

from cenergyd.customers.claims import DerivationQueue, PendingQueue
from cenergyd.customers.model import PendingMark, PendingWork, TimeRange
from cenergyd.derivation.derive import Derivation
from cenergyd.derivation.diff import SeriesChange
from cenergyd.derivation.plan import DerivationSegment, reach
from cenergyd.derivation.status import Outcome, next_body
from cenergyd.derivation.sum_plan import SumSegment
from cenergyd.documents.body import body_text
from cenergyd.errors import StoreRejected
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.isolation import PluginFailed, failure_of

MAX_REMEMBERED_FAILURES = 10_000
"""Customers whose last logged failure is remembered; beyond that a failure may be logged again."""

log = Logger()


@attrs.define(slots=True)
class Task:
    """A claimed customer."""

    work: PendingWork
    segments: Sequence[DerivationSegment]
    renewed_at: float
    """When its claim was made or renewed."""
    start: int
    """Where its range began; in a backlog the work's own ``start`` advances."""
    sums: Sequence[SumSegment] = ()
    """Sums of meters to compute before the segments are derived."""
    in_parts: bool = False
    """Whether parts of the range have been marked for the jobs already."""

    @property
    def customer_id(self) -> str:
        """The customer's id."""
        return self.work.customer.id


@attrs.frozen(slots=True)
class TaskResult:
    """The result of a task: the derivations of its segments, or the failure of a plugin."""

    task: Task
    derivations: Sequence[Derivation] = ()
    failure: PluginFailed | None = None


class FollowingJobs(Protocol):
    """The jobs of this daemon, which may take over derived ranges under a claim of their own."""

    async def take_over(
        self, works: Sequence[PendingWork], ranges: Sequence[TimeRange], results: Sequence[str], until: Sequence[float]
    ) -> list[bool]:
        """Take over derived ranges: end their derivation and store its results, at the latest when the jobs have run.

        :param until: when the claims on the derivation expire, UTC seconds; 0 where the jobs must not run under them.
        :returns: False for ranges not taken; for those nothing is changed.
        """
        ...


def ignore_customer(_customer_id: str) -> None:
    """Does nothing, for callers that need no notification."""


@attrs.define
class DerivationStatus:
    """Counts for the metrics and the API."""

    last_tick: float | None = None
    """When the last pass ended, UTC seconds."""
    derived_readings: int = 0
    """Readings computed since the start, including those that were stored already."""
    failures: Counter[str] = attrs.field(factory=Counter)
    """Failed ranges by plugin."""
    claims_lost: int = 0
    """Claims that were lost to other daemons."""
    backlogs: int = 0
    """Number of backlogs being derived now."""
    waiting_plugins: int = 0
    """Customers waiting for a slow plugin now."""
    pending_customers: int = 0
    """Customers with pending or claimed work at the last count."""
    oldest_pending: int | None = None
    """Time of the oldest pending reading at that count."""
    store_troubles: int = 0
    """Pauses because a store did not answer."""


@attrs.define(slots=True, kw_only=True)
class Committer:
    """Writes results to the stores and updates the queues. Methods raise StoreUnavailable if a store does not answer."""

    readings: ReadingStore
    queue: DerivationQueue
    job_queue: PendingQueue
    clock: Timers
    tolerance: int
    """The greatest distance of readings that belong together, s."""
    ttl: int
    """Seconds until a claim expires."""
    retry_seconds: int
    """Seconds until a failed range is claimed again."""
    status: DerivationStatus
    derived: Callable[[str], None] = ignore_customer
    """Called with the id of each customer whose computed readings have changed."""
    jobs: FollowingJobs | None = None
    _failing: OrderedDict[str, tuple[str, int, int]] = attrs.field(factory=OrderedDict, init=False)

    async def still_claimed(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks that are still claimed by this daemon; older claims are renewed."""
        now = self.clock.seconds()
        kept = []
        for task in tasks:
            if now - task.renewed_at < self.ttl / 3:
                kept.append(task)
            elif await self.queue.advance(task.work, task.work.start, int(now), self.ttl):
                task.renewed_at = now
                kept.append(task)
            else:
                self._lost(task)
        return kept

    async def commit(self, results: Sequence[TaskResult], earlier: Mapping[str, Mapping[str, object]]) -> None:
        """Write whole ranges, hand them over and store their status.

        :param earlier: the results of earlier derivations, by customer id.
        """
        held = {id(task) for task in await self.still_claimed([done.task for done in results])}
        ours = [done for done in results if id(done.task) in held]
        ours = await self._written(ours)
        succeeded = [done for done in ours if done.failure is None]
        failed = [done for done in ours if done.failure is not None]
        await self._mark_jobs([done for done in failed if self._is_new_result(done)])
        await self._hand_over(succeeded, earlier)
        await self._fail(failed)
        await self._store_status([(done, self._outcome(done)) for done in failed], earlier)

    async def commit_part(self, task: Task, derivation: Derivation, start: int, end: int, rest: int) -> bool:
        """Write one chunk of a long range; the work shrinks to the times from ``rest`` on. False if the claim is lost."""
        if not await self.still_claimed([task]):
            return False
        await self._write([derivation])
        await self.job_queue.mark([PendingMark(task.customer_id, start, end)])
        self._count([derivation])
        self._announce(task, [derivation])
        now = self.clock.seconds()
        if await self.queue.advance(task.work, rest, int(now), self.ttl):
            task.work = task.work._replace(start=rest)
            task.renewed_at = now
            return True
        self._lost(task)
        await self.queue.mark([PendingMark(task.customer_id, start, end)])
        return False

    async def fail(self, done: TaskResult, earlier: Mapping[str, Mapping[str, object]]) -> None:
        """Record that a long range failed at its present position."""
        await self._fail([done])
        await self._store_status([(done, self._outcome(done))], earlier)

    async def store_progress(self, done: TaskResult, up_to: int, earlier: Mapping[str, Mapping[str, object]]) -> None:
        """Store the progress of a long range."""
        outcome = self._outcome(done)
        await self._store_status([(done, attrs.evolve(outcome, done=min(up_to, outcome.end)))], earlier)

    async def _written(self, results: Sequence[TaskResult]) -> list[TaskResult]:
        """Write together; if the store rejects the write, find the customer that causes it so that others are not affected."""
        succeeded = [done for done in results if done.failure is None]
        others = [done for done in results if done.failure is not None]
        try:
            await self._write([each for done in succeeded for each in done.derivations])
        except StoreRejected as error:
            if len(succeeded) == 1:
                refused = PluginFailed("cenergyd", f"the store refused the result: {error}")
                return [attrs.evolve(succeeded[0], failure=refused), *others]
            half = len(succeeded) // 2
            return [*await self._written(succeeded[:half]), *await self._written(succeeded[half:]), *others]
        return list(results)

    async def _write(self, derivations: Sequence[Derivation]) -> None:
        await write_derived(self.readings, derivations)

    async def _mark_jobs(self, results: Sequence[TaskResult]) -> None:
        marks = [PendingMark(done.task.customer_id, *self._reach(done)) for done in results]
        if marks:
            await self.job_queue.mark(marks)

    def _reach(self, done: TaskResult) -> TimeRange:
        work = done.task.work
        return reach(work.customer, work.start, work.end, self.tolerance)

    async def _hand_over(self, succeeded: Sequence[TaskResult], earlier: Mapping[str, Mapping[str, object]]) -> None:
        """End the claims, store the results and hand the ranges over to the jobs, all in the same write."""
        if not succeeded:
            return
        works = [done.task.work for done in succeeded]
        results = [self._result(done, self._outcome(done), earlier) for done in succeeded]
        until = [self._lasts_until(done.task) for done in succeeded]
        ended = await self._ended(works, [self._reach(done) for done in succeeded], results, until)
        lost = [work for work, ours in zip(works, ended, strict=True) if not ours]
        for done in succeeded:
            self._failing.pop(done.task.customer_id, None)
            self._count(done.derivations)
            self._announce(done.task, done.derivations)
        if lost:
            self.status.claims_lost += len(lost)
            log.warn(
                "{customers} claims were lost during derivation; their ranges are derived again", customers=len(lost)
            )
            await self.queue.mark([PendingMark(work.customer.id, work.start, work.end) for work in lost])

    def _lasts_until(self, task: Task) -> float:
        """When a claim expires, UTC seconds, if the jobs may run under it; 0 if they may not, because other jobs of the customer may run at the same time."""
        return 0.0 if task.in_parts or task.work.jobs_waiting else task.renewed_at + self.ttl

    async def _ended(
        self, works: Sequence[PendingWork], ranges: Sequence[TimeRange], results: Sequence[str], until: Sequence[float]
    ) -> list[bool]:
        """Hand over to the jobs of this daemon if they accept, otherwise to their queue. False if the claim was lost."""
        ended = [False] * len(works)
        if self.jobs is not None:
            ended = await self.jobs.take_over(works, ranges, results, until)
        left = [number for number, is_taken in enumerate(ended) if not is_taken]
        if left:
            handed = await self.queue.hand_over(
                [works[i] for i in left], [ranges[i] for i in left], [results[i] for i in left]
            )
            for number, is_ours in zip(left, handed, strict=True):
                ended[number] = is_ours
        return ended

    async def _fail(self, failed: Sequence[TaskResult]) -> None:
        if not failed:
            return
        for done in failed:
            self._log_failure(done)
        await self.queue.postpone([done.task.work for done in failed], int(self.clock.seconds()) + self.retry_seconds)

    def _is_new_result(self, done: TaskResult) -> bool:
        """Whether a failed range has readings that the jobs do not know yet; false at every further attempt."""
        known = self._failing.get(done.task.customer_id)
        return known is None or known[1:] != (done.task.work.start, done.task.work.end)

    def _log_failure(self, done: TaskResult) -> None:
        failure, work = done.failure, done.task.work
        assert failure is not None
        self.status.failures[failure.plugin] += 1
        known = self._failing.pop(work.customer.id, None)
        self._failing[work.customer.id] = (str(failure), work.start, work.end)
        if len(self._failing) > MAX_REMEMBERED_FAILURES:
            self._failing.popitem(last=False)
        if known is None or known[0] != str(failure):
            log.failure(
                "derivation of customer {customer_id} from {start} to {end} failed, plugin {plugin}: {reason}",
                failure_of(failure), customer_id=work.customer.id, start=work.start, end=work.end,
                plugin=failure.plugin, reason=failure.reason,
            )  # fmt: skip

    async def _store_status(
        self, results: Sequence[tuple[TaskResult, Outcome]], earlier: Mapping[str, Mapping[str, object]]
    ) -> None:
        stored = {done.task.customer_id: self._result(done, outcome, earlier) for done, outcome in results}
        if stored := {key: result for key, result in stored.items() if result}:
            await self.queue.store_results(stored)

    def _result(self, done: TaskResult, outcome: Outcome, earlier: Mapping[str, Mapping[str, object]]) -> str:
        """The result to store; '' where there is nothing to derive for this customer, and never was."""
        before = earlier.get(done.task.customer_id)
        if before is None and not done.task.segments and not done.task.sums:
            return ""
        return body_text(next_body(before, outcome, int(self.clock.seconds())))

    @staticmethod
    def _outcome(done: TaskResult) -> Outcome:
        work = done.task.work
        return Outcome(
            start=done.task.start, end=work.end, done=work.end, derivations=done.derivations, failure=done.failure
        )

    def _count(self, derivations: Sequence[Derivation]) -> None:
        self.status.derived_readings += sum(each.derived for each in derivations)

    def _announce(self, task: Task, derivations: Sequence[Derivation]) -> None:
        if any(each.change is not None for each in derivations):
            self.derived(task.customer_id)

    async def write_part(self, task: Task, derivation: Derivation) -> None:
        """Write, count and report a part of a sum; the range stays claimed."""
        await self._write([derivation])
        self._count([derivation])
        self._announce(task, [derivation])

    def _lost(self, task: Task) -> None:
        self.status.claims_lost += 1
        log.info("customer {customer_id} is derived by another daemon now", customer_id=task.customer_id)


async def write_derived(readings: ReadingStore, derivations: Sequence[Derivation]) -> None:
    """Store the results of derivations, in as few round trips as the store allows."""
    changes = [each.change for each in derivations if each.change is not None]
    exact = [_as_item(each) for each in changes if each.replace]
    additions = [SeriesReadings(each.series, each.readings) for each in changes if not each.replace]
    additions += [each.kept for each in derivations if each.kept is not None]
    if exact:
        await readings.replace_many(exact)
    if additions:
        await readings.write(additions)


def _as_item(change: SeriesChange) -> tuple[str, int, int, Sequence[Reading]]:
    return change.series, change.start, change.end, change.readings
