"""Where MongoDB has change streams, what the front end changes is found without reading the whole collection."""

from __future__ import annotations

from contextlib import suppress

import pytest
import pytest_twisted
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from twisted.internet import reactor
from twisted.internet.task import deferLater

from cenergyd.customers.model import Customer
from cenergyd.errors import StoreUnavailable
from cenergyd.storage.mongodb.change_stream import ChangeStream
from cenergyd.storage.mongodb.connection import MongoDatabase
from cenergyd.storage.mongodb.customer_documents import SharedCollection
from cenergyd.storage.mongodb.customers import MongoCustomerStore
from tests.servers import PATIENT_SECONDS, RunningMongo
from tests.storage.customers.front_end import whole_pass

MILL = {"_id": "mill", "name": "Mill", "facility": "1", "load": "2", "logger_serial_number": "001EC6001433"}


@pytest.fixture(scope="module")
def replica_set():
    server = RunningMongo(replica_set=True)
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture
def shared(replica_set, unique_name):
    """The shared collection, as the front end writes it."""
    with MongoClient(replica_set.url) as client:
        yield client[unique_name].customer


def make(server, name, timeout_seconds=PATIENT_SECONDS):
    return MongoCustomerStore(MongoDatabase(reactor, f"{server.url}/{name}", timeout_seconds), SharedCollection())


@pytest_twisted.async_yield_fixture
async def store(replica_set, unique_name):
    made = make(replica_set, unique_name)
    await made.open()
    yield made
    await made.close()


@pytest_twisted.ensureDeferred
async def test_changes_removals_and_new_customers_are_reported(store, shared):
    shared.insert_many([MILL, *({"_id": n, "name": f"site {n}"} for n in range(600))])
    assert await store.front_end.streamed_changes() is None  # no pass has been made
    assert await whole_pass(store) == []
    assert await store.front_end.streamed_changes() == []

    shared.update_one({"_id": "mill"}, {"$set": {"load": "", "solar": "3"}})
    shared.update_many({"_id": {"$type": "number"}}, {"$set": {"last_alerted": 1}})
    shared.insert_one({"_id": "shop", "name": "Shop", "logger_serial_number": "AA01"})
    changes = []
    for _ in range(100):  # how many events come with each answer is the server's choice; the newest come last
        changes += await store.front_end.streamed_changes()
        if shop := await store.by_serial("AA01"):
            break
    assert {change.customer.id for change in changes} == {"mill"}
    assert changes[0].changes == {"load": "", "solar": "3"}
    assert shop.name == "Shop"

    (again,) = await store.front_end.streamed_changes()  # until it is followed
    assert again == changes[0]
    assert await store.front_end.follow(again, again.changes)
    assert await store.front_end.streamed_changes() == []
    assert (await store.get("mill")).solar == "3"

    document = shared.find_one_and_delete({"_id": "mill"})
    (gone,) = await store.front_end.streamed_changes()
    assert gone.changes is None
    assert await store.front_end.follow(gone, {})
    assert await store.front_end.streamed_changes() == []
    assert await store.get("mill") is None
    shared.insert_one(document)
    (back,) = await store.front_end.streamed_changes()
    assert await store.front_end.follow(back, back.changes)
    assert (await store.get("mill")).solar == "3"


@pytest_twisted.ensureDeferred
async def test_what_is_changed_here_is_no_change_of_the_front_end(store, shared):
    shared.insert_one(MILL)
    await whole_pass(store)
    await store.update("mill", {"solar": "4", "load": ""})
    await store.add(Customer(id="new", name="New", logger_serial_number="AA02"))
    assert await store.front_end.streamed_changes() == []
    await store.remove("new")
    assert await store.front_end.streamed_changes() == []


@pytest_twisted.ensureDeferred
async def test_what_a_dead_daemon_left_unwritten_is_written_beside_the_stream(store, shared, monkeypatch):
    shared.insert_one(MILL)
    await whole_pass(store)

    async def crash(_):
        raise StoreUnavailable("crash")

    with monkeypatch.context() as patched:
        patched.setattr(store.documents, "write_unwritten", crash)
        with pytest.raises(StoreUnavailable):
            await store.update("mill", {"facility": "9"})
    monkeypatch.setattr(store.front_end, "_searched_unwritten", 0.0)
    assert await store.front_end.streamed_changes() == []
    assert shared.find_one()["facility"] == "9"


@pytest_twisted.ensureDeferred
async def test_a_dropped_collection_or_a_lost_cursor_calls_for_a_pass(store, shared):
    shared.insert_one(MILL)
    await whole_pass(store)
    shared.drop()
    assert await store.front_end.streamed_changes() is None
    (gone,) = await whole_pass(store)
    assert gone.changes is None and await store.front_end.follow(gone, {})
    stream = store.front_end._stream
    assert stream.is_open
    shared.database.command({"killCursors": "customer", "cursors": [stream._cursor]})
    assert await store.front_end.streamed_changes() is None
    assert not stream.is_open
    shared.insert_one(MILL)
    (back,) = await whole_pass(store)
    assert back.customer.id == "mill"
    assert await store.front_end.streamed_changes() == [back]  # until it is followed


@pytest_twisted.ensureDeferred
async def test_one_daemon_follows_and_leaves_to_another_when_it_stops(replica_set, unique_name, shared):
    first, second = make(replica_set, unique_name), make(replica_set, unique_name)
    try:
        await first.open()
        await second.open()
        shared.insert_one(MILL)
        await whole_pass(first)
        await whole_pass(second)
        assert await second.front_end.streamed_changes() is None
        shared.update_one({}, {"$set": {"load": "7"}})
        await first.close()
        (change,) = await whole_pass(second)
        assert change.changes == {"load": "7"}
        assert await second.front_end.streamed_changes() is not None
    finally:
        await first.close()
        await second.close()


@pytest_twisted.ensureDeferred
async def test_a_restart_of_the_server_ends_the_stream_and_loses_nothing(own_mongo, unique_name):
    server = own_mongo(replica_set=True)
    store = make(server, unique_name, 5.0)
    try:
        await store.open()
        with MongoClient(server.url) as client:
            client[unique_name].customer.insert_one(MILL)
        await whole_pass(store)
        server.kill()
        with pytest.raises(StoreUnavailable):
            await whole_pass(store)
        server.start()
        with MongoClient(server.url) as client:
            client[unique_name].customer.update_one({}, {"$set": {"load": "7"}})
        for _ in range(1200):
            with suppress(StoreUnavailable):
                await store.ping()
                break
            await deferLater(reactor, 0.1)
        assert await store.front_end.streamed_changes() is None
        (change,) = await whole_pass(store)
        assert change.changes == {"load": "7"}
        assert await store.front_end.streamed_changes() == [change]
    finally:
        await store.close()


@pytest_twisted.ensureDeferred
async def test_a_single_server_has_no_stream(mongo, unique_name):
    database = MongoDatabase(reactor, f"{mongo.url}/{unique_name}", PATIENT_SECONDS)
    await database.open()
    try:
        with MongoClient(mongo.url) as client, pytest.raises(PyMongoError):
            client[unique_name].customer.watch()
        stream = ChangeStream(database, "customer")
        await stream.begin()
        await stream.begin()
        assert not stream.is_open
        assert await stream.next_ids() is None
    finally:
        await database.close()
