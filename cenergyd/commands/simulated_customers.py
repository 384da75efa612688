"""Adds the customers of simulated sites to a store, for ``cenergyd simulate --register`` and ``cenergyd run --demo``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cenergyd.customers.model import Customer
from cenergyd.customers.passwords import hash_password, verify_password
from cenergyd.customers.store import CustomerStore
from cenergyd.derivation.reconfigure import add_customer, change_customer
from cenergyd.readings.store import ReadingStore
from cenergyd.tools.simulator.site import SimulatedSite


async def register_sites(
    customers: CustomerStore,
    readings: ReadingStore,
    sites: Sequence[SimulatedSite],
    password: str,
    *,
    now: int,
) -> list[Customer]:
    """Add each site's customer, or change it to what the simulation needs; one that already fits stays untouched.

    All get the same password hash: argon2 is slow on purpose, and a thousand hashes would take long.
    """
    registered: list[Customer] = []
    hashed = ""
    verified: set[str] = set()
    for site in sites:
        there = await customers.by_serial(site.serial)
        stored = there.logger_password if there else ""
        if stored and stored not in verified and verify_password(stored, password):
            verified.add(stored)
        if stored not in verified:
            hashed = hashed or hash_password(password)
            verified.add(hashed)
            stored = hashed
        wanted: dict[str, Any] = {
            **site.fields,
            "name": site.name,
            "time_zone": site.place.zone,
            "logger_password": stored,
        }
        if there is None:
            added = Customer(id="", logger_serial_number=site.serial, **wanted)
            registered.append(await add_customer(customers, readings, added, now))
        elif any(getattr(there, key) != value for key, value in wanted.items()):
            registered.append((await change_customer(customers, readings, there.id, wanted, now)).new)
        else:
            registered.append(there)
    return registered
