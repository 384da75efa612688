"""Derived ranges whose jobs this daemon runs itself, without claiming them from the queue.

The jobs of a fresh range run under the claim on its derivation: one write of the customer's document ends both. Readings that arrive
meanwhile wait for that. If the claim would expire too soon, or the range is long, the derivation hands the range over and claims it for the
jobs, in one write; further ranges of the same customer before the jobs' next pass are joined with it. Either claim is in the store: if this
daemon dies, it expires and another daemon derives the range or runs the jobs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from uuid import uuid4

import attrs

from cenergyd.customers.claims import DerivationQueue
from cenergyd.customers.model import PendingWork, TimeRange
from cenergyd.runtime.clock import Clock
from cenergyd.runtime.concurrency import InProgress

MAX_WAITING = 2000
"""Customers that may wait in memory for the next pass; the others are left to the queue."""
CLAIM_LEFT = 40.0
"""Seconds that a claim on a derivation must last for jobs to be run under it."""
LONGEST_RANGE = 6 * 3600
"""A longer range has a claim of the jobs, so that new readings need not wait for them."""


@attrs.frozen(slots=True)
class DerivedWork:
    """A derived range that is still claimed by the derivation."""

    work: PendingWork
    time_range: TimeRange
    """What the jobs are run over."""
    result: str
    """The result of the derivation, to store with the end of the claim; '' if there is none."""
    until: float
    """When the claim expires, UTC seconds."""


@attrs.define(eq=False)
class _HandOverRound:
    """The ranges handed over between two passes, under one claim."""

    claim: str = attrs.field(factory=lambda: uuid4().hex)
    works: dict[str, tuple[PendingWork, float]] = attrs.field(factory=dict)
    """Customer id -> work and when it was claimed."""
    writes: InProgress = attrs.field(factory=InProgress)
    """Hand-overs that the store has not answered yet."""

    def joined(self, work: PendingWork, time_range: TimeRange, now: float) -> None:
        """Record a range that the store has accepted."""
        before, _ = self.works.get(work.customer.id, (None, 0.0))
        start = time_range.start if before is None else min(before.start, time_range.start)
        end = time_range.end if before is None else max(before.end, time_range.end)
        self.works[work.customer.id] = PendingWork(work.customer, start, end, self.claim), now


class HandedOver:
    """Takes over derived ranges from the derivation; see the module's docstring.

    :param ttl: seconds until a claim of the jobs expires.
    """

    def __init__(self, queue: DerivationQueue, clock: Clock, ttl: int) -> None:
        self._queue = queue
        self._clock = clock
        self._ttl = ttl
        self._derived: deque[DerivedWork] = deque()
        self._round = _HandOverRound()
        self._earlier: list[_HandOverRound] = []
        self.open = False
        """Whether ranges are accepted, because the jobs run."""

    def __len__(self) -> int:
        return len(self._derived) + sum(len(each.works) for each in (*self._earlier, self._round))

    async def take_over(
        self,
        works: Sequence[PendingWork],
        ranges: Sequence[TimeRange],
        results: Sequence[str] = (),
        until: Sequence[float] = (),
    ) -> list[bool]:
        """Take over derived ranges. False for ranges not taken; for those nothing is changed. Raises StoreUnavailable.

        :param until: when the claims on the derivation expire, UTC seconds; 0, or none: the jobs need a claim of their own.
        """
        if not self.open or not works or len(self) + len(works) > MAX_WAITING:
            return [False] * len(works)
        now = self._clock.seconds()
        results, until = results or [""] * len(works), until or [now] * len(works)
        kept = [
            end - now >= CLAIM_LEFT and time_range.end - time_range.start <= LONGEST_RANGE
            for time_range, end in zip(ranges, until, strict=True)
        ]
        others = [number for number, is_kept in enumerate(kept) if not is_kept]
        taken = [True] * len(works)
        if others:
            answers = await self._hand_over(
                [works[i] for i in others], [ranges[i] for i in others], [results[i] for i in others]
            )
            for number, is_taken in zip(others, answers, strict=True):
                taken[number] = is_taken
        self._derived.extend(
            DerivedWork(*each)
            for each, is_kept in zip(zip(works, ranges, results, until, strict=True), kept, strict=True)
            if is_kept
        )
        return taken

    async def _hand_over(
        self, works: Sequence[PendingWork], ranges: Sequence[TimeRange], results: Sequence[str]
    ) -> list[bool]:
        current, now = self._round, self._clock.seconds()
        with current.writes:
            try:
                taken = await self._queue.hand_over_claimed(works, ranges, current.claim, int(now) + self._ttl, results)
                for work, time_range, is_ours in zip(works, ranges, taken, strict=True):
                    if is_ours:
                        current.joined(work, time_range, now)
                return taken
            except BaseException:
                # It is unknown what the store has written: leave these claims to expire, and let nothing join them.
                for work in works:
                    current.works.pop(work.customer.id, None)
                self._next_round(current)
                raise

    def take_derived(self, limit: int) -> list[DerivedWork]:
        """At most ``limit`` ranges that are still claimed by the derivation, to run their jobs now, oldest first."""
        return [self._derived.popleft() for _ in range(min(limit, len(self._derived)))]

    async def take(self, limit: int) -> list[tuple[PendingWork, float]]:
        """At most ``limit`` works to run now, and when each was claimed. No further ranges are joined with them."""
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
