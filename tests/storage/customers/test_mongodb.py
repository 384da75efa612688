"""The connection to MongoDB: down, frozen, restarted, refusing, over TLS; and no secret in any message."""

from __future__ import annotations

import time
from collections.abc import Sequence
from urllib.parse import quote_plus

import pytest
import pytest_twisted
from pymongo import MongoClient
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure, WriteConcernError, WriteError
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher

from cenergyd.customers.model import Customer, PendingMark
from cenergyd.errors import ConfigError, StoreRejected, StoreUnavailable
from cenergyd.storage.mongodb.connection import MongoDatabase, _parsed, plain_url
from cenergyd.storage.mongodb.customers import MongoCustomerStore
from tests.certificates import Authority
from tests.servers import PATIENT_SECONDS, RunningMongo

TIMEOUT = 1.0


async def unavailable(coroutine) -> StoreUnavailable:
    """Await it; it must fail as unavailable, in time."""
    with pytest.raises(StoreUnavailable) as caught:
        await Deferred.fromCoroutine(coroutine).addTimeout(TIMEOUT + 20, reactor)
    return caught.value


async def eventually(operation, seconds=120.0):
    """Repeat until the store is back."""
    end = time.monotonic() + seconds
    while True:
        try:
            return await operation()
        except StoreUnavailable:
            if time.monotonic() > end:
                raise
            await deferLater(reactor, 0.1, lambda: None)


@pytest_twisted.ensureDeferred
async def test_a_restart_heals_by_itself(own_mongo):
    server = own_mongo()
    store = MongoCustomerStore(MongoDatabase(reactor, f"{server.url}/shop", TIMEOUT))
    await eventually(store.open)
    try:
        added = await eventually(lambda: store.add(Customer(id="", name="x")))
        server.kill()
        await unavailable(store.get(added.id))
        await unavailable(store.derivation_queue.mark([PendingMark(added.id, 1, 2)]))
        await unavailable(store.derivation_queue.claim("c", 1, 1, 1))
        await unavailable(store.derivation_queue.summary())
        await unavailable(store.ping())
        # Known to be down, it fails at once instead of making everybody wait.
        at_once = Deferred.fromCoroutine(unavailable(store.count()))
        assert at_once.called
        await at_once
        server.start()
        assert await eventually(lambda: store.get(added.id)) == added
        await eventually(store.ping)
    finally:
        await store.close()


@pytest_twisted.ensureDeferred
async def test_a_frozen_server_is_down_until_it_resumes(own_mongo):
    server = own_mongo()
    store = MongoCustomerStore(MongoDatabase(reactor, f"{server.url}/shop", TIMEOUT))
    await eventually(store.open)
    try:
        server.pause()
        waiting = [Deferred.fromCoroutine(unavailable(store.count())) for _ in range(5)]
        for one in waiting:
            await one
        await unavailable(store.ping())
        server.resume()
        assert await eventually(store.count) == 0
    finally:
        server.resume()
        await store.close()


@pytest_twisted.ensureDeferred
async def test_a_server_that_comes_later_needs_no_restart(own_mongo):
    server = own_mongo()
    server.stop()
    store = MongoCustomerStore(MongoDatabase(reactor, f"{server.url}/shop", TIMEOUT))
    try:
        await unavailable(store.count())  # not even open
        await unavailable(store.open())
        await unavailable(store.open())
        server.start()
        await eventually(store.open)
        assert await eventually(store.count) == 0
    finally:
        await store.close()


@pytest_twisted.ensureDeferred
async def test_errors_are_distinguished_and_hold_no_command(mongo, unique_name):
    database = MongoDatabase(reactor, f"{mongo.url}/{unique_name}", PATIENT_SECONDS)
    await database.open()
    try:
        await database.run(lambda db: db.c.insert_one({"_id": 1}))
        with pytest.raises(DuplicateKeyError):
            await database.run(lambda db: db.c.insert_one({"_id": 1}))
        with pytest.raises(StoreRejected) as caught:
            await database.run(lambda db: db.c.update_one({"_id": 1}, {"$bad": {"password": "s3cret"}}))
        assert "s3cret" not in str(caught.value)
        assert caught.value.__suppress_context__
        for wrong in ({"n": 2**70}, {"n": object()}):
            with pytest.raises(StoreRejected):
                await database.run(lambda db, wrong=wrong: db.c.insert_one(wrong))
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("mechanism", "where"),
    [("SCRAM-SHA-256", "/shop?authSource=admin"), ("SCRAM-SHA-1", "")],
)
@pytest_twisted.ensureDeferred
async def test_signing_in(own_mongo, mechanism, where):
    server = own_mongo()
    with MongoClient(server.url) as client:
        client.admin.command(
            "createUser", "cen", pwd="p@ss/w,=ord", roles=["root"], mechanisms=[mechanism]
        )  # fmt: skip
    server.stop()
    server.options = ("--standalone", "--auth")
    server.start()
    host = f"127.0.0.1:{server.port}{where}"
    for user in ("", "cen:wr0ng@", "nobody:p%40ss@") if mechanism == "SCRAM-SHA-256" else ():
        database = MongoDatabase(reactor, f"mongodb://{user}{host}", 20)
        try:
            error = await unavailable(database.open())
            assert "refuses" in str(error)
            assert "wr0ng" not in str(error)
        finally:
            await database.close()
    store = MongoCustomerStore(MongoDatabase(reactor, f"mongodb://cen:p%40ss%2Fw%2C%3Dord@{host}", 20))
    try:
        await store.open()
        await store.add(Customer(id="a"))
        # Every new connection signs in.
        server.kill()
        await unavailable(store.count())
        server.start()
        assert await eventually(store.count) == 1
    finally:
        await store.close()


@pytest_twisted.ensureDeferred
async def test_user_names_that_only_look_alike_are_two_users(own_mongo):
    """From MongoDB's specification of its drivers: SASLprep makes "IX" of both names, and must not be applied to them."""
    server = own_mongo()
    with MongoClient(server.url) as client:
        for user, password in (("\u2168", "\u2163"), ("IX", "IX")):
            client.admin.command("createUser", user, pwd=password, roles=["root"], mechanisms=["SCRAM-SHA-256"])
    server.stop()
    server.options = ("--standalone", "--auth")
    server.start()
    for user, password, welcome in (
        ("\u2168", "\u2163", True), ("\u2168", "IV", True), ("IX", "IX", True), ("IX", "IV", False), ("\u2168", "IX", False),
    ):  # fmt: skip
        url = f"mongodb://{quote_plus(user)}:{quote_plus(password)}@127.0.0.1:{server.port}/shop?authSource=admin"
        database = MongoDatabase(reactor, url, 20)
        try:
            if welcome:
                await database.open()
            else:
                await unavailable(database.open())
        finally:
            await database.close()


@pytest_twisted.ensureDeferred
async def test_a_cancelled_call_does_not_report_mongodb_as_down(own_mongo):
    server = own_mongo()
    database = MongoDatabase(reactor, f"{server.url}/shop", PATIENT_SECONDS)
    await database.open()
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        server.pause()
        waiting = Deferred.fromCoroutine(database.run(lambda db: db.c.find_one()))
        waiting.cancel()
        with pytest.raises(CancelledError):
            await waiting
        server.resume()
        assert await database.run(lambda db: db.c.find_one()) is None
        assert not [event for event in events if event.get("log_namespace", "").startswith("cenergyd")]
    finally:
        globalLogPublisher.removeObserver(events.append)
        server.resume()
        await database.close()


@pytest_twisted.ensureDeferred
async def test_tls_checks_the_certificate_and_the_name(tmp_path):
    authority, other = Authority(tmp_path), Authority(tmp_path, "other").pem
    trusted = authority.pem
    chain, key = authority.issue("localhost")
    server = RunningMongo(["--tls-cert-file", str(chain), "--tls-key-file", str(key)])
    server.client_options = {"tls": True, "tlsAllowInvalidCertificates": True}
    try:
        server.start()
        good, address = f"mongodb://localhost:{server.port}/shop", f"mongodb://127.0.0.1:{server.port}/shop"
        for url, works in (
            (f"{good}?tls=true&tlsCAFile={trusted}", True),
            (f"{address}?tls=true&tlsCAFile={trusted}", False),
            (f"{address}?tls=true&tlsCAFile={trusted}&tlsAllowInvalidHostnames=true", True),
            (f"{good}?tls=true&tlsCAFile={other}", False),
            (f"{good}?tls=true", False),
            (f"{good}?tls=true&tlsAllowInvalidCertificates=true", True),
            (good, False),
        ):
            database = MongoDatabase(reactor, url, PATIENT_SECONDS if works else TIMEOUT)
            try:
                if works:
                    await database.open()
                else:
                    await unavailable(database.open())
            finally:
                await database.close()
    finally:
        server.destroy()


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://cen:s3cr@t@host/db", "mongodb://cen:s3cret@host:port/db", "mongodb://cen:s3cret@host/db?foo=1",
        "mongodb://", "mongodb://cen:s3cret@", "mongodb://cen:s3cret@host/db?tls=maybe",
    ],
)  # fmt: skip
def test_a_wrong_url_is_refused_without_its_secret(url):
    with pytest.raises(ConfigError) as caught:
        MongoDatabase(reactor, url)
    assert "s3cr" not in str(caught.value)


def test_a_certificate_file_that_is_not_there_is_a_fault_of_the_settings(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.pem"):
        MongoDatabase(reactor, f"mongodb://h/db?tls=true&tlsCAFile={tmp_path}/no.pem", TIMEOUT)
    (tmp_path / "bad.pem").write_text("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    with pytest.raises(ConfigError, match="not PEM"):
        MongoDatabase(reactor, f"mongodb://h/db?tls=true&tlsCAFile={tmp_path}/bad.pem", TIMEOUT)


def test_names_of_database_and_hosts():
    assert MongoDatabase(reactor, "mongodb://h1").database_name == "cenergy"
    database = MongoDatabase(reactor, "mongodb://u:p@h1:1,h2/shop?replicaSet=r")
    assert database.database_name == "shop"
    assert database.where == "MongoDB at h1:1,h2:27017"


def test_a_resolved_url_means_the_same():
    url = "mongodb://us%40er:p%3A%2Fw@h1:1,[::1]:2/shop?tls=true&replicaSet=r&w=majority&authSource=admin"
    assert _parsed(plain_url(_parsed(url))) == _parsed(url)


def replied(code: int, name: str = "") -> OperationFailure:
    """What a reply that is no success becomes in the driver."""
    return OperationFailure("no", code, {"ok": 0.0, "code": code, "codeName": name})


def bulk(writes: Sequence[int], durability: Sequence[int] = ()) -> BulkWriteError:
    """A bulk of which some operations failed, or whose writes did not become durable."""
    errors = [{"index": n, "code": code, "errmsg": "no"} for n, code in enumerate(writes)]
    return BulkWriteError(
        {"writeErrors": errors, "writeConcernErrors": [{"code": c, "errmsg": "no"} for c in durability]}
    )


async def fails_with(error):
    raise error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (replied(14031, "OutOfDiskSpace"), StoreUnavailable),
        (replied(1, "InternalError"), StoreUnavailable),  # what a storage engine that panicked answers
        (replied(371, "UserWritesBlocked"), StoreUnavailable),
        (replied(13297, "DatabaseDifferCase"), StoreUnavailable),
        (replied(10107, "NotWritablePrimary"), StoreUnavailable),
        (replied(91, "ShutdownInProgress"), StoreUnavailable),
        (replied(13, "Unauthorized"), StoreUnavailable),
        (WriteError("no", 14031), StoreUnavailable),
        (WriteConcernError("no", 64), StoreUnavailable),
        (bulk([14031]), StoreUnavailable),
        (bulk([11000, 14031]), StoreUnavailable),
        (bulk([17419, 14031]), StoreUnavailable),
        (bulk([11000], [64]), StoreUnavailable),  # the others are written, but not for sure
        (bulk([17419], [64]), StoreUnavailable),
        (bulk([11000, 17419]), StoreRejected),
        (replied(10334, "BSONObjectTooLarge"), StoreRejected),
        (replied(17419), StoreRejected),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_full_disk_is_not_the_datas_fault(mongo, unique_name, error, kind):
    database = MongoDatabase(reactor, f"{mongo.url}/{unique_name}", PATIENT_SECONDS)
    await database.open()
    try:
        with pytest.raises(kind):
            await database.run(lambda _: fails_with(error))
        with pytest.raises(BulkWriteError):
            await database.run(lambda _: fails_with(bulk([11000])))
    finally:
        await database.close()
