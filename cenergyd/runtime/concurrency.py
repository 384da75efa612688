"""A bounded number of places for work that comes in crowds."""

from __future__ import annotations

from twisted.internet.defer import DeferredSemaphore


class Slots(DeferredSemaphore):
    """A semaphore that any number may wait for.

    Twisted's own hands a place on from within :meth:`release`. Where work ends at once (the store is down, too many guesses), each who
    waits would so be served from within the one before, until Python's recursion limit loses the rest of them for ever.
    """

    _owed = 0
    _handing_on = False

    def release(self) -> None:
        """Give the place to who waits longest."""
        self._owed += 1
        if self._handing_on:
            return  # by the call that is under way, once its work has returned
        self._handing_on = True
        try:
            while self._owed:
                self._owed -= 1
                super().release()
        finally:
            self._handing_on = False
