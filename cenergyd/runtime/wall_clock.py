"""Keeps timers on time when the machine's clock is set back.

Twisted's reactor counts by the wall clock: after a step back of an hour every timer would be an hour late: derivation, time limits and
the removal of slow senders would stop for that long. A clock set forward only makes timers within the step fire at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from twisted.logger import Logger

from cenergyd.runtime.clock import Reactor

_CHECK_SECONDS = 1.0
_STEP_SECONDS = 2.0
"""Smaller differences are caused by the slewing of a time service, or a busy machine."""
log = Logger()


class ClockWatch:
    """Compares the wall clock with a monotonic one, and moves the reactor's timers when it was set back.

    :param reactor: its ``seconds()`` is the wall clock.
    :param monotonic: seconds that never step.
    """

    def __init__(self, reactor: Reactor, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._reactor = reactor
        self._monotonic = monotonic
        self._offset = reactor.seconds() - monotonic()
        self._ended = threading.Event()
        self.steps = 0
        """How often the clock was set back."""

    def start(self) -> None:
        """Start checking, in a thread: the reactor's own timers cannot be trusted here."""
        threading.Thread(target=self._run, name="clock watch", daemon=True).start()

    def stop(self) -> None:
        """Stop checking."""
        self._ended.set()

    def check(self) -> None:
        """Compare once; call in the reactor's thread."""
        offset = self._reactor.seconds() - self._monotonic()
        step, self._offset = offset - self._offset, offset
        if step > -_STEP_SECONDS:
            return
        self.steps += 1
        log.warn("the clock was set back by {seconds:.0f} s; timers were adjusted", seconds=-step)
        for call in self._reactor.getDelayedCalls():
            call.reset(max(0.0, call.getTime() + step - self._reactor.seconds()))

    def _run(self) -> None:
        while not self._ended.wait(_CHECK_SECONDS):
            self._reactor.callFromThread(self.check)
