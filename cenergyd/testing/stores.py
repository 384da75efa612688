"""The stores of a plugin's test: in memory, or real ones if the environment or the test selects them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import cast
from uuid import uuid4

import attrs
from twisted.internet.defer import Deferred

from cenergyd.customers.model import Customer
from cenergyd.customers.store import CustomerStore
from cenergyd.documents.memory import MemoryDocumentStore
from cenergyd.documents.store import DocumentStore
from cenergyd.errors import Conflict
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import FieldPoint
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Reactor
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import open_stores
from cenergyd.testing.customers import MemoryCustomers

URLS = ("customers.url", "readings.url")
VARIABLES = {"CENERGYD_TEST_CUSTOMERS_URL": "customers", "CENERGYD_TEST_READINGS_URL": "readings"}
"""Environment variables with servers' addresses: ``mongodb://HOST:PORT`` and ``influxdb://HOST:PORT``, or ``sqlite:///FOLDER``."""


def urls_of_environment() -> dict[str, str]:
    """Settings of new, private stores on the servers in the environment; empty if it names none."""
    name, urls = f"plugin_test_{uuid4().hex[:12]}", {}
    for variable, store in VARIABLES.items():
        if base := os.environ.get(variable, "").rstrip("/"):
            urls[f"{store}.url"] = f"{base}/{name}" + (f"_{store}.sqlite" if base.startswith("sqlite:") else "")
    return urls


@attrs.frozen(kw_only=True)
class TestStores:
    """The stores of a plugin under test."""

    customers: CustomerStore
    readings: ReadingStore
    documents: DocumentStore

    async def keep(self, customer: Customer) -> None:
        """Add a customer, unless there is one with this id."""
        try:
            if await self.customers.get(customer.id) is None:
                await self.customers.add(customer)
        except Conflict:
            return  # another customer of the test has the same logger, which does not matter for a job


async def open_test_stores(settings: Settings, given: Mapping[str, str], reactor: Reactor) -> TestStores:
    """Stores in memory, or those of the settings if ``given`` has both URLs; they are closed when the reactor stops."""
    named = [url for url in URLS if url in given]
    if not named:
        return TestStores(
            customers=cast(CustomerStore, MemoryCustomers()),
            readings=MemoryReadingStore(),
            documents=MemoryDocumentStore(),
        )
    if len(named) == 1:
        raise ValueError(f"both {' and '.join(URLS)} are needed, and only {named[0]} is given")
    stores = await open_stores(settings, reactor)
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(stores.close()))
    return TestStores(customers=stores.customers, readings=stores.readings, documents=stores.documents)


class NamingReadings:
    """A reading store that records the series whose points were written."""

    def __init__(self, store: ReadingStore, names: set[str]) -> None:
        self._store = store
        self._names = names

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def write_points(self, series: str, points: Sequence[FieldPoint]) -> None:
        """As the store's."""
        self._names.add(series)
        await self._store.write_points(series, points)

    async def replace_points(self, series: str, start: int, end: int, points: Sequence[FieldPoint]) -> None:
        """As the store's."""
        self._names.add(series)
        await self._store.replace_points(series, start, end, points)

    async def replace_points_many(
        self, items: Sequence[tuple[str, int, int, Sequence[FieldPoint]]], field: str = ""
    ) -> None:
        """As the store's."""
        self._names.update(item[0] for item in items)
        await self._store.replace_points_many(items, field)

    async def merge_points_many(self, items: Sequence[tuple[str, Sequence[FieldPoint]]]) -> None:
        """As the store's."""
        self._names.update(series for series, _ in items)
        await self._store.merge_points_many(items)
