"""The bounded thread pool, with real threads."""

from __future__ import annotations

from threading import Event

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from cenergyd.errors import Overloaded
from cenergyd.runtime.threads import BoundedPool


@pytest_twisted.ensureDeferred
async def test_cancelled_calls_keep_their_places_until_a_thread_is_free() -> None:
    pool, gate, made = BoundedPool(reactor, "test", 1, 1), Event(), list[str]()
    try:
        first = Deferred.fromCoroutine(pool.run(gate.wait))
        second = Deferred.fromCoroutine(pool.run(made.append, "second"))
        second.cancel()
        with pytest.raises(CancelledError):
            await second
        assert pool.busy == 2
        for _ in range(20):
            with pytest.raises(Overloaded):
                await pool.run(made.append, "more")
        first.cancel()
        with pytest.raises(CancelledError):
            await first
        assert pool.busy == 2, "its thread still runs"
        gate.set()
        while pool.busy:
            await deferLater(reactor, 0.005)
        assert made == [], "a call that nobody waits for is not made"
        await pool.run(made.append, "third")
        assert made == ["third"]
    finally:
        gate.set()
        pool.stop()


@pytest_twisted.ensureDeferred
async def test_what_a_function_raises_is_raised() -> None:
    pool = BoundedPool(reactor, "test", 1, 0)
    try:
        with pytest.raises(ZeroDivisionError):
            await pool.run(divmod, 1, 0)
        assert await pool.run(divmod, 7, 2) == (3, 1)
        assert pool.busy == 0
    finally:
        pool.stop()
