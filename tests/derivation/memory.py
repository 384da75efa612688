"""A pending queue and a document store in memory, and a site to derive: for tests with a Clock."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cenergyd.customers.claims import PendingSummary
from cenergyd.customers.model import Customer, PendingMark, PendingWork, TimeRange
from cenergyd.daemon.plugins import LoadedPlugins, build_plugin_manager
from cenergyd.derivation.service import DerivationService
from cenergyd.documents.body import body_of
from cenergyd.documents.memory import MemoryDocumentStore
from cenergyd.errors import StoreUnavailable
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings

T = TypeVar("T")
START = 1_700_000_040
"""A full minute."""


class MemoryQueue:
    """See cenergyd.customers.claims.DerivationQueue; customers are looked up in ``customers``."""

    def __init__(self, customers: dict[str, Customer], following: MemoryQueue | None = None) -> None:
        self.customers = customers
        self.following = following
        self.pending: dict[str, tuple[int, int]] = {}
        self.working: dict[str, tuple[int, int, str, int]] = {}
        self.retry_at: dict[str, int] = {}
        self.marked: list[PendingMark] = []
        self.down: str | None = None
        self.claims = 0

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable(self.down)

    async def mark(self, marks: Sequence[PendingMark]) -> None:
        self._check()
        for mark in marks:
            if mark.customer_id in self.customers:
                self.marked.append(mark)
                self._widen(mark.customer_id, mark.start, mark.end)

    def _widen(self, key: str, start: int, end: int) -> None:
        low, high = self.pending.get(key, (start, end))
        self.pending[key] = (min(low, start), max(high, end))

    async def claim(self, claim: str, now: int, ttl: int, limit: int) -> list[PendingWork]:
        self._check()
        self.claims += 1
        found = []
        for key in {*self.pending, *self.working}:
            if self.retry_at.get(key, 0) > now or (key in self.working and self.working[key][3] > now):
                continue
            if key in self.working:
                self._widen(key, *self.working[key][:2])
            found.append((*self.pending[key], key))
        works = []
        for start, end, key in sorted(found)[:limit]:
            del self.pending[key]
            self.retry_at.pop(key, None)
            self.working[key] = (start, end, claim, now + ttl)
            works.append(PendingWork(self.customers[key], start, end, claim, self._jobs_waiting(key)))
        return works

    async def mark_claimed(self, marks: Sequence[PendingMark], claim: str, until: int) -> None:
        self._check()
        for mark in marks:
            key = mark.customer_id
            held = self.working.get(key)
            is_free = held is None and key not in self.pending and key not in self.retry_at
            if key not in self.customers:
                continue
            self.marked.append(mark)
            if held is not None and held[2] == claim:
                self.working[key] = (min(held[0], mark.start), max(held[1], mark.end), claim, until)
            elif is_free:
                self.working[key] = (mark.start, mark.end, claim, until)
            else:
                self._widen(key, mark.start, mark.end)

    async def claimed(self, claim: str, limit: int) -> list[PendingWork]:
        self._check()
        found = [
            PendingWork(self._marked(key), start, end, claim, self._jobs_waiting(key))
            for key, (start, end, under, _) in self.working.items()
            if under == claim
        ]
        return sorted(found, key=lambda work: work.start)[:limit]

    def _marked(self, key: str) -> Customer:
        """The customer with the pending range."""
        start, end = self.pending.get(key, (None, None))
        return attrs.evolve(self.customers[key], pending_start=start, pending_end=end)

    def _ours(self, work: PendingWork) -> bool:
        return work.customer.id in self.working and self.working[work.customer.id][2] == work.claim

    async def advance(self, work: PendingWork, start: int, now: int, ttl: int) -> bool:
        self._check()
        if not self._ours(work):
            return False
        self.working[work.customer.id] = (start, self.working[work.customer.id][1], work.claim, now + ttl)
        return True

    async def finish(self, works: Sequence[PendingWork]) -> list[bool]:
        self._check()
        ours = [self._ours(work) for work in works]
        for work, is_ours in zip(works, ours, strict=True):
            if is_ours:
                del self.working[work.customer.id]
        return ours

    async def join_pending(self, works: Sequence[PendingWork]) -> None:
        self._check()
        for work in works:
            key = work.customer.id
            if self._ours(work) and key in self.pending:
                (low, high), (start, end, claim, until) = self.pending.pop(key), self.working[key]
                self.working[key] = (min(start, low), max(end, high), claim, until)

    async def finish_with_results(
        self, works: Sequence[PendingWork], windows: Sequence[TimeRange], results: Sequence[str]
    ) -> list[bool]:
        free = [not self._jobs_waiting(work.customer.id) for work in works]
        ours = iter(await self.finish([work for work, is_free in zip(works, free, strict=True) if is_free]))
        ended = [is_free and next(ours) for is_free in free]
        await self._store(works, ended, results)
        return ended

    def _jobs_waiting(self, key: str) -> bool:
        return self.following is not None and (key in self.following.pending or key in self.following.working)

    async def store_results(self, results: Mapping[str, str]) -> None:
        self._check()
        for key, result in results.items():
            before = self.customers[key]
            self.customers[key] = attrs.evolve(
                before, derivation=result, derivation_version=before.derivation_version + 1
            )

    async def _store(self, works: Sequence[PendingWork], ours: Sequence[bool], results: Sequence[str]) -> None:
        each = zip(works, ours, results or [""] * len(works), strict=True)
        await self.store_results({work.customer.id: result for work, is_ours, result in each if is_ours and result})

    async def hand_over(
        self, works: Sequence[PendingWork], windows: Sequence[TimeRange], results: Sequence[str] = ()
    ) -> list[bool]:
        ours = await self.finish(works)
        await self._store(works, ours, results)
        assert self.following is not None
        marks = [PendingMark(work.customer.id, *window) for work, window in zip(works, windows, strict=True)]
        await self.following.mark([mark for mark, is_ours in zip(marks, ours, strict=True) if is_ours])
        return ours

    async def hand_over_claimed(
        self,
        works: Sequence[PendingWork],
        windows: Sequence[TimeRange],
        claim: str,
        until: int,
        results: Sequence[str] = (),
    ) -> list[bool]:
        self._check()
        jobs = self.following
        assert jobs is not None
        taken = []
        for work, window in zip(works, windows, strict=True):
            key = work.customer.id
            held = jobs.working.get(key)
            free = held[2] == claim if held else key not in jobs.pending
            taken.append(self._ours(work) and free)
            if taken[-1]:
                del self.working[key]
                start, end = (min(held[0], window.start), max(held[1], window.end)) if held else window
                jobs.working[key] = (start, end, claim, until)
        await self._store(works, taken, results)
        return taken

    async def postpone(self, works: Sequence[PendingWork], retry_at: int) -> None:
        self._check()
        for work in works:
            if self._ours(work):
                start, end, *_ = self.working.pop(work.customer.id)
                self._widen(work.customer.id, start, end)
                self.retry_at[work.customer.id] = retry_at

    async def summary(self) -> PendingSummary:
        self._check()
        windows = [*self.pending.values(), *self.working.values()]
        return PendingSummary(len({*self.pending, *self.working}), min((window[0] for window in windows), default=None))


@attrs.define
class Site:
    """A daemon's derivation in memory, with a Clock."""

    clock: Clock
    readings: MemoryReadingStore
    documents: MemoryDocumentStore
    customers: dict[str, Customer]
    queue: MemoryQueue
    jobs: MemoryQueue
    plugins: LoadedPlugins
    settings: Settings
    service: DerivationService
    news: list[str]
    """Customers that live views were notified of."""

    async def came(self, customer_id: str, meter: str, readings: Iterable[Reading]) -> None:
        """An upload: stored, then marked."""
        kept = list(readings)
        await self.readings.write([SeriesReadings(f"{self.customers[customer_id].logger_serial_number}_{meter}", kept)])
        times = [reading.time for reading in kept]
        await self.queue.mark([PendingMark(customer_id, min(times), max(times) + 1)])

    async def computed(self, customer_id: str) -> list[Reading]:
        series = f"{self.customers[customer_id].logger_serial_number}_missing_meter"
        return (await self.readings.read([series], 0, 1 << 40))[series]

    def status(self, customer_id: str) -> dict[str, Any]:
        return body_of(self.customers[customer_id].derivation)

    def tick(self, seconds: float = 300) -> None:
        """One pass of the service; at most ``seconds`` pass on the clock."""
        settle(self.clock, self.service.tick(), seconds)


def settle(clock: Clock, work: Coroutine[Any, Any, T], seconds: float = 300) -> T:
    """The result of ``work``; the clock advances until it ends, at most ``seconds``."""
    results: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    step = 0.05
    for _ in range(int(seconds / step)):
        if results:
            break
        clock.advance(step)
    assert results, "it did not end"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


def site(
    *customers: Customer, extra: Sequence[tuple[str, object]] = (), disabled: Iterable[str] = (), **overrides: str
) -> Site:
    """A site with some customers; overrides are settings of [derivation]."""
    clock = Clock()
    clock.advance(START)
    known = {customer.id: customer for customer in customers}
    settings = load_settings(
        Settings,
        None,
        {
            **{f"derivation.{key}": value for key, value in overrides.items()},
            "plugins.disabled": " ".join(disabled),
        },
    )
    plugins = build_plugin_manager(settings, extra=extra)
    readings, documents = MemoryReadingStore(), MemoryDocumentStore()
    jobs = MemoryQueue(known)
    queue = MemoryQueue(known, jobs)
    news: list[str] = []
    service = DerivationService(
        clock=clock, settings=settings.derivation, plugins=plugins, readings=readings, documents=documents,
        derivation_queue=queue, job_queue=jobs, derived=news.append, settling=0.0,
    )  # fmt: skip
    return Site(clock, readings, documents, known, queue, jobs, plugins, settings, service, news)


def customer(key: str = "a", *, facility: str = "1", load: str = "", solar: str = "2", **more: Any) -> Customer:
    """By default the load is to be computed from utility 1 and solar 2."""
    serial = more.pop("serial", f"00{key.upper()}")
    return Customer(id=key, facility=facility, load=load, solar=solar, logger_serial_number=serial, **more)


def minutes(count: int, P: float = 1.0, start: int = START, every: int = 60) -> list[Reading]:
    """Readings whose P tells them apart."""
    return [Reading(start + every * i, P + i, 1.0, 120.0, 0.0) for i in range(count)]
