"""A bounded thread pool: the only way synchronous clients run, so that the reactor never blocks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
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

    The standard library's executor takes less CPU time for a short call than Twisted's ThreadPool, whose queue and locks are written in Python.

    :param reactor: the reactor that results return to.
    :param max_waiting: calls accepted beyond those running; further ones raise :class:`Overloaded`.
    """

    def __init__(self, reactor: FromThreads, name: str, size: int, max_waiting: int) -> None:
        self._reactor = reactor
        self._pool = ThreadPoolExecutor(size, name)
        self._limit = size + max_waiting
        self._name = name
        self.busy = 0
        """Calls running or waiting now, those whose caller was cancelled included."""

    def stop(self) -> None:
        """Stop and join the threads, after what they run now. Blocks, so call it at the very end."""
        self._pool.shutdown()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``function`` in a thread and return what it returns or raises.

        If the caller is cancelled, a waiting call is not made, and a running one continues; a running call keeps its place until its thread
        is free, so that callers who give up cannot exceed the limit.
        """
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

        self.busy += 1
        self._pool.submit(call)
        return await answer

    def _ended(self, answer: Deferred[object], result: object) -> None:
        self.busy -= 1
        if not answer.called:
            answer.callback(result)  # a Failure given here becomes an errback
        elif isinstance(result, Failure):
            result.cleanFailure()
