"""Wrong guesses are counted per address; past a limit nothing more is checked until the window is over."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

WINDOW_SECONDS = 300


class GuessThrottle:
    """Counts wrong guesses in bounded memory, in this daemon only.

    :param max_failures: wrong guesses per address and window; further ones are refused unchecked.
    :param window_seconds: the window starts with the first wrong guess.
    :param max_addresses: addresses remembered; the one that was quiet longest is forgotten first.
    """

    def __init__(self, max_failures: int, window_seconds: int = WINDOW_SECONDS, max_addresses: int = 10_000) -> None:
        self._max_failures = max_failures
        self._window = window_seconds
        self._max_addresses = max_addresses
        self._failures: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures)

    def wait_seconds(self, address: str, now: int) -> int:
        """0: a guess may be checked; otherwise seconds until it may."""
        since, count = self._failures.get(_network(address), (now, 0))
        ends = since + self._window
        return ends - now if count >= self._max_failures and since <= now < ends else 0

    def failed(self, address: str, now: int) -> None:
        """A guess from this address was wrong."""
        key = _network(address)
        since, count = self._failures.pop(key, (now, 0))
        if not since <= now < since + self._window:  # over, or the clock was set back
            since, count = now, 0
        self._failures[key] = (since, count + 1)
        if len(self._failures) > self._max_addresses:
            self._failures.popitem(last=False)


def _network(address: str) -> str:
    # One IPv6 customer owns a whole /64: single addresses would let him guess for ever.
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
