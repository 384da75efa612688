"""The pause while a store does not answer."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import Logger

from cenergyd.runtime.backoff import LONGEST_PAUSE, StoreBackoff


def backoff(clock: Clock, pauses: list[float]) -> StoreBackoff:
    return StoreBackoff(clock, Logger(), ("work pauses", "work goes on"), lambda: pauses.append(clock.seconds()))


def test_pauses_grow_to_a_bound_and_end_with_success() -> None:
    clock, pauses = Clock(), list[float]()
    one = backoff(clock, pauses)
    lengths = []
    for _ in range(9):
        one.failed(OSError("down"))
        one.failed(OSError("logged once a pause"))
        lengths.append(one.until - clock.seconds())
        assert not one.ready
        clock.advance(lengths[-1])
        assert one.ready
    assert lengths == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    assert len(pauses) == 9
    one.succeeded()
    one.failed(OSError("down"))
    assert one.until - clock.seconds() == 1


def test_a_clock_that_is_set_back_ends_the_pause() -> None:
    clock = Clock()
    clock.advance(100_000)
    one = backoff(clock, [])
    one.failed(OSError("down"))
    clock.rightNow = 50_000.0
    assert one.ready
    one.failed(OSError("still down"))
    assert not one.ready
    assert one.until == 50_002
