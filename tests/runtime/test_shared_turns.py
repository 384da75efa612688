"""However many long computations run, an iteration of the reactor has one step of them."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cenergyd.runtime.yielding import SharedTurns


class TurnByTurn(Clock):
    """Makes in a turn only the calls that were asked for before it, as the reactor does."""

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call.called = 1
            call.func(*call.args, **call.kw)


async def long_work(turns: SharedTurns, name: str, stretches: int, done: list[str]) -> None:
    for _ in range(stretches):
        await turns.next()
        done.append(name)


def started(turns: SharedTurns, done: list[str], **works: int) -> list[Deferred[None]]:
    return [Deferred.fromCoroutine(long_work(turns, name, stretches, done)) for name, stretches in works.items()]


def test_one_step_per_iteration_in_order() -> None:
    clock = TurnByTurn()
    turns, done = SharedTurns(clock), list[str]()
    works = started(turns, done, a=3, b=1, c=2)
    counts = []
    while clock.getDelayedCalls():
        clock.turn()
        counts.append(len(done))
    assert done == ["a", "b", "c", "a", "c", "a"]
    assert counts == [1, 2, 3, 4, 5, 6]
    assert all(work.called for work in works)


def test_a_cancelled_waiter_delays_nobody() -> None:
    clock = Clock()
    turns, done = SharedTurns(clock), list[str]()
    works = started(turns, done, a=5, b=2)
    works[0].addErrback(lambda _: None)
    works[0].cancel()
    for _ in range(3):
        clock.advance(0)
    assert done == ["b", "b"]
    assert not clock.getDelayedCalls()
