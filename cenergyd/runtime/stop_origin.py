"""Distinguishes an intended stop from one begun by code of a plugin or library: that is an error, and restarts the service."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from cenergyd.runtime.clock import Reactor
from cenergyd.runtime.hook_times import HookTimes

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopOrigin:
    """Determines what stops the reactor.

    :param times: knows which plugin is being called.
    """

    def __init__(self, reactor: Reactor, times: HookTimes) -> None:
        self._reactor = reactor
        self._times = times
        self._intended = False
        self._caller = ""

    def arm(self) -> None:
        """Begin; call this when the reactor runs, because its signal handlers are installed then."""
        for number in _SIGNALS:
            self._watch_signal(number)
        stop = self._reactor.stop

        def stop_and_remember() -> None:
            call = self._times.current
            module = sys._getframe(1).f_globals.get("__name__", "unknown code")
            self._caller = f"plugin {call.plugin} in {call.hook}" if call else str(module)
            stop()

        self._reactor.stop = stop_and_remember  # type: ignore[method-assign]

    def stop(self) -> None:
        """Stop the reactor on purpose."""
        self._intended = True
        self._reactor.stop()

    def unintended_by(self) -> str | None:
        """The plugin or module that stopped the reactor; None if a signal or :meth:`stop` did."""
        return None if self._intended else self._caller or "unknown code"

    def _watch_signal(self, number: signal.Signals) -> None:
        before = signal.getsignal(number)

        def handle(received: int, frame: FrameType | None) -> None:
            self._intended = True
            if callable(before):
                before(received, frame)

        if callable(before):
            signal.signal(number, handle)
