"""What is kept in memory of the newest readings is what the store holds, whoever writes, fails or forgets."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cenergyd.customers.model import Customer, EndedClaim, PendingWork, RecentClaims
from cenergyd.errors import StoreUnavailable
from cenergyd.readings import recent_series
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.readings.recent import MAX_AGE_SECONDS, MAX_BYTES, RecentReadings
from cenergyd.readings.recent_series import RecentSeries
from tests.jobs.site import run

SERIAL = "001EC6000001"
ONE, TWO, COMPUTED, OWN = (f"{SERIAL}_{each}" for each in ("1", "2", "missing_meter", "my_plugin"))
SERIES = [ONE, TWO, COMPUTED]
NOW = 1_760_000_400
AFTER_ALL = NOW + 86400
CUSTOMER = Customer(id="c", facility="1", solar="2", logger_serial_number=SERIAL)


class Counting(MemoryReadingStore):
    """Counts what it is asked; a write can be made to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[tuple[str, ...], int, int]] = []
        self.edges = 0
        self.fails = ""
        """``before``: the next write is not made; ``after``: it is made, and nobody knows."""

    async def read(
        self, series: Sequence[str], start: int, end: int, limit: int | None = None
    ) -> dict[str, list[Reading]]:
        self.reads.append((tuple(series), start, end))
        return await super().read(series, start, end, limit)

    async def last(self, series: Sequence[str], before: int | None = None) -> dict[str, Reading]:
        self.edges += 1
        return await super().last(series, before)

    async def first(self, series: Sequence[str], since: int = 0) -> dict[str, Reading]:
        self.edges += 1
        return await super().first(series, since)

    async def write(self, batches: Sequence[SeriesReadings]) -> None:
        fails, self.fails = self.fails, ""
        if fails != "before":
            await super().write(batches)
        if fails:
            raise StoreUnavailable("did not answer within 10 s")

    async def replace_many(self, items: Any) -> None:
        fails, self.fails = self.fails, ""
        if fails != "before":
            await super().replace_many(items)
        if fails:
            raise StoreUnavailable("did not answer within 10 s")


@attrs.define
class Site:
    """A store, the document of a customer as the queues change it, and daemons with a memory each."""

    store: Counting = attrs.field(factory=Counting)
    clock: Clock = attrs.field(factory=Clock)
    daemons: list[RecentReadings] = attrs.field(factory=list)
    claim: tuple[str, int] | None = None
    """The claim and whose it is."""
    since: int = AFTER_ALL
    """The earliest time that may change under the claim."""
    done: str | None = None
    ended: tuple[EndedClaim, ...] = ()
    marked: int = AFTER_ALL
    """The start of the pending window."""
    jobs: bool = False
    jobs_done: str | None = None
    claims: int = 0

    def upload(self, daemon: int, batches: Sequence[SeriesReadings], fails: str = "") -> None:
        """Readings are written and then marked, and claimed if nothing else waits."""
        self.store.fails = fails
        try:
            run(self.daemons[daemon].write(batches))
        except StoreUnavailable:
            return
        finally:
            self.store.fails = ""
        start = earliest(batches)
        if self.claim is None and self.marked == AFTER_ALL:
            self.claim, self.since = (self._new(), daemon), start
        elif self.claim is not None and self.claim[1] == daemon:
            self.since = min(self.since, start)
        else:
            self.marked = min(self.marked, start)

    def command(
        self, start: int, work: Callable[[MemoryReadingStore], Coroutine[Any, Any, None]], *, jobs: bool = False
    ) -> None:
        """Another process changes the store from a time on and marks it."""
        run(work(self.store))
        if jobs:
            self.jobs = True
        else:
            self.marked = min(self.marked, start)

    def run_jobs(self) -> None:
        """Some daemon does what waits in the job queue."""
        if self.jobs:
            self.jobs, self.jobs_done = False, self._new()

    def derive(self, daemon: int, *, join: bool = False) -> bool:
        """A daemon claims what waits, and is told so. False if there is nothing, or it is another's.

        :param join: it joins what others have marked with its work.
        """
        is_anybodys = self.claim is None or (join and self.marked < AFTER_ALL)
        if self.claim is None:
            if self.marked == AFTER_ALL:
                return False
            self.claim, self.done = (self._new(), daemon), None
        if self.claim[1] != daemon:
            return False
        if is_anybodys:
            self.since, self.marked = min(self.since, self.marked), AFTER_ALL
        customer = self.customer()
        assert customer.claims is not None
        if is_anybodys:
            customer = attrs.evolve(customer, claims=customer.claims._replace(derivation=None))
        self.daemons[daemon].claimed(PendingWork(customer, self.since, AFTER_ALL, self.claim[0]), self.since)
        return True

    def customer(self) -> Customer:
        """The customer as it is stored."""
        claim = self.claim and self.claim[0]
        claims = RecentClaims(
            self.done, self.jobs_done, claim,
            is_marked=self.marked < AFTER_ALL, jobs_idle=not self.jobs, ended=self.ended,
        )  # fmt: skip
        return attrs.evolve(CUSTOMER, claims=claims)

    def end(self) -> None:
        """The claim ends."""
        if self.claim is not None:
            self.ended = (*self.ended, EndedClaim(self.claim[0], self.since))[-3:]
            self.done, self.claim, self.since = self.claim[0], None, AFTER_ALL

    def expire(self) -> None:
        """The claim's daemon does not renew it: then another daemon claims what it left."""
        if self.claim is not None:
            self.claim, self.ended = None, ()
            self.since, self.marked = AFTER_ALL, min(self.since, self.marked)

    def _new(self) -> str:
        self.claims += 1
        return f"claim {self.claims}"


def earliest(batches: Sequence[SeriesReadings]) -> int:
    """The time of the first reading."""
    return min((reading.time for batch in batches for reading in batch.readings), default=NOW)


def new_site(daemons: int = 1, max_bytes: int = MAX_BYTES) -> Site:
    """A site at NOW."""
    made = Site()
    made.clock.advance(NOW)
    made.daemons = [RecentReadings(made.store, made.clock.seconds, max_bytes) for _ in range(daemons)]
    return made


def rows(start: int, count: int = 15, power: float = 1.0) -> list[Reading]:
    """Readings a minute apart."""
    return [Reading(start + 60 * k, power + k, 0.5, 230.0, 0.25) for k in range(count)]


def both(start: int, count: int = 15) -> list[SeriesReadings]:
    """An upload of both meters."""
    return [SeriesReadings(ONE, rows(start, count)), SeriesReadings(TWO, rows(start, count, 7.0))]


def work_a_quarter(site: Site, start: int) -> None:
    """What a daemon reads and writes for a quarter of an hour."""
    view = site.daemons[0].view
    site.upload(0, both(start))
    assert site.derive(0)
    run(view.read(SERIES, start - 90, start + 990))
    run(view.write([SeriesReadings(COMPUTED, rows(start, 15, 3.0))]))
    hour = start - start % 3600
    run(view.read(SERIES, hour, hour + 3 * 3600))
    site.end()


def test_after_the_first_quarter_nothing_is_read_from_the_store() -> None:
    site = new_site()
    start = NOW - NOW % 3600
    site.clock.advance(start + 900 - NOW)
    for quarter in range(4):
        work_a_quarter(site, start + 900 * quarter)
        site.clock.advance(900)
        if quarter == 0:
            site.store.reads.clear()
    assert site.store.reads == []
    found = run(site.daemons[0].view.read(SERIES, start, start + 3600))
    assert found == run(site.store.read(SERIES, start, start + 3600))
    assert [len(each) for each in found.values()] == [60, 60, 60]


def test_what_another_daemon_marked_is_read_again() -> None:
    site = new_site(2)
    work_a_quarter(site, NOW - 900)
    site.upload(1, [SeriesReadings(ONE, [Reading(NOW - 30, 99.0)])])
    site.end()
    site.upload(0, both(NOW))
    assert site.derive(0)
    assert Reading(NOW - 30, 99.0) in run(site.daemons[0].view.read([ONE], NOW - 90, NOW + 990))[ONE]


def test_daemons_that_take_turns_read_only_what_is_new_to_them() -> None:
    site = new_site(2)
    start = NOW - NOW % 3600
    site.clock.advance(start - NOW)
    for turn, number in enumerate([0, 1, 0, 0, 1, 1, 0]):
        at = start + 900 * turn
        site.upload(number, both(at))
        assert site.derive(number)
        site.store.reads.clear()
        view = site.daemons[number].view
        found = run(view.read(SERIES, start - 7200, at + 990))
        if turn > 1:
            changed = {1: at - 900, 2: at - 900, 3: at + 900, 4: at - 1800, 5: at + 900, 6: at - 1800}[turn]
            assert all(since >= changed for _, since, _ in site.store.reads)
            assert len(site.store.reads) <= 1
        assert found == run(site.store.read(SERIES, start - 7200, at + 990))
        run(view.write([SeriesReadings(COMPUTED, rows(at, 15, 3.0))]))
        site.end()
        site.clock.advance(900)


def test_what_another_daemon_has_only_marked_is_read_when_it_is_joined() -> None:
    site = new_site(2)
    work_a_quarter(site, NOW - 900)
    site.upload(0, [SeriesReadings(ONE, rows(NOW))])
    site.upload(1, [SeriesReadings(TWO, rows(NOW, 15, 7.0))])
    assert site.derive(0, join=True)
    site.store.reads.clear()
    found = run(site.daemons[0].view.read(SERIES, NOW - 900, NOW + 900))
    assert [len(each) for each in found.values()] == [30, 30, 15]
    assert [since >= NOW - 900 for _, since, _ in site.store.reads] == [True]


def test_what_others_mark_while_a_customer_is_derived_is_read_when_it_is_derived() -> None:
    site = new_site(2)
    work_a_quarter(site, NOW - 900)
    site.upload(0, [SeriesReadings(ONE, rows(NOW))])
    changed = [SeriesReadings(COMPUTED, [Reading(NOW - 660, 99.0)])]
    site.command(NOW - 660, lambda store: store.write(changed))
    assert site.derive(0)
    view = site.daemons[0].view
    assert [each.P for each in run(view.read([COMPUTED], NOW - 660, NOW - 600))[COMPUTED]] == [7.0]
    compare_under_a_claim(site, 0, [(NOW - 900, NOW)])
    assert not site.daemons[0].is_current(site.customer())
    site.end()
    assert site.derive(0)
    assert [each.P for each in run(view.read([COMPUTED], NOW - 660, NOW - 600))[COMPUTED]] == [99.0]


@pytest.mark.parametrize("jobs_ran", [True, False])
def test_computed_readings_that_a_command_wrote_are_read_again(jobs_ran: bool) -> None:
    site = new_site()
    work_a_quarter(site, NOW - 900)
    site.command(NOW - 30, lambda store: store.write([SeriesReadings(COMPUTED, [Reading(NOW - 30, 99.0)])]), jobs=True)
    if jobs_ran:
        site.run_jobs()
    site.upload(0, both(NOW))
    assert site.derive(0)
    assert Reading(NOW - 30, 99.0) in run(site.daemons[0].view.read([COMPUTED], NOW - 90, NOW + 990))[COMPUTED]


@pytest.mark.parametrize("fails", ["before", "after"])
def test_after_a_write_whose_outcome_is_unknown_the_store_is_asked(fails: str) -> None:
    site = new_site()
    work_a_quarter(site, NOW - 900)
    site.upload(0, both(NOW))
    assert site.derive(0)
    site.upload(0, [SeriesReadings(ONE, [Reading(NOW + 30, 99.0)])], fails)
    found = run(site.daemons[0].view.read([ONE], NOW - 90, NOW + 990))
    assert found == run(site.store.read([ONE], NOW - 90, NOW + 990))
    assert (Reading(NOW + 30, 99.0) in found[ONE]) == (fails == "after")


def test_a_read_during_which_something_is_written_is_not_kept() -> None:
    site = new_site()
    recent = site.daemons[0]
    site.upload(0, both(NOW))
    assert site.derive(0)
    late: Deferred[None] = Deferred()
    read = site.store.read

    async def slow(*arguments: Any) -> dict[str, list[Reading]]:
        found = await read(*arguments)
        await late
        return found

    site.store.read = slow  # type: ignore[method-assign]
    answers: list[Any] = []
    Deferred.fromCoroutine(recent.view.read([ONE], NOW, NOW + 900)).addCallback(answers.append)
    site.upload(0, [SeriesReadings(ONE, [Reading(NOW + 30, 5.0)])])
    late.callback(None)
    assert len(answers[0][ONE]) == 15  # as the store answered
    assert len(run(recent.view.read([ONE], NOW, NOW + 900))[ONE]) == 16


def test_writes_of_one_series_at_the_same_time_leave_nothing_behind() -> None:
    site = new_site()
    recent = site.daemons[0]
    work_a_quarter(site, NOW - 900)
    ends: list[Deferred[None]] = []

    async def slow(batches: Sequence[SeriesReadings]) -> None:
        ends.append(Deferred())
        await ends[-1]

    site.store.write = slow  # type: ignore[method-assign]
    for power in (1.0, 2.0):
        Deferred.fromCoroutine(recent.write([SeriesReadings(ONE, [Reading(NOW, power)])]))
    del site.store.write
    run(site.store.write([SeriesReadings(ONE, [Reading(NOW, 1.0)])]))  # the store made the second one first
    ends[0].callback(None)
    ends[1].callback(None)
    assert run(recent.view.read([ONE], NOW - 60, NOW + 60))[ONE][-1] == Reading(NOW, 1.0)


def test_only_what_is_marked_is_kept() -> None:
    site = new_site()
    site.upload(0, both(NOW))
    assert site.derive(0)
    view = site.daemons[0].view
    other = "001EC6000002_1"
    for _ in range(2):
        run(view.read([OWN, other], NOW, NOW + 900))
        run(view.read([ONE], NOW - 30 * 86400, NOW - 29 * 86400))
    assert len(site.store.reads) == 4
    assert site.daemons[0].cached(OWN) is None
    run(view.read([ONE], NOW, NOW + 900))
    assert site.daemons[0].cached(ONE) is not None
    site.clock.advance(MAX_AGE_SECONDS)
    assert site.daemons[0].cached(ONE) is None


def test_whoever_has_read_the_customer_knows_whether_memory_is_current() -> None:
    site = new_site(2)
    one, other = site.daemons
    assert not one.is_current(site.customer())
    site.upload(0, both(NOW - 900))
    assert not one.is_current(site.customer())
    assert site.derive(0)
    assert one.is_current(site.customer())
    for _ in range(2):
        assert run(one.view.last([ONE])) == {ONE: rows(NOW - 900)[-1]}
        run(one.view.read([ONE], NOW - 900, NOW))
    assert site.store.edges == 2  # once before, and once after it was known what the store holds
    site.end()
    assert one.is_current(site.customer())
    assert not other.is_current(site.customer())
    site.command(NOW, lambda store: store.write([]), jobs=True)
    assert not one.is_current(site.customer())
    site.run_jobs()
    assert not one.is_current(site.customer())
    site.upload(0, both(NOW))
    assert site.derive(0)
    assert one.is_current(site.customer())
    site.upload(1, both(NOW))
    assert not one.is_current(site.customer())


def test_a_logger_that_was_another_customers_is_not_kept() -> None:
    site = new_site()
    recent = site.daemons[0]
    history = [{"until": NOW - 3600, "logger_serial_number": "001EC6000009", "facility": "1", "solar": "2"}]
    moved = attrs.evolve(
        CUSTOMER,
        extensions={"history": history},
        claims=RecentClaims(None, None, None, is_marked=False, jobs_idle=True),
    )
    for claim in ("a", "b"):
        recent.claimed(PendingWork(moved, NOW, NOW + 900, claim), NOW)
        run(recent.view.read([ONE], NOW, NOW + 900))
    assert len(site.store.reads) == 2
    assert recent.size == 0


def test_the_last_reading_before_those_that_are_held_is_asked_for_once() -> None:
    site = new_site()
    site.upload(0, both(NOW))
    assert site.derive(0)
    view = site.daemons[0].view
    run(view.read([ONE], NOW, NOW + 900))
    for _ in range(2):
        assert run(view.last([ONE], NOW)) == {}
        assert run(view.last([ONE], NOW - 5000)) == {}
        assert run(view.last([ONE], NOW + 60)) == {ONE: Reading(NOW, 1.0, 0.5, 230.0, 0.25)}
        assert run(view.first([ONE], NOW + 1)) == {ONE: Reading(NOW + 60, 2.0, 0.5, 230.0, 0.25)}
    assert site.store.edges == 1
    run(view.write([SeriesReadings(ONE, [Reading(NOW - 9000, 4.0)])]))
    assert run(view.last([ONE], NOW)) == {ONE: Reading(NOW - 9000, 4.0)}


def test_the_memory_that_is_held_is_bounded_and_counted() -> None:
    clock = Clock()
    clock.advance(NOW)
    store, limit = MemoryReadingStore(), 400_000
    recent = RecentReadings(store, clock.seconds, limit)
    claims = RecentClaims("claim", None, "claim", is_marked=False, jobs_idle=True)
    tracemalloc.start()
    try:
        before = tracemalloc.take_snapshot()
        for quarter in range(4):
            for number in range(100):
                serial = f"001EC6{number:06X}"
                name = f"{serial}_1"
                customer = attrs.evolve(CUSTOMER, id=str(number), logger_serial_number=serial, claims=claims)
                recent.claimed(PendingWork(customer, NOW, NOW + 900, "claim"), NOW)
                run(recent.view.read([name], NOW, NOW + 900))
                run(recent.write([SeriesReadings(name, rows(NOW + 900 * quarter))]))
                assert recent.size <= limit
        after = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    files = [tracemalloc.Filter(True, f"*/cenergyd/readings/{each}.py") for each in ("recent", "recent_series")]
    changes = after.filter_traces(files).compare_to(before.filter_traces(files), "filename")
    assert sum(change.size_diff for change in changes) < recent.size < limit
    assert sum(recent.cached(f"001EC6{number:06X}_1") is not None for number in range(100)) > 90


values = st.none() | st.floats(-1e6, 1e6)
minutes = st.integers(-300, 30)
readings = st.lists(
    st.builds(lambda minute, p, q, e: Reading(NOW + 60 * minute, p, None, None, q, E_net=e), minutes, values, values, values),
    max_size=6,
)  # fmt: skip
ranges = st.tuples(minutes, minutes).map(lambda pair: (NOW + 60 * min(pair), NOW + 60 * max(pair) + 60))
names = st.sampled_from(SERIES)


def inside(found: Sequence[Reading], start: int, end: int) -> list[Reading]:
    """Those of a range."""
    return [each for each in found if start <= each.time < end]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("merge"), readings),
            st.tuples(st.just("replace"), ranges, readings),
            st.tuples(st.just("extend"), ranges),
            st.tuples(st.just("shorten")),
            st.tuples(st.just("last"), minutes),
        ),
        max_size=25,
    ),
    st.integers(2, 9),
)
def test_a_series_holds_what_the_store_holds(changes: Sequence[Any], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recent_series, "MAX_READINGS", most)
        patch.setattr(recent_series, "SMALL_BLOCK", most // 3)
        store = MemoryReadingStore()
        held = RecentSeries(NOW - 3600, NOW + 900, [], NOW)
        for kind, *what in changes:
            if kind == "merge":
                run(store.write([SeriesReadings(ONE, what[0])]))
                held.merge([each for each in what[0] if any(value is not None for value in each.values)])
            elif kind == "replace":
                (start, end), new = what[0], inside(what[1], *what[0])
                run(store.replace(ONE, start, end, new))
                held.replace(start, end, [each for each in new if any(value is not None for value in each.values)])
            elif kind == "extend":
                start, end = what[0]
                if start <= held.end and held.start <= end:
                    held.extend(start, end, run(store.read([ONE], start, end))[ONE])
            elif kind == "shorten":
                held.shorten()
            elif held.start <= NOW + 60 * what[0] <= held.end:
                before = NOW + 60 * what[0]
                known, truth = held.last(before), run(store.last([ONE], before)).get(ONE)
                if isinstance(known, recent_series.Unknown):
                    held.before = truth
                else:
                    assert known == truth
            assert held.read(held.start, held.end) == run(store.read([ONE], held.start, held.end))[ONE]
            assert held.first(held.start) == next(iter(held.read(held.start, held.end)), None)
            middle = (held.start + held.end) // 2
            assert held.read(middle, held.end) == run(store.read([ONE], middle, held.end))[ONE]
            assert held.size >= recent_series.SERIES_BYTES


batches = st.lists(st.builds(SeriesReadings, names, readings), min_size=1, max_size=3)
daemon = st.integers(0, 1)
steps = st.one_of(
    st.tuples(st.just("upload"), daemon, batches, st.sampled_from(["", "", "", "before", "after"]), daemon),
    st.tuples(st.just("replace"), names, ranges, readings, st.sampled_from(["", "", "before", "after"])),
    st.tuples(st.just("command"), batches),
    st.tuples(st.just("remove"), names, ranges),
    st.tuples(st.just("backfill"), batches),
    st.tuples(st.just("jobs")),
    st.tuples(st.just("end")),
    st.tuples(st.just("expire")),
    st.tuples(st.just("evaluate"), daemon),
    st.tuples(st.just("wait"), st.integers(-4000, 30_000)),
    st.tuples(
        st.just("derive"),
        daemon,
        st.lists(st.tuples(names, ranges, st.none() | st.integers(1, 5)), max_size=4),
        st.booleans(),
    ),
)


def compare_under_a_claim(site: Site, daemon: int, asked: Sequence[tuple[int, int]]) -> None:
    """What a daemon reads under its claim is what the store has, before those times that others have marked meanwhile: these are derived later."""
    view = site.daemons[daemon].view
    for start, end in asked:
        until = min(end, site.marked)
        assert run(view.read(SERIES, start, until)) == run(site.store.read(SERIES, start, until))
        if start <= site.marked:
            assert run(view.last(SERIES, start)) == run(site.store.last(SERIES, start))
        if site.marked == AFTER_ALL:
            assert run(view.first(SERIES, end)) == run(site.store.first(SERIES, end))


def compare_if_current(site: Site, daemon: int, everything: tuple[Sequence[str], int, int]) -> None:
    """What a daemon reads, after it has read the customer, is what the store has."""
    if site.daemons[daemon].is_current(site.customer()):
        view = site.daemons[daemon].view
        assert run(view.last(SERIES)) == run(site.store.last(SERIES))
        assert run(view.read(*everything)) == run(site.store.read(*everything))
        assert run(view.first(SERIES, NOW)) == run(site.store.first(SERIES, NOW))


@given(st.lists(steps, max_size=40), st.sampled_from([MAX_BYTES, 3500, 2500]))
def test_under_a_claim_memory_answers_as_the_store_does(done: Sequence[Any], max_bytes: int) -> None:
    site = new_site(2, max_bytes)
    everything = (SERIES, NOW - 6000, NOW + 1800)
    site.upload(0, both(NOW - 900))
    assert site.derive(0)
    run(site.daemons[0].view.read(*everything))
    for kind, *what in done:
        if kind == "upload":
            number, sent, fails, again = what
            site.upload(number, sent, fails)
            if fails == "after":
                compare_if_current(site, number, everything)
                # It was not acknowledged: until it is, only this daemon need know what the store may have.
                site.upload(again, sent)
        elif kind == "replace" and site.claim is not None:
            name, (start, end), new, fails = what
            site.since = min(site.since, start)
            site.store.fails = fails
            try:
                run(site.daemons[site.claim[1]].replace(name, start, end, inside(new, start, end)))
            except StoreUnavailable:
                site.expire()
            site.store.fails = ""
        elif kind == "command":
            site.command(earliest(what[0]), lambda store, what=what: store.write(what[0]))  # type: ignore[misc]
        elif kind == "remove":
            site.command(what[1][0], lambda store, what=what: store.replace(what[0], *what[1], []))  # type: ignore[misc]
        elif kind == "backfill":
            site.command(NOW, lambda store, what=what: store.write(what[0]), jobs=True)  # type: ignore[misc]
        elif kind == "jobs":
            site.run_jobs()
        elif kind == "end":
            site.end()
        elif kind == "expire":
            site.expire()
        elif kind == "wait":
            site.clock.rightNow += what[0]
        elif kind == "evaluate":
            compare_if_current(site, what[0], everything)
        elif kind == "derive" and site.derive(what[0], join=what[2]):
            compare_under_a_claim(site, what[0], [everything[1:], *(each for _, each, _ in what[1])])
            for name, (start, end), limit in what[1]:
                asked = ([name], start, min(end, site.marked), limit)
                assert run(site.daemons[what[0]].view.read(*asked)) == run(site.store.read(*asked))
        assert all(0 <= each.size <= max(max_bytes, 0) for each in site.daemons)
