"""The claims under which the jobs of a range of times run: one of the job queue, or the one on the derivation of the range, which ends with the jobs."""

from __future__ import annotations

from math import ceil
from typing import Protocol
from uuid import uuid4

import attrs

from cenergyd.customers.claims import DerivationQueue, PendingQueue
from cenergyd.customers.model import Customer, PendingMark, PendingWork, TimeRange
from cenergyd.jobs.handed_over import DerivedWork
from cenergyd.readings.batching import Batcher
from cenergyd.runtime.clock import Clock, Timers

RENEW_LEFT = 30.0
"""Seconds before its end at which a claim on a derivation is exchanged for one of the jobs."""


class WorkClaim(Protocol):
    """A claim on a customer's range for the jobs. Methods raise StoreUnavailable."""

    @property
    def customer(self) -> Customer:
        """The customer as claimed."""
        ...

    @property
    def time_range(self) -> TimeRange:
        """The remaining range."""
        ...

    def is_old(self) -> bool:
        """Whether it must be renewed before more is written."""
        ...

    async def renew(self, start: int) -> bool:
        """Renew it; the remaining range begins at ``start``. False if it is lost."""
        ...

    async def finish(self) -> bool:
        """End it, because the jobs have run. False if it was lost; then the range is marked, because newer results may be overwritten."""
        ...

    async def release(self, retry_at: float) -> None:
        """Release the remaining range, to be claimed at ``retry_at`` or later."""
        ...


class ClaimEnder:
    """Ends claims whose jobs have run, many in one write."""

    def __init__(self, derivation: DerivationQueue, jobs: PendingQueue, clock: Timers) -> None:
        self.derived: Batcher[DerivedWork, bool] = Batcher(
            lambda ended: derivation.finish_with_results(
                [each.work for each in ended], [each.time_range for each in ended], [each.result for each in ended]
            ),
            clock,
        )
        self.jobs: Batcher[PendingWork, bool] = Batcher(jobs.finish, clock)


@attrs.define(slots=True)
class JobClaim:
    """A claim of the job queue."""

    work: PendingWork
    renewed_at: float
    """UTC seconds."""
    queue: PendingQueue
    ender: ClaimEnder
    clock: Clock
    ttl: int
    """Seconds until it expires."""

    @property
    def customer(self) -> Customer:
        """See :class:`WorkClaim`."""
        return self.work.customer

    @property
    def time_range(self) -> TimeRange:
        """See :class:`WorkClaim`."""
        return TimeRange(self.work.start, self.work.end)

    def is_old(self) -> bool:
        """See :class:`WorkClaim`."""
        return self.clock.seconds() - self.renewed_at > self.ttl / 3

    async def renew(self, start: int) -> bool:
        """See :class:`WorkClaim`."""
        now = self.clock.seconds()
        if not await self.queue.advance(self.work, start, int(now), self.ttl):
            return False
        self.work, self.renewed_at = self.work._replace(start=start), now
        return True

    async def finish(self) -> bool:
        """See :class:`WorkClaim`."""
        if await self.ender.jobs.submit(self.work):
            return True
        await self.queue.mark([PendingMark(self.customer.id, *self.time_range)])
        return False

    async def release(self, retry_at: float) -> None:
        """See :class:`WorkClaim`."""
        await self.queue.postpone([self.work], ceil(retry_at))


@attrs.define(slots=True)
class DerivationClaim:
    """The claim on the derivation of a range. If it lasts too long, it becomes a claim of the jobs, so that new readings can be derived."""

    derived: DerivedWork
    queue: DerivationQueue
    job_queue: PendingQueue
    ender: ClaimEnder
    clock: Clock
    ttl: int
    """Seconds until a claim of the jobs expires."""
    _exchanged: JobClaim | None = None

    @property
    def customer(self) -> Customer:
        """See :class:`WorkClaim`."""
        return self.derived.work.customer

    @property
    def time_range(self) -> TimeRange:
        """See :class:`WorkClaim`."""
        return self.derived.time_range if self._exchanged is None else self._exchanged.time_range

    def is_old(self) -> bool:
        """See :class:`WorkClaim`."""
        if self._exchanged is not None:
            return self._exchanged.is_old()
        return self.derived.until - self.clock.seconds() < RENEW_LEFT

    async def renew(self, start: int) -> bool:
        """See :class:`WorkClaim`."""
        if self._exchanged is None:
            now, claim, derived = self.clock.seconds(), uuid4().hex, self.derived
            (taken,) = await self.queue.hand_over_claimed(
                [derived.work], [derived.time_range], claim, int(now) + self.ttl, [derived.result]
            )
            if not taken:  # the job queue has other work of the customer, or the claim is lost
                await self.release(now)
                return False
            work = PendingWork(self.customer, *derived.time_range, claim)
            self._exchanged = JobClaim(work, now, self.job_queue, self.ender, self.clock, self.ttl)
        return start <= self.time_range.start or await self._exchanged.renew(start)

    async def finish(self) -> bool:
        """See :class:`WorkClaim`."""
        if self._exchanged is not None:
            return await self._exchanged.finish()
        work, derived = self.derived.work, self.derived
        if await self.ender.derived.submit(derived):
            return True
        # The job queue may have received work of the customer whose jobs ran at the same time: then they run again.
        if (await self.queue.hand_over([work], [derived.time_range], [derived.result]))[0]:
            return True
        await self.queue.mark([PendingMark(self.customer.id, work.start, work.end)])
        return False

    async def release(self, retry_at: float) -> None:
        """See :class:`WorkClaim`."""
        if self._exchanged is not None:
            await self._exchanged.release(retry_at)
        else:
            await self.queue.hand_over([self.derived.work], [self.derived.time_range], [self.derived.result])
