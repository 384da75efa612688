"""A logger that belongs to nobody goes to the customer who knows the password with which it uploads; nobody else learns anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cenergyd.customers.model import Customer
from cenergyd.customers.passwords import is_hash, verify_password
from cenergyd.documents.kinds import REJECTED
from cenergyd.ingest.activity import LoggerActivity
from cenergyd.ingest.credentials import CredentialChecker
from cenergyd.ingest.logger_proof import MAX_AGE_SECONDS, LoggerProof
from cenergyd.runtime.threads import BoundedPool
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import Stores, open_stores
from tests.servers import PATIENT, RunningMongo

SERIAL, OTHER = "001EC6001433", "001EC6009999"


class TwoDaemons:
    """Two daemons on the same stores: one takes uploads, the other serves the customers."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.pool = BoundedPool(reactor, "hash", 2, 100)
        settings = load_settings(Settings, None)
        self.credentials = CredentialChecker(stores.customers, self.pool, self.clock, settings.credentials)
        self.activity = LoggerActivity(stores.documents, self.clock)
        self.compared: list[str] = []
        self.proof = LoggerProof(stores.customers, stores.documents, self.compare, self.clock)

    async def compare(self, stored: str, password: str) -> bool:
        self.compared.append(stored)
        return verify_password(stored, password)

    async def upload(self, serial: str, password: str) -> Customer | None:
        customer = await self.credentials.check(serial, password, "192.0.2.1")
        if customer is None:
            hashed = self.credentials.unowned_password(serial, password)
            self.activity.rejected(serial, "192.0.2.1", "unknown", hashed)
            await self.activity.flush()
        return customer


@pytest.fixture(params=["sqlite", "mongodb"])
def stores_url(request: pytest.FixtureRequest, tmp_path: Path, unique_name: str) -> Callable[[], str]:
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path}/c.sqlite"
    mongo: RunningMongo = request.getfixturevalue("mongo")
    return lambda: f"{mongo.url}/{unique_name}"


@pytest_twisted.async_yield_fixture
async def daemons(stores_url: Callable[[], str], tmp_path: Path) -> AsyncIterator[TwoDaemons]:
    urls = {**PATIENT, "customers.url": stores_url(), "readings.url": f"sqlite:///{tmp_path}/r.sqlite"}
    stores = await open_stores(load_settings(Settings, None, urls), reactor)  # type: ignore[arg-type]
    made = TwoDaemons(stores)
    yield made
    made.proof.close()
    await made.credentials.finish()
    made.pool.stop()
    await stores.close()


@pytest_twisted.ensureDeferred
async def test_the_password_of_an_unowned_logger_proves_it(daemons: TwoDaemons) -> None:
    assert await daemons.upload(SERIAL, "secret") is None
    (document,) = await daemons.stores.documents.find(REJECTED)
    assert is_hash(document.body["hashed"]) and "secret" not in str(document.body)
    assert not await daemons.proof.proves("a", SERIAL, "guess")
    assert not await daemons.proof.proves("a", OTHER, "secret")
    assert not await daemons.proof.proves("a", SERIAL, "")
    assert await daemons.proof.proves("a", SERIAL, "secret")
    # A wrong guess by somebody else must not replace it for long: the logger tries again, though its password is not hashed again.
    await daemons.upload(SERIAL, "intruder")
    assert await daemons.proof.proves("b", SERIAL, "intruder")
    hashes = daemons.credentials.hashes
    daemons.clock.advance(60)
    await daemons.upload(SERIAL, "secret")
    assert daemons.credentials.hashes == hashes
    assert await daemons.proof.proves("a", SERIAL, "secret")
    assert not await daemons.proof.proves("b", SERIAL, "intruder")
    daemons.clock.advance(MAX_AGE_SECONDS)
    assert not await daemons.proof.proves("a", SERIAL, "secret")


@pytest_twisted.ensureDeferred
async def test_an_owned_logger_is_never_given_away(daemons: TwoDaemons) -> None:
    await daemons.upload(SERIAL, "secret")
    await daemons.stores.customers.add(Customer(id="", logger_serial_number=SERIAL, logger_password="own"))
    assert not await daemons.proof.proves("a", SERIAL, "secret")
    assert not await daemons.proof.proves("a", SERIAL, "own")
    daemons.clock.advance(60)
    await daemons.upload(SERIAL, "wrong")
    daemons.clock.advance(60)
    await daemons.upload(SERIAL, "secret")
    (document,) = await daemons.stores.documents.find(REJECTED)
    assert "hashed" not in document.body
    # One comparison is made whether or not the serial number exists, so that the time discloses nothing.
    assert daemons.compared == ["", ""]


@pytest_twisted.ensureDeferred
async def test_guesses_are_slowed_per_customer_and_per_logger(daemons: TwoDaemons) -> None:
    await daemons.upload(SERIAL, "secret")
    for number in range(5):
        assert not await daemons.proof.proves("a", SERIAL, f"guess{number}")
    slowed = (("a", OTHER), ("b", SERIAL))
    for customer, serial in slowed:
        assert not await daemons.proof.proves(customer, serial, "x")  # the first turn is at once
    waiting = [Deferred.fromCoroutine(daemons.proof.proves(*each, "x")) for each in slowed]
    assert await daemons.proof.proves("c", OTHER, "secret") is False  # unknown to both
    assert len(daemons.compared) == 8
    assert not any(each.called for each in waiting)
    daemons.clock.advance(10)
    assert [await each for each in waiting] == [False, False]
    assert len(daemons.compared) == 10
