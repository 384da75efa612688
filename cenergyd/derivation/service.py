"""The service that derives customers with new readings.

Work is done in three ways, so that no customer is delayed by another's problem: batches (new readings of many customers, read and
written together), backlogs (long ranges, chunk by chunk, a few at a time), and customers whose plugin is slow (each separately).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import ceil
from typing import cast
from uuid import uuid4

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from cenergyd.customers.claims import DerivationQueue, PendingQueue
from cenergyd.customers.model import PendingWork
from cenergyd.derivation.backlog import Backlogs
from cenergyd.derivation.batch import BatchDeriver
from cenergyd.derivation.claimed_marks import ClaimedMarks
from cenergyd.derivation.committer import Committer, DerivationStatus, FollowingJobs, ignore_customer
from cenergyd.derivation.derive import Deriver
from cenergyd.derivation.late_plugins import LatePlugins
from cenergyd.derivation.plan import reach
from cenergyd.derivation.sum_deriver import SumDeriver
from cenergyd.derivation.task_runner import RETRY_SECONDS, TaskRunner
from cenergyd.documents.store import DocumentStore
from cenergyd.errors import Overloaded, StoreUnavailable
from cenergyd.hookspecs import Formula
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.concurrency import Slots
from cenergyd.runtime.isolation import PluginManager
from cenergyd.runtime.periodic import PeriodicService
from cenergyd.settings.sections import DerivationSettings

MAX_REST_SECONDS = 30.0
"""After a pass of d seconds, wait 9 d, at most this, so that most of the processor time is left for uploads."""
BATCH_CUSTOMERS = 200
"""Customers read and written together, with one round trip to each store for all of them."""
CLAIM_SECONDS = 60
"""Seconds until a claim expires and another daemon takes over; at least 1.5 times the plugins' timeout."""
CONCURRENT_BATCHES = 2
"""Batches at the same time: while one waits for the stores, another computes."""
SETTLING_SECONDS = 1.0
"""A customer whose first new log came less than this before a pass, or less than a fifth of the interval, is left to the next one, because its other
meters' logs follow. A session of two logs takes 0.2 s or more."""
SUMMARY_EVERY = 15.0
"""Seconds between counts of pending work."""

log = Logger()


class DerivationService(Service):
    """Derives pending customers every ``interval_seconds``. All its durable state is in the stores.

    :param clock: the reactor, or a Clock whose time is UTC seconds.
    :param claimed: called with all work that is claimed, before its readings are read, and the earliest time that it may change.
    :param derived: called with the id of each customer whose computed readings have changed.
    :param plugins: with the ``cenergyd_derive`` implementations.
    :param jobs: this daemon's jobs, which take over derived ranges; None: all ranges go to the job queue.
    :param settling: see :data:`SETTLING_SECONDS`.
    """

    name = "derivation"
    _summary_at = 0.0

    def __init__(
        self,
        *,
        clock: Timers,
        settings: DerivationSettings,
        plugins: PluginManager,
        readings: ReadingStore,
        documents: DocumentStore,
        derivation_queue: DerivationQueue,
        job_queue: PendingQueue,
        claimed: Callable[[PendingWork, int], None] = lambda work, start: None,
        derived: Callable[[str], None] = ignore_customer,
        jobs: FollowingJobs | None = None,
        settling: float = SETTLING_SECONDS,
    ) -> None:
        self.status = DerivationStatus()
        self._clock = clock
        self._queue = derivation_queue
        self._work_claimed = claimed
        self._tolerance = settings.tolerance_seconds
        self._ttl = max(CLAIM_SECONDS, ceil(1.5 * settings.plugin_timeout_seconds))
        self._runner = TaskRunner(derivation_queue, clock, self.status)
        committer = Committer(
            readings=readings, queue=derivation_queue, job_queue=job_queue, clock=clock, ttl=self._ttl,
            tolerance=settings.tolerance_seconds, retry_seconds=RETRY_SECONDS, status=self.status, derived=derived, jobs=jobs,
        )  # fmt: skip
        interval, settling = settings.interval_seconds, min(settling, settings.interval_seconds / 5)
        self.marks = ClaimedMarks(derivation_queue, clock, self._ttl, interval, settling)
        """Marks the readings uploaded to this daemon."""
        # Waiting ranges must be derived, or their claims renewed, before the claims expire.
        self._claims_marks = settling + interval + MAX_REST_SECONDS < self._ttl
        self._late = LatePlugins(self._runner, committer, clock)
        self._batch = self._batch_deriver(settings, plugins, committer, documents)
        self._batches = Slots(CONCURRENT_BATCHES)
        self._dispatcher = PeriodicService(
            clock, self.tick, interval,
            what="looking for pending customers", log=log, longest_rest=MAX_REST_SECONDS,
        )  # fmt: skip

    def _batch_deriver(
        self, settings: DerivationSettings, plugins: PluginManager, committer: Committer, documents: DocumentStore
    ) -> BatchDeriver:
        deriver = Deriver(
            plugins=plugins,
            formula=cast(Formula, settings.formula),
            tolerance=settings.tolerance_seconds,
            timeout=settings.plugin_timeout_seconds,
            clock=self._clock,
        )
        readings, clock, runner = committer.readings, self._clock, self._runner
        sums = SumDeriver(readings=readings, committer=committer, tolerance=settings.tolerance_seconds, clock=clock)
        backlogs = Backlogs(
            runner=runner, committer=committer, deriver=deriver, readings=readings, sums=sums, clock=clock,
            retry_seconds=settings.interval_seconds,
        )  # fmt: skip
        return BatchDeriver(
            runner=runner, committer=committer, deriver=deriver, sums=sums, backlogs=backlogs, late=self._late,
            readings=readings, documents=documents, queue=self._queue, clock=clock,
        )  # fmt: skip

    def startService(self) -> None:  # noqa: N802
        """Start; the first pass begins at once."""
        super().startService()  # type: ignore[no-untyped-call]
        self._runner.stopping = False
        self.marks.open = self._claims_marks
        self._dispatcher.startService()

    def stopService(self) -> Deferred[None]:  # noqa: N802
        """Stop; fires when running batches are written and everything else is released. Cancel the Deferred to cancel the batches."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._runner.stopping = True
        self.marks.open = False
        return Deferred.fromCoroutine(self._drain())

    async def tick(self) -> None:
        """One pass: claim and derive until no full batch is left. Errors are logged, not raised."""
        mine: list[Deferred[None]] = []
        while not self._runner.stopping and self._runner.backoff.ready:
            await self._batches.acquire()
            works = [] if self._runner.stopping else await self._claimed()
            if works:
                mine.append(self._runner.start(self._release_after(self._batch.run(works))))
            else:
                self._batches.release()
            if len(works) < BATCH_CUSTOMERS:
                break
        await DeferredList(mine)
        await self._summarise()
        self.status.last_tick = self._clock.seconds()

    async def _drain(self) -> None:
        stopped = self._dispatcher.stopService()
        while self._runner.busy:
            self._late.cancel()
            await self._runner.wait()
        await stopped
        try:
            while works := [work for work, _ in await self.marks.take(BATCH_CUSTOMERS, all_marks=True)]:
                await self._queue.postpone(works, int(self._clock.seconds()))
        except (StoreUnavailable, Overloaded) as error:
            self._runner.backoff.failed(error)  # then the claims expire

    async def _claimed(self) -> list[tuple[PendingWork, float]]:
        """Works, each with the time of its claim: first those of uploads to this daemon, then those from the queue."""
        works: list[tuple[PendingWork, float]] = []
        try:
            works += await self.marks.take(BATCH_CUSTOMERS)
            now, limit = self._clock.seconds(), BATCH_CUSTOMERS - len(works)
            if limit:
                claimed = await self._queue.claim(uuid4().hex, int(now), self._ttl, limit)
                works += [(work, now) for work in claimed]
        except (StoreUnavailable, Overloaded) as error:
            self._runner.backoff.failed(error)
        except Exception:
            log.failure("pending customers cannot be claimed")
        for work, _ in works:
            self._work_claimed(work, reach(work.customer, work.start, work.end, self._tolerance).start)
        return works

    async def _release_after(self, work: Awaitable[None]) -> None:
        try:
            await work
        finally:
            self._batches.release()

    async def _summarise(self) -> None:
        now = self._clock.seconds()
        if not self._runner.backoff.ready or 0 < self._summary_at - now <= SUMMARY_EVERY:
            return
        self._summary_at = now + SUMMARY_EVERY
        try:
            summary = await self._queue.summary()
        except (StoreUnavailable, Overloaded) as error:
            self._runner.backoff.failed(error)
            return
        self.status.pending_customers, self.status.oldest_pending = summary.customers, summary.oldest
