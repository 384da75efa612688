"""Opening the stores, however often it takes."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cenergyd.daemon.opening import REOPEN_SECONDS, StoreOpening
from cenergyd.errors import ConfigError, StoreUnavailable


class FailingStores:
    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.closed = False

    async def open(self) -> None:
        if self.faults:
            raise self.faults.pop(0)

    async def close(self) -> None:
        self.closed = True


def opening(clock: Clock, stores: Any) -> tuple[StoreOpening, list[float]]:
    opened: list[float] = []

    async def begin() -> None:
        opened.append(clock.seconds())

    return StoreOpening(stores, clock, begin), opened  # type: ignore[arg-type]


def test_opening_is_retried_after_any_error() -> None:
    clock = Clock()
    one, opened = opening(
        clock, FailingStores(StoreUnavailable("down"), KeyError("odd"), StoreUnavailable("still down"))
    )
    assert Deferred.fromCoroutine(one.open()).called
    assert one.fault == "down"
    clock.advance(REOPEN_SECONDS)
    assert "KeyError" in str(one.fault)
    clock.advance(REOPEN_SECONDS)
    assert one.fault == "still down"
    assert not opened
    clock.advance(REOPEN_SECONDS)
    assert one.fault is None
    assert opened == [3 * REOPEN_SECONDS]
    assert not clock.getDelayedCalls()


def test_what_is_wrong_at_the_start_ends_it() -> None:
    one, _ = opening(Clock(), FailingStores(ConfigError("no such database")))
    failed: list[BaseException] = []
    Deferred.fromCoroutine(one.open()).addErrback(lambda failure: failed.append(failure.value))
    assert isinstance(failed[0], ConfigError)


@pytest.mark.parametrize("faults", [(), (StoreUnavailable("down"),)])
def test_a_stop_closes_and_tries_no_more(faults: tuple[Exception, ...]) -> None:
    clock, stores = Clock(), FailingStores(*faults)
    one, opened = opening(clock, stores)
    Deferred.fromCoroutine(one.open())
    one.stopService()
    assert stores.closed
    clock.advance(100)
    assert len(opened) == (0 if faults else 1)
    assert not clock.getDelayedCalls()
