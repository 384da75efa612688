"""Counting wrong guesses in a sliding window, in bounded memory."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Hashable


class FailedAttempts:
    """Times of wrong guesses by key.

    :param limit: so many within the window are too many.
    :param window_seconds: length of the window.
    :param max_keys: keys remembered; beyond that the one whose last guess is oldest is forgotten.
    """

    def __init__(self, limit: int, window_seconds: float, max_keys: int) -> None:
        self._limit = limit
        self._window = window_seconds
        self._max_keys = max_keys
        self._times: OrderedDict[Hashable, array[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._times)

    def add(self, key: Hashable, now: float) -> None:
        """Count a wrong guess."""
        times = self._times.setdefault(key, array("d"))
        times.append(now)
        if len(times) > self._limit:
            # Only the last ones decide.
            del times[0]
        self._times.move_to_end(key)
        if len(self._times) > self._max_keys:
            self._times.popitem(last=False)

    def too_many(self, key: Hashable, now: float) -> bool:
        """Whether the limit is reached within the window that ends now."""
        times = self._times.get(key)
        if times is None:
            return False
        if not 0 <= now - times[-1] < self._window:
            # Over; or the clock was set back, and nobody should wait until it is there again.
            del self._times[key]
            return False
        return len(times) >= self._limit and now - times[0] < self._window
