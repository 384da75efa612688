"""The HTTP server itself: bounded bodies, bounded connections, slow senders dropped, no form parsing of Twisted's."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from io import BytesIO
from tempfile import TemporaryFile
from typing import IO, Any, cast

from twisted.internet.interfaces import IAddress
from twisted.internet.task import LoopingCall
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from cenergyd.runtime.attempts import network_of
from cenergyd.runtime.byte_budget import DEFAULT_BUDGET_BYTES, ByteBudget
from cenergyd.runtime.clock import Reactor, Timers, twisted_clock
from cenergyd.web.server.channel import BoundedChannel
from cenergyd.web.server.clients import Clients
from cenergyd.web.server.connections import Connections
from cenergyd.web.server.request import BoundedRequest

MAX_BODY_BYTES = 32 << 20
"""A larger request is refused with 413. The 8 MB of a logger's flash fit, also as XML or uncompressed."""
MAX_REQUEST_SECONDS = 900
"""A request must have arrived completely within so long, however slowly it comes."""
MAX_OTHER_BODY_BYTES = 128 << 10
"""Of a request that is no upload. Forms and JSON have bounds of half of it, and tell so better."""
MIN_CONNECTIONS_OF_ADDRESS = 20
_IN_MEMORY_BYTES = 1 << 20
_SWEEP_SECONDS = 5
_NEW_SECONDS = 2.0
"""A stop waits so long for the request of a connection that has not sent one yet."""


class BoundedSite(Site):
    """A Site with bounds.

    :param max_body_bytes: a larger request body is refused with 413.
    :param upload_paths: where a body may be so large; any other path takes :data:`MAX_OTHER_BODY_BYTES`.
    :param max_connections: connections at once; of one address, a quarter of that. For one beyond that, the silent one that was opened first
        is closed, of that address or else of the one with most; where none is silent, the new one.
    :param idle_seconds: a connection on which nothing comes for so long is dropped.
    :param request_seconds: a request must be read completely within so long, however slowly it trickles in.
    :param direct: path -> leaf that answers POSTs there in place of ``root``, for what a fleet asks all the time.
    """

    def __init__(
        self,
        root: IResource,
        reactor: Reactor,
        *,
        upload_paths: Collection[str] = (),
        max_body_bytes: int,
        max_connections: int,
        idle_seconds: float,
        request_seconds: float,
        direct: Mapping[str, IResource] | None = None,
        budget: ByteBudget | None = None,
        known_networks: Container[str] = (),
        clients: Clients | None = None,
    ) -> None:
        super().__init__(
            root,
            requestFactory=BoundedRequest,
            parsePOSTFormSubmission=False,
            timeout=idle_seconds,
            reactor=reactor,
        )
        self.clock: Timers = reactor
        self.max_body_bytes = max_body_bytes
        self.budget = budget or ByteBudget(DEFAULT_BUDGET_BYTES)
        self.known_networks = known_networks
        self._clients = clients or Clients()
        self._upload_paths = frozenset(path.encode() for path in upload_paths)
        self.max_connections = max_connections
        self.request_seconds = request_seconds
        self.connections = Connections()
        self.draining = False
        self.refused_bodies = 0
        self.refused_connections = 0
        self.dropped_slow = 0
        self.protocol: Any = BoundedChannel
        self._direct = {path.encode(): resource for path, resource in (direct or {}).items()}
        self._sweeper = LoopingCall(self._sweep)
        self._sweeper.clock = twisted_clock(self.clock)

    def startFactory(self) -> None:  # noqa: N802 - Twisted's name
        """Begin to look for slow senders."""
        super().startFactory()
        if not self._sweeper.running:
            self._sweeper.start(_SWEEP_SECONDS, now=False)

    def stopFactory(self) -> None:  # noqa: N802 - Twisted's name
        """Stop looking."""
        if self._sweeper.running:
            self._sweeper.stop()
        super().stopFactory()

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: N802 - Twisted's name
        """A channel, or None (the connection is closed) where there are too many.

        A silent connection makes room: who fills an address's share with such must not keep out others behind the same address.
        """
        address = getattr(addr, "host", None)
        # A proxy brings the connections of all its clients.
        network = network_of(address) if address is not None and not self._clients.is_trusted(address) else None
        if not self._make_room(network):
            return None
        channel: BoundedChannel | None = super().buildProtocol(addr)
        if channel is not None:
            self.connections.add(channel, network)
        return channel

    def _make_room(self, network: str | None) -> bool:
        """Whether there is room for another connection of a network, if need be in place of a silent one."""
        share = max(MIN_CONNECTIONS_OF_ADDRESS, self.max_connections // 4)
        if network is not None and self.connections.count(network) >= share:
            crowded: str | None = network
        elif len(self.connections) >= self.max_connections:
            crowded = self.connections.largest()
        else:
            return True
        self.refused_connections += 1
        silent = self.connections.silent(crowded) if crowded is not None else None
        if silent is None:
            return False
        self.connections.remove(silent)
        silent.forceAbortClient()
        return True

    def getContentFile(self, length: int | None) -> IO[bytes]:  # noqa: N802 - Twisted's name
        """Where a body is kept. Opening a temporary file has the reactor wait for the disk, so only a long body, or one of unknown length, gets one."""
        return BytesIO() if length is not None and length <= _IN_MEMORY_BYTES else cast(IO[bytes], TemporaryFile())

    def body_limit(self, path: bytes) -> int:
        """Bytes that a request to a path may have."""
        return self.max_body_bytes if path.partition(b"?")[0] in self._upload_paths else MAX_OTHER_BODY_BYTES

    def address_of(self, request: Request) -> str:
        """Whose request it is."""
        return self._clients.address_of(request)

    def getResourceFor(self, request: Request) -> object:  # noqa: N802 - Twisted's name
        """Who answers."""
        direct = self._direct.get(request.path) if request.method == b"POST" else None
        if direct is None:
            return super().getResourceFor(request)
        request.prepath, request.postpath = request.postpath, []
        return direct

    def drain(self) -> None:
        """Close idle connections now and every other one after its answer; call when nothing listens any more.

        Else a proxy that keeps its connections open could bring one upload after the other and the stop would never find an end.
        """
        self.draining = True
        for channel in list(self.connections):
            if not channel.requests and not self._is_new(channel):
                channel.close()

    @property
    def busy(self) -> bool:
        """Whether a request is being read or answered, or may be about to come on a new connection."""
        return any(channel.requests or self._is_new(channel) for channel in self.connections)

    def _is_new(self, channel: BoundedChannel) -> bool:
        # Who connected just before the end is told no error for it: its request is under way.
        since = channel.reading_since
        return since is not None and 0 <= self.clock.seconds() - since < _NEW_SECONDS

    def log(self, request: HTTPRequest) -> None:
        """No access log: what matters is logged as structured events by those who handle it."""

    def _sweep(self) -> None:
        now = self.clock.seconds()
        limit = now - self.request_seconds
        for channel in list(self.connections):
            if channel.reading_since is not None and channel.reading_since > now:
                channel.reading_since = now  # the clock was set back
            if channel.reading_since is not None and channel.reading_since < limit:
                self.dropped_slow += 1
                channel.forceAbortClient()
