"""Group commit is tested on the reading stores of the contract suite, the intake on both kinds of customer and document store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from cenergyd.documents.store import DocumentStore
from cenergyd.storage.mongodb.connection import MongoDatabase
from cenergyd.storage.mongodb.documents import MongoDocumentStore
from cenergyd.storage.sqlite.documents import SqliteDocumentStore
from tests.ingest.intake import Intake
from tests.storage.customers.conftest import make_store
from tests.storage.readings.conftest import serial, store

__all__ = ["serial", "store"]

MakeIntake = Callable[..., Any]


@pytest.fixture(params=["sqlite", "mongo"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which store of customers and documents."""
    return str(request.param)


@pytest_twisted.async_yield_fixture
async def make_intake(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[MakeIntake]:
    """Makes intakes on the same stores, as several daemons have them."""
    opened: list[Any] = []

    async def make(**options: Any) -> Intake:
        customers, documents = make_store(kind, request), _documents(kind, request)
        for each in (customers, documents):
            await each.open()
            opened.append(each)
        return Intake(customers, documents, **options)

    yield make
    for each in opened:
        await each.close()


@pytest_twisted.async_yield_fixture
async def intake(make_intake: MakeIntake) -> AsyncIterator[Intake]:
    """One with a customer."""
    made = await make_intake()
    await made.add_customer()
    yield made


def _documents(kind: str, request: pytest.FixtureRequest) -> DocumentStore:
    if kind == "sqlite":
        return SqliteDocumentStore(reactor, request.getfixturevalue("tmp_path") / "customers.sqlite")
    server = request.getfixturevalue("mongo")
    return MongoDocumentStore(
        MongoDatabase(reactor, f"{server.url}/{request.getfixturevalue('unique_name')}", timeout_seconds=100)
    )
