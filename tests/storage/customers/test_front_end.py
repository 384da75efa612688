"""The shared collection beside the real front end's library: nothing breaks there, and no change is missed here."""

from __future__ import annotations

import copy
from typing import Any

import mongoengine
import pytest
import pytest_twisted
from bson import ObjectId
from pymongo import MongoClient
from twisted.internet import reactor

from cenergyd.customers.model import Customer, PendingMark, TimeRange
from cenergyd.documents.change_notices import customer_of_logger
from cenergyd.documents.kinds import CHANGES
from cenergyd.errors import ChangedElsewhere, Conflict, NotFound, SerialTaken, StoreUnavailable
from cenergyd.storage.mongodb.connection import MongoDatabase
from cenergyd.storage.mongodb.customer_documents import OWN_COLLECTION, SharedCollection
from cenergyd.storage.mongodb.customers import MongoCustomerStore
from cenergyd.storage.mongodb.documents import MongoDocumentStore
from tests.storage.customers.front_end import FrontEndCustomer, whole_pass

SHOP = {"name": "mill", "facility_name": "Old Mill", "facility": "1", "load": "2", "solar": "", "logger_serial_number": "001EC6001433", "logger_password": "secret"}  # fmt: skip


@pytest.fixture
def database(each_mongo, unique_name):
    """The database as its administrator sees it."""
    with MongoClient(each_mongo.url) as client:
        yield client[unique_name]


@pytest.fixture
def front_end(each_mongo, unique_name):
    """mongoengine, connected."""
    mongoengine.connect(unique_name, host=f"{each_mongo.url}/{unique_name}", uuidRepresentation="standard")
    yield FrontEndCustomer
    mongoengine.disconnect()


def make(each_mongo, unique_name, **choices: Any) -> MongoCustomerStore:
    return MongoCustomerStore(
        MongoDatabase(reactor, f"{each_mongo.url}/{unique_name}", timeout_seconds=100), SharedCollection(**choices)
    )


@pytest_twisted.async_yield_fixture
async def store(each_mongo, unique_name):
    made = make(each_mongo, unique_name)
    yield made
    await made.close()


async def follow_all(store):
    for change in await whole_pass(store):
        assert await store.front_end.follow(change, change.changes or {})


@pytest_twisted.ensureDeferred
async def test_the_front_end_reads_every_customer_whatever_is_done_here(store, front_end, database):
    front_end(**SHOP).save()
    front_end(name="without a logger").save()
    await store.open()
    before = {document["_id"]: document for document in database.customer.find()}
    for customer in await store.page():
        for queue in (store.derivation_queue, store.job_queue):
            await queue.mark([PendingMark(customer.id, 5, 6)])
            works = await queue.claim("c", 10, 60, 10)
            await queue.postpone(works, 5)
            await queue.finish(await queue.claim("d", 10, 60, 10))
        await store.update(
            customer.id, {"extensions": {"a": 1}, "name": "Mine", "time_zone": "Europe/Rome"}, pending=TimeRange(1, 2)
        )
        assert not await store.set_password_hash(customer.id, customer.logger_password, "$hash")
    await follow_all(store)
    assert {document["_id"]: document for document in database.customer.find()} == before
    assert [customer.name for customer in await store.page()] == ["Mine", "Mine"]
    mill = await store.by_serial("001ec6001433")
    await store.update(mill.id, {"solar": "3", "load": ""})
    assert {**before[ObjectId(mill.id)], "solar": "3", "load": ""} == database.customer.find_one({"name": "mill"})
    assert front_end.objects.get(name="mill").solar == "3"
    await store.remove(mill.id)
    assert [each.name for each in front_end.objects] == ["without a logger"]


@pytest_twisted.ensureDeferred
async def test_customers_added_here_can_sign_in_there(each_mongo, unique_name, front_end, database):
    store = make(each_mongo, unique_name, new_document={"_cls": "FrontEndCustomer", "timezone": "PST8PDT"})
    await store.open()
    try:
        full = {"facility": "1", "solar": "2", "logger_serial_number": "AA01", "logger_password": "p"}
        added = await store.add(Customer(id="", name="New Site", **full), pending=TimeRange(1, 2))
        await store.add(Customer(id="", name="No logger"))
        await store.add(Customer(id="", name="No logger either"))
        found = front_end.objects.get(name="New Site")
        assert {field: found[field] for field in full} == full
        assert str(found.id) == added.id
        assert set(database.customer.find_one({"name": "No logger"})) == {
            "_id", "_cls", "name", "timezone", "facility", "load", "solar",
        }  # fmt: skip
        front_end.ensure_indexes()  # with a unique one of the serial number
        found.facility_name = "Its new name"
        found.save()
        await follow_all(store)
        assert (await store.get(added.id)).name == "Its new name"
        with pytest.raises(SerialTaken):
            await store.add(Customer(id="", name="x", logger_serial_number="aa01"))
        with pytest.raises(Conflict):
            await store.add(Customer(id=added.id, name="x"))
    finally:
        await store.close()


@pytest_twisted.ensureDeferred
async def test_a_unique_index_of_the_front_end_is_respected_and_nothing_stays_behind(store, front_end, database):
    database.customer.create_index("name", unique=True)
    await store.open()
    front_end(**SHOP).save()
    with pytest.raises(Conflict):
        await store.add(Customer(id="", name="mill"))
    assert [customer.name for customer in await store.page()] == ["Old Mill"]
    assert database[OWN_COLLECTION].count_documents({}) == 1


@pytest.mark.parametrize("first", ["front end", "cenergyd"])
@pytest_twisted.ensureDeferred
async def test_indexes_of_both_live_side_by_side(store, front_end, database, first):
    if first == "front end":
        front_end.ensure_indexes()
    await store.open()
    front_end.ensure_indexes()
    await store.open()
    names = set(database.customer.index_information())
    assert {"cenergyd_serial_lookup", "logger_serial_number_1"} <= names


@pytest_twisted.ensureDeferred
async def test_what_the_front_end_changes_is_noticed_and_followed(store, front_end):
    mill = front_end(**SHOP).save()
    await store.open()
    assert await whole_pass(store) == []
    assert await whole_pass(store) == []
    known = await store.get(str(mill.id))
    assert (known.name, known.time_zone) == ("Old Mill", "PST8PDT")
    mill.load, mill.solar, mill.logger_password = "", "3", "other"
    mill.save()
    (change,) = await whole_pass(store)
    assert change.customer == known
    assert change.changes == {"load": "", "solar": "3", "logger_password": "other"}
    assert (await whole_pass(store)) == [change]  # until it is followed
    assert await store.get(known.id) == known
    assert await store.front_end.follow(change, {**change.changes, "extensions": {"history": [1]}}, TimeRange(5, 9))
    assert not await store.front_end.follow(change, change.changes)
    after = await store.get(known.id)
    assert (after.load, after.solar, after.logger_password, after.pending_start) == ("", "3", "other", 5)
    assert after.extensions == {"history": [1]}
    assert await whole_pass(store) == []
    mill.solar = " 03 + 4*0.50"  # a sum of meters stays a string
    mill.save()
    (change,) = await whole_pass(store)
    assert change.changes == {"solar": "3+4*0.5"}
    assert await store.front_end.follow(change, change.changes)
    assert (await store.get(known.id)).solar == "3+4*0.5"
    assert front_end.objects.get(id=mill.id).solar == " 03 + 4*0.50"
    # Names and zones set here last until they are changed there.
    await store.update(known.id, {"name": "Mine", "time_zone": "Europe/Rome"})
    mill.alerts_emails = ["a@example.org"]
    mill.save()
    assert await whole_pass(store) == []
    assert (await store.get(known.id)).name == "Mine"
    assert (await store.get(known.id)).existing["alerts_emails"] == ["a@example.org"]
    mill.facility_name, mill.timezone = "Newest Mill", "Asia/Tokyo"
    mill.save()
    await follow_all(store)
    assert ((await store.get(known.id)).name, (await store.get(known.id)).time_zone) == ("Newest Mill", "Asia/Tokyo")


@pytest_twisted.ensureDeferred
async def test_a_change_here_waits_for_the_front_ends(store, front_end):
    mill = front_end(**SHOP).save()
    await store.open()
    await whole_pass(store)
    mill.load, mill.solar = "", "3"
    mill.save()
    with pytest.raises(ChangedElsewhere):
        await store.update(str(mill.id), {"facility": "9"})
    change = await store.front_end.change_of(str(mill.id))
    assert change.changes == {"load": "", "solar": "3"}
    assert await store.front_end.follow(change, change.changes)
    assert await store.front_end.change_of(str(mill.id)) is None
    await store.update(str(mill.id), {"facility": "9"})
    mill.reload()
    assert (mill.facility, mill.load, mill.solar) == ("9", "", "3")
    assert await whole_pass(store) == []


@pytest_twisted.ensureDeferred
async def test_documents_that_vanish_and_come_back(store, front_end, database):
    mill = front_end(**SHOP).save()
    await store.open()
    await whole_pass(store)
    customer = await store.update(str(mill.id), {"extensions": {"tariff": {"x": 1}}})
    await store.derivation_queue.mark([PendingMark(customer.id, 5, 6)])
    document = database.customer.find_one()
    database.customer.delete_one({})
    with pytest.raises(NotFound):
        await store.update(customer.id, {"load": "4"})
    (change,) = await whole_pass(store)
    assert change.changes is None
    assert await store.front_end.follow(change, {})
    assert await store.get(customer.id) is None
    assert await store.by_serial("001EC6001433") is None
    assert await store.derivation_queue.claim("c", 10, 60, 10) == []
    assert await whole_pass(store) == []
    # Restored from a backup there, it is the same customer again.
    database.customer.insert_one({**document, "load": "7"})
    (change,) = await whole_pass(store)
    assert await store.front_end.follow(change, change.changes)
    again = await store.by_serial("001EC6001433")
    assert (again.id, again.load, again.extensions) == (customer.id, "7", {"tariff": {"x": 1}})
    assert await whole_pass(store) == []


@pytest_twisted.ensureDeferred
async def test_what_vanished_before_the_start_is_noticed(store, each_mongo, unique_name, front_end, database):
    front_end(**SHOP).save()
    await store.open()
    await whole_pass(store)
    database.customer.delete_many({})
    database.cenergyd_check.delete_one({"_id": "front_end"})
    others = make(each_mongo, unique_name), make(each_mongo, unique_name)
    try:
        for other in others:
            await other.open()
        assert [change.changes for change in await whole_pass(others[0])] == [None]
        assert await whole_pass(others[1]) == []  # one daemon makes the passes
    finally:
        for other in others:
            await other.close()


@pytest_twisted.ensureDeferred
async def test_a_crash_between_the_two_documents_loses_nothing(store, front_end, database, monkeypatch):
    mill = front_end(**SHOP).save()
    await store.open()

    async def crash(_):
        raise StoreUnavailable("crash")

    with monkeypatch.context() as patched:
        patched.setattr(store.documents, "write_unwritten", crash)
        with pytest.raises(StoreUnavailable):
            await store.update(str(mill.id), {"facility": "9", "logger_serial_number": ""}, pending=TimeRange(1, 2))
        with pytest.raises(StoreUnavailable):
            await store.add(Customer(id="", name="New", load="1", logger_serial_number="AA01"))
    mill.reload()
    assert mill.facility == "1"
    mill.solar = "5"
    mill.save()
    await follow_all(store)
    mill.reload()
    assert (mill.facility, mill.solar, mill.logger_serial_number) == ("9", "5", None)
    assert "logger_serial_number" not in database.customer.find_one({"name": "mill"})
    customer = await store.get(str(mill.id))
    assert (customer.facility, customer.solar, customer.pending_start) == ("9", "5", 1)
    assert (await store.by_serial("AA01")).name == "New"
    assert database.customer.find_one({"name": "New"})["load"] == "1"
    assert await whole_pass(store) == []
    assert database[OWN_COLLECTION].count_documents({"unwritten": {"$exists": True}}) == 0


@pytest_twisted.ensureDeferred
async def test_another_daemon_finishes_a_new_customer_before_its_creator_does(
    store, each_mongo, unique_name, database, monkeypatch
):
    other = make(each_mongo, unique_name)
    await store.open()
    await other.open()
    insert = store.documents._insert_shared

    async def overtaken(own, unwritten):
        await whole_pass(other)
        return await insert(own, unwritten)

    monkeypatch.setattr(store.documents, "_insert_shared", overtaken)
    try:
        new = await store.add(Customer(id="", name="New", load="1", logger_serial_number="AA01"))
    finally:
        await other.close()
    assert (await store.by_serial("AA01")).id == new.id
    assert [each["load"] for each in database.customer.find({"name": "New"})] == ["1"]
    assert database[OWN_COLLECTION].count_documents({"unwritten": {"$exists": True}}) == 0


@pytest_twisted.ensureDeferred
async def test_hashing_in_place_is_an_option(each_mongo, unique_name, front_end):
    store = make(each_mongo, unique_name, hash_passwords=True)
    mill = front_end(**SHOP).save()
    await store.open()
    try:
        assert await store.set_password_hash(str(mill.id), "secret", "$hash")
        mill.reload()
        assert mill.logger_password == (await store.get(str(mill.id))).logger_password == "$hash"
        assert await whole_pass(store) == []
    finally:
        await store.close()


PREVIOUS: dict[str, Any] = {
    "_id": "old", "_cls": "FrontEndCustomer", "name": "old", "facility": "1", "load": "2", "logger_serial_number": "bb02",
    "pending_since": 100, "pending_until": 200,
    "cenergyd": {
        "name": "Mine", "time_zone": "Europe/Rome", "extensions": {"tariff": {"a": 1}, "none": None},
        "migrated": {"facility": [{"id": "1", "api_key": "KEY"}]},
        "pending_work": {"since": 50, "until": 120, "claim": "x", "claim_until": 10**10}, "pending_done": "y",
        "jobs_since": 7, "jobs_until": 9,
    },
}  # fmt: skip


@pytest_twisted.ensureDeferred
async def test_the_state_of_earlier_versions_is_moved_at_the_first_start(store, front_end, database):
    others: list[dict[str, Any]] = [
        {"_id": 5, "cenergyd": None, "name": "five"},
        {"_id": 2.5, "pending_since": None, "name": "half"},
        {"_id": {"a": 1}, "name": "deep"},
        {
            "_id": True,
            "cenergyd": {"extensions": "nonsense", "jobs_work": 3},
            "name": "yes",
            "_cls": "FrontEndCustomer",
        },
    ]
    for each in (PREVIOUS, *others):
        database.customer.insert_one(copy.deepcopy(each))
    database.customer.create_index("logger_serial_number", unique=True, name="cenergyd_serial", partialFilterExpression={"logger_serial_number": {"$gt": ""}})  # fmt: skip
    database.customer.create_index("pending_since", sparse=True)
    await store.open()
    await store.open()
    for document in database.customer.find():
        assert not {"cenergyd", "pending_since", "pending_until"} & set(document)
    assert set(database.customer.index_information()) == {"_id_", "cenergyd_serial_lookup"}
    assert front_end.objects.get(name="old").facility == "1"
    front_end.ensure_indexes()
    customer = await store.by_serial("BB02")
    assert (customer.id, customer.name, customer.time_zone) == ("old", "Mine", "Europe/Rome")
    assert customer.extensions == {"tariff": {"a": 1}}
    assert (customer.pending_start, customer.pending_end) == (50, 201)
    (job,) = await store.job_queue.claim("j", 10, 60, 10)
    assert (job.start, job.end) == (7, 10)
    assert "KEY" in database[OWN_COLLECTION].find_one({"_id": "old"})["migrated"]["facility"]
    assert len(await store.page()) == 5
    assert await whole_pass(store) == []


@pytest_twisted.ensureDeferred
async def test_moving_is_resumed_and_an_older_daemon_may_still_write(store, database, monkeypatch):
    database.customer.insert_one(copy.deepcopy(PREVIOUS))
    real = store.documents.run_shared

    async def crash(operation):
        raise StoreUnavailable("crash")

    with monkeypatch.context() as patched:
        patched.setattr(store.documents, "insert_own", _after(store.documents.insert_own, patched, store, crash))
        with pytest.raises(StoreUnavailable):
            await store.open()
        patched.setattr(store.documents, "run_shared", real)
        assert "cenergyd" in database.customer.find_one()
    await store.open()
    assert "cenergyd" not in database.customer.find_one()
    await store.update("old", {"extensions": {"tariff": {"b": 2}}})
    # A daemon of an earlier version, which is not stopped yet, takes an upload.
    database.customer.update_one({}, {"$set": {"pending_since": 20, "pending_until": 300, "cenergyd.extensions.alerts": {"x": 1}}})  # fmt: skip
    await follow_all(store)
    assert not {"cenergyd", "pending_since"} & set(database.customer.find_one())
    customer = await store.get("old")
    assert (customer.pending_start, customer.pending_end) == (20, 301)
    assert customer.extensions == {"tariff": {"b": 2}, "alerts": {"x": 1}}


def _after(real, patched, store, crash):
    """Do it, then crash at the next access to the shared collection."""

    async def insert_own(own):
        result = await real(own)
        patched.setattr(store.documents, "run_shared", crash)
        return result

    return insert_own


@pytest_twisted.ensureDeferred
async def test_what_is_followed_is_announced_first(store, database):
    await store.open()
    mine = await store.add(Customer(id="", name="x", logger_serial_number="A1", logger_password="pw"))
    await follow_all(store)
    documents = MongoDocumentStore(store._mongo)
    before = await documents.get(CHANGES, "all")
    database["customer"].update_one({"_id": ObjectId(mine.id)}, {"$set": {"logger_password": "other"}})
    await follow_all(store)
    after = await documents.get(CHANGES, "all")
    assert (await store.get(mine.id)).logger_password == "other"
    assert after.body["count"] == (before.body["count"] if before else 0) + 1
    assert after.body["recent"][-1][0] == customer_of_logger("A1")
