"""Taking turns: long computations in the reactor's thread, a few milliseconds at a time."""

from __future__ import annotations

from time import perf_counter

from cenergyd.runtime.clock import Timers, sleep

STRETCH = 0.008
"""Seconds of computation after which the reactor gets a turn; uploads wait no longer than about that."""


class CooperativeYield:
    """``await breather()`` between small pieces of work: it lets the reactor run when it is time, else it costs next to nothing."""

    def __init__(self, clock: Timers, stretch: float = STRETCH) -> None:
        self._clock = clock
        self._stretch = stretch
        self._since = perf_counter()

    async def __call__(self) -> None:
        if perf_counter() - self._since >= self._stretch:
            await sleep(self._clock, 0)
            self._since = perf_counter()
