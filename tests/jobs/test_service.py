"""The job service: windows to plugins, each on its own; on a Clock."""

from __future__ import annotations

import gc
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent

from cenergyd.customers.model import Customer, PendingMark
from cenergyd.daemon.plugins import LoadedPlugins
from cenergyd.errors import StoreUnavailable
from cenergyd.hookspecs import JobContext, Notification, hookimpl
from cenergyd.jobs import range_parts, service
from cenergyd.jobs.context import RunningJobContext
from cenergyd.jobs.service import JobService
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.runtime.plugin_threads import PluginThreads
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from tests.derivation.memory import START, MemoryDocumentStore, MemoryQueue, customer, settle, site

DAY = 86400


class Job:
    """Remembers its windows; ``answer`` decides what comes of each."""

    def __init__(self, answer: Any = lambda customer, start, end: None) -> None:
        self.answer = answer
        self.windows: list[tuple[str, int, int]] = []
        self.periodic: list[int] = []

    @hookimpl
    def cenergyd_job(self, customer: Customer, start: int, end: int, context: JobContext) -> Any:
        self.windows.append((customer.id, start, end))
        return self.answer(customer, start, end)

    @hookimpl
    async def cenergyd_periodic(self, context: JobContext) -> None:
        self.periodic.append(context.now)
        result = self.answer(None, 0, 0)
        if isinstance(result, Deferred):
            await result


class Customers:
    """As much of a customer store as the jobs need."""

    def __init__(self, known: dict[str, Customer], queue: MemoryQueue, derivation_queue: MemoryQueue) -> None:
        self.known, self.job_queue, self.derivation_queue = known, queue, derivation_queue

    async def get(self, customer_id: str) -> Customer | None:
        return self.known.get(customer_id)


@attrs.define
class DaemonJobs:
    """A daemon's jobs in memory."""

    clock: Any
    queue: MemoryQueue
    documents: MemoryDocumentStore
    readings: MemoryReadingStore
    service: JobService
    notified: list[Notification]

    def mark(self, key: str, first: int, last: int) -> None:
        """Readings came from a first to a last time."""
        settle(self.clock, self.queue.mark([PendingMark(key, first, last + 1)]))

    def tick(self, seconds: float = 600) -> None:
        settle(self.clock, self.service.tick(), seconds)

    @property
    def kept(self) -> list[tuple[Any, ...]]:
        return sorted(
            (d.body["plugin"], d.owner, d.body["start"], d.body["end"])
            for d in self.documents.kept.values()
            if d.kind == "job_retry"
        )


def daemon_jobs(*customers: Customer, jobs: dict[str, object], **overrides: str) -> DaemonJobs:
    daemon = site(*customers)
    chosen = load_settings(
        Settings,
        None,
        {key.replace("__", ".") if "__" in key else f"jobs.{key}": value for key, value in overrides.items()},
    )
    plugins = LoadedPlugins()
    for name, job in reversed(jobs.items()):  # pluggy calls the latest first
        plugins.register(job, name)
    notified: list[Notification] = []

    async def notify(notification: Notification) -> None:
        notified.append(notification)

    service = JobService(
        clock=daemon.clock, settings=chosen, plugins=plugins, readings=daemon.readings, documents=daemon.documents,
        customers=Customers(daemon.customers, daemon.jobs, daemon.queue), notify=notify, threads=PluginThreads(reactor),
    )  # fmt: skip
    return DaemonJobs(daemon.clock, daemon.jobs, daemon.documents, daemon.readings, service, notified)


def every_day(daemon: DaemonJobs) -> None:
    some = [Reading(START + DAY * i, 1.0) for i in range(20)]
    settle(daemon.clock, daemon.readings.write([SeriesReadings("00A_1", some)]))


def test_every_job_gets_every_window() -> None:
    one, two = Job(), Job()
    daemon = daemon_jobs(customer("a"), customer("b"), jobs={"one": one, "two": two})
    daemon.mark("a", START, START + 60)
    daemon.mark("b", START, START)
    daemon.tick()
    assert sorted(one.windows) == sorted(two.windows) == [("a", START, START + 61), ("b", START, START + 1)]
    assert daemon.queue.pending == daemon.queue.working == {}


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 40 * DAY), st.integers(1, 40 * DAY), st.lists(st.integers(1, 80 * DAY), max_size=6),
    st.sampled_from([1, 24, 30]),
)  # fmt: skip
def test_a_backlog_comes_in_pieces(start: int, length: int, readings: list[int], hours: int) -> None:
    """They cover the window once, cut where others do; those with readings are short, empty stretches are not cut at all."""
    job = Job()
    daemon = daemon_jobs(customer(), jobs={"one": job})
    settle(daemon.clock, daemon.readings.write([SeriesReadings("00A_2", [Reading(t, 1.0) for t in readings])]))
    daemon.mark("a", start, start + length - 1)
    with patch.object(range_parts, "LONGEST_SECONDS", hours * 3600):
        daemon.tick()
    found = [(begin, end) for _, begin, end in job.windows]
    longest = hours * 3600
    assert (found[0][0], found[-1][1]) == (start, start + length)
    assert all(a[1] == b[0] and b[0] % longest == 0 for a, b in pairwise(found))
    for begin, end in found:
        assert end - begin <= longest or not any(begin <= time < end for time in readings)
    assert len(found) <= 2 * len(readings) + 3


def test_a_month_of_minutes_comes_in_days() -> None:
    one = Job()
    daemon = daemon_jobs(customer(), jobs={"one": one})
    start = START - START % DAY + 100
    some = [Reading(time, 1.0) for time in range(start, start + 10 * DAY, 3600)]
    settle(daemon.clock, daemon.readings.write([SeriesReadings("00A_missing_meter", some)]))
    daemon.mark("a", start, start + 10 * DAY)
    daemon.tick()
    assert len(one.windows) == 11
    assert one.windows[0] == ("a", start, start - 100 + DAY)
    assert one.windows[-1] == ("a", start - 100 + 10 * DAY, start + 10 * DAY + 1)


def _raises(*_: Any) -> Any:
    raise ZeroDivisionError("oh no")


async def _raises_later(*_: Any) -> Any:
    raise ZeroDivisionError("oh no")


def test_what_was_computed_from_readings_that_may_be_gone_stays() -> None:
    job = Job()
    daemon = daemon_jobs(customer("a"), customer("b"), jobs={"job": job}, readings__keep_days="raw=60")
    border = int(daemon.clock.seconds()) - 60 * DAY
    daemon.mark("a", border - 5 * DAY, border + 3599)
    daemon.mark("b", border - 5 * DAY, border - DAY)
    daemon.tick()
    assert (job.windows[0][1], job.windows[-1][2]) == (border, border + 3600)
    assert {name for name, _, _ in job.windows} == {"a"}
    assert settle(daemon.clock, daemon.queue.summary()).customers == 0, "both windows are done"


@pytest.mark.parametrize("answer", [_raises, _raises_later, lambda *_: Deferred()])
def test_a_failed_job_is_repeated_alone(answer: Any, logged: list[dict[str, Any]]) -> None:
    bad, good = Job(answer), Job()
    daemon = daemon_jobs(customer(), jobs={"bad": bad, "good": good})
    daemon.mark("a", START, START + 60)
    daemon.tick()
    assert good.windows == [("a", START, START + 61)]
    assert daemon.queue.pending == daemon.queue.working == {}
    assert daemon.kept == [("bad", "a", START, START + 61)]
    assert daemon.service.status.failures == {"bad": 1}
    assert len([event for event in logged if event.get("plugin") == "bad"]) == 1
    daemon.tick()
    assert len(bad.windows) == 1, "not before its time"
    bad.answer = lambda *_: None
    daemon.clock.advance(61)
    daemon.tick()
    assert bad.windows == [("a", START, START + 61)] * 2
    assert len(good.windows) == 1, "it is not done again"
    assert daemon.kept == []


def test_failed_windows_are_joined_and_retried_at_growing_intervals(logged: list[dict[str, Any]]) -> None:
    bad = Job(_raises)
    daemon = daemon_jobs(customer(), jobs={"bad": bad})
    daemon.mark("a", START + 600, START + 660)
    daemon.tick()
    daemon.mark("a", START, START + 60)
    daemon.tick()
    assert daemon.kept == [("bad", "a", START, START + 661)]
    daemon.mark("a", START + 120, START + 180)
    daemon.tick()
    assert daemon.kept == [("bad", "a", START, START + 661)]
    tries = len(bad.windows)
    for _ in range(24 * 60):
        daemon.clock.advance(60)
        daemon.tick()
    assert 24 <= len(bad.windows) - tries <= 32
    assert len([event for event in logged if event.get("plugin") == "bad"]) == 1
    bad.answer = lambda *_: None
    daemon.clock.advance(3601)
    daemon.tick()
    assert daemon.kept == []
    assert bad.windows[-1] == ("a", START, START + 661)


def test_a_job_that_hangs_for_every_customer_is_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "CONCURRENT_CUSTOMERS", 4)
    hanging, good = Job(lambda *_: Deferred()), Job()
    names = [f"c{i:02}" for i in range(40)]
    daemon = daemon_jobs(*(customer(name) for name in names), jobs={"hanging": hanging, "good": good})
    for name in names:
        daemon.mark(name, START, START)
    began = daemon.clock.seconds()
    daemon.tick()
    assert daemon.clock.seconds() - began < 200, "not 40 / 4 times a minute"
    assert len(good.windows) == 40
    assert len(daemon.kept) == 40
    hanging.answer = lambda *_: None
    for _ in range(60):
        daemon.clock.advance(60)
        daemon.tick()
    assert daemon.kept == []
    assert {name for name, *_ in hanging.windows} == set(names)


def test_an_outage_of_a_store_is_no_failure_of_a_job(logged: list[dict[str, Any]]) -> None:
    async def down(*_: Any) -> None:
        raise StoreUnavailable("connection refused")

    job = Job(down)
    daemon = daemon_jobs(customer(), jobs={"one": job})
    daemon.mark("a", START, START)
    for _ in range(60):
        daemon.tick()
        daemon.clock.advance(5)
    assert daemon.service.status.failures == {}
    assert daemon.kept == []
    assert "a" in daemon.queue.pending
    assert len(job.windows) < 12
    assert len([event for event in logged if "connection refused" in str(event.get("reason"))]) < 12
    job.answer = lambda *_: None
    daemon.clock.advance(61)
    daemon.tick()
    assert daemon.queue.pending == {}


def test_an_outage_during_many_jobs_loses_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the first has found out, all others end at once, one after the other."""
    monkeypatch.setattr(service, "BATCH_CUSTOMERS", 500)
    monkeypatch.setattr(service, "CONCURRENT_CUSTOMERS", 2)
    gate: Deferred[None] = Deferred()

    async def down(*_: Any) -> None:
        await gate
        raise StoreUnavailable("connection refused")

    job = Job(down)
    crowd = [customer(f"a{number}", serial=f"{number:012X}") for number in range(500)]
    daemon = daemon_jobs(*crowd, jobs={"one": job})
    for one in crowd:
        daemon.mark(one.id, START, START)
    daemon.clock.callLater(1, gate.callback, None)
    daemon.tick()
    assert len(job.windows) == 2
    assert len(daemon.queue.pending) == 500
    job.answer = lambda *_: None
    daemon.clock.advance(120)
    daemon.tick()
    assert daemon.queue.pending == daemon.queue.working == {}


def test_retries_of_removed_customers_and_disabled_plugins() -> None:
    bad = Job(_raises)
    daemon = daemon_jobs(customer("a"), customer("b"), jobs={"bad": bad})
    daemon.mark("a", START, START)
    daemon.mark("b", START, START)
    daemon.tick()
    del daemon.queue.customers["a"]
    daemon.service.calls.plugins = LoadedPlugins()  # the same daemon, started with the plugin disabled
    daemon.clock.advance(61)
    daemon.tick()
    assert daemon.kept == [("bad", "b", START, START + 1)], "kept until it is enabled again"


def test_a_claim_lost_in_the_middle_stops_there() -> None:
    def lose(customer: Customer, start: int, end: int) -> None:
        if len(job.windows) == 3:
            daemon.queue.working["a"] = (*daemon.queue.working["a"][:2], "another daemon", 1 << 40)

    job = Job(lose)
    daemon = daemon_jobs(customer(), jobs={"one": job})
    every_day(daemon)
    daemon.mark("a", START, START + 10 * DAY)
    daemon.tick()
    assert len(job.windows) == 3
    assert daemon.service.status.claims_lost == 1


def turns(daemon: DaemonJobs) -> None:
    """Let everything run that waits for no time to pass."""
    for _ in range(5):
        daemon.clock.advance(0)


def test_stop_gives_back_what_is_not_done() -> None:
    gate: Deferred[None] = Deferred()
    job = Job(lambda *_: gate)
    daemon = daemon_jobs(customer(), jobs={"one": job})
    every_day(daemon)
    daemon.mark("a", START, START + 3 * DAY)
    daemon.service.startService()
    turns(daemon)  # store calls are batched, so a job begins a turn of the clock later
    assert len(job.windows) == 1
    stopped = daemon.service.stopService()
    turns(daemon)
    assert not stopped.called
    gate.callback(None)
    turns(daemon)
    assert stopped.called
    start, end = daemon.queue.pending["a"]
    assert start > START
    assert end == START + 3 * DAY + 1
    assert daemon.clock.getDelayedCalls() == []


def test_periodic_work_is_regular_and_isolated() -> None:
    bad, good = Job(_raises), Job()
    daemon = daemon_jobs(customer(), jobs={"bad": bad, "good": good})
    daemon.service.startService()
    for _ in range(300):
        daemon.clock.advance(1)
    assert len(good.periodic) == 6
    assert good.periodic[0] == START
    assert daemon.service.status.failures["bad"] == 6
    daemon.service.stopService()


def test_a_store_that_is_down_is_no_failure_of_periodic_work(logged: list[dict[str, Any]]) -> None:
    def down(*_: object) -> None:
        raise StoreUnavailable("nobody answers")

    daemon = daemon_jobs(customer(), jobs={"waits": Job(down)})
    settle(daemon.clock, daemon.service.periodic())
    assert daemon.service.status.failures == {}
    said = [event for event in logged if "jobs pause" in formatEvent(event)]
    assert [event["reason"] for event in said] == ["nobody answers"]
    assert not [event for event in logged if "log_failure" in event]


def test_the_context_is_what_the_contract_says() -> None:
    seen: list[JobContext] = []

    class ContextKeeper:
        @hookimpl
        async def cenergyd_job(self, customer: Customer, context: JobContext) -> None:
            seen.append(context)
            await context.notify(Notification("1", customer.id, "test", "s", "t", {}))
            await context.pause()

    daemon = daemon_jobs(customer(), jobs={"curious": ContextKeeper()})
    daemon.mark("a", START, START)
    daemon.tick()
    assert [each.customer_id for each in daemon.notified] == ["a"]
    context: JobContext = seen[0]
    assert isinstance(context, RunningJobContext)
    members = {name for name in [*JobContext.__annotations__, *vars(JobContext)] if not name.startswith("_")}
    assert all(hasattr(context, name) for name in members)


def test_windows_kept_by_an_earlier_version_are_read_rightly() -> None:
    """They had an inclusive end."""
    good = Job()
    daemon = daemon_jobs(customer(), jobs={"good": good})
    old = {"plugin": "good", "since": START, "until": START + 60, "failures": 3, "message": "oh no"}
    settle(daemon.clock, daemon.documents.put("job_retry", "good:a", old, owner="a", due=0))
    daemon.tick()
    assert good.windows == [("a", START, START + 61)]
    assert daemon.kept == []


def test_a_stop_that_takes_too_long_cancels_the_job_and_gives_the_window_back(
    logged: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(lambda *_: Deferred())
    daemon = daemon_jobs(customer(), jobs={"hanging": job})
    daemon.service.startService()
    daemon.mark("a", START, START + 1)
    for _ in range(70):
        daemon.clock.advance(1)
    assert len(job.windows) == 1
    stopping = daemon.service.stopService()
    daemon.clock.advance(1)
    assert not stopping.called
    stored: Deferred[None] = Deferred()
    postpone = daemon.queue.postpone

    async def slow(*arguments: Any) -> None:
        await stored
        await postpone(*arguments)

    monkeypatch.setattr(daemon.queue, "postpone", slow)
    ends: list[None] = []
    stopping.addCallback(ends.append)
    stopping.cancel()
    daemon.clock.advance(0)
    assert ends == [], "the window is still being given back"
    stored.callback(None)
    daemon.clock.advance(0)
    assert ends == [None]
    assert "a" in daemon.queue.pending
    assert daemon.kept == [], "a stop is no failure of the job"
    gc.collect()
    assert [event for event in logged if event["log_namespace"] == "twisted.internet.defer"] == [], "an unhandled error"
