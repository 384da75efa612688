"""The existing front end that shares MongoDB's collection of customers: the contract of what a store says about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import attrs

from cenergyd.customers.model import Customer, TimeRange


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

    async def follow(
        self, change: FrontEndChange, update: Mapping[str, object], pending: TimeRange | None = None
    ) -> bool:
        """Adopt a change; False if the customer has been changed again meanwhile.

        :param update: as for :meth:`CustomerStore.update`; it may adopt only a part of what the front end wrote.
        """
        ...
