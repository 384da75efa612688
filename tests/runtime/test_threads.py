"""The bounded thread pool, with real threads."""

from __future__ import annotations

import subprocess
import sys
from threading import Event, Thread, current_thread

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


@pytest_twisted.ensureDeferred
async def test_threads_are_started_when_they_are_needed_and_stopped_after_all_calls() -> None:
    pool, gates, made = BoundedPool(reactor, "test", 3, 4), [Event() for _ in range(7)], list[int]()

    def call(number: int) -> str:
        gates[number].wait()
        made.append(number)
        return current_thread().name

    for number in range(2):
        gates[number].set()
        assert await pool.run(call, number) == "test 0"
    running = [Deferred.fromCoroutine(pool.run(call, number)) for number in range(2, 7)]
    for gate in gates:
        gate.set()
    pool.stop()
    assert sorted(made) == list(range(7)), "those that waited for a thread were made"
    assert {await each for each in running} <= {"test 0", "test 1", "test 2"}
    assert pool.busy == 0


@pytest_twisted.ensureDeferred
async def test_a_pool_has_no_more_threads_than_its_size() -> None:
    pool, gate = BoundedPool(reactor, "test", 2, 8), Event()

    def call() -> str:
        gate.wait()
        return current_thread().name

    try:
        running = [Deferred.fromCoroutine(pool.run(call)) for _ in range(8)]
        gate.set()
        assert {await each for each in running} <= {"test 0", "test 1"}
        assert await pool.run(current_thread().is_alive)
    finally:
        gate.set()
        pool.stop()


@pytest_twisted.ensureDeferred
async def test_a_thread_that_could_not_be_started_is_started_for_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = BoundedPool(reactor, "test", 1, 1)

    def none_left(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="new thread"):
        patch.setattr(Thread, "start", none_left)
        await pool.run(divmod, 1, 0)
    assert pool.busy == 0
    assert await pool.run(divmod, 7, 2) == (3, 1)
    pool.stop()
    with pytest.raises(RuntimeError, match="test: stopped"):
        await pool.run(divmod, 7, 2)


def test_a_program_that_does_not_stop_its_pool_ends() -> None:
    code = (
        "from twisted.internet import reactor\n"
        "from cenergyd.runtime.threads import BoundedPool\n"
        "BoundedPool(reactor, 'test', 1, 1).run(print, 'made', flush=True).send(None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stderr) == (0, "")
