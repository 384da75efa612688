"""The service that derives whatever readings came in: a regular look at the queue of pending customers.

Three ways through it, so that nobody waits for somebody else's trouble: batches (new readings of many customers, read and written
together), backlogs (long windows, chunk by chunk, a few at once), and customers whose plugin has not answered yet (on their own).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from math import ceil
from typing import Any, cast
from uuid import uuid4

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from cenergyd.customers.model import PendingWork
from cenergyd.customers.store import DerivationQueue, PendingQueue
from cenergyd.derivation.backlog import Backlog
from cenergyd.derivation.committer import Committer, DerivationStatus, Done, Task, nobody_listens
from cenergyd.derivation.corrections import widened
from cenergyd.derivation.derive import Deriver
from cenergyd.derivation.plan import CHUNK_READINGS, Group, expected_readings, grouped, pieces
from cenergyd.derivation.status import reached_before
from cenergyd.derivation.sum_deriver import SumDeriver
from cenergyd.derivation.sum_plan import sum_pieces
from cenergyd.documents.kinds import DERIVATION
from cenergyd.documents.store import DocumentStore
from cenergyd.errors import Overloaded, StoreRejected, StoreUnavailable
from cenergyd.hookspecs import Formula
from cenergyd.readings.model import Reading
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.backoff import StoreBackoff
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.concurrency import Slots
from cenergyd.runtime.gather import gather_limited
from cenergyd.runtime.isolation import PluginFailed, PluginManager, describe
from cenergyd.runtime.periodic import PeriodicService
from cenergyd.runtime.yielding import CooperativeYield
from cenergyd.settings.sections import DerivationSettings

MAX_REST_SECONDS = 30.0
"""After a pass of d seconds the next one waits 9 d, at most this: uploads keep the greater part of the machine."""
BATCH_CUSTOMERS = 200
"""Customers read and written together: one round trip to each store for all of them."""
CLAIM_SECONDS = 60
"""A daemon that is silent for so long loses its work to another one; at least 1.5 times the plugins' timeout."""
RETRY_SECONDS = 60
"""A customer whose plugin failed is tried again after this."""
CONCURRENT_BATCHES = 2
"""While one batch waits for the stores, another computes."""
CONCURRENT_BACKLOGS = 2
"""Customers whose long backlogs are derived at once, beside everybody's new readings."""
SUMS_AT_ONCE = 20
"""Customers of a batch whose sums of meters are made at once; their store calls are merged."""
MAX_WAITING_PLUGINS = 200
"""Customers that may wait for a slow plugin at once; more are tried again later."""
PATIENCE = 0.2
"""Seconds that a batch waits for plugins that did not answer at once, before it goes on without them."""
SUMMARY_EVERY = 15.0
"""Seconds between counts of what is pending."""

log = Logger()


class DerivationService(Service):
    """Derives pending customers every ``interval_seconds``; nothing in its memory is needed by anybody.

    :param clock: the reactor, or a Clock whose time is UTC seconds.
    :param derived: called with the id of each customer whose computed readings have changed.
    :param plugins: with the ``cenergyd_derive`` implementations.
    """

    name = "derivation"
    _stopping = False
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
        derived: Callable[[str], None] = nobody_listens,
    ) -> None:
        self.status = DerivationStatus()
        self._clock = clock
        self._settings = settings
        self._readings = readings
        self._documents = documents
        self._queue = derivation_queue
        self._ttl = max(CLAIM_SECONDS, ceil(1.5 * settings.plugin_timeout_seconds))
        self._deriver = _deriver_of(settings, plugins, clock)
        self._committer = Committer(
            readings=readings,
            documents=documents,
            queue=derivation_queue,
            job_queue=job_queue,
            clock=clock,
            tolerance=settings.tolerance_seconds,
            ttl=self._ttl,
            retry_seconds=RETRY_SECONDS,
            status=self.status,
            derived=derived,
        )
        self._sums = SumDeriver(
            readings=readings, committer=self._committer, tolerance=settings.tolerance_seconds, clock=clock
        )
        self._batches = Slots(CONCURRENT_BATCHES)
        self._tasks: set[Deferred[None]] = set()
        self._late: dict[str, Deferred[Done]] = {}
        self._backoff = StoreBackoff(clock, log, ("derivation pauses", "derivation goes on"), self._count_trouble)
        self._dispatcher = self._periodic_looks(settings.interval_seconds)

    def _periodic_looks(self, interval_seconds: float) -> PeriodicService:
        return PeriodicService(
            self._clock, self.tick, interval_seconds,
            what="a look for pending customers", log=log, longest_rest=MAX_REST_SECONDS,
        )  # fmt: skip

    def startService(self) -> None:  # noqa: N802
        """Begin; the first look is at once."""
        super().startService()  # type: ignore[no-untyped-call]
        self._stopping = False
        self._dispatcher.startService()

    def stopService(self) -> Deferred[Any]:  # noqa: N802
        """Stop; fires when the running batches are written and everything else is given back. Cancel that to cancel them."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._stopping = True
        return Deferred.fromCoroutine(self._drain())

    async def tick(self) -> None:
        """One look: claim and derive until no full batch is left. Errors are logged; none is raised."""
        mine: list[Deferred[None]] = []
        while not self._stopping and self._backoff.ready:
            await self._batches.acquire()
            works = [] if self._stopping else await self._claimed()
            if works:
                mine.append(self._spawn(self._release_after(self._batch(works))))
            else:
                self._batches.release()
            if len(works) < BATCH_CUSTOMERS:
                break
        await DeferredList(mine)
        await self._summarise()
        self.status.last_tick = self._clock.seconds()

    async def _drain(self) -> None:
        stopped = self._dispatcher.stopService()
        while self._tasks:
            for waiting in list(self._late.values()):
                waiting.cancel()
            await DeferredList(list(self._tasks))
        await stopped

    async def _claimed(self) -> list[PendingWork]:
        now, limit = int(self._clock.seconds()), BATCH_CUSTOMERS
        try:
            return await self._queue.claim(uuid4().hex, now, self._ttl, limit)
        except (StoreUnavailable, Overloaded) as error:
            self._backoff.failed(error)
        except Exception:
            log.failure("pending customers cannot be claimed")
        return []

    async def _release_after(self, work: Awaitable[None]) -> None:
        try:
            await work
        finally:
            self._batches.release()

    async def _batch(self, works: Sequence[PendingWork]) -> None:
        now, tolerance = self._clock.seconds(), self._settings.tolerance_seconds
        tasks = []
        breather = CooperativeYield(self._clock)
        for work in works:
            await breather()
            place = (work.customer, work.start, work.end, tolerance)
            tasks.append(Task(work, pieces(*place), now, work.start, sum_pieces(*place)))
        await self._guarded(tasks, self._sorted_out(tasks))

    async def _sorted_out(self, tasks: Sequence[Task]) -> None:
        """Each task goes its way: nothing to derive, long, or short and together with others."""
        kept = set(map(id, await widened([task.work for task in tasks], self._readings, self._queue)))
        tasks = [task for task in tasks if id(task.work) in kept]
        bodies = await self._bodies(tasks)
        tasks = await self._summed(tasks, bodies)
        idle = [task for task in tasks if not task.pieces]
        if idle:
            await self._committer.commit([Done(task) for task in idle], bodies)
        short = []
        for task in tasks:
            if not task.pieces:
                continue
            if sum(map(expected_readings, task.pieces)) > CHUNK_READINGS:
                await self._begin_backlog(task, bodies)
            else:
                short.append(task)
        for group in grouped([task.pieces for task in short], 4 * CHUNK_READINGS):
            members = [short[i] for i in group.members]
            if self._stopping:
                await self._give_back(members, self._clock.seconds())
            else:
                await self._guarded(members, self._together(group, members, bodies))

    async def _summed(self, tasks: Sequence[Task], bodies: Mapping[str, Mapping[str, object]]) -> list[Task]:
        """Make the sums of meters; the tasks that are left to derive. Long windows go their own way."""
        found = [task for task in tasks if not task.sums]
        short = []
        for task in tasks:
            if task.sums and sum(piece.expected_readings for piece in task.sums) > CHUNK_READINGS:
                await self._begin_backlog(task, bodies)
            elif task.sums:
                short.append(task)
        made = await gather_limited([self._sums_of(task, bodies) for task in short], SUMS_AT_ONCE)
        return found + [task for task, ours in zip(short, made, strict=True) if ours]

    async def _sums_of(self, task: Task, bodies: Mapping[str, Mapping[str, object]]) -> bool:
        try:
            return await self._sums.run(task, lambda: self._stopping)
        except StoreRejected as error:
            refused = PluginFailed("cenergyd", f"the store refused a sum of meters: {error}")
            await self._committer.commit([Done(task, failure=refused)], bodies)
            return False

    async def _together(self, group: Group, tasks: list[Task], bodies: Mapping[str, Mapping[str, object]]) -> None:
        """Read, derive and write customers with similar windows; those that take longer leave ``tasks``."""
        tasks[:] = await self._committer.held(tasks)
        limit = group.limit
        stored = await self._readings.read(group.series, group.start, group.end, limit)
        breather = CooperativeYield(self._clock)
        results: list[Done] = []
        waiting: list[tuple[Task, Deferred[Done]]] = []
        for task in list(tasks):
            await breather()
            if any(len(stored[name]) >= limit for piece in task.pieces for name in piece.series):
                tasks.remove(task)
                await self._begin_backlog(task, bodies)
                continue
            deferred = Deferred.fromCoroutine(self._derived(task, stored, reached_before(bodies.get(task.customer_id))))
            if not _take(deferred, results):
                waiting.append((task, deferred))
        if waiting:
            await self._briefly([deferred for _, deferred in waiting])
            for task, deferred in waiting:
                if not _take(deferred, results):
                    tasks.remove(task)
                    self._go_on_alone(task, deferred, bodies)
        await self._committer.commit(results, bodies)
        self._backoff.succeeded()

    async def _derived(self, task: Task, stored: Mapping[str, Sequence[Reading]], reached: int | None) -> Done:
        customer = task.work.customer
        try:
            return Done(task, [await self._deriver.derive(customer, piece, stored, reached) for piece in task.pieces])
        except PluginFailed as error:
            return Done(task, failure=error)
        except Exception as error:
            log.failure("deriving customer {customer_id} failed", customer_id=customer.id)
            return Done(task, failure=PluginFailed("cenergyd", describe(error)))

    def _go_on_alone(self, task: Task, deferred: Deferred[Done], bodies: Mapping[str, Mapping[str, object]]) -> None:
        """The batch does not wait for this one's plugin any longer."""
        crowded = len(self._late) >= MAX_WAITING_PLUGINS
        self._late[task.customer_id] = deferred
        self._spawn(self._guarded([task], self._late_one(task, deferred, bodies)))
        if crowded or self._stopping:
            deferred.cancel()

    async def _late_one(self, task: Task, deferred: Deferred[Done], bodies: Mapping[str, Mapping[str, object]]) -> None:
        self.status.waiting_plugins += 1
        try:
            done = await deferred
        finally:
            self.status.waiting_plugins -= 1
            del self._late[task.customer_id]
        if done.failure is not None and self._stopping:
            await self._give_back([task], self._clock.seconds())
        else:
            await self._committer.commit([done], bodies)

    async def _begin_backlog(self, task: Task, bodies: Mapping[str, Mapping[str, object]]) -> None:
        if self._stopping or self.status.backlogs >= CONCURRENT_BACKLOGS:
            await self._give_back([task], self._clock.seconds() + self._settings.interval_seconds)
            return
        self.status.backlogs += 1
        self._spawn(self._guarded([task], self._backlog(task, bodies)))

    async def _backlog(self, task: Task, bodies: Mapping[str, Mapping[str, object]]) -> None:
        try:
            backlog = Backlog(
                task=task,
                bodies=bodies,
                committer=self._committer,
                deriver=self._deriver,
                readings=self._readings,
                sums=self._sums,
                clock=self._clock,
            )
            await backlog.run(CHUNK_READINGS, lambda: self._stopping)
        finally:
            self.status.backlogs -= 1
        self._backoff.succeeded()

    async def _bodies(self, tasks: Sequence[Task]) -> dict[str, Mapping[str, object]]:
        found = await self._documents.get_many(DERIVATION, [task.customer_id for task in tasks])
        return {key: document.body for key, document in found.items()}

    async def _guarded(self, tasks: Sequence[Task], work: Awaitable[None]) -> None:
        """Run; whatever happens, the tasks are finished or given back (or at worst their claims expire)."""
        try:
            await work
        except (StoreUnavailable, Overloaded) as error:
            self._backoff.failed(error)
            await self._give_back(tasks, self._backoff.until)
        except CancelledError:
            await self._give_back(tasks, self._clock.seconds())
        except Exception:
            log.failure("deriving {customers} customers failed", customers=len(tasks))
            await self._give_back(tasks, self._clock.seconds() + RETRY_SECONDS)

    async def _give_back(self, tasks: Sequence[Task], retry_at: float) -> None:
        try:
            await self._queue.postpone([task.work for task in tasks], ceil(retry_at))
        except (StoreUnavailable, Overloaded) as error:
            self._backoff.failed(error)  # then the claims expire

    def _count_trouble(self) -> None:
        self.status.store_troubles += 1

    async def _summarise(self) -> None:
        now = self._clock.seconds()
        if not self._backoff.ready or 0 < self._summary_at - now <= SUMMARY_EVERY:
            return
        self._summary_at = now + SUMMARY_EVERY
        try:
            summary = await self._queue.summary()
        except (StoreUnavailable, Overloaded) as error:
            self._backoff.failed(error)
            return
        self.status.pending_customers, self.status.oldest_pending = summary.customers, summary.oldest

    async def _briefly(self, deferreds: Sequence[Deferred[Done]]) -> None:
        """Wait until all have fired, but no longer than PATIENCE; none is cancelled."""
        gate: Deferred[None] = Deferred()

        def open_gate(_: object = None) -> None:
            if timer.active():
                timer.cancel()
            if not gate.called:
                gate.callback(None)

        timer = self._clock.callLater(PATIENCE, open_gate)
        DeferredList(deferreds).addCallback(open_gate)
        await gate

    def _spawn(self, work: Coroutine[Deferred[object], object, None]) -> Deferred[None]:
        deferred = Deferred.fromCoroutine(work)
        self._tasks.add(deferred)

        def ended(result: Failure | None) -> None:
            self._tasks.discard(deferred)
            if isinstance(result, Failure):
                log.failure("a piece of derivation failed", result)

        deferred.addBoth(ended)
        return deferred


def _deriver_of(settings: DerivationSettings, plugins: PluginManager, clock: Timers) -> Deriver:
    return Deriver(
        plugins=plugins,
        formula=cast(Formula, settings.formula),
        tolerance=settings.tolerance_seconds,
        timeout=settings.plugin_timeout_seconds,
        clock=clock,
    )


def _take(deferred: Deferred[Done], results: list[Done]) -> bool:
    """Whether it has fired; then its result is taken.

    At once, and not by a callback: we may be called from one of its callbacks, and another would only run after we have returned.
    """
    if not deferred.called:
        return False
    results.append(cast(Done, deferred.result))
    return True
