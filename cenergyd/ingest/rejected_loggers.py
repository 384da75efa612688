"""Which rejected loggers are remembered if there are more than the list holds: every network gets its share.

Serial numbers are easy to make up, so somebody who tries thousands must not displace a misconfigured device from the list.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from cenergyd.runtime.attempts import network_of

PER_NETWORK = 200
"""Rejected serial numbers of one network that are collected between two writes; more are only counted."""


class Attempts(NamedTuple):
    """What is known of a rejected serial number."""

    time: int
    """UTC seconds, of the last attempt."""
    address: str
    """The address of the last attempt."""
    reason: str
    attempts: int
    """Number of attempts."""
    password: str = ""
    """The hash of the last password, where the logger belongs to nobody (:mod:`cenergyd.ingest.logger_proof`)."""


class RejectedAttempts:
    """Rejected serial numbers since the last write, limited in all and per network.

    :param most: serial numbers in all.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: dict[str, Attempts] = {}
        self._of_network: defaultdict[str, int] = defaultdict(int)

    def __len__(self) -> int:
        return len(self._found)

    def add(self, serial: str, address: str, reason: str, now: int, password: str = "") -> None:
        """Record a refusal."""
        known = self._found.get(serial)
        if known is not None:
            # It stays counted under the address from which it came first.
            self._found[serial] = Attempts(now, address, reason, known.attempts + 1, password)
            return
        network = network_of(address)
        if len(self._found) >= self._most or self._of_network[network] >= PER_NETWORK:
            return
        self._of_network[network] += 1
        self._found[serial] = Attempts(now, address, reason, 1, password)

    def take(self) -> dict[str, Attempts]:
        """Remove and return all of them."""
        found, self._found = self._found, {}
        self._of_network.clear()
        return found

    def put_back(self, taken: Mapping[str, Attempts]) -> None:
        """Put back what could not be written, in addition to what has arrived meanwhile."""
        newer = self.take()
        for serial, each in taken.items():
            self.add(serial, each.address, each.reason, each.time)
            if serial in self._found:
                self._found[serial] = each
        for serial, each in newer.items():
            self.add(serial, each.address, each.reason, each.time)
            if serial in self._found:
                count = each.attempts + (taken[serial].attempts if serial in taken else 0)
                self._found[serial] = each._replace(attempts=count)


def to_drop(known: Mapping[str, Attempts], most: int) -> set[str]:
    """Serial numbers for which a list of ``most`` has no room: of the networks with the most entries, those with the fewest and oldest attempts."""
    excess = len(known) - most
    if excess <= 0:
        return set()
    by_network: defaultdict[str, list[str]] = defaultdict(list)
    for serial in sorted(known, key=lambda serial: (-known[serial].attempts, -known[serial].time, serial)):
        by_network[network_of(known[serial].address)].append(serial)
    # An entry that is later in the order of its network is dropped first.
    ranked = sorted(
        (-place, known[serial].time, serial) for serials in by_network.values() for place, serial in enumerate(serials)
    )
    return {serial for _, _, serial in ranked[:excess]}
