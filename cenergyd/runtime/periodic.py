"""Regular work that makes room for others when it becomes much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

REST = 9.0
"""Seconds of rest for each second of work: a tenth of the time is for it."""


class PeriodicTask:
    """Calls ``work`` every ``interval`` seconds. After work that took long it rests in proportion.

    What piled up meanwhile is then done at once, which costs less than doing it in small pieces: where a fleet uploads faster than its
    customers can be derived one by one, uploads keep the greater part of the machine, and nothing waits for longer than the rest.

    :param clock: IReactorTime.
    :param work: must not fail.
    :param longest_rest: seconds; 0 for work that others need not have room beside. A longer interval stays as it is.
    """

    def __init__(self, clock: Any, work: Callable[[], Deferred[None]], interval: float, *, longest_rest: float) -> None:
        self._clock = clock
        self._work = work
        self._interval = interval
        self._longest_rest = longest_rest
        self._next: Any = None  # IDelayedCall
        self._ended: Deferred[None] | None = None
        self._stopping = False

    def start(self) -> Deferred[None]:
        """Begin at once; fires when it was stopped and the work has ended."""
        ended: Deferred[None] = Deferred()
        self._ended, self._stopping = ended, False
        self._begin()
        return ended

    def stop(self) -> None:
        """Call no more. Again is harmless."""
        self._stopping = True
        if self._next is not None:
            self._next.cancel()
            self._end()

    def _begin(self) -> None:
        self._next = None
        self._work().addBoth(self._wait, self._clock.seconds())

    def _wait(self, _: object, began: float) -> None:
        if self._stopping:
            self._end()
            return
        took = max(0.0, self._clock.seconds() - began)  # the clock may have been set back
        pause = max(self._interval - took, min(REST * took, self._longest_rest))
        self._next = self._clock.callLater(pause, self._begin)

    def _end(self) -> None:
        ended, self._ended, self._next = self._ended, None, None
        if ended is not None:
            ended.callback(None)
