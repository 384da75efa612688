"""Many small pieces of work, a few at a time."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred

from cenergyd.runtime.gather import gather_limited


def test_an_error_is_raised_only_when_all_running_calls_have_ended() -> None:
    gates = [Deferred[int]() for _ in range(4)]
    begun: list[int] = []

    async def work(number: int) -> int:
        begun.append(number)
        return await gates[number]

    gathering = Deferred.fromCoroutine(gather_limited([work(n) for n in range(4)], 3))
    raised: list[BaseException] = []
    gathering.addErrback(lambda failure: raised.append(failure.value))
    gates[1].errback(ValueError("one"))
    gates[0].callback(0)
    assert begun == [0, 1, 2]
    assert raised == [], "the third still runs"
    gates[2].errback(KeyError("two"))
    assert [type(error) for error in raised] == [ValueError]
    assert begun == [0, 1, 2], "what was not begun is not run"


def test_results_come_in_order() -> None:
    gates = [Deferred[int]() for _ in range(5)]

    async def work(number: int) -> int:
        return await gates[number]

    gathering = Deferred.fromCoroutine(gather_limited([work(n) for n in range(5)], 2))
    for number in (1, 0, 2, 3, 4):
        gates[number].callback(number * 10)
    assert gathering.result == [0, 10, 20, 30, 40]


def test_a_cancelled_gathering_cancels_what_runs() -> None:
    cancelled: list[int] = []

    async def work(number: int) -> None:
        await Deferred(lambda _: cancelled.append(number))

    gathering = Deferred.fromCoroutine(gather_limited([work(n) for n in range(4)], 2))
    gathering.addErrback(lambda _: None)
    gathering.cancel()
    assert cancelled == [0, 1]


def test_nothing_to_do() -> None:
    assert Deferred.fromCoroutine(gather_limited([], 3)).result == []


@pytest.mark.parametrize("at_once", [1, 7])
def test_any_width(at_once: int) -> None:
    async def work(number: int) -> int:
        return number

    assert Deferred.fromCoroutine(gather_limited([work(n) for n in range(5)], at_once)).result == [0, 1, 2, 3, 4]


def test_work_is_started_between_pauses() -> None:
    gates = [Deferred[None]() for _ in range(3)]
    waiting, begun = iter(gates), list[int]()

    async def work(number: int) -> int:
        begun.append(number)
        return number

    async def pause() -> None:
        await next(waiting)

    gathering = Deferred.fromCoroutine(gather_limited([work(n) for n in range(3)], 2, pause))
    for number, gate in enumerate(gates):
        assert begun == list(range(number))
        gate.callback(None)
    assert gathering.result == [0, 1, 2]


def test_a_gathering_that_is_cancelled_in_a_pause_cancels_what_runs() -> None:
    cancelled: list[int] = []
    over = Deferred[None]()
    over.callback(None)
    waiting = iter([over, Deferred[None]()])

    async def work(number: int) -> None:
        await Deferred(lambda _: cancelled.append(number))

    async def pause() -> None:
        await next(waiting)

    gathering = Deferred.fromCoroutine(gather_limited([work(n) for n in range(3)], 3, pause))
    raised: list[BaseException] = []
    gathering.addErrback(lambda failure: raised.append(failure.value))
    gathering.cancel()
    assert cancelled == [0]
    assert [type(each) for each in raised] == [CancelledError]
