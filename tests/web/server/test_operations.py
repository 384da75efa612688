"""Readiness checks write to the stores, and need no authentication."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from cenergyd.errors import StoreUnavailable
from cenergyd.runtime.metrics import Metrics
from cenergyd.web.server.operations import Operations


class Store:
    """A store whose checks end when the test says so."""

    def __init__(self) -> None:
        self.checks: list[Deferred[None]] = []

    async def ping(self) -> None:
        self.checks.append(Deferred())
        await self.checks[-1]


def asked(operations: Operations) -> Deferred[dict[str, str | None]]:
    return Deferred.fromCoroutine(operations._report())


def test_who_asks_during_a_check_shares_the_next_one() -> None:
    store = Store()
    operations = Operations({"store": store.ping}, Metrics(), Clock())
    first = asked(operations)
    crowd = [asked(operations) for _ in range(100)]
    assert len(store.checks) == 1
    store.checks[0].callback(None)
    assert first.called and operations.ready
    # The result is of a check that began after the request, and shared by all requests.
    assert not any(each.called for each in crowd)
    assert len(store.checks) == 2
    gone = crowd.pop()
    gone.addErrback(lambda failure: failure.trap(CancelledError))
    gone.cancel()
    store.checks[1].errback(StoreUnavailable("down"))
    assert {str(each.result) for each in crowd} == {"{'store': 'down'}"}
    assert not operations.ready
    again = asked(operations)
    assert len(store.checks) == 3
    store.checks[2].callback(None)
    assert again.result == {"store": None}


def test_a_check_that_does_not_end_holds_up_the_next_for_the_timeout_only() -> None:
    store, clock = Store(), Clock()
    operations = Operations({"store": store.ping}, Metrics(), clock, timeout_seconds=5)
    first, second = asked(operations), asked(operations)
    clock.advance(5)
    assert first.called and len(store.checks) == 2
    store.checks[1].callback(None)
    assert second.result == {"store": None}
