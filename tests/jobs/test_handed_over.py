"""Derived windows go to the jobs of the same daemon under a claim; nothing is lost where a store or the daemon fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from cenergyd.customers.model import PendingMark, PendingWork, TimeRange
from cenergyd.errors import StoreUnavailable
from cenergyd.jobs import handed_over, service
from cenergyd.jobs.service import CLAIM_SECONDS
from tests.derivation.memory import START, customer, settle
from tests.jobs.test_service import DaemonJobs, Job, daemon_jobs


def derived(daemon: DaemonJobs, key: str, start: int, end: int) -> bool:
    """A window that the derivation has done; whether the jobs here took it."""
    queue: Any = daemon.service.handed_over._queue
    settle(daemon.clock, queue.mark([PendingMark(key, start, end)]))
    works = settle(daemon.clock, queue.claim(f"d{start}", int(daemon.clock.seconds()), 60, 10))
    (taken,) = settle(daemon.clock, daemon.service.handed_over.take_over(works, [TimeRange(start, end)]))
    if not taken:
        settle(daemon.clock, queue.hand_over(works, [TimeRange(start, end)]))
    return bool(taken)


def kept(daemon: DaemonJobs, key: str, start: int, end: int) -> None:
    """A window whose derivation has just ended, and whose jobs may run under the claim on it."""
    queue: Any = daemon.service.handed_over._queue
    now = int(daemon.clock.seconds())
    settle(daemon.clock, queue.mark([PendingMark(key, start, end)]))
    works = settle(daemon.clock, queue.claim(f"d{start}", now, 60, 10))
    windows = [TimeRange(work.start, work.end) for work in works]
    until = [0.0 if work.jobs_waiting else now + 60.0 for work in works]
    taken = settle(daemon.clock, daemon.service.handed_over.take_over(works, windows, ["result"] * len(works), until))
    left = [number for number, is_taken in enumerate(taken) if not is_taken]
    settle(daemon.clock, queue.hand_over([works[i] for i in left], [windows[i] for i in left]))


def run_derived(daemon: DaemonJobs) -> None:
    settle(daemon.clock, daemon.service.run_derived())


def started(job: Job, **overrides: str) -> DaemonJobs:
    daemon = daemon_jobs(customer("a"), customer("b"), jobs={"one": job}, **overrides)
    daemon.service.handed_over.open = True
    return daemon


def test_what_is_handed_over_until_the_next_pass_runs_once_and_unclaimed(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job()
    daemon = started(job)
    claims: list[int] = []
    claim = daemon.queue.claim

    async def counted(*arguments: Any) -> list[PendingWork]:
        works = await claim(*arguments)
        claims.append(len(works))
        return works

    monkeypatch.setattr(daemon.queue, "claim", counted)
    assert derived(daemon, "a", START, START + 60)
    assert derived(daemon, "a", START + 60, START + 120)
    assert derived(daemon, "b", START, START + 60)
    daemon.tick()
    assert sorted(job.windows) == [("a", START, START + 120), ("b", START, START + 60)]
    assert daemon.queue.pending == daemon.queue.working == {}
    assert claims == [0]
    assert derived(daemon, "a", START + 120, START + 180)
    daemon.tick()
    assert job.windows[-1] == ("a", START + 120, START + 180)


def test_what_comes_while_the_jobs_run_goes_to_the_queue() -> None:
    running: Deferred[None] = Deferred()
    job = Job(lambda customer, start, end: running)
    daemon = started(job)
    assert derived(daemon, "a", START, START + 60)
    looking = Deferred.fromCoroutine(daemon.service.tick())
    daemon.clock.advance(1)
    assert not derived(daemon, "a", START + 60, START + 120)
    running.callback(None)
    daemon.clock.advance(1)
    assert looking.called
    daemon.tick()
    assert job.windows == [("a", START, START + 60), ("a", START + 60, START + 120)]
    assert daemon.queue.pending == daemon.queue.working == {}


def test_a_write_with_an_unknown_end_leaves_the_claim_to_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job()
    daemon = started(job)
    assert derived(daemon, "a", START, START + 60)
    queue: Any = daemon.service.handed_over._queue
    hand_over = queue.hand_over_claimed

    async def answer_lost(*arguments: Any) -> list[bool]:
        await hand_over(*arguments)
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(queue, "hand_over_claimed", answer_lost)
        with pytest.raises(StoreUnavailable):
            derived(daemon, "a", START + 60, START + 120)
    assert not derived(daemon, "a", START + 120, START + 180), "nothing joins what nobody knows of"
    daemon.tick()
    assert job.windows == []
    daemon.clock.advance(CLAIM_SECONDS)
    daemon.tick()
    assert job.windows == [("a", START, START + 180)]
    assert daemon.queue.pending == daemon.queue.working == {}


def test_a_stop_gives_back_what_waits() -> None:
    job = Job()
    daemon = started(job)
    daemon.service.startService()
    daemon.clock.advance(1)
    assert derived(daemon, "a", START, START + 60)
    daemon.service.stopService()
    daemon.clock.advance(1)
    assert daemon.queue.working == {}
    assert daemon.queue.pending == {"a": (START, START + 60)}
    assert not derived(daemon, "b", START, START + 60)


def test_with_long_pauses_between_passes_nothing_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = daemon_jobs(customer("a"), jobs={"one": Job()}, interval_seconds="600")
    daemon.service.startService()
    daemon.clock.advance(1)
    assert not derived(daemon, "a", START, START + 60)
    daemon.service.stopService()


def test_only_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handed_over, "MAX_WAITING", 1)
    daemon = started(Job())
    assert derived(daemon, "a", START, START + 60)
    assert not derived(daemon, "b", START, START + 60)


def test_the_jobs_of_a_fresh_window_run_under_the_claim_on_its_derivation() -> None:
    job = Job()
    daemon = started(job)
    derivation: Any = daemon.service.handed_over._queue
    kept(daemon, "a", START, START + 60)
    assert derivation.working["a"][:2] == (START, START + 60)
    assert daemon.queue.pending == daemon.queue.working == {}
    daemon.tick()
    assert job.windows == []
    run_derived(daemon)
    assert job.windows == [("a", START, START + 60)]
    assert derivation.pending == derivation.working == daemon.queue.pending == daemon.queue.working == {}
    assert derivation.customers["a"].derivation == "result"


def test_the_jobs_of_fresh_windows_do_not_wait_for_those_of_backlogs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "CONCURRENT_CUSTOMERS", 1)
    running: Deferred[None] = Deferred()
    job = Job(lambda customer, start, end: running if end - start > 60 else None)
    daemon = started(job)
    settle(daemon.clock, daemon.queue.mark([PendingMark("a", START, START + 1800)]))
    backlog = Deferred.fromCoroutine(daemon.service.tick())
    daemon.clock.advance(1)
    kept(daemon, "b", START, START + 60)
    run_derived(daemon)
    assert job.windows == [("a", START, START + 1800), ("b", START, START + 60)]
    assert not backlog.called
    running.callback(None)
    daemon.clock.advance(1)
    assert backlog.called
    assert daemon.queue.pending == daemon.queue.working == {}


def test_jobs_that_others_may_have_run_at_the_same_time_run_once_more() -> None:
    job = Job()
    daemon = started(job)
    derivation: Any = daemon.service.handed_over._queue
    kept(daemon, "a", START, START + 60)
    settle(daemon.clock, daemon.queue.mark([PendingMark("a", START - 60, START)]))
    run_derived(daemon)
    assert derivation.pending == derivation.working == {}
    daemon.tick()
    assert job.windows == [("a", START, START + 60), ("a", START - 60, START + 60)]
    settle(daemon.clock, daemon.queue.mark([PendingMark("a", START, START + 60)]))
    kept(daemon, "a", START + 60, START + 120)
    assert derivation.working == {}, "the jobs had other work: they need a claim of their own"


def test_a_claim_on_a_derivation_that_is_lost_or_old() -> None:
    job = Job()
    daemon = started(job)
    derivation: Any = daemon.service.handed_over._queue
    kept(daemon, "a", START, START + 60)
    daemon.clock.advance(61)
    (other,) = settle(daemon.clock, derivation.claim("other", int(daemon.clock.seconds()), 60, 10))
    run_derived(daemon)
    assert job.windows == []
    assert derivation.working["a"][2] == other.claim
    settle(daemon.clock, derivation.finish([other]))
    kept(daemon, "a", START, START + 60)
    daemon.clock.advance(45)
    claims: list[bool] = []
    job.answer = lambda customer, start, end: claims.append(
        "a" in daemon.queue.working and "a" not in derivation.working
    )
    run_derived(daemon)
    assert claims == [True], "an old claim is exchanged for one of the jobs"
    assert derivation.pending == derivation.working == daemon.queue.pending == daemon.queue.working == {}


def test_what_is_still_claimed_by_the_derivation_goes_to_the_queue_at_a_stop_or_failure() -> None:
    daemon = started(Job())
    derivation: Any = daemon.service.handed_over._queue
    daemon.service.startService()
    daemon.clock.advance(1)
    kept(daemon, "a", START, START + 60)
    daemon.service.stopService()
    daemon.clock.advance(1)
    assert (derivation.working, daemon.queue.pending) == ({}, {"a": (START, START + 60)})
    daemon = started(Job())
    derivation = daemon.service.handed_over._queue
    kept(daemon, "a", START, START + 60)
    with patch.object(daemon.service._claimed_jobs, "_all_jobs", side_effect=StoreUnavailable("down")):
        run_derived(daemon)
    assert (derivation.working, daemon.queue.pending) == ({}, {"a": (START, START + 60)})
    assert derivation.customers["a"].derivation == "result"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["kept", "run", "look", "marked", "other takes", "other ends", "wait", "killed"]),
            st.sampled_from("ab"),
        ),
        max_size=25,
    )
)
def test_in_any_order_jobs_under_the_claim_on_a_derivation_miss_nothing(steps: Sequence[tuple[str, str]]) -> None:
    """With another daemon on the job queue, expired claims, and kills."""
    job = Job()
    daemon = started(job)
    derivation: Any = daemon.service.handed_over._queue
    others: list[PendingWork] = []
    wanted: list[tuple[str, int, int, int]] = []
    for number, (verb, key) in enumerate(steps):
        start = START + 60 * number
        if verb == "kept":
            kept(daemon, key, start, start + 60)
            wanted.append((key, start, start + 60, len(job.windows)))
        elif verb == "run":
            run_derived(daemon)
        elif verb == "look":
            daemon.tick()
        elif verb == "marked":
            settle(daemon.clock, daemon.queue.mark([PendingMark(key, start, start + 60)]))
            wanted.append((key, start, start + 60, len(job.windows)))
        elif verb == "other takes":
            others += settle(daemon.clock, daemon.queue.claim(f"o{start}", int(daemon.clock.seconds()), 60, 10))
        elif verb == "other ends":
            done = settle(daemon.clock, daemon.queue.finish(others))
            job.windows += [(w.customer.id, w.start, w.end) for w, ours in zip(others, done, strict=True) if ours]
            others.clear()
        elif verb == "wait":
            daemon.clock.advance(45)
        else:
            daemon.service.handed_over.take_derived(100)
    settle(daemon.clock, daemon.queue.postpone(others, 0))
    daemon.clock.advance(CLAIM_SECONDS + 1)
    run_derived(daemon)
    works = settle(daemon.clock, derivation.claim("last", int(daemon.clock.seconds()), 60, 10))
    settle(daemon.clock, derivation.hand_over(works, [TimeRange(work.start, work.end) for work in works]))
    daemon.clock.advance(CLAIM_SECONDS + 1)
    daemon.tick()
    daemon.tick()
    assert derivation.pending == derivation.working == daemon.queue.pending == daemon.queue.working == {}
    for key, start, end, before in wanted:
        done = [time for who, first, last in job.windows[before:] if who == key for time in range(first, last, 60)]
        assert set(range(start, end, 60)) <= set(done)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("derived"), st.sampled_from("ab")),
        st.tuples(st.just("answer lost"), st.sampled_from("ab")),
        st.tuples(st.sampled_from(["look", "other", "wait"]), st.just("")),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_in_any_order_every_derived_window_has_its_jobs_done_after_it(steps: Sequence[tuple[str, str]]) -> None:
    """With a second daemon on the same queues, which claims in between, and lost answers."""
    job = Job()
    daemon = started(job)
    queue: Any = daemon.service.handed_over._queue
    others: list[PendingWork] = []
    wanted: list[tuple[str, int, int, int]] = []
    for number, (verb, key) in enumerate(steps):
        start = START + 60 * number
        if verb == "derived":
            derived(daemon, key, start, start + 60)
            wanted.append((key, start, start + 60, len(job.windows)))
        elif verb == "answer lost":
            hand_over = queue.hand_over_claimed

            async def lost(*arguments: Any, hand_over: Any = hand_over) -> list[bool]:
                await hand_over(*arguments)
                raise StoreUnavailable("no answer")

            queue.hand_over_claimed = lost
            try:
                derived(daemon, key, start, start + 60)
            except StoreUnavailable:
                pass
            finally:
                queue.hand_over_claimed = hand_over
            # Where it was not taken the derivation's own claim holds it still, and is given back.
            if key in queue.working:
                settle(daemon.clock, queue.postpone([PendingWork(customer(key), start, start + 60, f"d{start}")], 0))
                works = settle(daemon.clock, queue.claim(f"e{start}", int(daemon.clock.seconds()), 60, 10))
                settle(daemon.clock, queue.hand_over(works, [TimeRange(work.start, work.end) for work in works]))
            wanted.append((key, start, start + 60, len(job.windows)))
        elif verb == "look":
            daemon.tick()
        elif verb == "other":
            others += settle(daemon.clock, daemon.queue.claim(f"o{start}", int(daemon.clock.seconds()), 60, 10))
        else:
            daemon.clock.advance(CLAIM_SECONDS + 1)
    settle(daemon.clock, daemon.queue.postpone(others, 0))
    daemon.clock.advance(CLAIM_SECONDS + 1)
    daemon.tick()
    daemon.tick()
    assert daemon.queue.pending == daemon.queue.working == {}
    for key, start, end, before in wanted:
        done = [time for who, first, last in job.windows[before:] if who == key for time in range(first, last, 60)]
        assert set(range(start, end, 60)) <= set(done)
