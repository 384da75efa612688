"""Marks readings uploaded to this daemon and claims them for its derivation in the same write.

So most customers are marked and claimed by one write. Further readings of the same customer before the next pass are joined with the claimed
range, also those that other daemons have only marked, because the customer was claimed: the logs of a session may go to several daemons. The claim
is in the store like any other: if this daemon dies, it expires and another daemon derives the customer.

The logs of a session come one after the other. So that no pass comes between them, customers whose first log comes just before a pass are left to
the next one.
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
from cenergyd.runtime.gather import gather_limited

MAX_CUSTOMERS = 1000
"""Maximum customers under one claim; further customers get another claim."""


@attrs.define(eq=False)
class _MarkRound:
    """The ranges of some customers, under one claim."""

    began: float
    """The time of its first mark, from which the expiry of the claim is counted."""
    is_late: bool = False
    """Whether a pass was expected soon when it began."""
    is_left: bool = False
    """Whether a pass has left it to the next one, which takes it."""
    ended: bool = False
    """Whether a pass takes it: no further marks are joined."""
    claim: str = attrs.field(factory=lambda: uuid4().hex)
    customers: set[str] = attrs.field(factory=set)
    joined: set[str] = attrs.field(factory=set)
    """Customers whose ranges may have been joined with others' marks, also if the store's answer was lost."""
    writes: InProgress = attrs.field(factory=InProgress)
    """Marks that the store has not answered yet."""


class ClaimedMarks:
    """Marks readings for the derivation of this daemon; see the module's docstring.

    :param ttl: seconds until a claim expires.
    :param interval: seconds between two passes.
    :param settling: seconds before a pass in which no customer's first log is included.
    """

    def __init__(
        self, queue: DerivationQueue, clock: Clock, ttl: int, interval: float = 0.0, settling: float = 0.0
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._ttl = ttl
        self._early_seconds = interval - settling
        self._settling = settling
        self._taken_at = float("-inf")
        self._rounds: deque[_MarkRound] = deque()
        """Oldest first; further customers are added to the last one while it is open."""
        self._works: deque[tuple[PendingWork, float]] = deque()
        self.open = False
        """Whether marks are claimed, because the derivation runs."""

    async def mark(self, marks: Sequence[PendingMark]) -> None:
        """Widen the pending ranges, and claim them unless another daemon has claimed the customer. Durable on return. Raises StoreUnavailable."""
        if not self.open or not marks:
            await self._queue.mark(marks)
            return
        parts: dict[str, tuple[_MarkRound, list[PendingMark]]] = {}
        for mark in marks:
            joined = self._round_of(mark.customer_id)
            joined.customers.add(mark.customer_id)
            parts.setdefault(joined.claim, (joined, []))[1].append(mark)
        await gather_limited([self._mark(*part) for part in parts.values()], len(parts))

    async def _mark(self, joined: _MarkRound, marks: Sequence[PendingMark]) -> None:
        with joined.writes:
            await self._queue.mark_claimed(marks, joined.claim, int(joined.began) + self._ttl)

    async def take(self, limit: int, *, all_marks: bool = False) -> list[tuple[PendingWork, float]]:
        """At most ``limit`` works to derive now, and when each was claimed. No further marks are joined with them. Raises StoreUnavailable.

        :param all_marks: whether to take those that came just before, too.
        """
        self._taken_at = now = self._clock.seconds()
        ended = [each for each in self._rounds if all_marks or each.ended or not self._settles(each, now)]
        for each in self._rounds:
            each.ended, each.is_left = each in ended, each not in ended
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

    def _round_of(self, customer_id: str) -> _MarkRound:
        """The round that a mark of a customer joins."""
        rounds = [each for each in reversed(self._rounds) if not each.ended]
        for each in rounds:
            if customer_id in each.customers:
                return each
        now = self._clock.seconds()
        is_late = not 0 <= now - self._taken_at < self._early_seconds
        is_next = is_late and bool(rounds) and (rounds[0].is_left or not rounds[0].is_late)
        if not rounds or len(rounds[0].customers) >= MAX_CUSTOMERS or is_next:
            self._rounds.append(_MarkRound(now, is_late))
            return self._rounds[-1]
        return rounds[0]

    def _settles(self, each: _MarkRound, now: float) -> bool:
        return each.is_late and 0 <= now - each.began < self._settling


def _with_others_marks(work: PendingWork) -> PendingWork:
    """Work whose marks may be anybody's: then it is not said which claim ended last, as for work claimed from the queue."""
    claims = work.customer.claims
    if claims is None:
        return work
    return work._replace(customer=attrs.evolve(work.customer, claims=claims._replace(derivation=None)))
