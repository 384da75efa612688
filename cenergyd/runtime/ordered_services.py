"""A tree of services that starts in order, and stops in the opposite one within one deadline."""

from __future__ import annotations

from typing import Protocol, cast

from twisted.application.service import IService, MultiService
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from cenergyd.runtime.clock import Timers, sleep

LATE_SECONDS = 0.5
"""Seconds that a part may take to stop if the deadline passed before its turn: enough for a write to a store that works."""
CANCEL_SECONDS = 0.5
"""Seconds that a part may take to end once it was cancelled; then the stop continues without it."""
log = Logger()


class _Stoppable(Protocol):
    def stopService(self) -> Deferred[object]: ...  # noqa: N802 - Twisted's name


class OrderedServices(MultiService):
    """Children are started in the order in which they were added, and stopped one after the other from the last to the first.

    A child's ``stopService`` returns a Deferred that fires when it has ended. Cancelling that cancels what still runs in it.

    :param stop_seconds: what has not ended this long after the stop began is cancelled; may be changed while it runs. Parts whose turn
        comes later have :data:`LATE_SECONDS` each, so that one that hangs does not keep the others from storing what they hold.
    """

    def __init__(self, clock: Timers, stop_seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._clock = clock
        self.stop_seconds = stop_seconds

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Stop all; fires when that is done. Never fails: errors are logged, and the next child is stopped."""
        self.running = 0
        return Deferred.fromCoroutine(self._stop_children())

    async def _stop_children(self) -> None:
        deadline = self._clock.seconds() + self.stop_seconds
        for child in reversed(cast("list[IService]", self.services)):
            await self._stop(child, deadline)

    async def _stop(self, child: IService, deadline: float) -> None:
        name = child.name or type(child).__name__
        ended: Deferred[None] = Deferred()

        def over(result: object) -> None:
            if isinstance(result, Failure) and not result.check(CancelledError):
                log.failure("{service} did not stop cleanly", result, service=name)
            ended.callback(None)

        stopping = maybeDeferred(cast(_Stoppable, child).stopService).addBoth(over)
        left = deadline - self._clock.seconds()  # more than stop_seconds: the clock was set back
        if await self._within(ended, min(self.stop_seconds, max(LATE_SECONDS, left))):
            return
        log.warn("{service} takes too long to stop: what runs in it is cancelled", service=name)
        stopping.cancel()
        if not await self._within(ended, CANCEL_SECONDS):
            log.error("{service} did not stop", service=name)

    async def _within(self, ended: Deferred[None], seconds: float) -> bool:
        timer = sleep(self._clock, seconds)
        _, first = cast("tuple[object, int]", await DeferredList([ended, timer], fireOnOneCallback=True))
        timer.addErrback(lambda _: None)
        timer.cancel()
        return first == 0
