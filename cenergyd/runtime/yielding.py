"""Cooperative yielding: long computations in the reactor's thread, a few milliseconds at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from time import perf_counter
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred

from cenergyd.runtime.clock import Timers

STRETCH = 0.008
"""Seconds of computation after which the reactor gets a turn; uploads wait no longer than about that."""


class SharedTurns:
    """Long computations of many requests, one step per iteration of the reactor among all of them. If each continued in every iteration, an iteration would take as long as all their steps, and short work, such as a logger's usual upload, would wait for that several times. So they continue one after the other, and an iteration stays as short as one step, however many there are."""

    def __init__(self, clock: Timers) -> None:
        self._clock = clock
        self._waiting: deque[Deferred[None]] = deque()
        self._scheduled = False

    def next(self) -> Deferred[None]:
        """Fires when it is the caller's turn: after all who wait already, in an iteration of the reactor of its own. May be cancelled."""
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiting)
        self._schedule()
        return waiting

    def _schedule(self) -> None:
        if self._waiting and not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._scheduled = False
        if self._waiting:
            waiting = self._waiting.popleft()
            self._schedule()
            waiting.callback(None)

    def _forget(self, waiting: Deferred[None]) -> None:
        self._waiting.remove(waiting)


class CooperativeYield:
    """Await it between small steps of work: it lets the reactor run when it is time, else it costs next to nothing.

    All of a clock share their turns, so that an iteration of the reactor has one stretch, however many computations run.
    """

    def __init__(self, clock: Timers, stretch: float = STRETCH) -> None:
        self._turns = _turns_of(clock)
        self._stretch = stretch
        self._since = perf_counter()

    async def __call__(self) -> None:
        if perf_counter() - self._since >= self._stretch:
            await self._turns.next()
            self._since = perf_counter()


Cooperate = Callable[[], Awaitable[None]]
"""A :class:`CooperativeYield`, or :func:`without_yielding`."""


async def without_yielding() -> None:
    """In place of a :class:`CooperativeYield`, for those who have no reactor."""


_turns: WeakKeyDictionary[Timers, SharedTurns] = WeakKeyDictionary()


def _turns_of(clock: Timers) -> SharedTurns:
    """The turns of all computations on a clock."""
    found = _turns.get(clock)
    if found is None:
        found = _turns[clock] = SharedTurns(clock)
    return found
