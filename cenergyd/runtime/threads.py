"""A bounded thread pool: the only way synchronous clients run, so that the reactor never blocks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from threading import Thread
from typing import ParamSpec, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from cenergyd.errors import Overloaded
from cenergyd.runtime.clock import FromThreads

P = ParamSpec("P")
T = TypeVar("T")


class InThread(Protocol):
    """Runs a blocking or long function in a thread."""

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """Return its result or raise its error."""
        ...


async def in_this_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """An :class:`InThread` that calls the function at once, in this thread."""
    return function(*args, **kwargs)


class BoundedPool:
    """Runs functions in at most ``size`` threads, which are started as they are needed, and queues at most ``max_waiting`` more.

    A short call takes a half to three quarters of the CPU time that it takes with the standard library's executor, which makes a Future with locks for each, and
    less than that with Twisted's ThreadPool, whose queue is written in Python.

    :param reactor: the reactor that results return to.
    :param max_waiting: calls accepted beyond those running; further ones raise :class:`Overloaded`.
    """

    def __init__(self, reactor: FromThreads, name: str, size: int, max_waiting: int) -> None:
        self._reactor = reactor
        self._size = size
        self._limit = size + max_waiting
        self._name = name
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._stopped = False
        self.busy = 0
        """Calls running or waiting now, those whose caller was cancelled included."""

    def stop(self) -> None:
        """Stop and join the threads, after the calls that run or wait. Blocks, so call it at the very end."""
        self._stopped = True
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``function`` in a thread and return what it returns or raises.

        If the caller is cancelled, a waiting call is not made, and a running one continues; a running call keeps its place until its thread
        is free, so that callers who give up cannot exceed the limit.

        :raises RuntimeError: the pool was stopped, or the system starts no further thread.
        """
        if self._stopped:
            raise RuntimeError(f"{self._name}: stopped")
        if self.busy >= self._limit:
            raise Overloaded(f"{self._name}: {self.busy} calls are running or waiting already")
        given_up = False

        def give_up(_: Deferred[T]) -> None:
            nonlocal given_up
            given_up = True

        answer: Deferred[T] = Deferred(give_up)

        def call() -> None:  # in the thread
            result: T | Failure
            try:
                if given_up:
                    raise CancelledError
                result = function(*args, **kwargs)
            except BaseException:
                result = Failure()
            self._reactor.callFromThread(self._ended, answer, result)

        if len(self._threads) < min(self.busy + 1, self._size):
            self._start_thread()
        self.busy += 1
        self._calls.put(call)
        return await answer

    def _start_thread(self) -> None:
        # A daemon thread: a program that fails before it stops its pools ends nevertheless.
        thread = Thread(target=_run_all, args=(self._calls,), name=f"{self._name} {len(self._threads)}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _ended(self, answer: Deferred[object], result: object) -> None:
        self.busy -= 1
        if not answer.called:
            answer.callback(result)  # a Failure given here becomes an errback
        elif isinstance(result, Failure):
            result.cleanFailure()


def _run_all(calls: SimpleQueue[Callable[[], None] | None]) -> None:
    while (call := calls.get()) is not None:
        call()
        del call  # not to keep what it refers to until the next one
