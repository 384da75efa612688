"""The customer stores that the contract suites run against."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from cenergyd.customers.store import CustomerStore
from cenergyd.storage.mongodb.connection import MongoDatabase
from cenergyd.storage.mongodb.customer_documents import SharedCollection
from cenergyd.storage.mongodb.customers import MongoCustomerStore
from cenergyd.storage.sqlite.customers import SqliteCustomerStore


def make_store(kind: str, request: pytest.FixtureRequest) -> CustomerStore:
    """A store of a kind; made twice in a test, both see the same data, as two daemons do."""
    if kind == "sqlite":
        return SqliteCustomerStore(reactor, request.getfixturevalue("tmp_path") / "customers.sqlite")
    server: Any = request.getfixturevalue(kind)
    database = MongoDatabase(reactor, f"{server.url}/{request.getfixturevalue('unique_name')}", timeout_seconds=100)
    return MongoCustomerStore(database, SharedCollection(hash_passwords=True))


@pytest.fixture(params=["sqlite", "mongo", "second_mongo"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which store. A server that is not installed skips here: a skip within an asynchronous fixture breaks the following tests."""
    if request.param != "sqlite":
        request.getfixturevalue(request.param)
    return str(request.param)


@pytest_twisted.async_yield_fixture
async def store(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[CustomerStore]:
    """An open, empty store of each kind."""
    made = make_store(kind, request)
    await made.open()
    yield made
    await made.close()


@pytest_twisted.async_yield_fixture
async def second(kind: str, store: CustomerStore, request: pytest.FixtureRequest) -> AsyncIterator[CustomerStore]:
    """Another daemon's store on the same data."""
    made = make_store(kind, request)
    await made.open()
    yield made
    await made.close()
