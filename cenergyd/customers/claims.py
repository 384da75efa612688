"""The contract by which daemons agree on who derives a customer or runs its jobs: pending work is claimed in the customer store.

A queue has two ranges per customer. The *pending* range (``pending_start``, ``pending_end``) is widened by arriving readings.
:meth:`PendingQueue.claim` moves it, compare-and-set, to the *working* range, under a claim that expires; readings that arrive after
that open a new pending range. So nothing that arrives during a derivation is lost, a long derivation is not restarted by every
upload, and the work of a dead daemon is taken over when its claim expires.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from cenergyd.customers.model import PendingMark, PendingWork, TimeRange


class PendingSummary(NamedTuple):
    """How much work is pending."""

    customers: int
    oldest: int | None
    """The earliest start of a range, UTC seconds."""


class PendingQueue(Protocol):
    """The pending ranges of all customers for one purpose. The module's docstring explains the two ranges."""

    async def mark(self, marks: Sequence[PendingMark]) -> None:
        """Widen the pending ranges. Durable on return. Unknown customers are ignored."""
        ...

    async def claim(self, claim: str, now: int, ttl: int, limit: int) -> list[PendingWork]:
        """Claim up to ``limit`` customers with work, oldest first, until ``now + ttl``.

        ``claim`` identifies this call (a new unique string each time). Customers under a claim that has not expired, and those postponed beyond ``now``,
        are skipped. A customer whose claim has expired is claimed with its old work and the new.
        """
        ...

    async def advance(self, work: PendingWork, start: int, now: int, ttl: int) -> bool:
        """Everything before ``start`` is done: shrink the work and renew the claim. False if the claim was lost."""
        ...

    async def finish(self, works: Sequence[PendingWork]) -> list[bool]:
        """The work is done: remove it and the claim. False if the claim was lost; then another daemon does the work again."""
        ...

    async def postpone(self, works: Sequence[PendingWork], retry_at: int) -> None:
        """Release work, to be claimed at ``retry_at`` or later. Ignored if the claim was lost."""
        ...

    async def summary(self) -> PendingSummary:
        """The number of customers with pending or claimed work, and its earliest time."""
        ...


class DerivationQueue(PendingQueue, Protocol):
    """The queue whose finished work is passed on to the jobs."""

    async def mark_claimed(self, marks: Sequence[PendingMark], claim: str, until: int) -> None:
        """As :meth:`mark`, for a caller that derives them itself: the same write claims a customer without other work, until ``until``.

        A range that is already under ``claim`` is widened; any other customer is only marked. Durable on return.
        """
        ...

    async def claimed(self, claim: str, limit: int) -> list[PendingWork]:
        """The work that is under a claim of :meth:`mark_claimed`, of at most ``limit`` customers, oldest first."""
        ...

    async def join_pending(self, works: Sequence[PendingWork]) -> None:
        """Move the pending ranges of customers to their working ranges, because others have marked them since they were claimed.

        Nothing is changed where the claim was lost.
        """
        ...

    async def hand_over(
        self, works: Sequence[PendingWork], ranges: Sequence[TimeRange], results: Sequence[str] = ()
    ) -> list[bool]:
        """As :meth:`finish`, and in the same write widen the job queue's pending range of each customer by its range.

        Durable on return, unlike :meth:`finish`. Nothing is changed if the claim was lost.

        :param results: the customers' new :attr:`Customer.derivation`, stored by the same write; '' or none: it stays as it is.
        """
        ...

    async def hand_over_claimed(
        self,
        works: Sequence[PendingWork],
        ranges: Sequence[TimeRange],
        claim: str,
        until: int,
        results: Sequence[str] = (),
    ) -> list[bool]:
        """As :meth:`hand_over`, but add the range to the job queue's working range under ``claim``, for a caller that runs the jobs itself.

        So the jobs need not be claimed. The claim expires at ``until``. False, and nothing is changed, if the claim on the derivation was
        lost or the job queue has other work of this customer that is not under ``claim``. Durable on return.
        """
        ...

    async def finish_with_results(
        self, works: Sequence[PendingWork], ranges: Sequence[TimeRange], results: Sequence[str]
    ) -> list[bool]:
        """As :meth:`finish`, for work whose jobs have run as well over its range; in the same write store the results, as :meth:`hand_over` does.

        False, and nothing is changed, also if the job queue has received work of the customer meanwhile: then the jobs must run again.
        """
        ...

    async def store_results(self, results: Mapping[str, str]) -> None:
        """Store :attr:`Customer.derivation` of customers, by id, while they remain claimed or after a failure."""
        ...
