"""A bounded thread pool: the only way synchronous clients run, so that the reactor never blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from cenergyd.errors import Overloaded

P = ParamSpec("P")
T = TypeVar("T")


class BoundedPool:
    """Runs functions in at most ``size`` threads and holds at most ``max_waiting`` more of them.

    :param reactor: the reactor that results return to.
    :param max_waiting: calls accepted beyond those running; one more raises :class:`Overloaded`.
    """

    def __init__(self, reactor: Any, name: str, size: int, max_waiting: int) -> None:
        self._reactor: IReactorFromThreads = reactor
        self._pool = ThreadPool(0, size, name)
        self._limit = size + max_waiting
        self._name = name
        self.busy = 0
        """Calls running or waiting now."""

    def start(self) -> None:
        """Start the threads; call once, from the reactor's thread."""
        self._pool.start()

    def stop(self) -> None:
        """Stop and join the threads, after what they run now. Blocks, so call it at the very end."""
        if self._pool.started:
            self._pool.stop()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``function`` in a thread and return what it returns or raises."""
        if self.busy >= self._limit:
            raise Overloaded(f"{self._name}: {self.busy} calls are running or waiting already")
        self.busy += 1
        try:
            result: T = await deferToThreadPool(self._reactor, self._pool, function, *args, **kwargs)
            return result
        finally:
            self.busy -= 1
