"""What the uploads of this daemon bring is claimed for its derivation by the write that marks it.

So most customers are marked and claimed by one write. What comes for the same customer before the next pass joins the claimed window.
A claim is in the store like any other: if this daemon dies, it expires and another derives the customer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from uuid import uuid4

import attrs
from twisted.internet.defer import Deferred

from cenergyd.customers.model import PendingMark, PendingWork
from cenergyd.customers.store import DerivationQueue
from cenergyd.runtime.clock import Clock

MAX_CUSTOMERS = 1000
"""Customers under one claim; what comes for others gets another claim."""


@attrs.define(eq=False)
class _MarkRound:
    """What is marked between two passes, under one claim."""

    began: float
    """When its first mark came; the claim expires a claim's life later."""
    claim: str = attrs.field(factory=lambda: uuid4().hex)
    customers: set[str] = attrs.field(factory=set)
    writes: int = 0
    """Marks that the store has not answered yet."""
    settled: list[Deferred[None]] = attrs.field(factory=list)
    """Fire when there is none."""


class ClaimedMarks:
    """Marks for the derivation of this daemon; see the module.

    :param ttl: seconds that a claim lives.
    """

    def __init__(self, queue: DerivationQueue, clock: Clock, ttl: int) -> None:
        self._queue = queue
        self._clock = clock
        self._ttl = ttl
        self._rounds: deque[_MarkRound] = deque()
        """Oldest first; marks join the last one while it is open."""
        self._joins = False
        self._works: deque[tuple[PendingWork, float]] = deque()
        self.open = False
        """Whether marks are claimed: the derivation runs."""

    async def mark(self, marks: Sequence[PendingMark]) -> None:
        """Widen the pending windows, claimed where nobody else has the customer. Durable on return. Raises StoreUnavailable."""
        if not self.open or not marks:
            await self._queue.mark(marks)
            return
        current = self._current()
        current.customers.update(mark.customer_id for mark in marks)
        current.writes += 1
        try:
            await self._queue.mark_claimed(marks, current.claim, int(current.began) + self._ttl)
        finally:
            current.writes -= 1
            if not current.writes:
                settled, current.settled = current.settled, []
                for waiting in settled:
                    waiting.callback(None)

    async def take(self, limit: int) -> list[tuple[PendingWork, float]]:
        """Works to derive now, at most so many, and when each was claimed. Nothing joins them any more. Raises StoreUnavailable."""
        ended, self._joins = list(self._rounds), False
        for each in ended:
            if len(self._works) >= limit:
                break
            if each.writes:
                settled: Deferred[None] = Deferred()
                each.settled.append(settled)
                await settled
            works = await self._queue.claimed(each.claim, len(each.customers))
            self._rounds.remove(each)
            self._works.extend((work, each.began) for work in works)
        return [self._works.popleft() for _ in range(min(limit, len(self._works)))]

    def _current(self) -> _MarkRound:
        if not self._joins or len(self._rounds[-1].customers) >= MAX_CUSTOMERS:
            self._rounds.append(_MarkRound(self._clock.seconds()))
            self._joins = True
        return self._rounds[-1]
