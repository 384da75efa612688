"""How long plugins block the reactor's thread. A plugin that blocks it for good: :mod:`cenergyd.runtime.plugin_hangs`."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from time import perf_counter
from typing import Final, NamedTuple

from twisted.logger import Logger

SLOW = 0.1
"""Seconds that one call may block the thread before it is logged: uploads wait meanwhile."""
LOG_EVERY = 60.0
"""Seconds between two log lines about slow calls of one plugin; all are counted."""

log = Logger()


class HookCall(NamedTuple):
    """A call in progress."""

    plugin: str
    hook: str
    began: float
    """By ``perf_counter``."""


_new_call: Final = partial(tuple.__new__, HookCall)


class HookTimes:
    """Times every synchronous call of a plugin, and every step of its coroutines. For use in the reactor's thread only."""

    def __init__(self) -> None:
        self.current: HookCall | None = None
        """The call in progress. Other threads may read it."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """Seconds that each plugin has blocked the thread."""
        self.slow: Counter[str] = Counter()
        """Calls of each plugin that blocked it for longer than SLOW."""
        self._logged: dict[str, float] = {}

    def enter(self, plugin: str, hook: str) -> HookCall | None:
        """A call begins; returns the one that it interrupts, for :meth:`leave`."""
        before, self.current = self.current, _new_call((plugin, hook, perf_counter()))
        return before

    def leave(self, before: HookCall | None) -> None:
        """The current call ends, and the interrupted one continues."""
        call, self.current = self.current, before
        if call is None:
            return
        now = perf_counter()
        held = now - call.began
        self.seconds[call.plugin] += held
        if held >= SLOW:
            self.slow[call.plugin] += 1
            self._log_slow(call, held, now)

    def _log_slow(self, call: HookCall, held: float, now: float) -> None:
        if now - self._logged.get(call.plugin, -LOG_EVERY) < LOG_EVERY:
            return
        self._logged[call.plugin] = now
        log.warn(
            "plugin {plugin} blocked the daemon for {seconds} s in {hook}: it should await, or compute in a thread",
            plugin=call.plugin, hook=call.hook, seconds=round(held, 3),
        )  # fmt: skip
