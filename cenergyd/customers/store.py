"""The contract of every customer store; one test suite runs against all of them.

A queue has two windows per customer. The *pending* window (``pending_start``, ``pending_end``) is widened by arriving readings.
:meth:`PendingQueue.claim` moves it, compare-and-set, to the *working* window, under a claim that expires; readings that arrive after
that open a new pending window. So nothing that arrives during a derivation is lost, a long derivation is not restarted by every
upload, and the work of a dead daemon is taken over when its claim expires.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import attrs

from cenergyd.customers.model import Customer, PendingMark, PendingWork, Window


class PendingSummary(NamedTuple):
    """How much work is pending."""

    customers: int
    oldest: int | None
    """The earliest start of a window, UTC seconds."""


@attrs.frozen(kw_only=True)
class FrontEndChange:
    """What the existing front end has changed in one customer since the last comparison."""

    customer: Customer
    """The customer before the change."""
    changes: Mapping[str, str] | None
    """Fields of :class:`Customer` with their new values; None if the customer was removed."""
    state: object = attrs.field(repr=False)
    """Private data of the store, for :meth:`FrontEnd.follow`."""


class FrontEnd(Protocol):
    """The existing front end that shares the collection of customers. Methods raise StoreUnavailable."""

    async def next_changes(self) -> tuple[list[FrontEndChange], bool]:
        """Changes of the next few hundred customers, and whether the pass over all customers is complete.

        A change is returned in every pass until it has been followed.
        """
        ...

    async def streamed_changes(self) -> list[FrontEndChange] | None:
        """Changes of at most a few hundred customers since the last pass or call, if the store reports changes (a change stream).

        None if it does not, or if the stream was interrupted; then only passes find changes. Cheap enough to call every second.
        """
        ...

    async def change_of(self, customer_id: str) -> FrontEndChange | None:
        """The change of one customer, None if there is none."""
        ...

    async def follow(self, change: FrontEndChange, update: Mapping[str, object], pending: Window | None = None) -> bool:
        """Adopt a change; False if the customer has been changed again meanwhile.

        :param update: as for :meth:`CustomerStore.update`; it may adopt only a part of what the front end wrote.
        """
        ...


class PendingQueue(Protocol):
    """The pending windows of all customers for one purpose. The module's docstring explains the two windows."""

    async def mark(self, marks: Sequence[PendingMark]) -> None:
        """Widen the pending windows. Durable on return. Unknown customers are ignored."""
        ...

    async def claim(self, claim: str, now: int, ttl: int, limit: int) -> list[PendingWork]:
        """Claim up to ``limit`` customers with work, oldest first, until ``now + ttl``.

        ``claim`` identifies this call (a new unique string each time). Customers under a live claim, and those postponed beyond ``now``,
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

        A window that is already under ``claim`` is widened; any other customer is only marked. Durable on return.
        """
        ...

    async def claimed(self, claim: str, limit: int) -> list[PendingWork]:
        """The work that is under a claim of :meth:`mark_claimed`, of at most ``limit`` customers, oldest first."""
        ...

    async def hand_over(
        self, works: Sequence[PendingWork], windows: Sequence[Window], results: Sequence[str] = ()
    ) -> list[bool]:
        """As :meth:`finish`, and in the same write widen the job queue's pending window of each customer by its window.

        Durable on return, unlike :meth:`finish`. Nothing is changed if the claim was lost.

        :param results: the customers' new :attr:`Customer.derivation`, stored by the same write; '' or none: it stays as it is.
        """
        ...

    async def hand_over_claimed(
        self,
        works: Sequence[PendingWork],
        windows: Sequence[Window],
        claim: str,
        until: int,
        results: Sequence[str] = (),
    ) -> list[bool]:
        """As :meth:`hand_over`, but add the window to the job queue's working window under ``claim``, for a caller that runs the jobs itself.

        So the jobs need not be claimed. The claim expires at ``until``. False, and nothing is changed, if the claim on the derivation was
        lost or the job queue has other work of this customer that is not under ``claim``. Durable on return.
        """
        ...

    async def finish_with_results(self, works: Sequence[PendingWork], results: Sequence[str]) -> list[bool]:
        """As :meth:`finish`, for work whose jobs have run as well; in the same write store the results, as :meth:`hand_over` does.

        False, and nothing is changed, also if the job queue has got work of the customer: then the jobs must run once more.
        """
        ...

    async def store_results(self, results: Mapping[str, str]) -> None:
        """Store :attr:`Customer.derivation` of customers, by id, while their claims go on or after they failed."""
        ...


class CustomerStore(Protocol):
    """Stores customers and their pending windows. Every method raises StoreUnavailable when the store does not answer."""

    @property
    def derivation_queue(self) -> DerivationQueue:
        """Readings to derive the missing meter from (``pending_start``, ``pending_end`` on the customer)."""
        ...

    @property
    def job_queue(self) -> PendingQueue:
        """Measured or derived readings that the jobs (rollups, alerts, ...) have not processed yet."""
        ...

    @property
    def front_end(self) -> FrontEnd | None:
        """The existing front end that also changes customers, if there is one."""
        ...

    @property
    def hashes_passwords(self) -> bool:
        """Whether :meth:`set_password_hash` does anything: the front end may need passwords as it wrote them."""
        ...

    @property
    def announces_changes(self) -> bool:
        """Whether every change of settings is announced before it is made (:mod:`cenergyd.documents.change_notices`)."""
        ...

    async def open(self) -> None:
        """Connect; create indexes and tables."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...

    async def ping(self) -> None:
        """Return if the store answers; raise StoreUnavailable with the reason if not."""
        ...

    async def add(self, customer: Customer, *, pending: Window | None = None) -> Customer:
        """Add one; the store chooses an ``id`` if it is empty. ``pending``: see :meth:`update`. Raises SerialTaken, Conflict."""
        ...

    async def get(self, customer_id: str) -> Customer | None:
        """One customer or None."""
        ...

    async def get_many(self, customer_ids: Sequence[str]) -> dict[str, Customer]:
        """The customers that exist among these ids, by id, in as few round trips as possible."""
        ...

    async def by_serial(self, serial: str) -> Customer | None:
        """The customer that a logger belongs to, or None. Case does not matter."""
        ...

    async def holders(self, serial: str) -> list[Customer]:
        """Customers who hold a logger or have held it (:mod:`cenergyd.customers.ownership`). Rarely used: it may scan all of them."""
        ...

    async def page(self, *, after: str | None = None, limit: int = 100, search: str | None = None) -> list[Customer]:
        """Customers in the order of ids, after one; ``search`` is part of the name or serial number, in any case."""
        ...

    async def count(self) -> int:
        """Number of customers."""
        ...

    async def update(
        self,
        customer_id: str,
        changes: Mapping[str, object],
        *,
        expected_etag: str | None = None,
        pending: Window | None = None,
    ) -> Customer:
        """Set fields (by their names in :class:`Customer`; ``extensions`` is merged by key, None removes a key).

        ``pending`` widens the pending window of the derivation queue in the same write: both are stored, or neither. Raises
        NotFound, SerialTaken, and Conflict if ``expected_etag`` is given and is not the stored customer's.
        """
        ...

    async def remove(self, customer_id: str, *, expected_etag: str | None = None) -> None:
        """Remove. Raises NotFound, Conflict."""
        ...

    async def set_password_hash(self, customer_id: str, old: str, new: str) -> bool:
        """Replace a stored password, if it still is ``old``, by its hash."""
        ...
