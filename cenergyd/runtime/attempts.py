"""Failed sign-in attempts: counted by their origin; once there are too many, further attempts are slowed down. Nobody is ever locked out.

Clients that share an address with an attacker (carrier NAT, a site behind one router) are slowed down as well if nothing else distinguishes
them. So attempts known to be right must not be delayed here, and others are only delayed. All memory is bounded.
"""

from __future__ import annotations

import ipaddress
from array import array
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import NamedTuple

from twisted.internet.defer import CancelledError, Deferred

from cenergyd.errors import CenergydError
from cenergyd.runtime.clock import Timers

MAX_WAIT_SECONDS = 60.0
"""The longest wait for an attempt; attempts that would wait longer are refused, and may be repeated."""


class TooManyAttempts(CenergydError):
    """Too many attempts are waiting already."""

    retry_seconds = int(MAX_WAIT_SECONDS)


class Limit(NamedTuple):
    """The number of failed attempts from which attempts with a common key are slowed down, and their interval from then on."""

    failures: int
    """Failed attempts that still count."""
    pace_seconds: float
    """Seconds between attempts then."""


class FailedAttempts:
    """Keeps the times of failed attempts by key.

    :param limit: this many that still count are too many.
    :param counted_seconds: how long a failed attempt counts.
    :param max_keys: maximum keys; beyond that the one whose last failed attempt is oldest is dropped.
    """

    def __init__(self, limit: int, counted_seconds: float, max_keys: int) -> None:
        self._limit = limit
        self._counted_seconds = counted_seconds
        self._max_keys = max_keys
        self._times: OrderedDict[Hashable, array[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._times)

    def add(self, key: Hashable, now: float) -> None:
        """Count a failed attempt."""
        times = self._times.setdefault(key, array("d"))
        times.append(now)
        if len(times) > self._limit:
            # Only the latest ones matter.
            del times[0]
        self._times.move_to_end(key)
        if len(self._times) > self._max_keys:
            self._times.popitem(last=False)

    def too_many(self, key: Hashable, now: float) -> bool:
        """Whether as many as the limit count now."""
        times = self._times.get(key)
        if times is None:
            return False
        if not 0 <= now - times[-1] < self._counted_seconds:
            # None counts any more, or the clock was set back: then nobody should have to wait until it has caught up.
            del self._times[key]
            return False
        return len(times) >= self._limit and now - times[0] < self._counted_seconds


class Throttle:
    """Slows down attempts whose keys have too many failed ones.

    :param limits: kind of key -> its limit. An attempt has one key of each kind, such as its network, or a logger as seen from a network.
    :param counted_seconds: how long a failed attempt counts.
    :param max_keys: maximum keys of each kind.
    """

    def __init__(
        self, clock: Timers, limits: Mapping[str, Limit], *, counted_seconds: float, max_keys: int = 10_000
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._max_keys = max_keys
        self._failed = {kind: FailedAttempts(limits[kind].failures, counted_seconds, max_keys) for kind in limits}
        self._next: OrderedDict[Hashable, float] = OrderedDict()
        self._waiting: set[Deferred[None]] = set()
        self._closed = False
        self.slowed = 0
        """Attempts that had to wait or were refused so far."""

    def __len__(self) -> int:
        return max(len(self._next), *(len(failed) for failed in self._failed.values()))

    def failed(self, keys: Mapping[str, Hashable]) -> None:
        """Record a failed attempt."""
        now = self._clock.seconds()
        for kind, key in keys.items():
            self._failed[kind].add(key, now)

    def is_slow(self, keys: Mapping[str, Hashable]) -> bool:
        """Whether an attempt would have to wait now."""
        now = self._clock.seconds()
        return any(self._failed[kind].too_many(key, now) for kind, key in keys.items())

    async def turn(self, keys: Mapping[str, Hashable]) -> bool:
        """Return when an attempt may be made, or its failure reported: at once if none of its keys has too many failed attempts.

        :return: whether it had to wait for its turn.
        :raises TooManyAttempts: its turn would be later than :data:`MAX_WAIT_SECONDS` from now.
        """
        now = self._clock.seconds()
        slow = {(kind, key): self._limits[kind] for kind, key in keys.items() if self._failed[kind].too_many(key, now)}
        if not slow:
            return False
        self.slowed += 1
        start = max(now, *(self._taken_until(key, now) for key in slow))
        if start - now > MAX_WAIT_SECONDS:
            raise TooManyAttempts("too many failed attempts, try again later")
        for key, limit in slow.items():
            self._next[key] = start + limit.pace_seconds
            self._next.move_to_end(key)
        while len(self._next) > self._max_keys:
            self._next.popitem(last=False)
        if start > now:
            await self._wait(start - now)
        return True

    def close(self) -> None:
        """Refuse all waiting attempts, and all later ones that would have to wait."""
        self._closed = True
        for waiting in tuple(self._waiting):
            waiting.cancel()

    async def _wait(self, seconds: float) -> None:
        if self._closed:
            raise TooManyAttempts("the daemon is stopping")
        waiting: Deferred[None] = Deferred()
        call = self._clock.callLater(seconds, waiting.callback, None)
        self._waiting.add(waiting)
        try:
            await waiting
        except CancelledError:
            raise TooManyAttempts("the daemon is stopping") from None
        finally:
            self._waiting.discard(waiting)
            if call.active():
                call.cancel()

    def _taken_until(self, key: Hashable, now: float) -> float:
        until = self._next.get(key, now)
        # Later than any turn can be: the clock was set back.
        return until if until - now <= 2 * MAX_WAIT_SECONDS else now


@lru_cache(4096)
def network_of(address: str) -> str:
    """The key under which an address is counted: an IPv4 address itself, also if it is mapped to IPv6; of an IPv6 address its /64, which belongs
    to one subscriber. Anything else is its own key."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))
