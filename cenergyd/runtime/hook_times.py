"""How long plugins block the reactor's thread, and which of them is responsible if it hangs."""

from __future__ import annotations

import sys
import threading
from collections import Counter, defaultdict
from functools import partial
from time import perf_counter
from typing import Final, NamedTuple

from twisted.logger import Logger

SLOW = 0.1
"""Seconds that one call may block the thread before it is logged: uploads wait meanwhile."""
HANGING = 5.0
"""Seconds after which a call that has not returned is logged."""
LOG_EVERY = 60.0
"""Seconds between two log lines about slow calls of one plugin; all are counted."""
_LOOK_EVERY = 1.0

log = Logger()


class HookCall(NamedTuple):
    """A call that runs now."""

    plugin: str
    hook: str
    began: float
    """By ``perf_counter``."""


_new_call: Final = partial(tuple.__new__, HookCall)


class HookTimes:
    """Times every synchronous call of a plugin, and every step of its coroutines. For use in the reactor's thread only."""

    def __init__(self) -> None:
        self.current: HookCall | None = None
        """The call that runs now. Other threads may read it."""
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
            self._tell(call, held, now)

    def _tell(self, call: HookCall, held: float, now: float) -> None:
        if now - self._logged.get(call.plugin, -LOG_EVERY) < LOG_EVERY:
            return
        self._logged[call.plugin] = now
        log.warn(
            "plugin {plugin} blocked the daemon for {seconds} s in {hook}: it should await, or compute in a thread",
            plugin=call.plugin, hook=call.hook, seconds=round(held, 3),
        )  # fmt: skip


class HangWatch:
    """A thread that logs a call that does not return, with its current line of code. The reactor's thread cannot do this because it hangs. systemd's watchdog may kill the process soon, and then this log line is the only explanation."""

    def __init__(self, times: HookTimes) -> None:
        self._times = times
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._watched = 0

    def start(self) -> None:
        """Begin; call it in the reactor's thread."""
        self._watched = threading.get_ident()
        self._ended.clear()
        self._thread = threading.Thread(target=self._run, name="hang watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for that."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        told: HookCall | None = None
        while not self._ended.wait(_LOOK_EVERY):
            call = self._times.current
            if call is not None and call is not told and perf_counter() - call.began >= HANGING:
                told = call
                self._tell(call)

    def _tell(self, call: HookCall) -> None:
        frame = sys._current_frames().get(self._watched)
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "an unknown place"
        log.error(
            "plugin {plugin} has blocked the daemon for more than {seconds} s in {hook}, now at {where}",
            plugin=call.plugin, hook=call.hook, seconds=HANGING, where=where,
        )  # fmt: skip
