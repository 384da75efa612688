"""The service that runs the plugins' jobs over whatever readings are new or derived.

Each plugin is on its own: one that raises or hangs has its window kept for later (:mod:`cenergyd.jobs.retries`), while the others' jobs, and
other customers', go on. A job may be called again for a window it has done (after a crash): it recomputes and replaces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from math import ceil
from typing import cast
from uuid import uuid4

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from cenergyd.customers.model import Customer, PendingMark, PendingWork, Window
from cenergyd.customers.store import CustomerStore
from cenergyd.derivation.corrections import refresh
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import Overloaded, StoreUnavailable
from cenergyd.hookspecs import Notification
from cenergyd.jobs.alerts.plugin_alerts import RulesOfPlugin
from cenergyd.jobs.context import RunningJobContext
from cenergyd.jobs.plugin_calls import PluginCalls, StoreTrouble
from cenergyd.jobs.retries import Retries, window_of
from cenergyd.jobs.shared_reads import SharedReads
from cenergyd.jobs.window_parts import window_parts
from cenergyd.readings.batching import Batcher, BatchingReadingStore
from cenergyd.readings.retention import computed_since
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.backoff import StoreBackoff
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.concurrency import Slots
from cenergyd.runtime.isolation import PluginFailed, PluginManager, failure_of
from cenergyd.runtime.periodic import PeriodicService
from cenergyd.runtime.plugin_threads import PluginThreads
from cenergyd.settings.sections import Settings

MAX_REST_SECONDS = 30.0
"""After a pass of d seconds the next one waits 9 d, at most this: uploads keep the greater part of the machine."""
PERIODIC_SECONDS = 60.0
"""Time between two calls of ``cenergyd_periodic``."""
BATCH_CUSTOMERS = 200
"""Customers taken from the queue at once."""
CONCURRENT_CUSTOMERS = 64
"""Customers whose jobs run at once and share requests to the stores; the jobs of one customer run one after another."""
CLAIM_SECONDS = 180
"""A daemon that is silent for so long loses its work to another one; at least 1.5 times the jobs' timeout."""
RETRY_SECONDS = 60
"""A job that failed is tried again after this, each time twice as long, to an hour."""
log = Logger()


@attrs.define
class JobStatus:
    """Figures for metrics and the API."""

    last_tick: float | None = None
    """When the last look for work ended, UTC seconds."""
    customers_done: int = 0
    failures: Counter[str] = attrs.field(factory=Counter)
    """By plugin."""
    claims_lost: int = 0
    store_troubles: int = 0


class JobService(Service):
    """Runs ``cenergyd_job`` for every pending window and ``cenergyd_periodic`` regularly.

    :param clock: the reactor, or a Clock whose time is UTC seconds.
    :param notify: queues a notification durably.
    :param threads: for jobs whose clients are synchronous.
    :param alert_rules: the kinds of alerts that each plugin declares, by plugin and kind.
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
    ) -> None:
        self.status = JobStatus()
        self._clock = clock
        self._settings = settings.jobs
        self._keep_days = settings.readings.keep_days
        self._stored = readings
        self._readings: ReadingStore = BatchingReadingStore(readings, clock)
        self._customers = customers
        self._queue = customers.job_queue
        self._finishing: Batcher[PendingWork, bool] = Batcher(self._queue.finish, clock)
        self.calls = PluginCalls(
            plugins=plugins,
            clock=clock,
            settings=settings,
            readings=self._readings,
            documents=documents,
            customers=customers,
            notify=notify,
            threads=threads,
            alert_rules=alert_rules,
        )
        self._ttl = max(CLAIM_SECONDS, ceil(1.5 * self._settings.timeout_seconds))
        self._retries = Retries(documents, RETRY_SECONDS)
        self._slots = Slots(CONCURRENT_CUSTOMERS)
        self._backoff = StoreBackoff(clock, log, ("jobs pause", "jobs go on"), self._count_trouble)
        self._stopping = False
        self._loops = self._periodic_services()

    def _periodic_services(self) -> tuple[PeriodicService, PeriodicService]:
        looks = PeriodicService(
            self._clock, self.tick, self._settings.interval_seconds,
            what="a look for jobs", log=log, longest_rest=MAX_REST_SECONDS, failed=self._failed,
        )  # fmt: skip
        periodic = PeriodicService(
            self._clock, self.periodic, PERIODIC_SECONDS, what="periodic work", log=log, failed=self._failed
        )
        return looks, periodic

    def startService(self) -> None:  # noqa: N802
        """Begin; the first look is at once."""
        super().startService()  # type: ignore[no-untyped-call]
        self._stopping = self.calls.stopping = False
        for loop in self._loops:
            loop.startService()

    def stopService(self) -> Deferred[list[tuple[bool, None]]]:  # noqa: N802
        """Stop; fires when the jobs that run have ended and the rest is given back."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._stopping = self.calls.stopping = True
        return DeferredList([loop.stopService() for loop in self._loops])

    async def tick(self) -> None:
        """One look: run the jobs of every pending customer, then of what failed before and is due."""
        limit = BATCH_CUSTOMERS
        while not self._off():
            works = await self._claimed(limit)
            claimed_at = self._clock.seconds()
            await _all([self._in_slot(self._customer(work, claimed_at)) for work in works])
            if len(works) < limit:
                break
        if not self._off():
            documents = await self._due(limit)
            await _all([self._in_slot(self._again(document)) for document in documents])
        self.status.last_tick = self._clock.seconds()

    async def oldest_retry(self) -> int | None:
        """The earliest start of a window that some plugin's job failed on, None where there is none. Raises StoreUnavailable."""
        return await self._retries.oldest()

    async def periodic(self) -> None:
        """Call every plugin's ``cenergyd_periodic``."""
        for implementation in self.calls.plugins.implementations("cenergyd_periodic"):
            if self._stopping:
                return
            try:
                await self.calls.call(implementation, {"context": self.calls.context(implementation.plugin)})
            except (PluginFailed, StoreTrouble) as error:
                self.status.failures[implementation.plugin] += 1
                log.failure(
                    "periodic work of plugin {plugin} failed: {reason}",
                    failure_of(error), plugin=implementation.plugin, reason=str(error),
                )  # fmt: skip

    def _off(self) -> bool:
        return self._stopping or not self._backoff.ready

    def _failed(self, error: Exception) -> None:
        if isinstance(error, StoreUnavailable | Overloaded):
            self._backoff.failed(error)
        else:
            log.failure("a look for jobs failed, will be tried again", Failure(error))

    async def _claimed(self, limit: int) -> list[PendingWork]:
        works = await self._queue.claim(uuid4().hex, int(self._clock.seconds()), self._ttl, limit)
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

    async def _in_slot(self, work: Coroutine[object, object, None]) -> None:
        await self._slots.acquire()
        try:
            await work
        finally:
            self._slots.release()

    async def _customer(self, work: PendingWork, claimed_at: float) -> None:
        """All jobs of one claimed window."""
        try:
            await self._window(work, claimed_at)
        except (StoreUnavailable, Overloaded, StoreTrouble) as error:
            self._backoff.failed(error)
            await self._give_back(work, self._backoff.until)
        except CancelledError:
            await self._give_back(work, self._clock.seconds())
        except Exception:
            log.failure("jobs of customer {customer_id} failed", customer_id=work.customer.id)
            await self._give_back(work, self._clock.seconds() + RETRY_SECONDS)

    async def _window(self, work: PendingWork, claimed_at: float) -> None:
        renewed_at = claimed_at
        kept_since = computed_since(self._keep_days, int(claimed_at))
        # What was computed from readings that are gone stays as it is.
        begin = work.start if kept_since is None else max(work.start, kept_since)
        async for part in window_parts(self._readings, work.customer, Window(begin, work.end)):
            start = part.start
            now = self._clock.seconds()
            if start > work.start or now - renewed_at > self._ttl / 3:
                if not await self._queue.advance(work, start, int(now), self._ttl):
                    self.status.claims_lost += 1
                    return
                work, renewed_at = work._replace(start=start), now
            if self._off():
                await self._give_back(work, max(now, self._backoff.until))
                return
            if not await self._all_jobs(work, part):
                return
        if not await self._finishing.submit(work):
            # Another daemon has the window and does it all; but what this one wrote last may be older than what that one wrote.
            self.status.claims_lost += 1
            await self._queue.mark([PendingMark(work.customer.id, work.start, work.end)])
            return
        self.status.customers_done += 1
        self._backoff.succeeded()

    async def _all_jobs(self, work: PendingWork, part: Window) -> bool:
        """Every plugin's job over one part of a window. False: the claim is lost."""
        began = self._clock.seconds()
        readings = cast(ReadingStore, SharedReads(self._readings))
        for implementation in self.calls.plugins.implementations("cenergyd_job"):
            if self._clock.seconds() - began > self._ttl / 3:
                began = self._clock.seconds()
                if not await self._queue.advance(work, part.start, int(began), self._ttl):
                    self.status.claims_lost += 1
                    return False
            try:
                await self.calls.job(implementation, work.customer, part, readings)
            except PluginFailed as error:
                await self._keep(error, work.customer, part)
        return True

    async def _keep(self, error: PluginFailed, customer: Customer, part: Window) -> None:
        self.status.failures[error.plugin] += 1
        now = int(self._clock.seconds())
        if await self._retries.add(error.plugin, customer.id, part, error.reason, now):
            self._log_failure(error, customer.id, part)

    async def _again(self, document: Document) -> None:
        """One plugin's job over a window that it failed on."""
        try:
            await self._retry(document)
        except (StoreUnavailable, Overloaded, StoreTrouble) as error:
            self._backoff.failed(error)
        except CancelledError:
            return  # its claim expires
        except Exception:
            log.failure("a job cannot be tried again")

    async def _retry(self, document: Document) -> None:
        plugin, customer_id = document.body["plugin"], document.owner or ""
        found = [each for each in self.calls.plugins.implementations("cenergyd_job") if each.plugin == plugin]
        customer = await self._customers.get(customer_id)
        now = int(self._clock.seconds())
        if customer is None:
            await self._retries.succeeded(document)
            return
        if not found or self.calls.is_resting(plugin):  # disabled for now, or not answering
            await self._retries.postpone(document, now + RETRY_SECONDS)
            return
        async for part in window_parts(self._readings, customer, window_of(document)):
            claimed = await self._retries.claim(document, part.start, int(self._clock.seconds()) + self._ttl)
            if claimed is None:
                return
            document = claimed
            try:
                await self.calls.job(found[0], customer, part)
            except PluginFailed as error:
                self.status.failures[plugin] += 1
                if await self._retries.failed(document, error.reason, int(self._clock.seconds())):
                    self._log_failure(error, customer_id, part)
                return
            if self._off():
                break
        else:
            await self._retries.succeeded(document)

    def _log_failure(self, error: PluginFailed, customer_id: str, part: Window) -> None:
        log.failure(
            "job of plugin {plugin} for customer {customer_id} from {start} to {end} failed: {reason}",
            failure_of(error), plugin=error.plugin, customer_id=customer_id, start=part.start, end=part.end,
            reason=error.reason,
        )  # fmt: skip

    async def _give_back(self, work: PendingWork, retry_at: float) -> None:
        try:
            await self._queue.postpone([work], ceil(retry_at))
        except (StoreUnavailable, Overloaded) as error:
            self._backoff.failed(error)  # then the claim expires

    def context(self, plugin: str) -> RunningJobContext:
        """What a job of a built-in plugin may use now, for what is called from elsewhere."""
        return self.calls.context(plugin)

    def _count_trouble(self) -> None:
        self.status.store_troubles += 1


async def _all(works: Sequence[Coroutine[Deferred[object], object, None]]) -> None:
    """Run together; a failure is logged and does not touch the others."""
    deferreds = [Deferred.fromCoroutine(work) for work in works]
    for success, result in await DeferredList(deferreds, consumeErrors=True):
        if not success and isinstance(result, Failure):
            log.failure("jobs failed", result)
