"""Periodic work: a failure is logged and the work is called again; long work is followed by a rest in proportion."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from cenergyd.errors import CenergydError
from cenergyd.runtime.clock import DelayedCall, Timers, twisted_clock

REST = 9.0
"""Seconds of rest for each second of work, so that the work takes a tenth of the time."""


class PeriodicService(Service):
    """Calls ``work`` every ``interval`` seconds, never twice at the same time. Errors are logged, and it is called again.

    After long work it rests in proportion. What has accumulated meanwhile is then processed together, at less cost than in many small
    passes: if a fleet uploads faster than its customers can be derived one by one, uploads keep most of the machine, and nothing waits
    longer than the rest plus one interval.

    :param what: names the work in the log, as in "logger activity".
    :param log: of the module whose work it is.
    :param longest_rest: seconds; 0 for work that need not leave room for others.
    :param now: True: the first call is at once; False: after an interval.
    :param failed: takes what the work raised, instead of the log.
    """

    def __init__(
        self,
        clock: Timers,
        work: Callable[[], Awaitable[object]],
        interval: float,
        *,
        what: str,
        log: Logger,
        longest_rest: float = 0.0,
        now: bool = True,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self._clock = clock
        self._work = work
        self._interval = interval
        self._what = what
        self._log = log
        self._longest_rest = longest_rest
        self._now = now
        self._failed = failed or self._log_failure
        self._loop = LoopingCall(self._once)
        self._loop.clock = twisted_clock(clock)
        self._running: Deferred[None] | None = None
        self._rest: tuple[DelayedCall, Deferred[None]] | None = None
        self._ended: list[Deferred[None]] = []

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Begin."""
        super().startService()  # type: ignore[no-untyped-call]
        self._loop.start(self._interval, now=self._now).addErrback(
            lambda failure: self._log.failure("{what} ended", failure, what=self._what)
        )

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Call no more; fires when the work that runs has ended. Cancel that to cancel the work."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()
        self._end_rest()
        if self._running is None:
            return succeed(None)
        ended: Deferred[None] = Deferred(self._cancel_running)
        self._ended.append(ended)
        return ended

    def _once(self) -> Deferred[None]:
        began = self._clock.seconds()
        running = self._running = Deferred.fromCoroutine(self._guarded())
        running.addBoth(self._pass_ended)
        return running.addCallback(lambda _: self._resting(began))

    async def _guarded(self) -> None:
        try:
            await self._work()
        except CancelledError:
            if self.running:
                self._log.failure("{what} was cancelled", what=self._what)
        except Exception as error:
            self._failed(error)

    def _cancel_running(self, _: object) -> None:
        if self._running is not None:
            self._running.cancel()

    def _pass_ended(self, _: object) -> None:
        self._running = None
        ended, self._ended = self._ended, []
        for each in ended:
            if not each.called:
                each.callback(None)

    def _resting(self, began: float) -> Deferred[None]:
        took = max(0.0, self._clock.seconds() - began)  # the clock may have been set back
        rest = min(REST * took, self._longest_rest)
        resting: Deferred[None] = Deferred()
        if not self.running or took + rest <= self._interval:  # the interval is enough rest
            return succeed(None)
        self._rest = (self._clock.callLater(rest, self._end_rest), resting)
        return resting

    def _end_rest(self) -> None:
        if self._rest is None:
            return
        (timer, resting), self._rest = self._rest, None
        if timer.active():
            timer.cancel()
        resting.callback(None)

    def _log_failure(self, error: Exception) -> None:
        if isinstance(error, CenergydError):
            self._log.warn("{what} failed, will be tried again: {reason}", what=self._what, reason=str(error))
        else:
            self._log.failure("{what} failed, will be tried again", what=self._what)
