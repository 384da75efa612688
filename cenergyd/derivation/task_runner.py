"""Runs work on claimed tasks and makes sure that every task is finished or released, or its claim expires."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Sequence
from math import ceil

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from cenergyd.customers.claims import DerivationQueue
from cenergyd.derivation.committer import DerivationStatus, Task
from cenergyd.errors import Overloaded, StoreUnavailable
from cenergyd.runtime.backoff import StoreBackoff
from cenergyd.runtime.clock import Timers

RETRY_SECONDS = 60
"""Seconds until a customer whose derivation failed is tried again."""

log = Logger()


class TaskRunner:
    """Tracks running work, whether the service is stopping, and the store back-off."""

    def __init__(self, queue: DerivationQueue, clock: Timers, status: DerivationStatus) -> None:
        self.stopping = False
        self.backoff = StoreBackoff(clock, log, ("derivation pauses", "derivation continues"), self._count_store_error)
        self._queue = queue
        self._clock = clock
        self._status = status
        self._running: set[Deferred[None]] = set()

    def start(self, work: Coroutine[Deferred[object], object, None]) -> Deferred[None]:
        """Start work in the background; a failure is logged. The Deferred fires when it has ended; cancel it to cancel the work."""
        deferred = Deferred.fromCoroutine(work)
        self._running.add(deferred)

        def ended(result: Failure | None) -> None:
            self._running.discard(deferred)
            if isinstance(result, Failure):
                log.failure("derivation failed unexpectedly", result)

        deferred.addBoth(ended)
        return deferred

    async def guarded(self, tasks: Sequence[Task], work: Awaitable[None]) -> None:
        """Await work; if it fails, ``tasks`` are released. ``work`` removes from ``tasks`` those that it has passed on."""
        try:
            await work
        except (StoreUnavailable, Overloaded) as error:
            self.backoff.failed(error)
            await self.release(tasks, self.backoff.until)
        except CancelledError:
            await self.release(tasks, self._clock.seconds())
        except Exception:
            log.failure("deriving {customers} customers failed", customers=len(tasks))
            await self.release(tasks, self._clock.seconds() + RETRY_SECONDS)

    async def release(self, tasks: Sequence[Task], retry_at: float) -> None:
        """Release the claims; the work may be claimed again from ``retry_at`` on, UTC seconds."""
        try:
            await self._queue.postpone([task.work for task in tasks], ceil(retry_at))
        except (StoreUnavailable, Overloaded) as error:
            self.backoff.failed(error)  # then the claims expire

    @property
    def busy(self) -> bool:
        """Whether anything runs."""
        return bool(self._running)

    async def wait(self) -> None:
        """Wait until everything that runs now has ended. Cancelling cancels it."""
        await DeferredList(list(self._running))

    def _count_store_error(self) -> None:
        self._status.store_troubles += 1
