"""Opens the stores in the settings; all other modules use only their Protocols.

Only the chosen kinds are imported: the clients of the servers take 20 MB and a third of a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import attrs

from cenergyd.customers.store import CustomerStore
from cenergyd.documents.store import DocumentStore
from cenergyd.readings.batching import BatchingReadingStore
from cenergyd.readings.corrected import corrected_store
from cenergyd.readings.correction_cache import CorrectionCache
from cenergyd.readings.recent import RecentReadings
from cenergyd.readings.retention import MARGIN_DAYS
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Reactor
from cenergyd.settings.sections import ReadingsSettings, Settings

if TYPE_CHECKING:
    from cenergyd.storage.influxdb.connection import Policy
    from cenergyd.storage.sqlite.old_rows import OldRows


@attrs.frozen(kw_only=True)
class Stores:
    """The three stores that a daemon or command uses."""

    customers: CustomerStore
    readings: ReadingStore
    """Applies corrections to what is read (:mod:`cenergyd.readings.corrected`), and writes measured values unchanged."""
    cached_readings: ReadingStore
    """The same readings, from memory where it has them (:mod:`cenergyd.readings.recent`). Only for the holder of a claim on the customer, or after
    :class:`RecentReadings` has reported that its readings are current."""
    recent: RecentReadings
    documents: DocumentStore
    old_rows: OldRows | None = None
    """Deletes old rows of an embedded readings store; None for other stores."""

    async def open(self) -> None:
        """Connect to all; raises StoreUnavailable. May be called again after a failure."""
        await self.customers.open()
        await self.documents.open()
        await self.readings.open()

    async def close(self) -> None:
        """Disconnect all."""
        await self.readings.close()
        await self.documents.close()
        await self.customers.close()


def make_stores(settings: Settings, reactor: Reactor) -> Stores:
    """The stores, not yet open. Raises ConfigError for an invalid URL."""
    customers, documents = _customer_stores(settings, reactor)
    measured, old_rows = _reading_store(settings, reactor)
    recent = RecentReadings(measured, reactor.seconds)
    cache = CorrectionCache(documents, reactor.seconds)
    return Stores(
        customers=customers,
        readings=corrected_store(cast(ReadingStore, recent), cache),
        # Calls are merged behind the cache, so what is cached is read without waiting for the reactor's next turn.
        cached_readings=corrected_store(
            recent.view_on(cast(ReadingStore, BatchingReadingStore(measured, reactor))), cache
        ),
        recent=recent,
        documents=documents,
        old_rows=old_rows,
    )


async def open_stores(settings: Settings, reactor: Reactor) -> Stores:
    """The stores, open. Raises StoreUnavailable."""
    stores = make_stores(settings, reactor)
    try:
        await stores.open()
    except BaseException:
        await stores.close()
        raise
    return stores


def _customer_stores(settings: Settings, reactor: Reactor) -> tuple[CustomerStore, DocumentStore]:
    url = settings.customers.url
    path = _sqlite_path(url)
    if path is not None:
        from cenergyd.storage.sqlite.customers import SqliteCustomerStore
        from cenergyd.storage.sqlite.documents import SqliteDocumentStore

        return SqliteCustomerStore(reactor, path), SqliteDocumentStore(reactor, path)
    from cenergyd.storage.mongodb.connection import MongoDatabase
    from cenergyd.storage.mongodb.customer_documents import SharedCollection
    from cenergyd.storage.mongodb.customers import MongoCustomerStore
    from cenergyd.storage.mongodb.documents import MongoDocumentStore

    mongo = MongoDatabase(reactor, url, settings.customers.timeout_seconds)
    shared = SharedCollection(
        name=settings.customers.collection,
        hash_passwords=settings.customers.hash_passwords,
        new_document=settings.customers.new_document,
    )
    return MongoCustomerStore(mongo, shared), MongoDocumentStore(mongo)


def _reading_store(settings: Settings, reactor: Reactor) -> tuple[ReadingStore, OldRows | None]:
    chosen = settings.readings
    path = _sqlite_path(chosen.url)
    if path is not None:
        from cenergyd.storage.sqlite.readings import SqliteReadingStore

        embedded = SqliteReadingStore(reactor, path)
        return embedded, embedded.old_rows
    from cenergyd.storage.influxdb.readings import InfluxReadingStore

    policy, points_policy = _policies(chosen)
    influx = InfluxReadingStore(
        reactor, chosen.url, policy=policy, points_policy=points_policy, timeout_seconds=chosen.timeout_seconds
    )
    return influx, None


def _policies(chosen: ReadingsSettings) -> tuple[Policy, Policy | None]:
    """The policy of readings and, if ``keep_days`` is set, the one of what is computed from them."""
    from cenergyd.storage.influxdb.connection import Policy

    name = chosen.retention_policy
    if not chosen.keep_days:
        return Policy(name), None
    raw, longer = (days + MARGIN_DAYS if days else 0 for days in map(chosen.keep_days.get, ("raw", "longer")))
    return Policy(name, raw), Policy(f"{name}_longer", longer)


def _sqlite_path(url: str) -> Path | None:
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None
