"""Notices a plugin that hangs: a call that blocks the reactor's thread and does not return."""

from __future__ import annotations

import sys
import threading
from time import perf_counter

from twisted.logger import Logger

from cenergyd.runtime.hook_times import HookCall, HookTimes

HANGING = 5.0
"""Seconds after which a call that has not returned is logged."""
_CHECK_SECONDS = 1.0

log = Logger()


class HangWatch:
    """A thread that logs a call that does not return, with its current line of code.

    The reactor's thread cannot do this because it hangs. systemd's watchdog may kill the process soon, and then this log line is the only
    explanation.
    """

    def __init__(self, times: HookTimes) -> None:
        self._times = times
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._watched = 0

    def start(self) -> None:
        """Start the thread; call this in the reactor's thread."""
        self._watched = threading.get_ident()
        self._ended.clear()
        self._thread = threading.Thread(target=self._run, name="hang watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for that."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        logged: HookCall | None = None
        while not self._ended.wait(_CHECK_SECONDS):
            call = self._times.current
            if call is not None and call is not logged and perf_counter() - call.began >= HANGING:
                logged = call
                self._log_hang(call)

    def _log_hang(self, call: HookCall) -> None:
        frame = sys._current_frames().get(self._watched)
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "an unknown place"
        log.error(
            "plugin {plugin} has blocked the daemon for more than {seconds} s in {hook}, now at {where}",
            plugin=call.plugin, hook=call.hook, seconds=HANGING, where=where,
        )  # fmt: skip
