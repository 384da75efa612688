"""The clock is set back and forth, by hours: nothing stops, no permission lasts longer, nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, LoopingCall
from twisted.web.resource import Resource

from cenergyd.readings.model import Reading
from cenergyd.runtime.attempts import FailedAttempts, Limit, Throttle
from cenergyd.runtime.wall_clock import ClockWatch
from cenergyd.web.server.site import BoundedSite
from tests.derivation.memory import START, minutes, settle, site
from tests.derivation.memory import customer as some_customer
from tests.ingest.test_credentials import SERIAL, CredentialsUnderTest

HOUR = 3600.0


class SetWallClock(Clock):
    """A reactor whose wall clock can be set, beside a monotonic clock that cannot."""

    passed = 0.0

    def advance(self, amount: float) -> None:
        self.passed += amount
        super().advance(amount)

    def set_by(self, seconds: float) -> None:
        """Somebody sets the wall clock; no time passes."""
        self.rightNow += seconds

    def monotonic(self) -> float:
        return self.passed


@pytest.mark.parametrize("step", [-HOUR, -30 * 86400.0])
def test_timers_go_on_in_time_after_the_clock_was_set_back(step: float) -> None:
    machine = SetWallClock()
    machine.advance(1e9)
    watch = ClockWatch(machine, machine.monotonic)
    fired: list[str] = []
    machine.callLater(5, fired.append, "in five seconds")
    machine.callLater(60, fired.append, "in a minute")
    loop = LoopingCall(lambda: fired.append("loop"))
    loop.clock = machine
    loop.start(10, now=False)
    machine.advance(1)
    watch.check()
    assert watch.steps == 0
    machine.set_by(step)
    machine.advance(1)
    assert fired == []
    watch.check()
    assert watch.steps == 1
    machine.advance(3.1)
    assert fired == ["in five seconds"]
    for _ in range(60):
        machine.advance(1)
        watch.check()
    assert "in a minute" in fired
    assert fired.count("loop") >= 5
    assert watch.steps == 1


def test_a_slewed_clock_and_a_step_forward_move_no_timer() -> None:
    machine = SetWallClock()
    watch = ClockWatch(machine, machine.monotonic)
    call = machine.callLater(7200, lambda: None)
    due = call.getTime()
    for step in (-0.5, 0.5, HOUR):
        machine.set_by(step)
        watch.check()
    assert call.getTime() == due
    assert watch.steps == 0


def test_a_password_is_trusted_no_longer_and_a_throttle_ends(tmp_path: Any) -> None:
    credentials = CredentialsUnderTest(tmp_path)
    from cenergyd.customers.model import Customer
    from cenergyd.ingest.credentials import _CachedSuccess

    digest = credentials.checker._digest(SERIAL, "right")
    credentials.checker._right.put(
        SERIAL, _CachedSuccess(Customer(id="a", logger_serial_number=SERIAL), digest, credentials.clock.seconds())
    )
    assert credentials.checker.cached(SERIAL, "right") is not None
    credentials.clock.rightNow -= 500
    assert credentials.checker.cached(SERIAL, "right") is None, (
        "looked up in the future: not to be trusted for 500 s more"
    )
    credentials.clock.rightNow += 500
    assert credentials.checker.cached(SERIAL, "right") is not None


@pytest.mark.parametrize("step", [-HOUR, HOUR])
def test_guesses_do_not_shut_out_for_the_length_of_a_step(step: float) -> None:
    guesses = FailedAttempts(3, 300, 100)
    for second in range(3):
        guesses.add("a", 10_000.0 + second)
    assert guesses.too_many("a", 10_003)
    assert not guesses.too_many("a", 10_003 + step)
    clock = Clock()
    clock.advance(10_000)
    throttle = Throttle(clock, {"network": Limit(3, 1.0)}, counted_seconds=300)
    for _ in range(6):
        throttle.failed({"network": "192.0.2.1"})
        Deferred.fromCoroutine(throttle.turn({"network": "192.0.2.1"})).addErrback(lambda _: None)
    assert throttle.is_slow({"network": "192.0.2.1"})
    clock.rightNow += step
    assert not throttle.is_slow({"network": "192.0.2.1"})
    for _ in range(3):
        throttle.failed({"network": "192.0.2.1"})
    first = Deferred.fromCoroutine(throttle.turn({"network": "192.0.2.1"}))
    assert first.called, "nothing that was taken before the step keeps anybody waiting"


class Channel:
    """The part of a connection that the sweep uses."""

    def __init__(self, since: float) -> None:
        self.reading_since = since
        self.dropped = False

    def forceAbortClient(self) -> None:
        self.dropped = True


def test_a_slow_sender_is_dropped_although_the_clock_was_set_back() -> None:
    clock = Clock()
    clock.advance(100_000)
    bounded = BoundedSite(
        Resource(), clock, max_body_bytes=1000, max_connections=10, idle_seconds=60, request_seconds=20
    )
    channel: Any = Channel(clock.seconds())
    bounded.connections.add(channel, None)
    clock.rightNow -= HOUR
    bounded._sweep()
    assert not channel.dropped
    clock.advance(21)
    bounded._sweep()
    assert channel.dropped


@pytest.mark.parametrize("steps", [[-7200.0, 7200.0], [7200.0, -7200.0], [-86400.0 * 400], [86400.0 * 400]])
def test_derivation_loses_and_doubles_nothing(steps: list[float]) -> None:
    daemon = site(some_customer())

    def came(first: int) -> None:
        for meter in ("1", "2"):
            part: list[Reading] = list(minutes(10))[first : first + 2]
            settle(daemon.clock, daemon.came("a", meter, part))

    came(0)
    daemon.tick()
    for number, step in enumerate(steps, 1):
        daemon.clock.rightNow += step
        came(2 * number)
        daemon.tick()
    computed = settle(daemon.clock, daemon.computed("a"))
    assert [each.time for each in computed] == [START + 60 * i for i in range(2 + 2 * len(steps))]
    assert daemon.queue.pending == daemon.queue.working == {}
