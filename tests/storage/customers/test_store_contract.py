"""What every customer store does with customers."""

from __future__ import annotations

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults

from cenergyd.customers.changes import MAX_EXTENSIONS_BYTES
from cenergyd.customers.model import Customer, PendingMark, TimeRange
from cenergyd.documents.change_notices import ChangeNotices, customer_of_logger
from cenergyd.documents.kinds import CHANGES
from cenergyd.errors import Conflict, InvalidField, NotFound, SerialTaken
from cenergyd.storage.mongodb.documents import MongoDocumentStore

FULL = Customer(
    id="",
    name="Müller & Söhne <b>",
    time_zone="Europe/Zurich",
    facility="1",
    load="2",
    solar="",
    logger_serial_number="001EC6001433",
    logger_password="secret",
    extensions={"alerts": {"power_factor": 0.9, "to": ["a@example.org"]}, "tariff": {"mb-001.ini": None, "n": 2**40}},
)


@pytest_twisted.ensureDeferred
async def test_a_customer_comes_back_as_it_was_added(store, second):
    added = await store.add(FULL)
    assert added.id
    assert added == attrs.evolve(FULL, id=added.id)
    for one in (store, second):
        assert await one.get(added.id) == added
        assert await one.by_serial("001ec6001433") == added
        assert (await one.get(added.id)).etag == added.etag
    await store.ping()


@pytest_twisted.ensureDeferred
async def test_many_are_found_by_their_ids(store, kind):
    added = [await store.add(attrs.evolve(FULL, logger_serial_number=f"AA{n:02}")) for n in range(3)]
    named = await store.add(Customer(id="site 7/ä"))
    wanted = [named.id, added[2].id, added[0].id, added[0].id, "nobody", "0" * 24, "", "\0", "\ud800"]
    assert await store.get_many(wanted) == {each.id: each for each in (named, added[2], added[0])}
    assert await store.get_many([]) == {}
    # mongoeco makes of each value a level of an expression, and SQLite takes 1,000.
    many = [f"none {n}" for n in range(300 if kind == "second_mongo" else 1200)]
    assert list(await store.get_many([*many, named.id])) == [named.id]


@pytest_twisted.ensureDeferred
async def test_a_given_id_is_kept_and_taken_once(store):
    added = await store.add(Customer(id="site 7/ä"))
    assert added.id == "site 7/ä"
    assert (await store.get("site 7/ä")).id == "site 7/ä"
    with pytest.raises(Conflict):
        await store.add(Customer(id="site 7/ä"))


@pytest_twisted.ensureDeferred
async def test_unknown_ones_are_none(store):
    await store.add(Customer(id=""))
    for unknown in ("", "nobody", "0" * 24, "~b!!", "~bAAAA", "~s", "\0", "x" * 300, "\ud800"):
        assert await store.get(unknown) is None
        assert await store.by_serial(unknown) is None
    with pytest.raises(NotFound):
        await store.update("nobody", {"name": "x"})
    with pytest.raises(NotFound):
        await store.remove("nobody")
    assert not await store.set_password_hash("nobody", "", "x")


@pytest_twisted.ensureDeferred
async def test_a_serial_belongs_to_one_customer(store, second):
    first = await store.add(Customer(id="", logger_serial_number="AA01"))
    other = await store.add(Customer(id="", logger_serial_number="aa02 "))
    assert other.logger_serial_number == "AA02"
    with pytest.raises(SerialTaken) as caught:
        await second.add(Customer(id="", logger_serial_number="aa01"))
    assert caught.value.field == "logger_serial_number"
    with pytest.raises(SerialTaken):
        await store.update(other.id, {"logger_serial_number": "AA01"})
    # Its own serial again is no conflict; freed, another one may take it; many may have none.
    await store.update(first.id, {"logger_serial_number": "aa01"})
    await store.update(first.id, {"logger_serial_number": ""})
    assert (await store.update(other.id, {"logger_serial_number": "AA01"})).logger_serial_number == "AA01"
    await store.add(Customer(id=""))
    assert await store.by_serial("AA02") is None
    assert (await store.by_serial("AA01")).id == other.id


@pytest_twisted.ensureDeferred
async def test_two_who_add_the_same_serial_at_once(store, second):
    customer = Customer(id="", logger_serial_number="AA01")
    results = await DeferredList(
        [Deferred.fromCoroutine(one.add(customer)) for one in (store, second, store, second)], consumeErrors=True
    )
    assert sorted(success for success, _ in results) == [False, False, False, True]
    assert {failure.type for success, failure in results if not success} == {SerialTaken}
    assert await store.count() == 1


@pytest_twisted.ensureDeferred
async def test_pages_have_everybody_once_in_order(store):
    ids = {(await store.add(Customer(id="", name=f"n{i}"))).id for i in range(7)}
    ids |= {(await store.add(Customer(id=name))).id for name in ("a", "b", "~c", "z" * 24, "f" * 24)}
    seen: list[str] = []
    while page := await store.page(after=seen[-1] if seen else None, limit=3):
        assert len(page) <= 3
        seen += [customer.id for customer in page]
    assert len(seen) == len(ids) == await store.count()
    assert set(seen) == ids


@pytest_twisted.ensureDeferred
async def test_search_is_in_name_and_serial_in_any_case(store):
    await store.add(FULL)
    await store.add(Customer(id="", name="100% (solar) [x]", logger_serial_number="BB01"))
    for term, found in (
        ("müller", 1), ("MÜLLER & s", 1), ("1ec6", 1), ("bb", 1), ("% (", 1), ("[X]", 1), (".*", 0), ("_", 0), ("", 2), (None, 2),
    ):  # fmt: skip
        assert len(await store.page(search=term)) == found, term


@pytest_twisted.ensureDeferred
async def test_update_changes_only_what_is_named(store, second):
    added = await store.add(FULL)
    updated = await store.update(added.id, {"solar": "3", "extensions": {"tariff": None, "history": [1]}})
    expected = attrs.evolve(added, solar="3", extensions={"alerts": FULL.extensions["alerts"], "history": [1]})
    assert updated == expected == await second.get(added.id)
    assert await store.update(added.id, {}) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "x"}, {"pending_start": 1}, {"nothing": "x"}, {"facility": 1}, {"name": None}, {"logger_password": ["x"]}, {"name": "\ud800"},
        {"extensions": "x"}, {"extensions": {"a.b": 1}}, {"extensions": {"$a": 1}}, {"extensions": {"": 1}},
        {"extensions": {"a": float("nan")}}, {"extensions": {"a": object()}}, {"extensions": {3: 1}},
    ],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_update_refuses_what_is_no_setting(store, changes):
    added = await store.add(FULL)
    with pytest.raises(InvalidField) as caught:
        await store.update(added.id, changes)
    assert caught.value.field == next(iter(changes))
    assert await store.get(added.id) == added


@pytest_twisted.ensureDeferred
async def test_of_two_editors_the_second_is_reported(store, second):
    added = await store.add(FULL)
    first = await store.update(added.id, {"name": "one"}, expected_etag=added.etag)
    with pytest.raises(Conflict):
        await second.update(added.id, {"name": "two"}, expected_etag=added.etag)
    with pytest.raises(Conflict):
        await second.remove(added.id, expected_etag=added.etag)
    assert (await second.update(added.id, {"name": "two"}, expected_etag=first.etag)).name == "two"


@pytest_twisted.ensureDeferred
async def test_of_editors_at_the_same_time_one_wins(store, second):
    added = await store.add(FULL)
    results = await DeferredList(
        [
            Deferred.fromCoroutine(one.update(added.id, {"name": f"n{i}"}, expected_etag=added.etag))
            for i, one in enumerate((store, second, store, second))
        ],
        consumeErrors=True,
    )
    assert sum(success for success, _ in results) == 1
    assert {failure.type for success, failure in results if not success} == {Conflict}


@pytest_twisted.ensureDeferred
async def test_without_an_etag_everybodys_change_is_made(store, second):
    added = await store.add(FULL)
    await DeferredList(
        [
            Deferred.fromCoroutine(one.update(added.id, {"extensions": {f"k{i}": i}}))
            for i, one in enumerate((store, second, store))
        ],
        fireOnOneErrback=True,
    )
    extensions = (await store.get(added.id)).extensions
    assert {f"k{i}": i for i in range(3)}.items() <= extensions.items()


@pytest_twisted.ensureDeferred
async def test_remove(store):
    added = await store.add(FULL)
    await store.remove(added.id, expected_etag=added.etag)
    assert await store.get(added.id) is None
    assert await store.by_serial(FULL.logger_serial_number) is None
    with pytest.raises(NotFound):
        await store.remove(added.id)
    await store.remove((await store.add(FULL)).id)
    assert await store.count() == 0


@pytest_twisted.ensureDeferred
async def test_a_password_is_replaced_only_while_it_is_the_old_one(store):
    added = await store.add(FULL)
    assert not await store.set_password_hash(added.id, "wrong", "$hash1")
    assert await store.set_password_hash(added.id, "secret", "$hash1")
    assert not await store.set_password_hash(added.id, "secret", "$hash2")
    assert (await store.get(added.id)).logger_password == "$hash1"


@pytest_twisted.ensureDeferred
async def test_a_window_is_stored_with_the_settings(store, second):
    added = await store.add(FULL, pending=TimeRange(500, 600))
    assert (added.pending_start, added.pending_end) == (500, 600)
    updated = await second.update(added.id, {"solar": "3"}, expected_etag=added.etag, pending=TimeRange(450, 550))
    assert (updated.solar, updated.pending_start, updated.pending_end) == ("3", 450, 600)
    assert await store.get(added.id) == updated
    with pytest.raises(Conflict):
        await store.update(added.id, {"solar": ""}, expected_etag=added.etag, pending=TimeRange(1, 999))
    assert await store.get(added.id) == updated
    (work,) = await store.derivation_queue.claim("c", 1000, 60, 10)
    assert (work.customer.solar, work.start, work.end) == ("3", 450, 600)
    # What comes during a derivation is a window of its own; a window alone is stored, too.
    assert (await store.update(added.id, {}, pending=TimeRange(10, 20))).pending_start == 10
    assert await store.derivation_queue.finish([work]) == [True]
    (work,) = await second.derivation_queue.claim("d", 1000, 60, 10)
    assert (work.start, work.end) == (10, 20)


@pytest_twisted.ensureDeferred
async def test_settings_and_marks_at_the_same_time_lose_neither(store, second):
    added = await store.add(FULL)
    queue = second.derivation_queue
    marks = [queue.mark([PendingMark(added.id, 100 - n, 200 + n)]) for n in range(4)]
    await gatherResults(
        [
            Deferred.fromCoroutine(each)
            for each in (*marks, store.update(added.id, {"solar": "3"}, pending=TimeRange(50, 60)))
        ]
    )
    found = await store.get(added.id)
    assert (found.solar, found.pending_start, found.pending_end) == ("3", 50, 203)


@pytest_twisted.ensureDeferred
async def test_settings_and_history_together_are_bounded(store):
    added = await store.add(FULL)
    half = "x" * (MAX_EXTENSIONS_BYTES // 2)
    await store.update(added.id, {"extensions": {"one": half}})
    for _ in range(2):
        with pytest.raises(InvalidField, match="limited"):
            await store.update(added.id, {"extensions": {"two": half}})
    assert set((await store.get(added.id)).extensions) >= {"one"}
    assert "two" not in (await store.get(added.id)).extensions
    await store.update(added.id, {"extensions": {"one": None, "two": half}})
    with pytest.raises(InvalidField, match="limited"):
        await store.add(attrs.evolve(FULL, logger_serial_number="AA77", extensions={"one": half, "two": half}))


@pytest_twisted.ensureDeferred
async def test_every_change_of_settings_is_announced_before_it_is_made(store, second):
    if not store.announces_changes:
        pytest.skip("not by this store")
    one = await store.add(Customer(id="", logger_serial_number="A1", logger_password="x"))
    two = await store.add(Customer(id="", logger_serial_number="A2", logger_password="x"))
    documents = MongoDocumentStore(store._mongo)
    notices = ChangeNotices(documents, reactor.seconds)

    async def announced(change):
        """The loggers whose customers a change announces."""
        known = await documents.get(CHANGES, "all")
        await change
        found = await documents.get(CHANGES, "all")
        count = known.body["count"] if known else 0
        return {name for name, _ in found.body["recent"][count - found.body["count"] :]}

    names = {serial: customer_of_logger(serial) for serial in ("A1", "A2", "A3")}
    assert await announced(second.update(one.id, {"name": "n"})) == {names["A1"]}
    assert await announced(second.update(one.id, {"logger_serial_number": "a3"})) == {names["A1"], names["A3"]}
    assert await announced(second.remove(two.id)) == {names["A2"]}
    await notices.refresh()
    assert not any(notices.is_current(name, reactor.seconds()) for name in names.values())
