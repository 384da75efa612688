"""A semaphore that is safe for very many waiters, and a count of calls in progress."""

from __future__ import annotations

from twisted.internet.defer import Deferred, DeferredSemaphore


class Slots(DeferredSemaphore):
    """A semaphore that any number may wait for.

    Twisted's own semaphore serves the next waiter from within :meth:`release`. If work ends at once (the store is down, too many failed attempts),
    each waiter would be served from within the previous one, until Python's recursion limit loses the rest.
    """

    _owed = 0
    _handing_on = False

    def release(self) -> None:
        """Pass the place to the one that has waited longest."""
        self._owed += 1
        if self._handing_on:
            return  # by the call in progress, once its work has returned
        self._handing_on = True
        try:
            while self._owed:
                self._owed -= 1
                super().release()
        finally:
            self._handing_on = False


class InProgress:
    """Counts calls in progress, each of which runs ``with`` it; :meth:`ended` waits until there is none."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: list[Deferred[None]] = []

    def __bool__(self) -> bool:
        return self._count > 0

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    async def ended(self) -> None:
        """Wait until no call is in progress; at once if none is."""
        if self._count:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting
