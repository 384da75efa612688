"""The contract of every customer store; one test suite runs against all of them.

Pending work has two windows per customer and queue. *Pending* (``pending_since``, ``pending_until``) collects what has
arrived. :meth:`PendingQueue.claim` moves it, compare-and-set, to *working*, under a claim that expires;
what arrives meanwhile opens a new pending window. So nothing that arrives during a derivation is lost, a long one is
not restarted by every new upload, and a dead daemon's work passes on when its claim expires.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from cenergyd.customers.model import Customer, PendingMark, PendingWork


class PendingSummary(NamedTuple):
    """How much waits for derivation."""

    customers: int
    oldest: int | None
    """The earliest pending_since, UTC seconds."""


class Window(NamedTuple):
    """Times that are to be derived."""

    since: int
    """UTC seconds."""
    until: int
    """Inclusive."""


class PendingQueue(Protocol):
    """The pending windows of all customers for one purpose. See the module's text for the two windows."""

    async def mark(self, marks: Sequence[PendingMark]) -> None:
        """Widen the pending windows; durable when this returns. Unknown customers are ignored."""
        ...

    async def claim(self, claim: str, now: int, ttl: int, limit: int) -> list[PendingWork]:
        """Claim up to ``limit`` customers with work, oldest first, until ``now + ttl``.

        ``claim`` names this call (a new unique string each time). Customers under a live claim are left out; so are those
        postponed to later than ``now``. A customer whose claim expired is claimed with its old work and the new.
        """
        ...

    async def advance(self, work: PendingWork, since: int, now: int, ttl: int) -> bool:
        """Everything before ``since`` is done: shrink the work, renew the claim. False: the claim is lost."""
        ...

    async def finish(self, works: Sequence[PendingWork]) -> list[bool]:
        """The work is done: drop it and the claim. False: the claim was lost (somebody else does it again)."""
        ...

    async def postpone(self, works: Sequence[PendingWork], retry_at: int) -> None:
        """Give work back, to be claimed at ``retry_at`` or later. Ignored where the claim is lost."""
        ...

    async def summary(self) -> PendingSummary:
        """How many customers have pending or claimed work, and since when."""
        ...


class CustomerStore(Protocol):
    """Keeps customers and their pending windows. Raises StoreUnavailable when the store does not answer."""

    @property
    def derivation_queue(self) -> PendingQueue:
        """Readings that arrived and are to be derived (``pending_since``, ``pending_until`` on the customer)."""
        ...

    @property
    def job_queue(self) -> PendingQueue:
        """Readings, measured or derived, that the jobs (rollups, alerts, ...) have not taken yet (``jobs_since``, ...)."""
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
        """Add one; an empty ``id`` gets one from the store. ``pending``: see :meth:`update`. Raises SerialTaken."""
        ...

    async def get(self, customer_id: str) -> Customer | None:
        """One customer or None."""
        ...

    async def by_serial(self, serial: str) -> Customer | None:
        """The customer that names a logger, or None. Serials compare as upper case."""
        ...

    async def page(self, *, after: str | None = None, limit: int = 100, search: str | None = None) -> list[Customer]:
        """Customers by id ascending, after one; ``search`` is in the name or serial, any case."""
        ...

    async def count(self) -> int:
        """How many customers."""
        ...

    async def update(
        self,
        customer_id: str,
        changes: Mapping[str, Any],
        *,
        expected_etag: str | None = None,
        pending: Window | None = None,
    ) -> Customer:
        """Set some of our fields (names of :class:`Customer`; ``extensions`` is merged by key, None removes one).

        Fields that are not ours are never touched. ``pending`` widens the pending window of the derivation queue in the same
        write: both are stored, or neither. Raises NotFound, SerialTaken, and Conflict where ``expected_etag`` is given and the
        stored customer has another one.
        """
        ...

    async def remove(self, customer_id: str, *, expected_etag: str | None = None) -> None:
        """Remove. Raises NotFound, Conflict."""
        ...

    async def set_password_hash(self, customer_id: str, old: str, new: str) -> bool:
        """Replace a stored password only if it still is ``old`` (hash on first match, rehash)."""
        ...
