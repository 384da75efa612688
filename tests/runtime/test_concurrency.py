"""The semaphore with very many waiters, and with calls in progress."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, DeferredList, succeed

from cenergyd.runtime.concurrency import InProgress, Slots


def test_many_waiters_whose_work_ends_at_once_are_all_served() -> None:
    slots, gate, done = Slots(1), Deferred[None](), []
    first = slots.run(lambda: gate)
    crowd = [slots.run(lambda number=number: succeed(done.append(number))) for number in range(3000)]
    assert not done
    gate.callback(None)
    assert done == list(range(3000))
    assert first.called
    assert all(each.called for each in crowd)
    assert slots.tokens == 1


@given(st.integers(1, 4), st.lists(st.booleans(), max_size=30))
def test_never_more_than_its_places_and_all_get_one(places: int, at_once: list[bool]) -> None:
    slots, running, gates = Slots(places), 0, list[Deferred[None]]()
    most = 0

    async def work(quick: bool) -> None:
        nonlocal running, most
        await slots.acquire()
        running += 1
        most = max(most, running)
        if not quick:
            gates.append(Deferred())
            await gates[-1]
        running -= 1
        slots.release()

    every = DeferredList([Deferred.fromCoroutine(work(quick)) for quick in at_once])
    while gates:
        gates.pop(0).callback(None)
    assert every.called
    assert most <= places
    assert slots.tokens == places


def test_waiters_continue_when_no_call_is_in_progress() -> None:
    calls = InProgress()
    assert Deferred.fromCoroutine(calls.ended()).called
    with calls:
        with calls:
            waiting = [Deferred.fromCoroutine(calls.ended()) for _ in range(2)]
        assert calls
        assert not any(each.called for each in waiting), "one call is left"
    assert not calls
    assert all(each.called for each in waiting)
