"""Periodic work and its rests, on a Clock."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger

from cenergyd.errors import StoreUnavailable
from cenergyd.runtime.periodic import PeriodicService


class Work:
    """Takes as long as the test says."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.began: list[float] = []
        self.running: Deferred[None] | None = None
        self.cancelled = 0

    async def __call__(self) -> None:
        self.began.append(self.clock.seconds())
        self.running = Deferred()
        try:
            await self.running
        except CancelledError:
            self.cancelled += 1
            raise

    def ends(self) -> None:
        assert self.running is not None
        self.running.callback(None)


def periodic(clock: Clock, work: Any, **options: Any) -> PeriodicService:
    options = {"what": "the work", "log": Logger(), "longest_rest": 30.0, **options}
    service = PeriodicService(clock, work, 5, **options)  # type: ignore[arg-type]
    service.startService()
    return service


def test_short_work_begins_at_each_interval() -> None:
    clock, began = Clock(), list[float]()

    async def work() -> None:
        began.append(clock.seconds())

    service = periodic(clock, work)
    clock.pump([1] * 11)
    assert began == [0, 5, 10]
    assert service.stopService().called
    clock.advance(100)
    assert len(began) == 3


def test_the_first_call_may_be_later() -> None:
    clock = Clock()
    work = Work(clock)
    periodic(clock, work, now=False)
    clock.pump([1] * 6)
    assert work.began == [5]


def test_work_within_its_share_keeps_the_interval() -> None:
    clock = Clock()
    work = Work(clock)
    periodic(clock, work)
    clock.advance(0.5)
    work.ends()
    clock.pump([0.5] * 9)
    assert work.began == [0, 5]


def test_long_work_is_followed_by_a_rest_in_proportion_and_bounded() -> None:
    clock = Clock()
    work = Work(clock)
    periodic(clock, work)
    clock.advance(2.1)
    work.ends()
    clock.pump([0.1] * 189)  # nine times as long
    assert work.began == [0]
    clock.pump([0.1] * 41)
    assert work.began == [0, pytest.approx(25)]
    clock.advance(1000)
    work.ends()
    clock.pump([1] * 29)
    assert len(work.began) == 2
    clock.pump([1] * 6)
    assert len(work.began) == 3


def test_a_clock_that_is_set_back_neither_fails_nor_rests_longer() -> None:
    clock = Clock()
    work = Work(clock)
    clock.advance(1000)
    periodic(clock, work)
    clock.rightNow = 10.0
    work.ends()
    clock.advance(5)
    assert work.began == [1000, 15]


def test_a_failure_is_not_the_end() -> None:
    clock, began, seen = Clock(), list[float](), list[Exception]()

    async def work() -> None:
        began.append(clock.seconds())
        raise (StoreUnavailable("down") if len(began) % 2 else ZeroDivisionError())

    periodic(clock, work)
    clock.pump([1] * 10)
    assert began == [0, 5, 10]
    periodic(clock, work, failed=seen.append)
    clock.advance(5)
    assert [type(error) for error in seen] == [ZeroDivisionError, ZeroDivisionError], "the first service had the other"


def test_a_stop_waits_for_the_work_that_runs() -> None:
    clock = Clock()
    work = Work(clock)
    service = periodic(clock, work)
    one, other = service.stopService(), service.stopService()
    assert not one.called
    work.ends()
    assert one.called
    assert other.called
    assert not clock.getDelayedCalls()
    service.startService()
    work.ends()
    clock.advance(5)
    assert len(work.began) == 3


def test_a_stop_that_is_cancelled_cancels_the_work() -> None:
    clock = Clock()
    work = Work(clock)
    service = periodic(clock, work)
    stopping = service.stopService()
    stopping.cancel()
    assert work.cancelled == 1
    assert stopping.called
    assert not clock.getDelayedCalls()


def test_a_stop_ends_the_rest() -> None:
    clock = Clock()
    work = Work(clock)
    service = periodic(clock, work)
    clock.advance(2)
    work.ends()
    assert service.stopService().called
    assert not clock.getDelayedCalls()
