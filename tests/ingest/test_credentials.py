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
from cenergyd.errors import Overloaded, StoreUnavailable
from cenergyd.ingest import credentials as module
from cenergyd.ingest.credentials import CredentialChecker, Throttled
from cenergyd.runtime.attempts import FailedAttempts
from cenergyd.runtime.threads import BoundedPool
from cenergyd.storage.sqlite.customers import SqliteCustomerStore

SERIAL = "001EC6001433"


@attrs.frozen(kw_only=True)
class Limits:
    max_failures: int = 3
    max_failures_per_address: int = 6
    failure_window_seconds: int = 300


class CountingStore(SqliteCustomerStore):
    """A real store that counts lookups, and can be down."""

    lookups = 0
    down = False

    async def by_serial(self, serial: str) -> Customer | None:
        self.lookups += 1
        if self.down:
            raise StoreUnavailable("down")
        return await super().by_serial(serial)


class Rig:
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
async def rig(tmp_path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    made.pool.start()
    await made.store.open()
    yield made
    await made.checker.finish()
    made.pool.stop()
    await made.store.close()


@pytest_twisted.ensureDeferred
async def test_right_and_wrong(rig):
    customer = await rig.add()
    check = rig.checker.check
    assert await check(SERIAL, "right", "a") == customer
    assert await check(SERIAL.lower(), "right", "a") == customer
    for serial, password in (
        (SERIAL, "Right"), (SERIAL, ""), ("", "right"), ("NOBODY", "right"), (SERIAL, customer.logger_password),
    ):  # fmt: skip
        assert await check(serial, password, "b" + password) is None
    assert await check("X" * 1000, "right", "a") is None
    assert await check(SERIAL, "\ud800\0" + "x" * 5000, "c") is None


@pytest_twisted.ensureDeferred
async def test_a_customer_without_a_password_lets_nobody_in(rig):
    await rig.add(password="")
    for password in ("", " ", "x"):
        assert await rig.checker.check(SERIAL, password, "a") is None


@pytest_twisted.ensureDeferred
async def test_a_fleet_costs_one_hash_each_and_no_lookup_while_fresh(rig):
    customer = await rig.add()
    assert rig.checker.cached(SERIAL, "right") is None
    for _ in range(5):
        assert await rig.checker.check(SERIAL, "right", "a") == customer
    assert rig.checker.cached(SERIAL, "right") == customer
    assert rig.checker.cached(SERIAL, "wrong") is None
    assert (rig.store.lookups, rig.checker.hashes) == (1, 1)
    # Stale: looked up again, but what was right for the stored password still is.
    for turn in range(2, 6):
        rig.clock.advance(30)
        assert rig.checker.cached(SERIAL, "right") is None
        assert await rig.checker.check(SERIAL, "right", "a") == customer
        assert (rig.store.lookups, rig.checker.hashes) == (turn, 1)


@pytest_twisted.ensureDeferred
async def test_a_change_by_another_daemon_counts_within_the_bound(rig):
    customer = await rig.add()
    await rig.checker.check(SERIAL, "right", "a")
    renamed = await rig.store.update(customer.id, {"logger_password": hash_password("new"), "load": "2"})
    rig.clock.advance(29.9)
    assert await rig.checker.check(SERIAL, "right", "a") == customer
    rig.clock.advance(0.1)
    assert await rig.checker.check(SERIAL, "right", "a") is None
    assert await rig.checker.check(SERIAL, "new", "a") == renamed
    await rig.store.remove(customer.id)
    rig.clock.advance(30)
    assert await rig.checker.check(SERIAL, "new", "a") is None


@pytest.mark.parametrize(
    "forget", [lambda checker: checker.forget(SERIAL.lower()), lambda checker: checker.forget_all()]
)
@pytest_twisted.ensureDeferred
async def test_forget_makes_a_change_count_at_once(rig, forget):
    customer = await rig.add()
    await rig.checker.check(SERIAL, "right", "a")
    assert await rig.checker.check(SERIAL, "new", "a") is None
    await rig.store.update(customer.id, {"logger_password": hash_password("new")})
    forget(rig.checker)
    assert await rig.checker.check(SERIAL, "right", "a") is None
    assert await rig.checker.check(SERIAL, "new", "a") is not None


@pytest_twisted.ensureDeferred
async def test_a_check_under_way_when_forgotten_is_not_remembered_as_fresh(rig):
    await rig.add()
    running = Deferred.fromCoroutine(rig.checker.check(SERIAL, "right", "a"))
    rig.checker.forget(SERIAL)
    assert await running is not None
    assert rig.checker.cached(SERIAL, "right") is None
    await rig.checker.check(SERIAL, "right", "a")
    assert rig.store.lookups == 2


@pytest_twisted.ensureDeferred
async def test_checks_at_the_same_time_share_one_lookup_and_hash(rig):
    customer = await rig.add()
    running = [Deferred.fromCoroutine(rig.checker.check(SERIAL, "right", f"{i}")) for i in range(50)]
    # One whose client hangs up does not end it for the others.
    running[0].addErrback(lambda failure: failure.trap(CancelledError))
    running[0].cancel()
    assert await gatherResults(running[1:]) == [customer] * 49
    assert (rig.store.lookups, rig.checker.hashes) == (1, 1)


@pytest_twisted.ensureDeferred
async def test_a_wrongly_set_device_costs_one_hash_and_is_never_locked_out(rig):
    customer = await rig.add()
    for _ in range(100):
        assert await rig.checker.check(SERIAL, "old password", "a") is None
        rig.clock.advance(10)
    assert rig.checker.hashes == 1
    assert rig.store.lookups < 40
    assert await rig.checker.check(SERIAL, "right", "a") == customer


@pytest_twisted.ensureDeferred
async def test_guesses_are_throttled_and_the_right_one_elsewhere_is_not(rig):
    customer = await rig.add()
    await rig.wrong(3)
    hashes, lookups = rig.checker.hashes, rig.store.lookups
    for password in ("guess3", "right"):
        with pytest.raises(Throttled):
            await rig.checker.check(SERIAL, password, "10.0.0.1")
    assert (rig.checker.hashes, rig.store.lookups, rig.checker.throttled) == (hashes, lookups, 2)
    assert await rig.checker.check(SERIAL, "right", "10.0.0.2") == customer
    # Now that it is known to be right, it is no guess from anywhere.
    assert await rig.checker.check(SERIAL, "right", "10.0.0.1") == customer
    rig.clock.advance(299)
    with pytest.raises(Throttled):
        await rig.checker.check(SERIAL, "guess4", "10.0.0.1")
    rig.clock.advance(1)
    await rig.wrong(3, prefix="later")


@pytest_twisted.ensureDeferred
async def test_an_address_that_tries_many_serials_is_throttled(rig):
    await rig.add()
    for i in range(6):
        await rig.wrong(1, serial=f"AA{i}")
    with pytest.raises(Throttled):
        await rig.checker.check(SERIAL, "right", "10.0.0.1")
    assert await rig.checker.check(SERIAL, "right", "10.0.0.2") is not None


@pytest_twisted.ensureDeferred
async def test_guesses_at_the_same_time_are_not_free(rig, monkeypatch):
    await rig.add()
    monkeypatch.setattr(module, "HASH_THREADS", 1)
    rig.make()
    tries = [Deferred.fromCoroutine(rig.checker.check(SERIAL, f"g{i}", "a")) for i in range(30)]
    outcomes = [await one.addErrback(lambda failure: failure.trap(Throttled)) for one in tries]
    assert outcomes.count(None) == 3
    assert outcomes.count(Throttled) == 27
    assert rig.checker.hashes == 3


@pytest_twisted.ensureDeferred
async def test_a_crowd_of_guesses_is_answered_whole_and_leaves_the_way_free(rig, monkeypatch):
    """Once the first few have failed, hundreds that wait are refused at once, one after the other."""
    await rig.add()
    monkeypatch.setattr(module, "HASH_THREADS", 1)
    rig.make(max_failures_per_address=1000)
    go = Event()
    busy = [Deferred.fromCoroutine(rig.pool.run(go.wait, 20)) for _ in range(2)]
    tries = [Deferred.fromCoroutine(rig.checker.check(SERIAL, f"g{i}", "a")) for i in range(900)]
    while len(rig.checker._hashes.waiting) < 899:
        await deferLater(reactor, 0.01)
    go.set()
    await gatherResults(busy)
    outcomes = [await one.addErrback(lambda failure: failure.trap(Throttled)) for one in tries]
    assert outcomes.count(None) == 3
    assert outcomes.count(Throttled) == 897
    assert await rig.checker.check(SERIAL, "right", "elsewhere") is not None


@pytest_twisted.ensureDeferred
async def test_an_unknown_serial_costs_a_hash_like_a_known_one(rig):
    await rig.wrong(1, serial="NOBODY")
    assert rig.checker.hashes == 1
    await rig.wrong(1, serial="NOBODY")
    assert rig.checker.hashes == 1


@pytest_twisted.ensureDeferred
async def test_too_many_waiting_is_overload(rig, monkeypatch):
    await rig.add()
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    tries = [Deferred.fromCoroutine(rig.checker.check(f"S{i}", "x", f"{i}")) for i in range(10)]
    outcomes = [await one.addErrback(lambda failure: failure.trap(Overloaded)) for one in tries]
    assert outcomes.count(Overloaded) > 0
    assert outcomes.count(None) > 0
    # A refusal says nothing about the password.
    assert await rig.checker.check(SERIAL, "right", "a") is not None


@pytest_twisted.ensureDeferred
async def test_a_store_that_is_down_is_no_wrong_password(rig):
    customer = await rig.add()
    rig.store.down = True
    for _ in range(10):
        with pytest.raises(StoreUnavailable):
            await rig.checker.check(SERIAL, "right", "a")
    rig.store.down = False
    assert await rig.checker.check(SERIAL, "right", "a") == customer
    rig.store.down = True
    assert await rig.checker.check(SERIAL, "right", "a") == customer
    rig.clock.advance(30)
    with pytest.raises(StoreUnavailable):
        await rig.checker.check(SERIAL, "right", "a")


@pytest_twisted.ensureDeferred
async def test_a_clear_text_password_is_hashed_on_its_first_match(rig):
    customer = await rig.add(hashed=False)
    assert await rig.checker.check(SERIAL, "wrong", "a") is None
    await rig.checker.finish()
    assert (await rig.store.get(customer.id)).logger_password == "right"
    assert await rig.checker.check(SERIAL, "right", "a") == customer
    await rig.checker.finish()
    stored = (await rig.store.get(customer.id)).logger_password
    assert is_hash(stored)
    assert verify_password(stored, "right")
    # The new hash is known to match: no further one is needed.
    hashes = rig.checker.hashes
    rig.clock.advance(30)
    assert (await rig.checker.check(SERIAL, "right", "a")).logger_password == stored
    assert rig.checker.hashes == hashes


@pytest_twisted.ensureDeferred
async def test_a_hash_of_another_cost_is_replaced(rig, monkeypatch):
    customer = await rig.add()
    monkeypatch.setattr(passwords, "ITERATIONS", 2)
    rig.make()
    await rig.checker.check(SERIAL, "right", "a")
    await rig.checker.finish()
    stored = (await rig.store.get(customer.id)).logger_password
    assert not needs_rehash(stored)
    assert verify_password(stored, "right")


@pytest_twisted.ensureDeferred
async def test_a_password_changed_meanwhile_is_not_overwritten_by_a_rehash(rig):
    customer = await rig.add(hashed=False)
    await rig.checker.check(SERIAL, "right", "a")
    await rig.store.update(customer.id, {"logger_password": "newer"})
    await rig.checker.finish()
    assert (await rig.store.get(customer.id)).logger_password in ("newer",)


@pytest_twisted.ensureDeferred
async def test_memory_is_bounded(rig, monkeypatch):
    monkeypatch.setattr(module, "MAX_CACHED", 10)
    monkeypatch.setattr(module, "MAX_REFUSED", 10)
    rig.make(max_failures_per_address=1000)
    for i in range(40):
        await rig.add(serial=f"S{i}")
        assert await rig.checker.check(f"S{i}", "right", f"{i}") is not None
        await rig.wrong(1, address=f"{i}", serial=f"S{i}")
    checker = rig.checker
    for kept in (checker._right, checker._wrong, checker._per_logger, checker._per_address):
        assert len(kept) == 10
    assert checker._flights == {}
    # The ones used last are kept.
    assert checker.cached("S39", "right") is not None
    assert checker.cached("S0", "right") is None


@pytest_twisted.ensureDeferred
async def test_without_a_cache_every_check_looks_up_but_hashes_once(rig, monkeypatch):
    customer = await rig.add()
    monkeypatch.setattr(module, "CACHE_SECONDS", 0)
    rig.make()
    for _ in range(3):
        assert rig.checker.cached(SERIAL, "right") is None
        assert await rig.checker.check(SERIAL, "right", "a") == customer
    assert (rig.store.lookups, rig.checker.hashes) == (3, 1)


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
