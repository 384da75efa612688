"""Checking loggers: cheap when known, never stale beyond the bound, guesses throttled without locking out the right one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from threading import Event
from typing import Any

import attrs
import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock, deferLater

from cenergyd.customers import passwords
from cenergyd.customers.model import Customer
from cenergyd.customers.passwords import hash_password, is_hash, needs_rehash, verify_password
from cenergyd.documents.change_notices import ChangeNotices, customer_of_logger
from cenergyd.documents.memory import MemoryDocumentStore
from cenergyd.errors import Overloaded, StoreUnavailable
from cenergyd.ingest import credentials as module
from cenergyd.ingest.credentials import CredentialChecker
from cenergyd.runtime.attempts import FailedAttempts, TooManyAttempts
from cenergyd.runtime.threads import BoundedPool
from cenergyd.storage.sqlite.customers import SqliteCustomerStore

SERIAL = "001EC6001433"


@attrs.frozen(kw_only=True)
class Limits:
    max_failures: int = 3
    max_failures_per_address: int = 6


class CountingStore(SqliteCustomerStore):
    """A real store that counts lookups, and can be down."""

    lookups = 0
    down = False

    async def by_serial(self, serial: str) -> Customer | None:
        self.lookups += 1
        if self.down:
            raise StoreUnavailable("down")
        return await super().by_serial(serial)


class CredentialsUnderTest:
    """A checker with all it needs."""

    def __init__(self, folder: Any) -> None:
        self.store = CountingStore(reactor, folder / "c.sqlite")
        self.pool = BoundedPool(reactor, "hash", 2, 100)
        self.clock = Clock()
        self.clock.advance(1000)
        self.checker = self.make()

    def make(self, **limits: Any) -> CredentialChecker:
        self.checker = CredentialChecker(self.store, self.pool, self.clock, Limits(**limits))
        return self.checker

    async def add(self, password: str = "right", serial: str = SERIAL, hashed: bool = True) -> Customer:
        stored = hash_password(password) if hashed and password else password
        return await self.store.add(Customer(id="", logger_serial_number=serial, logger_password=stored))

    async def wrong(self, times: int, address: str = "10.0.0.1", serial: str = SERIAL, prefix: str = "guess") -> None:
        for i in range(times):
            assert await self.checker.check(serial, f"{prefix}{i}", address) is None


@pytest_twisted.async_yield_fixture
async def credentials(tmp_path) -> AsyncIterator[CredentialsUnderTest]:
    made = CredentialsUnderTest(tmp_path)
    await made.store.open()
    yield made
    await made.checker.finish()
    made.pool.stop()
    await made.store.close()


@pytest_twisted.ensureDeferred
async def test_right_and_wrong(credentials):
    customer = await credentials.add()
    check = credentials.checker.check
    assert await check(SERIAL, "right", "a") == customer
    assert await check(SERIAL.lower(), "right", "a") == customer
    for serial, password in (
        (SERIAL, "Right"), (SERIAL, ""), ("", "right"), ("NOBODY", "right"), (SERIAL, customer.logger_password),
    ):  # fmt: skip
        assert await check(serial, password, "b" + password) is None
    assert await check("X" * 1000, "right", "a") is None
    assert await check(SERIAL, "\ud800\0" + "x" * 5000, "c") is None


@pytest_twisted.ensureDeferred
async def test_a_customer_without_a_password_lets_nobody_in(credentials):
    await credentials.add(password="")
    for password in ("", " ", "x"):
        assert await credentials.checker.check(SERIAL, password, "a") is None


@pytest_twisted.ensureDeferred
async def test_a_fleet_costs_one_hash_each_and_no_lookup_while_fresh(credentials):
    customer = await credentials.add()
    assert credentials.checker.cached(SERIAL, "right") is None
    for _ in range(5):
        assert await credentials.checker.check(SERIAL, "right", "a") == customer
    assert credentials.checker.cached(SERIAL, "right") == customer
    assert credentials.checker.cached(SERIAL, "wrong") is None
    assert (credentials.store.lookups, credentials.checker.hashes) == (1, 1)
    # Stale: looked up again, but what was right for the stored password still is.
    for turn in range(2, 6):
        credentials.clock.advance(30)
        assert credentials.checker.cached(SERIAL, "right") is None
        assert await credentials.checker.check(SERIAL, "right", "a") == customer
        assert (credentials.store.lookups, credentials.checker.hashes) == (turn, 1)


@pytest_twisted.ensureDeferred
async def test_a_change_by_another_daemon_counts_within_the_bound(credentials):
    customer = await credentials.add()
    await credentials.checker.check(SERIAL, "right", "a")
    renamed = await credentials.store.update(customer.id, {"logger_password": hash_password("new"), "load": "2"})
    credentials.clock.advance(29.9)
    assert await credentials.checker.check(SERIAL, "right", "a") == customer
    credentials.clock.advance(0.1)
    assert await credentials.checker.check(SERIAL, "right", "a") is None
    assert await credentials.checker.check(SERIAL, "new", "a") == renamed
    await credentials.store.remove(customer.id)
    credentials.clock.advance(30)
    assert await credentials.checker.check(SERIAL, "new", "a") is None


@pytest.mark.parametrize(
    "forget", [lambda checker: checker.forget(SERIAL.lower()), lambda checker: checker.forget_all()]
)
@pytest_twisted.ensureDeferred
async def test_forget_makes_a_change_count_at_once(credentials, forget):
    customer = await credentials.add()
    await credentials.checker.check(SERIAL, "right", "a")
    assert await credentials.checker.check(SERIAL, "new", "a") is None
    await credentials.store.update(customer.id, {"logger_password": hash_password("new")})
    forget(credentials.checker)
    assert await credentials.checker.check(SERIAL, "right", "a") is None
    assert await credentials.checker.check(SERIAL, "new", "a") is not None


@pytest_twisted.ensureDeferred
async def test_a_check_under_way_when_forgotten_is_not_remembered_as_fresh(credentials):
    await credentials.add()
    running = Deferred.fromCoroutine(credentials.checker.check(SERIAL, "right", "a"))
    credentials.checker.forget(SERIAL)
    assert await running is not None
    assert credentials.checker.cached(SERIAL, "right") is None
    await credentials.checker.check(SERIAL, "right", "a")
    assert credentials.store.lookups == 2


@pytest_twisted.ensureDeferred
async def test_checks_at_the_same_time_share_one_lookup_and_hash(credentials):
    customer = await credentials.add()
    running = [Deferred.fromCoroutine(credentials.checker.check(SERIAL, "right", f"{i}")) for i in range(50)]
    # One whose client hangs up does not end it for the others.
    running[0].addErrback(lambda failure: failure.trap(CancelledError))
    running[0].cancel()
    assert await gatherResults(running[1:]) == [customer] * 49
    assert (credentials.store.lookups, credentials.checker.hashes) == (1, 1)


@pytest_twisted.ensureDeferred
async def test_a_wrongly_set_device_costs_one_hash_and_is_never_locked_out(credentials):
    customer = await credentials.add()
    for _ in range(100):
        assert await credentials.checker.check(SERIAL, "old password", "a") is None
        credentials.clock.advance(10)
    assert credentials.checker.hashes == 1
    assert credentials.store.lookups < 40
    assert await credentials.checker.check(SERIAL, "right", "a") == customer


def begun(checker: CredentialChecker, password: str, address: str = "10.0.0.1", serial: str = SERIAL) -> Deferred[Any]:
    return Deferred.fromCoroutine(checker.check(serial, password, address))


async def hashed(credentials: CredentialsUnderTest, number: int) -> None:
    """Until so many passwords were hashed, in their threads."""
    for _ in range(20_000):
        if credentials.checker.hashes >= number:
            return
        await deferLater(reactor, 0.005)


@pytest_twisted.ensureDeferred
async def test_wrong_passwords_are_slowed_and_a_right_one_from_the_same_address_is_accepted(credentials):
    customer = await credentials.add()
    await credentials.wrong(3)
    hashes = credentials.checker.hashes
    guesses = [begun(credentials.checker, f"more{n}") for n in range(3)]
    right = begun(credentials.checker, "right")
    await hashed(credentials, hashes + 1)
    await deferLater(reactor, 0.05)
    assert credentials.checker.hashes == hashes + 1, "one at a time"
    assert credentials.checker.slowed == 4
    assert await credentials.checker.check(SERIAL, "right", "10.0.0.2") == customer
    # Once cached as right, it does not count as a guess from any address.
    assert await credentials.checker.check(SERIAL, "right", "10.0.0.1") == customer
    for turn in range(3):
        credentials.clock.advance(module.LOGGER_PACE)
        await hashed(credentials, hashes + 2 + min(turn, 1))
    assert await right == customer
    assert await gatherResults(guesses) == [None] * 3
    credentials.clock.advance(300)
    await credentials.wrong(3, prefix="later")


@pytest_twisted.ensureDeferred
async def test_a_right_password_that_nobody_knows_yet_is_never_refused_for_others_guesses(credentials):
    """A site behind the same address as a hundred attackers, right after a restart."""
    customer = await credentials.add()
    for n in range(6):
        await credentials.wrong(1, serial=f"AA{n}")
    crowd = [begun(credentials.checker, f"guess{n}", serial=f"BB{n}") for n in range(100)]
    right = begun(credentials.checker, "right")
    for _ in range(20_000):
        credentials.clock.advance(module.NETWORK_PACE)
        await deferLater(reactor, 0.002)
        if right.called:
            break
    assert await right == customer
    await gatherResults(crowd)


@pytest_twisted.ensureDeferred
async def test_every_wrong_guess_counts_also_where_the_right_one_is_known(credentials):
    customer = await credentials.add()
    assert await credentials.checker.check(SERIAL, "right", "10.0.0.1") == customer
    await credentials.wrong(3)
    crowd = [begun(credentials.checker, f"more{n}") for n in range(200)]
    for _ in range(20_000):
        if sum(one.called for one in crowd) > 130:
            break
        await deferLater(reactor, 0.005)
    else:
        pytest.fail("those whose turn would be later than anybody waits are refused")
    assert credentials.checker.hashes <= 5
    for _ in range(5):
        assert await credentials.checker.check(SERIAL, "right", "10.0.0.1") == customer
    for one in crowd:
        one.addErrback(lambda failure: failure.trap(TooManyAttempts))
    credentials.clock.pump([1.0] * 70)
    await gatherResults(crowd)


@pytest_twisted.ensureDeferred
async def test_networks_are_counted_as_one_subscriber_has_them(credentials):
    await credentials.add()
    credentials.make(max_failures_per_address=1000)
    for n in range(3):
        await credentials.wrong(1, address=f"2001:db8::{n}", prefix=f"six{n}")
        await credentials.wrong(1, address=("10.0.0.9", "::ffff:10.0.0.9")[n % 2], prefix=f"four{n}")
    slowed = credentials.checker.slowed
    waiting = []
    for address in ("2001:db8::ffff:1", "2001:db8::2", "::ffff:a00:9", "10.0.0.9"):
        waiting.append(begun(credentials.checker, "w" + address, address))
    assert credentials.checker.slowed == slowed + 4
    begun(credentials.checker, "x", "2001:db8:0:1::1")
    assert credentials.checker.slowed == slowed + 4
    credentials.clock.advance(10)
    await gatherResults(waiting)


@pytest_twisted.ensureDeferred
async def test_concurrent_wrong_passwords_count(credentials, monkeypatch):
    await credentials.add()
    monkeypatch.setattr(module, "HASH_THREADS", 1)
    credentials.make()
    tries = [begun(credentials.checker, f"g{i}", "a") for i in range(30)]
    await hashed(credentials, 4)
    await deferLater(reactor, 0.05)
    assert credentials.checker.hashes == 4
    assert sum(one.called for one in tries) == 4
    while not all(one.called for one in tries):
        credentials.clock.advance(module.LOGGER_PACE)
        await deferLater(reactor, 0.01)
    assert await gatherResults(tries) == [None] * 30


@pytest_twisted.ensureDeferred
async def test_many_wrong_passwords_at_once_are_all_answered_and_block_nobody(credentials, monkeypatch):
    """Once the first few have failed, hundreds that wait take turns or are refused, one after the other."""
    await credentials.add()
    monkeypatch.setattr(module, "HASH_THREADS", 1)
    credentials.make(max_failures_per_address=1000)
    go = Event()
    busy = [Deferred.fromCoroutine(credentials.pool.run(go.wait)) for _ in range(2)]
    try:
        tries = [begun(credentials.checker, f"g{i}", "a") for i in range(900)]
        while len(credentials.checker._hashes.waiting) < 899:
            await deferLater(reactor, 0.01)
    finally:
        go.set()
    await gatherResults(busy)
    for one in tries:
        one.addErrback(lambda failure: failure.trap(TooManyAttempts))
    while not all(one.called for one in tries):
        credentials.clock.advance(module.LOGGER_PACE)
        await deferLater(reactor, 0.01)
    outcomes = await gatherResults(tries)
    assert outcomes.count(TooManyAttempts) > 800
    assert outcomes.count(None) == 900 - outcomes.count(TooManyAttempts)
    assert await credentials.checker.check(SERIAL, "right", "elsewhere") is not None


@pytest_twisted.ensureDeferred
async def test_an_unknown_serial_costs_a_hash_like_a_known_one(credentials):
    await credentials.wrong(1, serial="NOBODY")
    assert credentials.checker.hashes == 1
    await credentials.wrong(1, serial="NOBODY")
    assert credentials.checker.hashes == 1


@pytest_twisted.ensureDeferred
async def test_too_many_waiting_is_overload(credentials, monkeypatch):
    await credentials.add()
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    tries = [Deferred.fromCoroutine(credentials.checker.check(f"S{i}", "x", f"{i}")) for i in range(10)]
    outcomes = [await one.addErrback(lambda failure: failure.trap(Overloaded)) for one in tries]
    assert outcomes.count(Overloaded) > 0
    assert outcomes.count(None) > 0
    # A refusal says nothing about the password.
    assert await credentials.checker.check(SERIAL, "right", "a") is not None


@pytest_twisted.ensureDeferred
async def test_a_store_that_is_down_is_no_wrong_password(credentials):
    customer = await credentials.add()
    credentials.store.down = True
    for _ in range(10):
        with pytest.raises(StoreUnavailable):
            await credentials.checker.check(SERIAL, "right", "a")
    credentials.store.down = False
    assert await credentials.checker.check(SERIAL, "right", "a") == customer
    credentials.store.down = True
    assert await credentials.checker.check(SERIAL, "right", "a") == customer
    credentials.clock.advance(30)
    with pytest.raises(StoreUnavailable):
        await credentials.checker.check(SERIAL, "right", "a")


@pytest_twisted.ensureDeferred
async def test_a_clear_text_password_is_hashed_on_its_first_match(credentials):
    customer = await credentials.add(hashed=False)
    assert await credentials.checker.check(SERIAL, "wrong", "a") is None
    await credentials.checker.finish()
    assert (await credentials.store.get(customer.id)).logger_password == "right"
    assert await credentials.checker.check(SERIAL, "right", "a") == customer
    await credentials.checker.finish()
    stored = (await credentials.store.get(customer.id)).logger_password
    assert is_hash(stored)
    assert verify_password(stored, "right")
    # The new hash is known to match: no further one is needed.
    hashes = credentials.checker.hashes
    credentials.clock.advance(30)
    assert (await credentials.checker.check(SERIAL, "right", "a")).logger_password == stored
    assert credentials.checker.hashes == hashes


@pytest_twisted.ensureDeferred
async def test_a_hash_of_another_cost_is_replaced(credentials, monkeypatch):
    customer = await credentials.add()
    monkeypatch.setattr(passwords, "ITERATIONS", 2)
    credentials.make()
    await credentials.checker.check(SERIAL, "right", "a")
    await credentials.checker.finish()
    stored = (await credentials.store.get(customer.id)).logger_password
    assert not needs_rehash(stored)
    assert verify_password(stored, "right")


@pytest_twisted.ensureDeferred
async def test_a_password_changed_meanwhile_is_not_overwritten_by_a_rehash(credentials):
    customer = await credentials.add(hashed=False)
    await credentials.checker.check(SERIAL, "right", "a")
    await credentials.store.update(customer.id, {"logger_password": "newer"})
    await credentials.checker.finish()
    assert (await credentials.store.get(customer.id)).logger_password in ("newer",)


@pytest_twisted.ensureDeferred
async def test_memory_is_bounded(credentials, monkeypatch):
    monkeypatch.setattr(module, "MAX_CACHED", 10)
    monkeypatch.setattr(module, "MAX_REFUSED", 10)
    credentials.make(max_failures_per_address=1000)
    for i in range(40):
        await credentials.add(serial=f"S{i}")
        assert await credentials.checker.check(f"S{i}", "right", f"{i}") is not None
        await credentials.wrong(1, address=f"{i}", serial=f"S{i}")
    checker = credentials.checker
    for kept in (checker._right, checker._wrong, checker._throttle):
        assert len(kept) == 10
    assert checker._pending == {}
    # The ones used last are kept.
    assert checker.cached("S39", "right") is not None
    assert checker.cached("S0", "right") is None


@pytest_twisted.ensureDeferred
async def test_without_a_cache_every_check_reads_the_customer_but_hashes_once(credentials, monkeypatch):
    customer = await credentials.add()
    monkeypatch.setattr(module, "CACHE_SECONDS", 0)
    credentials.make()
    for _ in range(3):
        assert credentials.checker.cached(SERIAL, "right") is None
        assert await credentials.checker.check(SERIAL, "right", "a") == customer
    assert (credentials.store.lookups, credentials.checker.hashes) == (3, 1)


@pytest_twisted.ensureDeferred
async def test_where_changes_are_announced_a_customer_is_looked_up_after_one_only(credentials):
    documents = MemoryDocumentStore()
    ours, theirs = (ChangeNotices(documents, credentials.clock.seconds) for _ in range(2))
    customer = await credentials.add()
    credentials.checker = CredentialChecker(credentials.store, credentials.pool, credentials.clock, Limits(), ours)

    async def pass_by(seconds):
        for _ in range(seconds // 10):
            credentials.clock.advance(10)
            await ours.refresh()

    await ours.refresh()
    credentials.clock.advance(1)
    assert await credentials.checker.check(SERIAL, "right", "a") == customer
    await pass_by(1800)
    assert credentials.checker.cached(SERIAL, "right") == customer
    assert credentials.checker.cached(SERIAL, "wrong") is None
    assert credentials.store.lookups == 1
    # Another daemon changes the password.
    await theirs.announce([customer_of_logger(SERIAL)])
    await pass_by(20)
    assert await credentials.checker.check(SERIAL, "right", "a") == customer
    await credentials.store.update(customer.id, {"logger_password": "new"})
    await pass_by(30)
    assert await credentials.checker.check(SERIAL, "right", "a") is None
    assert await credentials.checker.check(SERIAL, "new", "a") is not None
    # A daemon that cannot read the announcements looks up as often as without them.
    await pass_by(600)
    assert await credentials.checker.check(SERIAL, "new", "a") is not None
    credentials.clock.advance(41)
    lookups = credentials.store.lookups
    assert await credentials.checker.check(SERIAL, "new", "a") is not None
    assert credentials.store.lookups == lookups + 1


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40), st.booleans()), max_size=40),
    st.integers(1, 4),
    st.integers(1, 30),
)
def test_guesses_count_like_a_list_of_all_of_them(steps, limit, window):
    guesses, log, now = FailedAttempts(limit, window, 100), [], 0
    for key, pause, add in steps:
        now += pause
        if add:
            guesses.add(key, now)
            log.append((key, now))
        for one in "ab":
            expected = sum(1 for other, at in log if other == one and now - at < window) >= limit
            assert guesses.too_many(one, now) == expected


def test_passwords(monkeypatch):
    hashed = hash_password("pä\0ss")
    assert hashed != hash_password("pä\0ss")
    assert verify_password(hashed, "pä\0ss")
    assert not verify_password(hashed, "pä")
    assert not verify_password(hashed, hashed)
    assert is_hash(hashed)
    for clear in ("", "x", "$argon2", "$argon2id$v=19$nonsense", "$2b$12$abc"):
        assert not is_hash(clear)
        assert verify_password(clear, clear) == bool(clear)
    assert not needs_rehash(hashed)
    assert needs_rehash("clear")
    assert not needs_rehash("")
    monkeypatch.setattr(passwords, "MEMORY_KIB", passwords.MEMORY_KIB * 2)
    assert needs_rehash(hashed)
