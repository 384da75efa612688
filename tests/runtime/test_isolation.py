"""Plugins that answer late, never, or after their cancellation, or raise anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock

from cenergyd.runtime.isolation import Implementation, PluginFailed, PluginManager, error_text, pending, within

CALL = Implementation("p", "cenergyd_job", print, ())


class OwnBaseException(BaseException):
    """What no ``except Exception`` catches."""


ANYTHING = [
    SystemExit(3), RecursionError(), MemoryError(), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit(),
    OwnBaseException("boom"), StopIteration(7), StopAsyncIteration(), CancelledError(),
]  # fmt: skip


def fate(work: Any) -> list[Any]:
    results: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    return results


def settled(result: Any, seconds: float, clock: Clock) -> list[Any]:
    return fate(PluginManager().settled(CALL, result, seconds, clock))


async def stubborn(gates: list[Deferred[None]]) -> str:
    """A coroutine that goes on whatever cancels it."""
    for gate in gates:
        try:
            await gate
        except CancelledError:
            continue
    return "in the end"


def test_a_coroutine_that_ignores_its_cancellation_is_late_all_the_same() -> None:
    clock, gates = Clock(), [Deferred[None](), Deferred[None]()]
    results = settled(stubborn(gates), 5, clock)
    clock.advance(4.9)
    assert results == []
    clock.advance(0.2)
    assert results[0].check(PluginFailed)
    assert "no answer within 5 s" in results[0].getErrorMessage()
    gates[1].callback(None)  # its answer is no longer wanted
    assert clock.getDelayedCalls() == []


def test_an_answer_in_time() -> None:
    clock, answer = Clock(), Deferred[int]()
    results = settled(answer, 5, clock)
    answer.callback(7)
    assert results == [7]
    assert clock.getDelayedCalls() == []


def test_cancelling_reaches_the_plugin() -> None:
    clock, seen = Clock(), []
    inner: Deferred[None] = Deferred(seen.append)
    outer = within(inner, 5, clock, TimeoutError())
    failures: list[Any] = []
    outer.addErrback(failures.append)
    outer.cancel()
    assert seen == [inner]
    assert failures[0].check(CancelledError)
    assert clock.getDelayedCalls() == []


def test_a_canceller_that_raises_harms_nobody() -> None:
    def canceller(_: object) -> None:
        raise OwnBaseException

    clock = Clock()
    results = settled(Deferred(canceller), 5, clock)
    clock.advance(6)
    assert results[0].check(PluginFailed)


def test_an_exception_whose_text_is_broken() -> None:
    class Bad(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    assert error_text(Bad()) == "Bad"
    assert len(error_text(ValueError("x" * 10_000))) <= 300
    assert error_text(ValueError("a\nb")) == "ValueError: a b"


@pytest.mark.parametrize("error", ANYTHING, ids=repr)
def test_whatever_a_call_raises_is_a_failure_of_its_plugin(error: BaseException) -> None:
    def function() -> None:
        raise error

    manager = PluginManager()
    with pytest.raises(PluginFailed, match="plugin p: ") as failed:
        manager.call(Implementation("p", "cenergyd_job", function, ()), {})
    assert failed.value.__cause__ is error
    assert manager.times.current is None


async def at_once(error: BaseException) -> None:
    raise error


async def later(error: BaseException) -> None:
    await succeed(None)
    raise error


class OwnAwaitable:
    """An awaitable that is no coroutine."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __await__(self) -> Iterator[Any]:
        raise self.error


@pytest.mark.parametrize("make", [at_once, later, OwnAwaitable])
@pytest.mark.parametrize("error", ANYTHING, ids=repr)
def test_whatever_a_coroutine_raises_is_a_failure_of_its_plugin(
    error: BaseException, make: Callable[[BaseException], Awaitable[None]]
) -> None:
    (failure,) = settled(make(error), 5, Clock())
    assert failure.check(PluginFailed)
    assert failure.value.plugin == "p"


@pytest.mark.parametrize("error", ANYTHING, ids=repr)
def test_whatever_a_deferred_fails_with_is_a_failure_of_its_plugin(error: BaseException) -> None:
    deferred: Deferred[None] = Deferred()
    results = settled(deferred, 5, Clock())
    deferred.errback(error)
    assert results[0].check(PluginFailed)


def test_a_coroutine_gets_what_it_waits_for_and_is_given_its_errors() -> None:
    gates = [Deferred[int](), Deferred[int]()]

    async def work() -> str:
        first = await gates[0]
        try:
            await gates[1]
        except LookupError as error:
            return f"{first} {error!r}"
        return "no error"

    results = settled(work(), 5, Clock())
    gates[0].callback(1)
    gates[1].errback(KeyError("x"))
    assert results == ["1 KeyError('x')"]


def test_an_awaitable_of_another_framework_is_refused() -> None:
    loop = asyncio.new_event_loop()
    try:
        (failure,) = settled(loop.create_future(), 5, Clock())
        assert failure.check(PluginFailed)
    finally:
        loop.close()


def test_an_object_that_lies_about_its_class_is_not_awaited() -> None:
    class FalseClass:
        @property
        def __class__(self) -> Any:
            raise OwnBaseException

    assert not pending(FalseClass())


def test_the_daemons_own_end_of_a_wait_is_no_failure_of_the_plugin() -> None:
    waiting = PluginManager().settled(CALL, Deferred(), 5, Clock())
    waiting.send(None)
    waiting.close()  # GeneratorExit at its await: nothing is raised in its place


def test_what_a_coroutine_sets_in_its_context_is_its_own_and_stays_after_a_wait() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="nothing")
    gate: Deferred[None] = Deferred()

    async def work(waits: bool) -> str:
        variable.set("set")
        if waits:
            await gate
        return variable.get()

    async def both() -> list[object]:
        manager = PluginManager()
        found = [await manager.settled(CALL, work(waits), 5, Clock()) for waits in (False, True)]
        return [*found, variable.get()]

    results = fate(both())
    gate.callback(None)
    assert results == [["set", "set", "nothing"]]


def test_the_first_step_and_each_later_one_is_timed() -> None:
    manager = PluginManager()
    gate: Deferred[None] = Deferred()
    seen = []

    async def work() -> None:
        seen.append(manager.times.current)
        await gate
        seen.append(manager.times.current)

    results = fate(manager.settled(CALL, work(), 5, Clock()))
    assert manager.times.current is None
    gate.callback(None)
    assert results == [None]
    assert [each and each[:2] for each in seen] == [("p", "cenergyd_job")] * 2
    assert manager.times.current is None
