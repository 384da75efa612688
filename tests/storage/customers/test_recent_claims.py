"""Daemons that take turns at a customer: under each claim the cached readings are what the store has, whatever the others did in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any

import attrs
import pytest
import pytest_twisted
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.collection import Collection
from twisted.internet.task import Clock

from cenergyd.customers.model import Customer, PendingMark, PendingWork, TimeRange
from cenergyd.customers.store import CustomerStore
from cenergyd.derivation.claimed_marks import ClaimedMarks
from cenergyd.errors import StoreUnavailable
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.readings.recent import RecentReadings
from cenergyd.storage.mongodb.customer_documents import OWN_COLLECTION
from cenergyd.storage.mongodb.own_document import PENDING_ENDED
from tests.properties import for_all

NOW, TTL, REACH = 1_760_000_400, 60, 180
_numbers = count()


class Queue:
    """Another queue, whose next call of one method fails, before or after it is executed, or runs something first."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self.trouble: tuple[str, str] | None = None
        self.first: Callable[[], Awaitable[None]] | None = None
        self.older: Collection[dict[str, Any]] | None = None
        """The documents, if this is the queue of an older version of cenergyd, which does not keep the claims that ended."""

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any) -> Any:
            trouble = self.trouble[1] if self.trouble and self.trouble[0] == name else ""
            if trouble:
                self.trouble = None
            if trouble == "upload" and self.first is not None:
                await self.first()
            if trouble == "before":
                raise StoreUnavailable("down")
            result = await self._kept(getattr(self._queue, name), arguments)
            if trouble == "after":
                raise StoreUnavailable("no answer")
            return result

        return call

    async def _kept(self, method: Any, arguments: Sequence[Any]) -> Any:
        if self.older is None:
            return await method(*arguments)
        before = list(self.older.find({}, [PENDING_ENDED]))
        result = await method(*arguments)
        for own in before:
            ended = own.get(PENDING_ENDED)
            change = {"$unset": {PENDING_ENDED: ""}} if ended is None else {"$set": {PENDING_ENDED: ended}}
            self.older.update_one({"_id": own["_id"]}, change)
        return result


@attrs.define
class Daemon:
    """What a daemon keeps."""

    queue: Queue
    marks: ClaimedMarks
    recent: RecentReadings
    works: list[PendingWork] = attrs.field(factory=list)


@attrs.define
class Fleet:
    """Daemons with one logger."""

    customers: CustomerStore
    customer: Customer
    readings: MemoryReadingStore
    clock: Clock
    daemons: list[Daemon]
    written: int = 0

    @property
    def series(self) -> list[str]:
        return [f"{self.customer.logger_serial_number}_{meter}" for meter in ("1", "missing_meter")]

    def new(self, start: int, end: int) -> list[Reading]:
        self.written += 1
        return [Reading(time, float(self.written), None, None, None) for time in range(start, end, 60)]

    async def upload(self, number: int, minute: int, length: int) -> None:
        """To one daemon; while it answers with an error, to the next one."""
        start, end = self.now + 60 * minute, self.now + 60 * (minute + length)
        readings = self.new(start, end)
        for each in range(number, number + 3):
            daemon = self.daemons[each % len(self.daemons)]
            await daemon.recent.write([SeriesReadings(self.series[0], readings)])
            try:
                await daemon.marks.mark([PendingMark(self.customer.id, start, end)])
                break
            except StoreUnavailable:
                continue

    @property
    def now(self) -> int:
        return int(self.clock.seconds()) // 60 * 60

    async def take(self, daemon: Daemon, *, from_queue: bool) -> None:
        try:
            if from_queue:
                search = getattr(self.customers.derivation_queue, "search_soon", lambda: None)
                search()
                works = await daemon.queue.claim(f"q{next(_numbers)}", int(self.clock.seconds()), TTL, 100)
            else:
                works = [work for work, _ in await daemon.marks.take(100)]
        except StoreUnavailable:
            return
        for work in works:
            daemon.recent.claimed(work, work.start - REACH)
            customer = (await self.customers.get_many([self.customer.id]))[self.customer.id]
            if customer.pending_start is None:
                await self.agrees(daemon)
            start, end = work.start - REACH, work.end + 60
            await daemon.recent.view.replace(self.series[1], start, end, self.new(start, end))
        daemon.works += works

    async def agrees(self, daemon: Daemon) -> None:
        everything = (self.series, self.now - 7200, self.now + 5400)
        truth = await self.readings.read(*everything)
        assert await daemon.recent.view.read(*everything) == truth
        assert await daemon.recent.view.last(self.series) == await self.readings.last(self.series)

    async def evaluate(self, daemon: Daemon) -> None:
        customer = (await self.customers.get_many([self.customer.id]))[self.customer.id]
        if daemon.recent.is_current(customer):
            await self.agrees(daemon)

    async def end(self, daemon: Daemon, how: str) -> None:
        works, now = daemon.works, int(self.clock.seconds())
        if how == "advance":
            for number, work in enumerate(works):
                start = max(work.start, work.end - 60)
                if await daemon.queue.advance(work, start, now, TTL):
                    works[number] = work._replace(start=start)
            return
        daemon.works = []
        ranges = [TimeRange(work.start - REACH, work.end + REACH) for work in works]
        ended = [True] * len(works)
        if how == "finish":
            ended = await daemon.queue.finish_with_results(works, ranges, ["result"] * len(works))
        elif how == "postpone":
            await daemon.queue.postpone(works, now)
        if how == "hand over" or not all(ended):
            left = [n for n, is_ended in enumerate(ended) if not is_ended or how == "hand over"]
            handed = await daemon.queue.hand_over([works[n] for n in left], [ranges[n] for n in left])
            lost = [works[n] for n, is_ours in zip(left, handed, strict=True) if not is_ours]
            await daemon.queue.mark([PendingMark(work.customer.id, work.start, work.end) for work in lost])
        # "die": the claims expire.

    async def jobs(self) -> None:
        queue = self.customers.job_queue
        getattr(queue, "search_soon", lambda: None)()
        await queue.finish(await queue.claim(f"j{next(_numbers)}", int(self.clock.seconds()), TTL, 100))


numbers, minutes = st.integers(0, 2), st.integers(-20, 5)
troubles = st.none() | st.tuples(
    st.sampled_from(["claimed", "join_pending"]), st.sampled_from(["before", "after", "upload"])
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("upload"), numbers, minutes, st.sampled_from(["", "", "", "before", "after"])),
        st.tuples(st.just("upload"), numbers, minutes, st.just("")),
        st.tuples(st.just("take"), numbers, troubles),
        st.tuples(st.just("take"), numbers, st.none()),
        st.tuples(st.just("claim"), numbers),
        st.tuples(st.just("end"), numbers, st.sampled_from(["finish", "finish", "hand over", "postpone", "die", "advance"])),
        st.tuples(st.just("end"), numbers, st.just("finish")),
        st.tuples(st.just("jobs")),
        st.tuples(st.just("wait"), st.sampled_from([1, 20, TTL + 1])),
        st.tuples(st.just("evaluate"), numbers),
    ),
    min_size=4, max_size=40,
)  # fmt: skip


async def new_fleet(stores: Sequence[CustomerStore]) -> Fleet:
    number = next(_numbers)
    clock, readings = Clock(), MemoryReadingStore()
    clock.advance(NOW + 10_000 * number)
    added = await stores[0].add(
        Customer(id="", name="n", facility="1", solar="2", logger_serial_number=f"00EC6{number:07X}")
    )
    daemons = []
    for store in stores:
        queue = Queue(store.derivation_queue)
        marks: Any = ClaimedMarks(queue, clock, TTL)  # type: ignore[arg-type]
        marks.open = True
        daemons.append(Daemon(queue, marks, RecentReadings(readings, clock.seconds)))
    return Fleet(stores[0], added, readings, clock, daemons)


async def run_steps(fleet: Fleet, done: Sequence[Any]) -> None:
    for kind, *what in done:
        daemon = fleet.daemons[what[0]] if kind in ("upload", "take", "claim", "end", "evaluate") else fleet.daemons[0]
        if kind == "upload":
            daemon.queue.trouble = ("mark_claimed", what[2]) if what[2] else None
            await fleet.upload(what[0], what[1], 4)
        elif kind == "take":
            daemon.queue.trouble = what[1]

            async def others(number: int = what[0] + 1) -> None:
                await fleet.upload(number, -5, 3)

            daemon.queue.first = others
            await fleet.take(daemon, from_queue=False)
        elif kind == "claim":
            await fleet.take(daemon, from_queue=True)
        elif kind == "end":
            await fleet.end(daemon, what[1])
        elif kind == "jobs":
            await fleet.jobs()
        elif kind == "wait":
            fleet.clock.advance(what[0])
        else:
            await fleet.evaluate(daemon)
        for each in fleet.daemons:
            each.queue.trouble = None
    # What waits or has expired is derived, and everything is empty.
    for daemon in (*fleet.daemons, *fleet.daemons):
        fleet.clock.advance(2 * TTL + 1)
        await fleet.take(daemon, from_queue=False)
        await fleet.take(daemon, from_queue=True)
        await fleet.end(daemon, "finish")
        await fleet.jobs()
    assert (await fleet.customers.derivation_queue.summary()).customers == 0


@pytest.mark.parametrize("kind", ["sqlite", "mongo"])
@for_all(max_examples=8, done=steps)
async def test_under_every_claim_the_cache_agrees_with_the_store(
    kind: str, store: CustomerStore, second: CustomerStore, done: Sequence[Any]
) -> None:
    await run_steps(await new_fleet([store, second, store]), done)


@pytest.mark.parametrize("kind", ["mongo"])
@pytest.mark.parametrize(
    "before", [[], [("upload", 1, -9, ""), ("upload", 2, -9, ""), ("claim", 2), ("end", 2, "postpone")]]
)
@pytest_twisted.ensureDeferred
async def test_claims_that_an_older_daemon_ended_are_missed_among_the_last(
    kind, store, second, mongo, unique_name, before
):
    fleet = await new_fleet([store, second, store])
    with MongoClient(mongo.url) as client:
        fleet.daemons[2].queue.older = client[unique_name][OWN_COLLECTION]
        ours = [("upload", 0, -20, ""), ("take", 0, None), ("end", 0, "finish")]
        older = [("upload", 2, -15, ""), ("take", 2, None), ("end", 2, "finish")]
        others = [("upload", 1, -3, ""), ("take", 1, None), ("end", 1, "finish")]
        await run_steps(fleet, [*ours, *older, *before, ("claim", 1), ("end", 1, "finish"), *others, *ours])
