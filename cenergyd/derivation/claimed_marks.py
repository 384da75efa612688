"""Marks readings uploaded to this daemon and claims them for its derivation in the same write.

So most customers are marked and claimed by one write. Further readings of the same customer before the next pass are joined with the claimed
range, also those that other daemons have only marked, because the customer was claimed: the logs of a session may go to several daemons. The claim
is in the store like any other: if this daemon dies, it expires and another daemon derives the customer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from uuid import uuid4

import attrs

from cenergyd.customers.claims import DerivationQueue
from cenergyd.customers.model import PendingMark, PendingWork
from cenergyd.runtime.clock import Clock
from cenergyd.runtime.concurrency import InProgress

MAX_CUSTOMERS = 1000
"""Maximum customers under one claim; further customers get another claim."""


@attrs.define(eq=False)
class _MarkRound:
    """The ranges marked between two passes, under one claim."""

    began: float
    """The time of its first mark, from which the expiry of the claim is counted."""
    claim: str = attrs.field(factory=lambda: uuid4().hex)
    customers: set[str] = attrs.field(factory=set)
    joined: set[str] = attrs.field(factory=set)
    """Customers whose ranges may have been joined with others' marks, also if the store's answer was lost."""
    writes: InProgress = attrs.field(factory=InProgress)
    """Marks that the store has not answered yet."""


class ClaimedMarks:
    """Marks readings for the derivation of this daemon; see the module's docstring.

    :param ttl: seconds until a claim expires.
    """

    def __init__(self, queue: DerivationQueue, clock: Clock, ttl: int) -> None:
        self._queue = queue
        self._clock = clock
        self._ttl = ttl
        self._rounds: deque[_MarkRound] = deque()
        """Oldest first; marks are added to the last one while it is open."""
        self._joins = False
        self._works: deque[tuple[PendingWork, float]] = deque()
        self.open = False
        """Whether marks are claimed, because the derivation runs."""

    async def mark(self, marks: Sequence[PendingMark]) -> None:
        """Widen the pending ranges, and claim them unless another daemon has claimed the customer. Durable on return. Raises StoreUnavailable."""
        if not self.open or not marks:
            await self._queue.mark(marks)
            return
        current = self._current()
        current.customers.update(mark.customer_id for mark in marks)
        with current.writes:
            await self._queue.mark_claimed(marks, current.claim, int(current.began) + self._ttl)

    async def take(self, limit: int) -> list[tuple[PendingWork, float]]:
        """At most ``limit`` works to derive now, and when each was claimed. No further marks are joined with them. Raises StoreUnavailable."""
        ended, self._joins = list(self._rounds), False
        for each in ended:
            if len(self._works) >= limit:
                break
            await each.writes.ended()
            works = await self._claimed(each)
            self._rounds.remove(each)
            self._works.extend((work, each.began) for work in works)
        return [self._works.popleft() for _ in range(min(limit, len(self._works)))]

    async def _claimed(self, ended: _MarkRound) -> list[PendingWork]:
        """The works of a round, with what others have marked since."""
        works = await self._queue.claimed(ended.claim, len(ended.customers))
        marked = [work for work in works if work.customer.pending_start is not None]
        if marked:
            ended.joined.update(work.customer.id for work in marked)
            await self._queue.join_pending(marked)
            works = await self._queue.claimed(ended.claim, len(ended.customers))
        return [_with_others_marks(work) if work.customer.id in ended.joined else work for work in works]

    def _current(self) -> _MarkRound:
        if not self._joins or len(self._rounds[-1].customers) >= MAX_CUSTOMERS:
            self._rounds.append(_MarkRound(self._clock.seconds()))
            self._joins = True
        return self._rounds[-1]


def _with_others_marks(work: PendingWork) -> PendingWork:
    """Work whose marks may be anybody's: then it is not said which claim ended last, as for work claimed from the queue."""
    claims = work.customer.claims
    if claims is None:
        return work
    return work._replace(customer=attrs.evolve(work.customer, claims=claims._replace(derivation=None)))
