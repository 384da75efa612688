"""Runs work over claimed tasks so that, whatever happens, the tasks are finished or given back, or their claims expire."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Sequence
from math import ceil

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from cenergyd.customers.store import DerivationQueue
from cenergyd.derivation.committer import DerivationStatus, Task
from cenergyd.errors import Overloaded, StoreUnavailable
from cenergyd.runtime.backoff import StoreBackoff
from cenergyd.runtime.clock import Timers

RETRY_SECONDS = 60
"""A customer whose derivation failed is tried again after this."""

log = Logger()


class TaskRunner:
    """Keeps track of running work, of stopping, and of the store back-off."""

    def __init__(self, queue: DerivationQueue, clock: Timers, status: DerivationStatus) -> None:
        self.stopping = False
        self.backoff = StoreBackoff(clock, log, ("derivation pauses", "derivation goes on"), self._count_store_error)
        self._queue = queue
        self._clock = clock
        self._status = status
        self._running: set[Deferred[None]] = set()

    def start(self, work: Coroutine[Deferred[object], object, None]) -> Deferred[None]:
        """Run beside what runs already; a failure is logged. The Deferred fires when it has ended; cancel it to cancel the work."""
        deferred = Deferred.fromCoroutine(work)
        self._running.add(deferred)

        def ended(result: Failure | None) -> None:
            self._running.discard(deferred)
            if isinstance(result, Failure):
                log.failure("derivation failed unexpectedly", result)

        deferred.addBoth(ended)
        return deferred

    async def guarded(self, tasks: Sequence[Task], work: Awaitable[None]) -> None:
        """Run to the end; ``tasks`` are given back if it fails. ``work`` removes from the list those that it has passed on."""
        try:
            await work
        except (StoreUnavailable, Overloaded) as error:
            self.backoff.failed(error)
            await self.give_back(tasks, self.backoff.until)
        except CancelledError:
            await self.give_back(tasks, self._clock.seconds())
        except Exception:
            log.failure("deriving {customers} customers failed", customers=len(tasks))
            await self.give_back(tasks, self._clock.seconds() + RETRY_SECONDS)

    async def give_back(self, tasks: Sequence[Task], retry_at: float) -> None:
        """End the claims; the work may be claimed again from ``retry_at`` on, UTC seconds."""
        try:
            await self._queue.postpone([task.work for task in tasks], ceil(retry_at))
        except (StoreUnavailable, Overloaded) as error:
            self.backoff.failed(error)  # then the claims expire

    @property
    def busy(self) -> bool:
        """Whether anything runs."""
        return bool(self._running)

    async def wait(self) -> None:
        """Until everything that runs now has ended. A cancellation is passed on to it."""
        await DeferredList(list(self._running))

    def _count_store_error(self) -> None:
        self._status.store_troubles += 1
