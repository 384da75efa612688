"""The contract of every customer store; one test suite runs against all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from cenergyd.customers.claims import DerivationQueue, PendingQueue
from cenergyd.customers.front_end import FrontEnd
from cenergyd.customers.model import Customer, TimeRange


class CustomerStore(Protocol):
    """Stores customers and their pending ranges. Every method raises StoreUnavailable when the store does not answer."""

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

    async def add(self, customer: Customer, *, pending: TimeRange | None = None) -> Customer:
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
        """Customers who own a logger or have owned it (:mod:`cenergyd.customers.ownership`). Rarely used: it may scan all of them."""
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
        pending: TimeRange | None = None,
    ) -> Customer:
        """Set fields (by their names in :class:`Customer`; ``extensions`` is merged by key, None removes a key).

        ``pending`` widens the pending range of the derivation queue in the same write: both are stored, or neither. Raises
        NotFound, SerialTaken, and Conflict if ``expected_etag`` is given and is not the stored customer's.
        """
        ...

    async def remove(self, customer_id: str, *, expected_etag: str | None = None) -> None:
        """Remove. Raises NotFound, Conflict."""
        ...

    async def set_password_hash(self, customer_id: str, old: str, new: str) -> bool:
        """Replace a stored password, if it still is ``old``, by its hash."""
        ...
