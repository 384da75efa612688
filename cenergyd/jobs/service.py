"""The service that runs the plugins' jobs over whatever readings are new or derived.

Each plugin is on its own: one that raises or hangs has its window kept for later (:mod:`cenergyd.jobs.retries`), while the others' jobs, and
other customers', go on. A job may be called again for a window it has done (after a crash): it recomputes and replaces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from math import ceil
from typing import Any, cast
from uuid import uuid4

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from cenergyd.customers.meter_history import setup_periods
from cenergyd.customers.model import ROLES, Customer, PendingMark, PendingWork, Window
from cenergyd.customers.store import CustomerStore
from cenergyd.derivation.corrections import refresh
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import Overloaded, StoreUnavailable
from cenergyd.hookspecs import Notification
from cenergyd.jobs.alerts.plugin_alerts import RulesOfPlugin
from cenergyd.jobs.context import RunningJobContext
from cenergyd.jobs.guarded_stores import Writer, guarded
from cenergyd.jobs.retries import Retries, window_of
from cenergyd.jobs.shared_reads import SharedReads
from cenergyd.readings.batching import Batcher, BatchingReadingStore
from cenergyd.readings.retention import computed_since
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.backoff import StoreBackoff
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.concurrency import Slots
from cenergyd.runtime.isolation import Implementation, PluginFailed, PluginManager, failure_of, pending
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
CHUNK_HOURS = 24
"""A backlog is handed to jobs in pieces no longer than this."""
CLAIM_SECONDS = 180
"""A daemon that is silent for so long loses its work to another one; at least 1.5 times the jobs' timeout."""
RETRY_SECONDS = 60
"""A job that failed is tried again after this, each time twice as long, to an hour."""
TIMEOUTS_BEFORE_REST = 3
"""After so many timeouts in a row a plugin is left alone for RETRY_SECONDS: its windows are kept, nobody waits for it."""

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


class StoreTrouble(Exception):
    """A store did not answer a job: not the plugin's fault."""


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
        self._alert_rules = alert_rules
        self.status = JobStatus()
        self._clock = clock
        self._settings = settings.jobs
        self._all_settings = settings
        self._plugins = plugins
        self._stored = readings
        self._readings: ReadingStore = BatchingReadingStore(readings, clock)
        self._documents = documents
        self._customers = customers
        self._queue = customers.job_queue
        self._finishing: Batcher[PendingWork, bool] = Batcher(self._queue.finish, clock)
        self._notify = notify
        self._threads = threads
        self._ttl = max(CLAIM_SECONDS, ceil(1.5 * self._settings.timeout_seconds))
        self._retries = Retries(documents, RETRY_SECONDS)
        self._slots = Slots(CONCURRENT_CUSTOMERS)
        self._timeouts: Counter[str] = Counter()
        self._resting: dict[str, float] = {}
        self._backoff = StoreBackoff(clock, log, ("jobs pause", "jobs go on"), self._count_trouble)
        self._stopping = False
        looks = PeriodicService(
            clock, self.tick, self._settings.interval_seconds,
            what="a look for jobs", log=log, longest_rest=MAX_REST_SECONDS, failed=self._failed,
        )  # fmt: skip
        periodic = PeriodicService(
            clock, self.periodic, PERIODIC_SECONDS, what="periodic work", log=log, failed=self._failed
        )
        self._loops = (looks, periodic)

    def startService(self) -> None:  # noqa: N802
        """Begin; the first look is at once."""
        super().startService()  # type: ignore[no-untyped-call]
        self._stopping = False
        for loop in self._loops:
            loop.startService()

    def stopService(self) -> Deferred[Any]:  # noqa: N802
        """Stop; fires when the jobs that run have ended and the rest is given back."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._stopping = True
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
        for implementation in self._plugins.implementations("cenergyd_periodic"):
            if self._stopping:
                return
            try:
                await self._call(implementation, {"context": self._context(implementation.plugin)})
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
        kept_since = computed_since(self._all_settings.readings.keep_days, int(claimed_at))
        # What was computed from readings that are gone stays as it is.
        begin = work.start if kept_since is None else max(work.start, kept_since)
        async for start, end in self._pieces(work.customer, begin, work.end):
            now = self._clock.seconds()
            if start > work.start or now - renewed_at > self._ttl / 3:
                if not await self._queue.advance(work, start, int(now), self._ttl):
                    self.status.claims_lost += 1
                    return
                work, renewed_at = work._replace(start=start), now
            if self._off():
                await self._give_back(work, max(now, self._backoff.until))
                return
            if not await self._all_jobs(work, start, end):
                return
        if not await self._finishing.submit(work):
            # Another daemon has the window and does it all; but what this one wrote last may be older than what that one wrote.
            self.status.claims_lost += 1
            await self._queue.mark([PendingMark(work.customer.id, work.start, work.end)])
            return
        self.status.customers_done += 1
        self._backoff.succeeded()

    async def _pieces(self, customer: Customer, start: int, end: int) -> AsyncIterator[Window]:
        """A window in pieces that end at multiples of CHUNK_HOURS, so that late data meet the same cuts again.

        Pieces without any reading are joined: a logger whose clock fell back to the year 2000 must not cost ten thousand calls.
        """
        longest = CHUNK_HOURS * 3600
        while start < end:
            cut = (start // longest + 1) * longest
            if end - cut > longest:
                first = await self._first_reading(customer, start, end)
                cut = max(cut, first - first % longest)
            yield Window(start, min(cut, end))
            start = cut

    async def _first_reading(self, customer: Customer, start: int, end: int) -> int:
        """Time of the first reading of any of the customer's series, at most ``end``."""
        series = {span.series_of(role) for span in setup_periods(customer, start, end) for role in ROLES}
        found = await self._readings.first(sorted(filter(None, series)), start)
        return min([end, *(reading.time for reading in found.values())])

    async def _all_jobs(self, work: PendingWork, start: int, end: int) -> bool:
        """Every plugin's job over one piece. False: the claim is lost."""
        began = self._clock.seconds()
        readings = cast(ReadingStore, SharedReads(self._readings))
        for implementation in self._plugins.implementations("cenergyd_job"):
            if self._clock.seconds() - began > self._ttl / 3:
                began = self._clock.seconds()
                if not await self._queue.advance(work, start, int(began), self._ttl):
                    self.status.claims_lost += 1
                    return False
            try:
                await self._job(implementation, work.customer, start, end, readings)
            except PluginFailed as error:
                await self._keep(error, work.customer, start, end)
        return True

    async def _job(
        self,
        implementation: Implementation,
        customer: Customer,
        start: int,
        end: int,
        readings: ReadingStore | None = None,
    ) -> None:
        plugin = implementation.plugin
        if self._is_resting(plugin):
            raise PluginFailed(plugin, "it did not answer several times and is left alone for a while")
        await self._call(
            implementation,
            {"customer": customer, "start": start, "end": end, "context": self._context(plugin, customer, readings)},
        )

    def _is_resting(self, plugin: str) -> bool:
        # A longer rest than it was given belongs to a clock that was set back.
        return bool(0 < self._resting.get(plugin, 0) - self._clock.seconds() <= RETRY_SECONDS)

    async def _call(self, implementation: Implementation, arguments: dict[str, object]) -> None:
        """Raises PluginFailed, and StoreTrouble where a store was the reason."""
        plugin = implementation.plugin
        try:
            result = self._plugins.call(implementation, arguments)
            if pending(result):
                await self._plugins.settled(implementation, result, self._settings.timeout_seconds, self._clock)
        except PluginFailed as error:
            if self._stopping and isinstance(error.__cause__, CancelledError):
                raise error.__cause__ from error
            if isinstance(error.__cause__, StoreUnavailable | Overloaded):
                raise StoreTrouble(str(error.__cause__)) from error
            if isinstance(error.__cause__, TimeoutError):
                self._timeouts[plugin] += 1
                if self._timeouts[plugin] >= TIMEOUTS_BEFORE_REST:
                    self._resting[plugin] = self._clock.seconds() + RETRY_SECONDS
            raise
        self._timeouts.pop(plugin, None)

    async def _keep(self, error: PluginFailed, customer: Customer, start: int, end: int) -> None:
        self.status.failures[error.plugin] += 1
        now = int(self._clock.seconds())
        if await self._retries.add(error.plugin, customer.id, Window(start, end), error.reason, now):
            self._log_failure(error, customer.id, start, end)

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
        found = [each for each in self._plugins.implementations("cenergyd_job") if each.plugin == plugin]
        customer = await self._customers.get(customer_id)
        now = int(self._clock.seconds())
        if customer is None:
            await self._retries.succeeded(document)
            return
        if not found or self._is_resting(plugin):  # disabled for now, or not answering
            await self._retries.postpone(document, now + RETRY_SECONDS)
            return
        async for start, end in self._pieces(customer, *window_of(document)):
            claimed = await self._retries.claim(document, start, int(self._clock.seconds()) + self._ttl)
            if claimed is None:
                return
            document = claimed
            try:
                await self._job(found[0], customer, start, end)
            except PluginFailed as error:
                self.status.failures[plugin] += 1
                if await self._retries.failed(document, error.reason, int(self._clock.seconds())):
                    self._log_failure(error, customer_id, start, end)
                return
            if self._off():
                break
        else:
            await self._retries.succeeded(document)

    def _log_failure(self, error: PluginFailed, customer_id: str, start: int, end: int) -> None:
        log.failure(
            "job of plugin {plugin} for customer {customer_id} from {start} to {end} failed: {reason}",
            failure_of(error), plugin=error.plugin, customer_id=customer_id, start=start, end=end, reason=error.reason,
        )  # fmt: skip

    async def _give_back(self, work: PendingWork, retry_at: float) -> None:
        try:
            await self._queue.postpone([work], ceil(retry_at))
        except (StoreUnavailable, Overloaded) as error:
            self._backoff.failed(error)  # then the claim expires

    def context(self, plugin: str) -> RunningJobContext:
        """What a job of a built-in plugin may use now, for what is called from elsewhere."""
        return self._context(plugin)

    def _context(
        self, plugin: str, customer: Customer | None = None, shared: ReadingStore | None = None
    ) -> RunningJobContext:
        writer = Writer(plugin, customer, built_in=plugin in self._plugins.built_in)
        readings, documents, customers = guarded(writer, shared or self._readings, self._documents, self._customers)
        return RunningJobContext(
            now=int(self._clock.seconds()),
            readings=readings,
            documents=documents,
            customers=customers,
            context_for=partial(self._context, plugin),
            settings=self._all_settings,
            notifier=self._notify,
            clock=self._clock,
            run_in_thread=partial(self._threads.run, plugin),
            customer=customer,
            rules=self._alert_rules.get(plugin, {}),
            all_documents=self._documents,
        )

    def _count_trouble(self) -> None:
        self.status.store_troubles += 1


async def _all(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run together; a failure is logged and does not touch the others."""
    deferreds = [Deferred.fromCoroutine(work) for work in works]
    for success, result in await DeferredList(deferreds, consumeErrors=True):
        if not success and isinstance(result, Failure):
            log.failure("jobs failed", result)
