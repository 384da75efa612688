"""Regular work and its rests, by a clock of its own."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from cenergyd.runtime.periodic import PeriodicTask


class Work:
    """Takes as long as the test says."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.began: list[float] = []
        self.running: Deferred[None] | None = None

    def __call__(self) -> Deferred[None]:
        self.began.append(self.clock.seconds())
        self.running = Deferred()
        return self.running

    def ends(self) -> None:
        assert self.running is not None
        self.running.callback(None)


def test_short_work_begins_at_each_interval() -> None:
    clock, began = Clock(), list[float]()
    rhythm = PeriodicTask(clock, lambda: (began.append(clock.seconds()), succeed(None))[1], 5, longest_rest=30)
    ended = rhythm.start()
    clock.pump([1] * 11)
    assert began == [0, 5, 10]
    rhythm.stop()
    assert ended.called
    clock.advance(100)
    assert len(began) == 3


def test_work_within_its_share_keeps_the_interval() -> None:
    clock = Clock()
    work = Work(clock)
    PeriodicTask(clock, work, 5, longest_rest=30).start()
    clock.advance(0.5)
    work.ends()
    clock.pump([0.5] * 9)
    assert work.began == [0, 5]


def test_long_work_is_followed_by_a_rest_in_proportion_and_bounded() -> None:
    clock = Clock()
    work = Work(clock)
    PeriodicTask(clock, work, 5, longest_rest=30).start()
    clock.advance(2)
    work.ends()
    clock.advance(17.9)
    assert work.began == [0]
    clock.advance(0.1)
    assert work.began == [0, 20]
    clock.advance(1000)
    work.ends()
    clock.advance(30)
    assert work.began == [0, 20, 1050]


def test_a_clock_that_is_set_back_neither_fails_nor_rests_longer() -> None:
    clock = Clock()
    work = Work(clock)
    clock.advance(1000)
    PeriodicTask(clock, work, 5, longest_rest=30).start()
    clock.rightNow = 10.0
    work.ends()
    clock.advance(5)
    assert work.began == [1000, 15]


def test_a_stop_waits_for_the_work_that_runs() -> None:
    clock = Clock()
    work = Work(clock)
    rhythm = PeriodicTask(clock, work, 5, longest_rest=0)
    ended = rhythm.start()
    rhythm.stop()
    rhythm.stop()
    assert not ended.called
    work.ends()
    assert ended.called
    assert not clock.getDelayedCalls()
    again = rhythm.start()
    work.ends()
    clock.advance(5)
    assert len(work.began) == 3
    work.ends()
    rhythm.stop()
    assert again.called
