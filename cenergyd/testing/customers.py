"""Customers in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cenergyd.customers.model import FIELD_OF_ROLE, ROLES, Customer, Role
from cenergyd.tools.simulator.site import METER_OF_ROLE

SERIAL = "001EC6001433"


def make_customer(missing: Role = "load", **fields: object) -> Customer:
    """A customer whose meter of the role ``missing`` is computed; the others are meters 1 (utility), 2 (load) and 3 (solar).

    :param fields: of :class:`~cenergyd.customers.model.Customer`, in place of the defaults.
    """
    meters = {FIELD_OF_ROLE[role]: "" if role == missing else METER_OF_ROLE[role] for role in ROLES}
    defaults = {"id": "c1", "name": "Mill", "logger_serial_number": SERIAL, "logger_password": "secret", **meters}
    return Customer(**{**defaults, **fields})  # type: ignore[arg-type]


class MemoryCustomers:
    """The part of a customer store that plugins may use (looking customers up), and adding customers."""

    def __init__(self, customers: Iterable[Customer] = ()) -> None:
        self.kept = {customer.id: customer for customer in customers}

    async def add(self, customer: Customer) -> Customer:
        """Add one."""
        self.kept[customer.id] = customer
        return customer

    async def get(self, customer_id: str) -> Customer | None:
        """One customer or None."""
        return self.kept.get(customer_id)

    async def get_many(self, customer_ids: Sequence[str]) -> dict[str, Customer]:
        """The customers that exist among these ids."""
        return {key: self.kept[key] for key in customer_ids if key in self.kept}

    async def by_serial(self, serial: str) -> Customer | None:
        """The customer of a logger."""
        return next((each for each in self.kept.values() if each.logger_serial_number == serial), None)

    async def page(self, *, after: str | None = None, limit: int = 100, search: str | None = None) -> list[Customer]:
        """By id, ascending."""
        found = [self.kept[key] for key in sorted(self.kept) if after is None or key > after]
        wanted = (search or "").lower()
        return [each for each in found if wanted in f"{each.name} {each.logger_serial_number}".lower()][:limit]

    async def count(self) -> int:
        """Number of customers."""
        return len(self.kept)
