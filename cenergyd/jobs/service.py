"""The service that runs the plugins' jobs over new and derived readings.

Plugins are isolated: if one raises or hangs, its range is kept for later (:mod:`cenergyd.jobs.retries`), while the jobs of other plugins and
customers continue. A job may be called again for a range that it has done (after a crash): it recomputes and replaces.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from math import ceil
from uuid import uuid4

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from cenergyd.customers.model import PendingWork
from cenergyd.customers.store import CustomerStore
from cenergyd.derivation.corrector import refresh
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import Overloaded, StoreUnavailable
from cenergyd.hookspecs import Notification
from cenergyd.jobs.alerts.plugin_alerts import RulesOfPlugin
from cenergyd.jobs.claimed_jobs import ClaimedJobs
from cenergyd.jobs.context import RunningJobContext
from cenergyd.jobs.handed_over import DerivedWork, HandedOver
from cenergyd.jobs.job_runtime import RETRY_SECONDS, JobRuntime
from cenergyd.jobs.plugin_calls import PluginCalls, StoreFailed
from cenergyd.jobs.retried_jobs import RetriedJobs
from cenergyd.jobs.retries import Retries
from cenergyd.jobs.work_claims import ClaimEnder, DerivationClaim, JobClaim
from cenergyd.readings.batching import BatchingReadingStore
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.concurrency import Slots
from cenergyd.runtime.isolation import PluginFailed, PluginManager, failure_of
from cenergyd.runtime.periodic import PeriodicService
from cenergyd.runtime.plugin_threads import PluginThreads
from cenergyd.settings.sections import Settings

MAX_REST_SECONDS = 30.0
"""After a pass of d seconds, wait 9 d, at most this, so that most of the processor time is left for uploads."""
DERIVED_SECONDS = 10.0
"""Seconds between two passes over ranges whose derivation's claim is still held, however long the last one took: they are short, but new readings
wait for them, and a claim that has lasted half a minute costs a write to renew."""
PERIODIC_SECONDS = 60.0
"""Seconds between two calls of ``cenergyd_periodic``."""
BATCH_CUSTOMERS = 200
"""Customers claimed from the queue at once."""
CONCURRENT_CUSTOMERS = 64
"""Customers whose jobs run concurrently and share requests to the stores; the jobs of one customer run one after another.

As many again from ranges whose derivation's claim is still held: it would expire while they waited for the backlogs of many customers.
"""
CLAIM_SECONDS = 180
"""Seconds until a claim expires and another daemon takes over; at least 1.5 times the jobs' timeout."""
log = Logger()


class JobService(Service):
    """Runs ``cenergyd_job`` for every pending range and ``cenergyd_periodic`` regularly.

    :param clock: the reactor, or a Clock whose time is UTC seconds.
    :param notify: queues a notification durably.
    :param threads: threads for jobs with synchronous clients.
    :param cached_readings: the same readings, from the cache where possible (:mod:`cenergyd.readings.recent`); None: from the store.
    :param alert_rules: the kinds of alerts that each plugin declares, by plugin and kind.
    :param finished: called with the id of each customer whose jobs have run over a range.
    """

    name = "jobs"

    def __init__(
        self,
        *,
        clock: Timers,
        settings: Settings,
        plugins: PluginManager,
        readings: ReadingStore,
        documents: DocumentStore,
        customers: CustomerStore,
        notify: Callable[[Notification], Awaitable[None]],
        threads: PluginThreads,
        alert_rules: Mapping[str, RulesOfPlugin] = {},
        cached_readings: ReadingStore | None = None,
        finished: Callable[[str], None] = lambda customer_id: None,
    ) -> None:
        self._clock = clock
        self._stored = readings
        self._queue, self._derivation_queue = customers.job_queue, customers.derivation_queue
        batched: ReadingStore = BatchingReadingStore(readings, clock)
        self.calls = PluginCalls(
            plugins=plugins, clock=clock, settings=settings, readings=batched, documents=documents, customers=customers,
            notify=notify, threads=threads, alert_rules=alert_rules,
        )  # fmt: skip
        self._runtime = JobRuntime(self.calls, clock, max(CLAIM_SECONDS, ceil(1.5 * settings.jobs.timeout_seconds)))
        self.status = self._runtime.status
        self._retries = Retries(documents, RETRY_SECONDS)
        self._claimed_jobs = ClaimedJobs(
            self._runtime, batched, self._retries, settings.readings.keep_days, finished=finished,
            cached_readings=cached_readings,
        )  # fmt: skip
        self._retried_jobs = RetriedJobs(self._runtime, self._retries, batched, customers)
        self._ends = ClaimEnder(customers.derivation_queue, self._queue, clock)
        self.handed_over = HandedOver(customers.derivation_queue, clock, self._runtime.ttl)
        """Ranges handed over directly by the derivation."""
        # Waiting ranges must be run long before their claims expire.
        self._takes_over = settings.jobs.interval_seconds + MAX_REST_SECONDS <= self._runtime.ttl / 2
        self._slots, self._derived_slots = Slots(CONCURRENT_CUSTOMERS), Slots(CONCURRENT_CUSTOMERS)
        self._loops = self._periodic_services(settings.jobs.interval_seconds)

    def _periodic_services(self, interval_seconds: float) -> tuple[PeriodicService, ...]:
        passes = PeriodicService(
            self._clock, self.tick, interval_seconds,
            what="looking for jobs", log=log, longest_rest=MAX_REST_SECONDS, failed=self._failed,
        )  # fmt: skip
        periodic = PeriodicService(
            self._clock, self.periodic, PERIODIC_SECONDS, what="periodic work", log=log, failed=self._failed
        )
        derived = PeriodicService(
            self._clock, self.run_derived, min(interval_seconds, DERIVED_SECONDS),
            what="running jobs of derived readings", log=log, longest_rest=DERIVED_SECONDS, failed=self._failed,
        )  # fmt: skip
        return passes, periodic, derived

    def startService(self) -> None:  # noqa: N802
        """Start; the first pass begins at once."""
        super().startService()  # type: ignore[no-untyped-call]
        self.calls.stopping = False
        self.handed_over.open = self._takes_over
        for loop in self._loops:
            loop.startService()

    def stopService(self) -> Deferred[None]:  # noqa: N802
        """Stop; fires when running jobs have ended and the remaining work is released."""
        super().stopService()  # type: ignore[no-untyped-call]
        self.calls.stopping = True
        self.handed_over.open = False
        return Deferred.fromCoroutine(self._stopped())

    async def _stopped(self) -> None:
        ended = await DeferredList([loop.stopService() for loop in self._loops], consumeErrors=True)
        if not all(success for success, _ in ended):  # cancelled: the jobs give their ranges back
            await DeferredList([loop.stopService() for loop in self._loops], consumeErrors=True)
        try:
            await self._hand_over(self.handed_over.take_derived(len(self.handed_over)))
            while works := [work for work, _ in await self.handed_over.take(BATCH_CUSTOMERS)]:
                await self._queue.postpone(works, int(self._clock.seconds()))
        except (StoreUnavailable, Overloaded) as error:
            self._runtime.backoff.failed(error)  # then the claims expire

    async def tick(self) -> None:
        """One pass: run the jobs of every pending customer, then failed jobs that are due for a retry."""
        limit = BATCH_CUSTOMERS
        while not self._runtime.paused:
            works = await self._next_works(limit)
            claims = [
                JobClaim(work, claimed_at, self._queue, self._ends, self._clock, self._runtime.ttl)
                for work, claimed_at in works
            ]
            await _all([self._in_slot(self._claimed_jobs.run(claim), self._slots) for claim in claims])
            if len(works) < limit:
                break
        if not self._runtime.paused:
            documents = await self._due(limit)
            await _all([self._in_slot(self._retried_jobs.run(document), self._slots) for document in documents])
        self.status.last_tick = self._clock.seconds()

    async def run_derived(self) -> None:
        """Run the jobs of the ranges that this daemon has just derived, and end their derivation."""
        # The derivation has read the corrections that apply; later ones mark the ranges again.
        while not self._runtime.paused and (works := self.handed_over.take_derived(BATCH_CUSTOMERS)):
            claims = [
                DerivationClaim(each, self._derivation_queue, self._queue, self._ends, self._clock, self._runtime.ttl)
                for each in works
            ]
            await _all([self._in_slot(self._claimed_jobs.run(claim), self._derived_slots) for claim in claims])

    async def _hand_over(self, works: Sequence[DerivedWork]) -> None:
        """Leave ranges to the job queue."""
        if works:
            await self._derivation_queue.hand_over(
                [each.work for each in works], [each.time_range for each in works], [each.result for each in works]
            )

    async def periodic(self) -> None:
        """Call every plugin's ``cenergyd_periodic``."""
        for implementation in self.calls.plugins.implementations("cenergyd_periodic"):
            if self._runtime.stopping:
                return
            try:
                await self.calls.call(implementation, {"context": self.context(implementation.plugin)})
            except StoreFailed as error:
                self._runtime.backoff.failed(error)
            except PluginFailed as error:
                self.status.failures[implementation.plugin] += 1
                log.failure(
                    "periodic work of plugin {plugin} failed: {reason}",
                    failure_of(error), plugin=implementation.plugin, reason=str(error),
                )  # fmt: skip

    async def oldest_retry(self) -> int | None:
        """The earliest start of a range on which a job failed; None if there is none. Raises StoreUnavailable."""
        return await self._retries.oldest()

    def context(self, plugin: str) -> RunningJobContext:
        """A context for a built-in plugin, for callers outside the job service."""
        return self.calls.context(plugin)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, StoreUnavailable | Overloaded):
            self._runtime.backoff.failed(error)
        else:
            log.failure("looking for jobs failed, will be tried again", Failure(error))

    async def _next_works(self, limit: int) -> list[tuple[PendingWork, float]]:
        """Works, each with the time of its claim: first those handed over by the derivation, then those from the queue."""
        works = await self.handed_over.take(limit)
        if len(works) < limit:
            claimed = await self._claimed(limit - len(works))
            now = self._clock.seconds()
            works += [(work, now) for work in claimed]
        return works

    async def _claimed(self, limit: int) -> list[PendingWork]:
        works = await self._queue.claim(uuid4().hex, int(self._clock.seconds()), self._runtime.ttl, limit)
        if works:
            try:
                await refresh(self._stored)
            except (StoreUnavailable, Overloaded):
                await self._queue.postpone(works, int(self._clock.seconds()))
                raise
        return works

    async def _due(self, limit: int) -> list[Document]:
        documents = await self._retries.due(int(self._clock.seconds()), limit)
        if documents:
            await refresh(self._stored)
        return documents

    @staticmethod
    async def _in_slot(work: Coroutine[object, object, None], slots: Slots) -> None:
        await slots.acquire()
        try:
            await work
        finally:
            slots.release()


async def _all(works: Sequence[Coroutine[Deferred[object], object, None]]) -> None:
    """Run concurrently; a failure is logged and does not affect the others."""
    deferreds = [Deferred.fromCoroutine(work) for work in works]
    for success, result in await DeferredList(deferreds, consumeErrors=True):
        if not success and isinstance(result, Failure):
            log.failure("jobs failed", result)
