"""Derived windows go to the jobs of the same daemon under a claim; nothing is lost where a store or the daemon fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from cenergyd.customers.model import PendingMark, PendingWork, Window
from cenergyd.errors import StoreUnavailable
from cenergyd.jobs import handed_over
from cenergyd.jobs.service import CLAIM_SECONDS
from tests.derivation.memory import START, customer, settle
from tests.jobs.test_service import Job, Place, place


def derived(here: Place, key: str, start: int, end: int) -> bool:
    """A window that the derivation has done; whether the jobs here took it."""
    queue: Any = here.service.handed_over._queue
    settle(here.clock, queue.mark([PendingMark(key, start, end)]))
    works = settle(here.clock, queue.claim(f"d{start}", int(here.clock.seconds()), 60, 10))
    (taken,) = settle(here.clock, here.service.handed_over.take_over(works, [Window(start, end)]))
    if not taken:
        settle(here.clock, queue.hand_over(works, [Window(start, end)]))
    return bool(taken)


def started(job: Job, **overrides: str) -> Place:
    here = place(customer("a"), customer("b"), jobs={"one": job}, **overrides)
    here.service.handed_over.open = True
    return here


def test_what_is_handed_over_until_the_next_look_runs_once_and_unclaimed(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job()
    here = started(job)
    claims: list[int] = []
    claim = here.queue.claim

    async def counted(*arguments: Any) -> list[PendingWork]:
        works = await claim(*arguments)
        claims.append(len(works))
        return works

    monkeypatch.setattr(here.queue, "claim", counted)
    assert derived(here, "a", START, START + 60)
    assert derived(here, "a", START + 60, START + 120)
    assert derived(here, "b", START, START + 60)
    here.tick()
    assert sorted(job.windows) == [("a", START, START + 120), ("b", START, START + 60)]
    assert here.queue.pending == here.queue.working == {}
    assert claims == [0]
    assert derived(here, "a", START + 120, START + 180)
    here.tick()
    assert job.windows[-1] == ("a", START + 120, START + 180)


def test_what_comes_while_the_jobs_run_goes_to_the_queue() -> None:
    running: Deferred[None] = Deferred()
    job = Job(lambda customer, start, end: running)
    here = started(job)
    assert derived(here, "a", START, START + 60)
    looking = Deferred.fromCoroutine(here.service.tick())
    here.clock.advance(1)
    assert not derived(here, "a", START + 60, START + 120)
    running.callback(None)
    here.clock.advance(1)
    assert looking.called
    here.tick()
    assert job.windows == [("a", START, START + 60), ("a", START + 60, START + 120)]
    assert here.queue.pending == here.queue.working == {}


def test_a_write_with_an_unknown_end_leaves_the_claim_to_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job()
    here = started(job)
    assert derived(here, "a", START, START + 60)
    queue: Any = here.service.handed_over._queue
    hand_over = queue.hand_over_claimed

    async def answer_lost(*arguments: Any) -> list[bool]:
        await hand_over(*arguments)
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(queue, "hand_over_claimed", answer_lost)
        with pytest.raises(StoreUnavailable):
            derived(here, "a", START + 60, START + 120)
    assert not derived(here, "a", START + 120, START + 180), "nothing joins what nobody knows of"
    here.tick()
    assert job.windows == []
    here.clock.advance(CLAIM_SECONDS)
    here.tick()
    assert job.windows == [("a", START, START + 180)]
    assert here.queue.pending == here.queue.working == {}


def test_a_stop_gives_back_what_waits() -> None:
    job = Job()
    here = started(job)
    here.service.startService()
    here.clock.advance(1)
    assert derived(here, "a", START, START + 60)
    here.service.stopService()
    here.clock.advance(1)
    assert here.queue.working == {}
    assert here.queue.pending == {"a": (START, START + 60)}
    assert not derived(here, "b", START, START + 60)


def test_with_long_pauses_between_looks_nothing_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    here = place(customer("a"), jobs={"one": Job()}, interval_seconds="600")
    here.service.startService()
    here.clock.advance(1)
    assert not derived(here, "a", START, START + 60)
    here.service.stopService()


def test_only_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handed_over, "MAX_WAITING", 1)
    here = started(Job())
    assert derived(here, "a", START, START + 60)
    assert not derived(here, "b", START, START + 60)


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
    here = started(job)
    queue: Any = here.service.handed_over._queue
    others: list[PendingWork] = []
    wanted: list[tuple[str, int, int, int]] = []
    for number, (verb, key) in enumerate(steps):
        start = START + 60 * number
        if verb == "derived":
            derived(here, key, start, start + 60)
            wanted.append((key, start, start + 60, len(job.windows)))
        elif verb == "answer lost":
            hand_over = queue.hand_over_claimed

            async def lost(*arguments: Any, hand_over: Any = hand_over) -> list[bool]:
                await hand_over(*arguments)
                raise StoreUnavailable("no answer")

            queue.hand_over_claimed = lost
            try:
                derived(here, key, start, start + 60)
            except StoreUnavailable:
                pass
            finally:
                queue.hand_over_claimed = hand_over
            # Where it was not taken the derivation's own claim holds it still, and is given back.
            if key in queue.working:
                settle(here.clock, queue.postpone([PendingWork(customer(key), start, start + 60, f"d{start}")], 0))
                works = settle(here.clock, queue.claim(f"e{start}", int(here.clock.seconds()), 60, 10))
                settle(here.clock, queue.hand_over(works, [Window(work.start, work.end) for work in works]))
            wanted.append((key, start, start + 60, len(job.windows)))
        elif verb == "look":
            here.tick()
        elif verb == "other":
            others += settle(here.clock, here.queue.claim(f"o{start}", int(here.clock.seconds()), 60, 10))
        else:
            here.clock.advance(CLAIM_SECONDS + 1)
    settle(here.clock, here.queue.postpone(others, 0))
    here.clock.advance(CLAIM_SECONDS + 1)
    here.tick()
    here.tick()
    assert here.queue.pending == here.queue.working == {}
    for key, start, end, before in wanted:
        done = [time for who, first, last in job.windows[before:] if who == key for time in range(first, last, 60)]
        assert set(range(start, end, 60)) <= set(done)
