"""A semaphore that is safe for very many waiters."""

from __future__ import annotations

from twisted.internet.defer import DeferredSemaphore


class Slots(DeferredSemaphore):
    """A semaphore that any number may wait for.

    Twisted's own semaphore serves the next waiter from within :meth:`release`. If work ends at once (the store is down, too many guesses),
    each waiter would be served from within the previous one, until Python's recursion limit loses the rest.
    """

    _owed = 0
    _handing_on = False

    def release(self) -> None:
        """Give the place to the longest waiting."""
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
