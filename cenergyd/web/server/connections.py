"""The open connections, by network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cenergyd.web.server.channel import BoundedChannel


class Connections:
    """Open connections, in the order in which they were opened."""

    def __init__(self) -> None:
        self._all: dict[BoundedChannel, str | None] = {}
        self._of_network: dict[str, dict[BoundedChannel, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[BoundedChannel]:
        return iter(self._all)

    def count(self, network: str) -> int:
        """Number of connections from a network."""
        return len(self._of_network.get(network, ()))

    def largest(self) -> str | None:
        """The network with the most connections; None if no connection is counted for one."""
        return max(self._of_network, key=self.count, default=None)

    def add(self, channel: BoundedChannel, network: str | None) -> None:
        """Add an opened connection; network None: counted for none, such as a proxy's."""
        self._all[channel] = network
        if network is not None:
            self._of_network.setdefault(network, {})[channel] = None

    def remove(self, channel: BoundedChannel) -> None:
        """Remove a closed connection; may be called again."""
        network = self._all.pop(channel, None)
        if network is not None:
            mine = self._of_network[network]
            del mine[channel]
            if not mine:
                del self._of_network[network]

    def silent(self, network: str) -> BoundedChannel | None:
        """The oldest idle connection of a network, else the oldest whose request is incomplete; None if all are being answered."""
        mine = self._of_network.get(network, {})
        idle = next((channel for channel in mine if channel.is_idle), None)
        return idle or next((channel for channel in mine if channel.reading_since is not None), None)
