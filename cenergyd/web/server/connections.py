"""The connections that are open, by the network that they came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cenergyd.web.server.channel import BoundedChannel


class Connections:
    """All of them, in the order in which they were opened."""

    def __init__(self) -> None:
        self._all: dict[BoundedChannel, str | None] = {}
        self._of_network: dict[str, dict[BoundedChannel, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[BoundedChannel]:
        return iter(self._all)

    def count(self, network: str) -> int:
        """How many came from a network."""
        return len(self._of_network.get(network, ()))

    def largest(self) -> str | None:
        """The network with most of them; None where none is counted for one."""
        return max(self._of_network, key=self.count, default=None)

    def add(self, channel: BoundedChannel, network: str | None) -> None:
        """Opened; None: it is nobody's, such as a proxy's."""
        self._all[channel] = network
        if network is not None:
            self._of_network.setdefault(network, {})[channel] = None

    def remove(self, channel: BoundedChannel) -> None:
        """Closed; may be said again."""
        network = self._all.pop(channel, None)
        if network is not None:
            mine = self._of_network[network]
            del mine[channel]
            if not mine:
                del self._of_network[network]

    def silent(self, network: str) -> BoundedChannel | None:
        """The one of a network on which nothing has come for longest, or a request that is still not whole; None: all are being answered."""
        mine = self._of_network.get(network, {})
        idle = next((channel for channel in mine if channel.is_idle), None)
        return idle or next((channel for channel in mine if channel.reading_since is not None), None)
