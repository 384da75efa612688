"""Cooperative yielding: long computations in the reactor's thread, a few milliseconds at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from time import perf_counter
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred

from cenergyd.runtime.clock import Timers

SLICE_SECONDS = 0.008
"""Seconds of computation after which the reactor runs; uploads wait hardly longer than that."""


class SharedTurns:
    """Runs one step of all waiting long computations per iteration of the reactor.

    If each of them continued in every iteration, an iteration would take as long as all their steps, and short work, such as a logger's usual
    upload, would wait for that several times. So they take turns, and an iteration stays as short as one step, however many there are.
    """

    def __init__(self, clock: Timers) -> None:
        self._clock = clock
        self._waiting: deque[Deferred[None]] = deque()
        self._scheduled = False

    def next(self) -> Deferred[None]:
        """Fires at the caller's turn: after all that wait already, in its own iteration of the reactor. May be cancelled."""
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiting)
        self._schedule()
        return waiting

    def _schedule(self) -> None:
        if self._waiting and not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._run_next)

    def _run_next(self) -> None:
        self._scheduled = False
        if self._waiting:
            waiting = self._waiting.popleft()
            self._schedule()
            waiting.callback(None)

    def _forget(self, waiting: Deferred[None]) -> None:
        self._waiting.remove(waiting)


class CooperativeYield:
    """Await it between small steps of a computation: after SLICE_SECONDS it lets the reactor run; before that it costs very little.

    All computations on a clock take turns, so that an iteration of the reactor has one slice, however many run.
    """

    def __init__(self, clock: Timers, seconds: float = SLICE_SECONDS) -> None:
        self._turns = _turns_of(clock)
        self._seconds = seconds
        self._since = perf_counter()

    async def __call__(self) -> None:
        if perf_counter() - self._since >= self._seconds:
            await self._turns.next()
            self._since = perf_counter()


Cooperate = Callable[[], Awaitable[None]]
"""A :class:`CooperativeYield`, or :func:`without_yielding`."""


async def without_yielding() -> None:
    """Does nothing, in place of a :class:`CooperativeYield`, for callers without a reactor."""


_turns: WeakKeyDictionary[Timers, SharedTurns] = WeakKeyDictionary()


def _turns_of(clock: Timers) -> SharedTurns:
    """The turns of all computations on a clock."""
    found = _turns.get(clock)
    if found is None:
        found = _turns[clock] = SharedTurns(clock)
    return found
