"""Older shapes, read and rewritten, in a collection that somebody else writes to as well."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import pytest_twisted
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient
from twisted.internet import reactor

from cenergyd.customers.model import Customer
from cenergyd.errors import SerialTaken
from cenergyd.storage.mongodb.connection import MongoDatabase
from cenergyd.storage.mongodb.customers import MongoCustomerStore
from cenergyd.storage.mongodb.migrate import migrate, plan
from cenergyd.storage.mongodb.own_document import customer_of
from cenergyd.storage.mongodb.previous_state import own_of_previous
from cenergyd.storage.mongodb.shared_document import AGREED_FIELDS

OLD: dict[str, Any] = {
    "_id": ObjectId("5f0000000000000000000001"),
    "name": "Old Mill",
    "email": "owner@example.org",
    "facility": [{"id": "001", "api_key": "KEY-1"}, {"id": 7, "api_key": "KEY-2"}],
    "solar": [{"id": 2, "api_key": "KEY-3"}],
    "logger_serial_number": " 001ec6001433",
    "logger_password": 1234,
    "nested": {"facility": [1, {"x": None}]},
}
NEW: dict[str, Any] = {
    "_id": "str-id",
    "facility": "1",
    "load": "2",
    "solar": "",
    "logger_serial_number": "AA01",
    "logger_password": "p",
    "front_end": 1,
}


@pytest.fixture
def collection(each_mongo, unique_name):
    with MongoClient(each_mongo.url) as client:
        yield client[unique_name].customer


@pytest_twisted.async_yield_fixture
async def store(each_mongo, unique_name):
    made = MongoCustomerStore(MongoDatabase(reactor, f"{each_mongo.url}/{unique_name}", timeout_seconds=100))
    yield made
    await made.close()


def own(collection, key=OLD["_id"]):
    return collection.database.cenergyd_customer.find_one({"_id": key})


@pytest_twisted.ensureDeferred
async def test_both_shapes_are_customers(store, collection):
    collection.insert_many(
        [copy.deepcopy(OLD), copy.deepcopy(NEW), {"_id": 5}, {"_id": 2.5, "facility": None, "load": 3}]
    )
    await store.open()
    old = await store.by_serial("001EC6001433")
    assert old is None  # a blank in front: the migration's business
    old = await store.get("5f0000000000000000000001")
    assert (old.name, old.facility, old.load, old.solar, old.missing_role) == ("Old Mill", "1", "", "2", "load")
    assert (old.logger_serial_number, old.logger_password) == ("001EC6001433", "1234")
    assert (await store.get("str-id")).facility == "1"
    assert [customer.load for customer in await store.page()] == ["3", "", "2", ""]
    for customer in await store.page():
        assert await store.get(customer.id) == customer


@pytest_twisted.ensureDeferred
async def test_a_setting_that_replaces_an_older_shape_keeps_that(store, collection):
    collection.insert_one(copy.deepcopy(OLD))
    await store.open()
    await store.update("5f0000000000000000000001", {"facility": "9"})
    assert collection.find_one() == {**OLD, "facility": "9"}
    assert json.loads(own(collection)["migrated"]["facility"]) == OLD["facility"]


@pytest_twisted.ensureDeferred
async def test_a_serial_in_lower_case_is_found_and_taken(store, collection):
    collection.insert_one({**NEW, "logger_serial_number": "aa01"})
    await store.open()
    assert (await store.by_serial("AA01")).id == "str-id"
    other = await store.add(Customer(id="other"))
    with pytest.raises(SerialTaken):
        await store.update(other.id, {"logger_serial_number": "AA01"})


@pytest_twisted.ensureDeferred
async def test_dry_run_changes_nothing_then_a_run_does_it_once(store, collection):
    documents = [copy.deepcopy(OLD), copy.deepcopy(NEW), {**NEW, "_id": 7, "logger_serial_number": None, "load": 300}]
    collection.insert_many(copy.deepcopy(documents))
    await store.open()
    steps: list[tuple[int, int]] = []
    dry = await migrate(store.documents, dry_run=True, progress=lambda done, total: steps.append((done, total)))
    assert list(collection.find().sort("name", 1)) == sorted(documents, key=lambda one: "name" in one)
    assert steps == [(3, 3)]
    done = await migrate(store.documents, dry_run=False)
    assert (dry.documents, dry.changed) == (done.documents, done.changed) == (3, 2)
    assert dry.reports == done.reports
    text = "\n".join(done.lines())
    assert "facility: a list of 2 -> '1'" in text
    assert "2 meters (1, 7)" in text
    assert "7" in text and "1 to 255" in text
    for secret in ("KEY", "1234", "'p'"):
        assert secret not in text
    after = collection.find_one({"_id": OLD["_id"]})
    # What is absent stays absent.
    assert after == {
        **OLD, "facility": "1", "solar": "2", "logger_serial_number": "001EC6001433", "logger_password": "1234",
    }  # fmt: skip
    assert collection.find_one({"_id": 7}) == {**NEW, "_id": 7, "logger_serial_number": None, "load": "300"}
    kept = {field: json.loads(text) for field, text in own(collection, OLD["_id"])["migrated"].items()}
    assert kept == {"facility": OLD["facility"], "solar": OLD["solar"]}
    assert (await store.by_serial("001ec6001433")).id == str(OLD["_id"])
    again = await migrate(store.documents, dry_run=False)
    assert again.changed == 0
    assert collection.find_one({"_id": OLD["_id"]}) == after


@pytest_twisted.ensureDeferred
async def test_duplicate_serials_are_reported(store, collection):
    collection.insert_many(
        [{**NEW, "_id": "a"}, {**NEW, "_id": "b"}, {**NEW, "_id": "c", "logger_serial_number": "aa01"}]
    )
    await store.open()
    assert len(await store.page()) == 3
    assert (await store.by_serial("AA01")).id in ("a", "b", "c")
    report = await migrate(store.documents, dry_run=False)
    assert report.duplicates == {"AA01": ("a", "b", "c")}
    assert any("is set for 3 customers (a, b, c)" in line for line in report.lines())


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["1", "007", 3, ""]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "api_key", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)
FIELDS = [*AGREED_FIELDS, "pending_since", "name", "facility_name", "timezone", "cenergyd", "seasons", "holidays"]


@given(st.dictionaries(st.sampled_from(FIELDS), values))
def test_any_document_is_a_customer_and_its_plan_is_final(document):
    document = {"_id": 1, **document}
    before = customer_of(own_of_previous(document))
    assert before.etag
    planned = plan(document)
    if planned is None:
        return
    after = {**document, **planned.changes}
    assert plan(after) is None
    assert customer_of(own_of_previous(after)) == before
