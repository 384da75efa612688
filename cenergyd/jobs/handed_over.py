"""Derived windows whose jobs this daemon runs in its next pass, without claiming them from the queue.

The derivation hands a window over and claims it for the jobs in one write of the customer's document. Further windows of the same
customer before that pass are joined with it. The claim is in the store: if this daemon dies, it expires and another daemon runs the jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

import attrs

from cenergyd.customers.model import PendingWork, Window
from cenergyd.customers.store import DerivationQueue
from cenergyd.runtime.clock import Clock
from cenergyd.runtime.concurrency import InProgress

MAX_WAITING = 2000
"""Customers that may wait in memory for the next pass; the others are left to the queue."""


@attrs.define(eq=False)
class _HandOverRound:
    """The windows handed over between two passes, under one claim."""

    claim: str = attrs.field(factory=lambda: uuid4().hex)
    works: dict[str, tuple[PendingWork, float]] = attrs.field(factory=dict)
    """Customer id -> work and when it was claimed."""
    writes: InProgress = attrs.field(factory=InProgress)
    """Hand-overs that the store has not answered yet."""

    def joined(self, work: PendingWork, window: Window, now: float) -> None:
        """Record a window that the store has accepted."""
        before, _ = self.works.get(work.customer.id, (None, 0.0))
        start = window.start if before is None else min(before.start, window.start)
        end = window.end if before is None else max(before.end, window.end)
        self.works[work.customer.id] = PendingWork(work.customer, start, end, self.claim), now


class HandedOver:
    """Takes over derived windows from the derivation; see the module's docstring.

    :param ttl: seconds until a claim expires.
    """

    def __init__(self, queue: DerivationQueue, clock: Clock, ttl: int) -> None:
        self._queue = queue
        self._clock = clock
        self._ttl = ttl
        self._round = _HandOverRound()
        self._earlier: list[_HandOverRound] = []
        self.open = False
        """Whether windows are accepted, because the jobs run."""

    def __len__(self) -> int:
        return sum(len(each.works) for each in (*self._earlier, self._round))

    async def take_over(
        self, works: Sequence[PendingWork], windows: Sequence[Window], results: Sequence[str] = ()
    ) -> list[bool]:
        """Take over derived windows. False for windows not taken; for those nothing is changed. Raises StoreUnavailable."""
        if not self.open or not works or len(self) + len(works) > MAX_WAITING:
            return [False] * len(works)
        current, now = self._round, self._clock.seconds()
        with current.writes:
            try:
                taken = await self._queue.hand_over_claimed(
                    works, windows, current.claim, int(now) + self._ttl, results
                )
                for work, window, is_ours in zip(works, windows, taken, strict=True):
                    if is_ours:
                        current.joined(work, window, now)
                return taken
            except BaseException:
                # It is unknown what the store has written: leave these claims to expire, and let nothing join them.
                for work in works:
                    current.works.pop(work.customer.id, None)
                self._next_round(current)
                raise

    async def take(self, limit: int) -> list[tuple[PendingWork, float]]:
        """At most ``limit`` works to run now, and when each was claimed. No further windows are joined with them."""
        self._next_round(self._round)
        found: list[tuple[PendingWork, float]] = []
        for each in list(self._earlier):
            await each.writes.ended()
            while each.works and len(found) < limit:
                found.append(each.works.pop(next(iter(each.works))))
            if not each.works and not each.writes and each in self._earlier:
                self._earlier.remove(each)
        return found

    def _next_round(self, ended: _HandOverRound) -> None:
        if ended is self._round:
            self._earlier.append(ended)
            self._round = _HandOverRound()
