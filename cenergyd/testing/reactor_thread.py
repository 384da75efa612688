"""Waits for coroutines and Deferreds in tests, with Twisted's reactor in a thread."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar, cast

from twisted.internet import reactor as twisted_reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure

from cenergyd.runtime.clock import Reactor

T = TypeVar("T")


class _WholeReactor(Reactor, Protocol):
    running: bool

    def run(self, installSignalHandlers: bool = True) -> None: ...

    def stop(self) -> None: ...


reactor = cast(_WholeReactor, twisted_reactor)
_threads: list[threading.Thread] = []


def wait_for(work: Awaitable[T]) -> T:
    """The result of a coroutine or Deferred, whose I/O is done by the reactor in a thread."""

    def begin() -> Deferred[T]:
        return work if isinstance(work, Deferred) else Deferred.fromCoroutine(_awaited(work))

    if _reactor_is_anothers():
        # Somebody else runs the reactor, such as pytest-twisted, which runs every test in it. Work without I/O is still possible.
        results: list[T | Failure] = []
        begin().addBoth(results.append)
        if not results:
            raise RuntimeError("pytest-twisted runs the reactor, so nothing can be waited for: pytest -p no:twisted")
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]
    calling = cast(Callable[[object, Callable[[], Deferred[T]]], T], blockingCallFromThread)
    return calling(reactor, begin)


def _reactor_is_anothers() -> bool:
    if _threads:
        return False
    if reactor.running:
        return True
    for run in (lambda: reactor.run(installSignalHandlers=False), _stop_after_the_tests):
        thread = threading.Thread(target=run, name="reactor", daemon=True)
        _threads.append(thread)
        thread.start()
    return False


def _stop_after_the_tests() -> None:
    # When Python exits it waits for the stores' threads, which only end when the reactor stops.
    threading.main_thread().join()
    reactor.callFromThread(reactor.stop)


async def _awaited(work: Awaitable[T]) -> T:
    return await work
