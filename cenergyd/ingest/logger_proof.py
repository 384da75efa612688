"""Proof of ownership of a logger that belongs to nobody yet: its owner knows the password with which it uploads.

The password that an unknown logger sent is kept, hashed, with its entry in the list of rejected loggers. A customer who enters that serial
number and password gets the logger. Anybody else learns nothing: neither whether there is such a logger nor whether it belongs to somebody,
and the answer takes the same time. Somebody who makes up a serial number, uploads with it and enters it gains only its future uploads,
until an operator intervenes; loggers of a customer are never given to another one this way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cenergyd.customers.store import CustomerStore
from cenergyd.documents.kinds import REJECTED
from cenergyd.documents.store import DocumentStore
from cenergyd.runtime.attempts import Limit, Throttle
from cenergyd.runtime.clock import Timers

PROVEN_BY = "hashed"
"""The field of a rejected logger's document with the hash of its last password; only if the logger belongs to nobody."""
MAX_AGE_SECONDS = 2 * 86400
"""An attempt older than this proves nothing."""
_WRONG, _PACE, _COUNTED_SECONDS = 5, 10.0, 3600.0
"""After 5 failed attempts by a customer, or for a logger, within an hour: one attempt in 10 s."""

CheckPassword = Callable[[str, str], Awaitable[bool]]
"""Whether a stored hash ('' matches nothing) is that of a password; takes about the same time either way."""


class LoggerProof:
    """Checks claims of ownership. After wrong ones further ones are slowed down, per customer and per logger."""

    def __init__(self, customers: CustomerStore, documents: DocumentStore, check: CheckPassword, clock: Timers) -> None:
        self._customers = customers
        self._documents = documents
        self._check = check
        self._clock = clock
        limit = Limit(_WRONG, _PACE)
        self._throttle = Throttle(clock, {"customer": limit, "logger": limit}, counted_seconds=_COUNTED_SECONDS)

    async def proves(self, customer_id: str, serial: str, password: str) -> bool:
        """Whether an unowned logger uploads with this password. Raises TooManyAttempts, StoreUnavailable."""
        if not serial or not password:
            return False
        keys = {"customer": customer_id, "logger": serial}
        await self._throttle.turn(keys)
        document = await self._documents.get(REJECTED, serial)
        body = document.body if document is not None else {}
        fresh = self._clock.seconds() - float(body.get("time") or 0) < MAX_AGE_SECONDS
        owner = await self._customers.by_serial(serial)
        stored = str(body.get(PROVEN_BY) or "") if fresh and owner is None else ""
        if await self._check(stored, password):
            return True
        self._throttle.failed(keys)
        return False

    def close(self) -> None:
        """Refuse delayed checks."""
        self._throttle.close()


async def proves_nothing(customer_id: str, serial: str, password: str) -> bool:
    """For daemons without loggers: no proof succeeds."""
    return False
