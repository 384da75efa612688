"""What every document store does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList

from cenergyd.documents.memory import MemoryDocumentStore
from cenergyd.documents.store import OWNED_AT_ONCE, Document, NewDocument
from cenergyd.errors import Conflict, StoreRejected
from cenergyd.storage.mongodb.connection import MongoDatabase
from cenergyd.storage.mongodb.documents import MongoDocumentStore
from cenergyd.storage.sqlite.documents import SqliteDocumentStore

BODY = {"a": 1, "modbus/mb-001.ini": {"$x": [None, True, 2.5, 2**70]}, "": "ü\0", "deep": {"er": {}}}


@pytest.fixture(params=["memory", "sqlite", "mongo", "second_mongo"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which store. A server that is not installed skips here: a skip within an asynchronous fixture breaks the following tests."""
    if request.param.endswith("mongo"):
        request.getfixturevalue(request.param)
    return str(request.param)


@pytest_twisted.async_yield_fixture
async def store(
    kind: str, request: pytest.FixtureRequest
) -> AsyncIterator[MemoryDocumentStore | SqliteDocumentStore | MongoDocumentStore]:
    made: MemoryDocumentStore | SqliteDocumentStore | MongoDocumentStore
    if kind == "memory":
        made = MemoryDocumentStore()
    elif kind == "sqlite":
        made = SqliteDocumentStore(reactor, request.getfixturevalue("tmp_path") / "db.sqlite")
    else:
        server, name = request.getfixturevalue(kind), request.getfixturevalue("unique_name")
        made = MongoDocumentStore(MongoDatabase(reactor, f"{server.url}/{name}", timeout_seconds=100))
    await made.open()
    yield made
    await made.close()


@pytest_twisted.ensureDeferred
async def test_a_document_comes_back_and_counts_its_versions(store):
    assert await store.get("logger", "A") is None
    first = await store.put("logger", "A", BODY, owner="c1", due=7)
    assert first == Document("logger", "A", BODY, 1, "c1", 7) == await store.get("logger", "A")
    second = await store.put("logger", "A", {"b": 2})
    assert second == Document("logger", "A", {"b": 2}, 2, None, None) == await store.get("logger", "A")
    assert await store.get("other", "A") is None


@pytest.mark.parametrize("body", [{"a": float("nan")}, {"a": object()}, {"a": float("inf")}])
@pytest_twisted.ensureDeferred
async def test_what_is_not_json_is_rejected(store, body):
    with pytest.raises(StoreRejected):
        await store.put("k", "a", body)
    with pytest.raises(StoreRejected):
        await store.put_many("k", [NewDocument("a", body)])


@pytest_twisted.ensureDeferred
async def test_compare_and_set(store):
    await store.put("k", "a", {"n": 0}, expected_version=0)
    with pytest.raises(Conflict):
        await store.put("k", "a", {"n": 1}, expected_version=0)
    with pytest.raises(Conflict):
        await store.put("k", "a", {"n": 1}, expected_version=2)
    with pytest.raises(Conflict):
        await store.put("k", "b", {"n": 1}, expected_version=1)
    assert (await store.put("k", "a", {"n": 2}, expected_version=1)).version == 2
    with pytest.raises(Conflict):
        await store.delete("k", "a", expected_version=1)
    assert await store.delete("k", "a", expected_version=2) is True
    assert await store.delete("k", "a") is False
    with pytest.raises(Conflict):
        await store.delete("k", "a", expected_version=2)
    assert (await store.put("k", "a", {})).version == 1
    assert await store.delete("k", "a") is True


@pytest_twisted.ensureDeferred
async def test_at_the_same_time_one_wins_and_all_count(store):
    writes = [Deferred.fromCoroutine(store.put("k", "a", {"n": i}, expected_version=0)) for i in range(6)]
    results = await DeferredList(writes, consumeErrors=True)
    assert sum(success for success, _ in results) == 1
    assert {failure.type for success, failure in results if not success} == {Conflict}
    await DeferredList([Deferred.fromCoroutine(store.put("k", "a", {})) for _ in range(6)], fireOnOneErrback=True)
    assert (await store.get("k", "a")).version == 7


@pytest_twisted.ensureDeferred
async def test_many_at_once(store, request):
    # mongoeco takes 15 ms for each, and makes of each key a level of an expression, of which SQLite takes 1,000.
    count = 60 if "second_mongo" in request.node.callspec.id else 600
    await store.put_many("k", [])
    await store.put("k", "5", {"old": 1}, owner="x")
    documents = [NewDocument(f"{i}", {"n": i}, "even" if i % 2 == 0 else None, i) for i in range(count)]
    await store.put_many("k", [NewDocument("7", {"lost": 1}), *documents])
    assert await store.count("k") == count
    found = await store.get_many("k", [f"{i}" for i in range(count + 10)] + ["5"])
    assert len(found) == count
    assert found["5"] == Document("k", "5", {"n": 5}, 2, None, 5)
    assert found["7"].body == {"n": 7}
    assert await store.get_many("k", []) == {}
    await store.put("other", "1", {"of": "another kind"})
    kinds = await store.get_kinds({"k": ["1", "2", "2"], "other": ["1", "2"], "none": []})
    assert {kind: sorted(found) for kind, found in kinds.items()} == {"k": ["1", "2"], "other": ["1"], "none": []}
    assert kinds["other"]["1"].body == {"of": "another kind"}


@pytest_twisted.ensureDeferred
async def test_documents_by_key_and_those_of_an_owner_at_once(store):
    await store.put("site", "s", {"n": 1})
    await store.put("logger", "l", {"n": 2}, owner="mine")
    for key, owner in (("a", "mine"), ("b", "other"), ("c", "mine"), ("d", None)):
        await store.put("alert", key, {"of": key}, owner=owner)
    found = await store.get_kinds({"site": ["s", "none"], "alert": ["d"]}, owned={"alert": "mine", "none": "mine"})
    assert {kind: sorted(each) for kind, each in found.items()} == {"site": ["s"], "alert": ["a", "c", "d"], "none": []}
    assert found["alert"]["c"] == Document("alert", "c", {"of": "c"}, 1, "mine")
    assert await store.get_kinds({}, owned={"alert": "nobody"}) == {"alert": {}}


@pytest_twisted.ensureDeferred
async def test_very_many_documents_of_an_owner_do_not_hide_those_by_key(store):
    await store.put_many("alert", [NewDocument(f"{i:04}", {}, "mine") for i in range(OWNED_AT_ONCE + 50)])
    await store.put("site", "s", {})
    found = await store.get_kinds({"site": ["s"], "zone": ["z"]}, owned={"alert": "mine"})
    assert sorted(found["site"]) == ["s"]
    assert found["zone"] == {}
    assert sorted(found["alert"]) == [f"{i:04}" for i in range(OWNED_AT_ONCE)]


@pytest_twisted.ensureDeferred
async def test_find_by_key_owner_and_due(store):
    keys = ["a", "b", "B", "ä", "a/b", "a0", "~"]
    for i, key in enumerate(keys):
        await store.put("k", key, {"i": i}, owner="even" if i % 2 == 0 else "odd", due=100 - i if i else None)
    await store.put("k2", "a", {})
    await store.put("k0", "a", {}, owner="even", due=1)

    async def found(**options):
        return [document.key for document in await store.find("k", **options)]

    ordered = sorted(keys)
    assert await found() == ordered
    assert await found(limit=2) == ordered[:2]
    assert await found(after_key="a", limit=3) == ordered[ordered.index("a") + 1 :][:3]
    assert await found(owner="odd") == sorted(keys[1::2])
    assert await found(owner="odd", after_key="a0") == [key for key in sorted(keys[1::2]) if key > "a0"]
    assert await found(owner="nobody") == []
    assert await found(due_before=98) == ["~", "a0", "a/b", "ä"]
    assert await found(due_before=98, limit=1) == ["~"]
    assert await found(due_before=98, owner="odd") == ["a0", "ä"]
    assert await store.count("k") == 7
    assert await store.count("k", owner="even") == 4
    assert await store.count("nothing") == 0


@pytest_twisted.ensureDeferred
async def test_purge_takes_what_is_due(store):
    for i in range(6):
        await store.put("k", f"{i}", {}, due=i if i != 3 else None)
    await store.put("other", "1", {}, due=1)
    assert await store.purge("k", 3) == 3
    assert [document.key for document in await store.find("k")] == ["3", "4", "5"]
    assert await store.count("other") == 1


@pytest_twisted.ensureDeferred
async def test_many_are_replaced_where_their_versions_are_as_expected(store):
    assert await store.replace_many("k", []) == []
    await store.put_many(
        "k", [NewDocument("a", {"n": 0}, "o", 1), NewDocument("b", {"n": 0}), NewDocument("c", {"n": 0})]
    )
    await store.put("k", "b", {"n": 1})
    new = [NewDocument(key, {"new": key}, None, 5) for key in "abcde"]
    assert await store.replace_many("k", list(zip(new, (1, 1, 0, 0, 3), strict=True))) == [
        True,
        False,
        False,
        True,
        False,
    ]
    found = await store.get_many("k", list("abcde"))
    assert {key: (each.body, each.version) for key, each in found.items()} == {
        "a": ({"new": "a"}, 2), "b": ({"n": 1}, 2), "c": ({"n": 0}, 1), "d": ({"new": "d"}, 1),
    }  # fmt: skip
    assert (found["a"].owner, found["a"].due) == (None, 5)
    assert await store.replace_many("k", [(NewDocument("a", {"n": 3}), 2), (NewDocument("d", {"n": 3}), 1)]) == [
        True,
        True,
    ]
