"""Checks a logger's serial number and password. Hashes are rarely computed, and after failed attempts checks are slowed down.

Argon2 is expensive. So a password that was right once is cached as a keyed digest (with a key that only this process has) together with
the stored hash it matched: while the customer's stored password stays the same, no hash is computed again; only the customer is looked up
again after :data:`CACHE_SECONDS`. A wrong password is cached the same way, so a misconfigured device that tries for days costs one hash.

A failed attempt is counted for its logger from its network, for its network, and for its logger. After too many, unknown passwords are checked
at a limited rate (:class:`~cenergyd.runtime.attempts.Throttle`); passwords known to be right are never delayed, and nobody is locked out.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from hashlib import blake2b
from secrets import token_bytes
from typing import Generic, NamedTuple, Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from cenergyd.customers.changes import normal_serial
from cenergyd.customers.model import Customer
from cenergyd.customers.passwords import hash_password, is_hash, needs_rehash, verify_password
from cenergyd.customers.store import CustomerStore
from cenergyd.documents.change_notices import ChangeNotices, customer_of_logger
from cenergyd.errors import Overloaded
from cenergyd.runtime.attempts import Limit, Throttle, network_of
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.concurrency import Slots
from cenergyd.runtime.threads import BoundedPool

K = TypeVar("K")
V = TypeVar("V")

MAX_SERIAL = 64
NEVER = float("-inf")
CACHE_SECONDS = 30
"""A changed password or customer takes effect within this time, also if another daemon made the change. If changes are announced, a
customer is only looked up again after a change, or after :data:`~cenergyd.documents.change_notices.MAX_CACHE_SECONDS`."""
MAX_CACHED = 100_000
"""Loggers whose right password is cached, about 1 KB each. Any other costs a hash with its next upload."""
MAX_REFUSED = 20_000
"""Maximum cached wrong passwords, and keys of failed attempts."""
HASH_THREADS = 2
"""Concurrent hashes: each keeps a core busy for some 10 ms, and uploads need the others."""
MAX_WAITING = 1000
"""Checks that may wait for a hash; further ones are refused as overload (503, the device tries again)."""

FAILURE_COUNTED_SECONDS = 300
"""A failed attempt counts for this time."""
LOGGER_PACE, NETWORK_PACE, SERIAL_PACE = 1.0, 0.1, 0.2
"""Seconds between two attempts after too many failed ones: for a logger from a network, from a network, for a logger."""


class CredentialSettings(Protocol):
    """The ini's ``[credentials]``."""

    @property
    def max_failures(self) -> int: ...
    @property
    def max_failures_per_address(self) -> int: ...


class _CachedSuccess(NamedTuple):
    """A password that was right."""

    customer: Customer
    digest: bytes
    looked_up: float


class _CachedFailure(NamedTuple):
    """A password that did not match the stored one (None: no such logger, or no password)."""

    stored: str | None
    looked_up: float
    hashed: str = ""
    """The wrong password's hash, if the logger belongs to nobody."""


class _Login(NamedTuple):
    """A serial number and password, and the network that they came from."""

    serial: str
    digest: bytes
    password: str
    network: str

    @property
    def keys(self) -> Mapping[str, Hashable]:
        """The keys for which a failed attempt is counted."""
        return {"logger": (self.serial, self.network), "network": self.network, "serial": self.serial}


class _PendingCheck:
    """A check in progress, and the callers that wait for it."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[Customer | None]] = []
        self.forgotten = False


class _LruCache(Generic[K, V]):
    """A dictionary that drops its least recently used entry."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._size:
            self._values.popitem(last=False)

    def change(self, change: Callable[[K, V], V]) -> None:
        for key, value in self._values.items():
            self._values[key] = change(key, value)


class CredentialChecker:
    """Authenticates loggers. Everything runs in the reactor's thread except the hashes, which run in ``pool``.

    :param settings: the ini's ``[credentials]`` or anything with its fields.
    :param notices: of changes of customers, if they are announced; a customer is then cached for longer.
    """

    log = Logger()

    def __init__(
        self,
        store: CustomerStore,
        pool: BoundedPool,
        clock: Timers,
        settings: CredentialSettings,
        notices: ChangeNotices | None = None,
    ) -> None:
        self._notices = notices
        self._store = store
        self._pool = pool
        self._now = clock.seconds
        self._key = token_bytes(32)
        self._right: _LruCache[str, _CachedSuccess] = _LruCache(MAX_CACHED)
        self._wrong: _LruCache[tuple[str, bytes], _CachedFailure] = _LruCache(MAX_REFUSED)
        self._throttle = Throttle(
            clock,
            {
                "logger": Limit(settings.max_failures, LOGGER_PACE),
                "network": Limit(settings.max_failures_per_address, NETWORK_PACE),
                "serial": Limit(settings.max_failures_per_address, SERIAL_PACE),
            },
            counted_seconds=FAILURE_COUNTED_SECONDS,
            max_keys=MAX_REFUSED,
        )
        self._pending: dict[tuple[str, bytes, str], _PendingCheck] = {}
        self._hashes = Slots(HASH_THREADS)
        self._background: set[Deferred[None]] = set()
        self._nobody: str | None = None
        self.hashes = 0
        """Passwords hashed so far, for metrics."""

    @property
    def slowed(self) -> int:
        """Checks that had to wait so far, for metrics."""
        return self._throttle.slowed

    def cached(self, serial: str, password: str) -> Customer | None:
        """The customer, if this pair is known to be right and fresh; None means unknown. Costs microseconds."""
        known = self._right.get(serial)
        if known is None or not (self._is_fresh(known.looked_up) or self._is_unchanged(serial, known.looked_up)):
            return None
        return known.customer if hmac.compare_digest(known.digest, self._digest(serial, password)) else None

    async def check(self, serial: str, password: str, address: str) -> Customer | None:
        """The customer whose logger this is, None if serial or password is wrong.

        :raises TooManyAttempts: after too many failed attempts, more of them wait already than can be checked in a minute.
        :raises StoreUnavailable: the customers' store does not answer.
        :raises Overloaded: too many checks wait already.
        """
        serial = normal_serial(serial)
        if not serial or len(serial) > MAX_SERIAL or not serial.isascii():
            return None
        known = self.cached(serial, password)
        if known is not None:
            return known
        key = (serial, self._digest(serial, password))
        wrong = self._wrong.get(key)
        if wrong is not None and self._is_fresh(wrong.looked_up):
            return None
        attempt = _Login(serial, key[1], password, network_of(address))
        # A delayed check is not shared: the same pair from another network may be checked at once.
        slow = wrong is None and not self._was_right(key) and self._throttle.is_slow(attempt.keys)
        place = (*key, attempt.network if slow else "")
        pending = self._pending.get(place)
        if pending is None:
            pending = self._pending[place] = _PendingCheck()
            answer = self._join(pending)
            self._run_in_background(Deferred.fromCoroutine(self._run_check(pending, place, attempt)))
        else:
            answer = self._join(pending)
        return await answer

    def unowned_password(self, serial: str, password: str) -> str:
        """The hash of a refused password if the logger belongs to nobody; '' otherwise."""
        serial = normal_serial(serial)
        wrong = self._wrong.get((serial, self._digest(serial, password)))
        return wrong.hashed if wrong is not None and wrong.stored is None else ""

    def forget(self, serial: str) -> None:
        """A customer's settings changed: the next check looks it up again."""
        self._make_stale(normal_serial(serial))

    def forget_all(self) -> None:
        """Forget all customers: anything may have changed."""
        self._make_stale(None)

    async def finish(self) -> None:
        """Refuse delayed checks, and return once all background work has ended; call before the stores close."""
        self._throttle.close()
        while self._background:
            waiting: Deferred[None] = Deferred()
            next(iter(self._background)).addBoth(_passing(waiting))
            await waiting

    def _make_stale(self, serial: str | None) -> None:
        # A password stays right or wrong for a stored hash; only whether that hash is still stored is looked up again.
        self._right.change(lambda key, known: known._replace(looked_up=NEVER) if serial in (None, key) else known)
        self._wrong.change(lambda key, known: known._replace(looked_up=NEVER) if serial in (None, key[0]) else known)
        for key in [key for key in self._pending if serial in (None, key[0])]:
            self._pending.pop(key).forgotten = True

    def _digest(self, serial: str, password: str) -> bytes:
        return blake2b(f"{serial}\0{password}".encode("utf-8", "surrogatepass"), key=self._key, digest_size=32).digest()

    def _is_fresh(self, looked_up: float) -> bool:
        # A look-up in the future was made before the clock was set back.
        return 0 <= self._now() - looked_up < CACHE_SECONDS

    def _is_unchanged(self, serial: str, looked_up: float) -> bool:
        """Whether nobody has announced a change of the customer since."""
        return self._notices is not None and self._notices.is_current(customer_of_logger(serial), looked_up)

    def _was_right(self, key: tuple[str, bytes]) -> bool:
        known = self._right.get(key[0])
        return known is not None and hmac.compare_digest(known.digest, key[1])

    def _join(self, pending: _PendingCheck) -> Deferred[Customer | None]:
        # A caller that stops waiting (the client hung up) does not end the check for the others.
        answer: Deferred[Customer | None] = Deferred()
        pending.waiting.append(answer)
        return answer

    async def _run_check(self, pending: _PendingCheck, place: tuple[str, bytes, str], attempt: _Login) -> None:
        result: Customer | Failure | None
        try:
            result = await self._verify(pending, attempt)
        except Exception:
            result = Failure()
        if self._pending.get(place) is pending:
            del self._pending[place]
        waiting, pending.waiting = pending.waiting, []
        for answer in waiting:
            if not answer.called:
                answer.callback(result)  # a Failure given here becomes an errback

    async def _verify(self, pending: _PendingCheck, attempt: _Login) -> Customer | None:
        serial, digest = key = (attempt.serial, attempt.digest)
        keys = attempt.keys
        new = not self._was_right(key) and self._wrong.get(key) is None
        had_turn = new and await self._throttle.turn(keys)
        now = self._now()
        customer = await self._store.by_serial(serial)
        stored = (customer.logger_password or None) if customer else None
        right = self._remembered(key, stored)
        if right is None:
            right, hashed = await self._hashed_check(keys, had_turn, stored, attempt.password)
        else:
            before = self._wrong.get(key)
            hashed = before.hashed if before is not None else ""
        looked_up = NEVER if pending.forgotten else now
        if customer is None or not right:
            self._wrong.put(key, _CachedFailure(stored, looked_up, hashed))
            return None
        self._right.put(serial, _CachedSuccess(customer, digest, looked_up))
        if self._store.hashes_passwords and needs_rehash(customer.logger_password):
            self._run_in_background(Deferred.fromCoroutine(self._rehash(customer, attempt.password)))
        return customer

    def _remembered(self, key: tuple[str, bytes], stored: str | None) -> bool | None:
        """Whether this password matches the stored one, if that is known."""
        known = self._right.get(key[0])
        if known is not None and known.customer.logger_password == stored and self._was_right(key):
            return True
        wrong = self._wrong.get(key)
        return False if wrong is not None and wrong.stored == stored else None

    async def _hashed_check(
        self, keys: Mapping[str, Hashable], had_turn: bool, stored: str | None, password: str
    ) -> tuple[bool, str]:
        """Whether an unknown password is right, and its hash if none is stored; a wrong one is counted."""
        if len(self._hashes.waiting) >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} passwords are waiting to be checked")
        await self._hashes.acquire()
        if not had_turn and self._throttle.is_slow(keys):
            # Earlier checks have failed meanwhile: of attempts that arrive at the same time not all may be checked at once.
            self._hashes.release()
            await self._throttle.turn(keys)
            await self._hashes.acquire()
        try:
            right, hashed = await self._pool.run(self._compare, stored, password)
            self.hashes += 1
            if not right:
                self._throttle.failed(keys)
        finally:
            # Only now, so that the next check sees this failure.
            self._hashes.release()
        return right, hashed

    def _compare(self, stored: str | None, password: str) -> tuple[bool, str]:
        """In a thread. Takes about the same time whether the logger is known or not, its password hashed or not."""
        if stored is None:
            return False, hash_password(password)
        right = verify_password(stored, password)
        if not is_hash(stored):
            if self._nobody is None:
                self._nobody = hash_password(token_bytes(16).hex())
            verify_password(self._nobody, password)
        return right, ""

    async def _rehash(self, customer: Customer, password: str) -> None:
        """Replace a clear-text password, or a hash of another cost, by a hash."""
        old = customer.logger_password
        new = await self._pool.run(hash_password, password)
        if await self._store.set_password_hash(customer.id, old, new):
            self.log.info("logger password is now stored as a hash {customer_id}", customer_id=customer.id)
            known = self._right.get(customer.logger_serial_number)
            if known is not None and known.customer.logger_password == old:
                changed = attrs.evolve(known.customer, logger_password=new)
                self._right.put(customer.logger_serial_number, known._replace(customer=changed))

    def _run_in_background(self, task: Deferred[None]) -> None:
        self._background.add(task)

        def ended(result: object) -> None:
            self._background.discard(task)
            if isinstance(result, Failure):
                # Only the type: an error's text may contain secrets.
                self.log.warn("background password work failed {kind}", kind=type(result.value).__name__)

        task.addBoth(ended)


def _passing(waiting: Deferred[None]) -> Callable[[V], V]:
    def passed(result: V) -> V:
        waiting.callback(None)
        return result

    return passed
