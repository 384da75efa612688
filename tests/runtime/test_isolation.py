"""Waiting for plugins that answer late, never, or in the end after all."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from cenergyd.runtime.isolation import PluginFailed, describe, settled, within


def fate(work: Any) -> list[Any]:
    results: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    return results


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
    results = fate(settled("p", stubborn(gates), 5, clock))
    clock.advance(4.9)
    assert results == []
    clock.advance(0.2)
    assert results[0].check(PluginFailed)
    assert "no answer within 5 s" in results[0].getErrorMessage()
    gates[1].callback(None)  # its answer is no longer wanted
    assert clock.getDelayedCalls() == []


def test_an_answer_in_time() -> None:
    clock, answer = Clock(), Deferred[int]()
    results = fate(settled("p", answer, 5, clock))
    answer.callback(7)
    assert results == [7]
    assert clock.getDelayedCalls() == []


def test_cancelling_reaches_the_plugin() -> None:
    clock, seen = Clock(), []
    inner: Deferred[None] = Deferred(seen.append)
    outer = within(inner, 5, clock)
    failures: list[Any] = []
    outer.addErrback(failures.append)
    outer.cancel()
    assert seen == [inner]
    assert failures[0].check(CancelledError)
    assert clock.getDelayedCalls() == []


def test_an_exception_whose_text_is_broken() -> None:
    class Bad(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert describe(Bad()) == "Bad"
    assert len(describe(ValueError("x" * 10_000))) <= 300
    assert describe(ValueError("a\nb")) == "ValueError: a b"


@pytest.mark.parametrize("error", [SystemExit(3), RecursionError(), MemoryError()])
def test_absurd_errors_are_failures_too(error: BaseException) -> None:
    async def raises() -> None:
        raise error

    (failure,) = fate(settled("p", raises(), 5, Clock()))
    assert failure.check(PluginFailed)
