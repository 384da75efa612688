"""The HTTP server: limits bodies and connections, drops slow senders, and leaves forms unparsed."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from io import BytesIO
from tempfile import TemporaryFile
from typing import IO, cast

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
"""A request must arrive completely within this many seconds."""
MAX_OTHER_BODY_BYTES = 128 << 10
"""Limit for a request that is not an upload. Forms and JSON have half of it as their own limit, with a better message."""
MIN_CONNECTIONS_OF_ADDRESS = 20
_IN_MEMORY_BYTES = 1 << 20
_SWEEP_SECONDS = 5
_NEW_SECONDS = 2.0
"""Seconds that a stop waits for the request of a connection that has not sent one yet."""


class BoundedSite(Site):
    """A Site with bounds.

    :param max_body_bytes: a larger request body is refused with 413.
    :param upload_paths: paths with this limit; any other path has :data:`MAX_OTHER_BODY_BYTES`.
    :param max_connections: connections at once; from one network, a quarter of that. Beyond that the oldest silent one is closed, of that
        network or else of the one with the most; if none is silent, the new one.
    :param idle_seconds: a connection that receives nothing for this time is closed.
    :param request_seconds: a request must arrive completely within this time.
    :param direct: path -> leaf that answers POSTs there in place of ``root``, as a shortcut for frequent requests.
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
        self.protocol = BoundedChannel  # type: ignore[method-assign, assignment]
        self._direct = {path.encode(): resource for path, resource in (direct or {}).items()}
        self._sweeper = LoopingCall(self._sweep)
        self._sweeper.clock = twisted_clock(self.clock)

    def startFactory(self) -> None:  # noqa: N802 - Twisted's name
        """Start checking for slow senders."""
        super().startFactory()
        if not self._sweeper.running:
            self._sweeper.start(_SWEEP_SECONDS, now=False)

    def stopFactory(self) -> None:  # noqa: N802 - Twisted's name
        """Stop checking."""
        if self._sweeper.running:
            self._sweeper.stop()
        super().stopFactory()

    def buildProtocol(self, addr: IAddress | None) -> BoundedChannel | None:  # type: ignore[override]  # noqa: N802 - Twisted's name
        """A channel, or None (the connection is closed) if there are too many.

        A silent connection makes room: a client that fills an address's share with silent connections must not lock out others behind that
        address.
        """
        address = getattr(addr, "host", None)
        # A proxy carries the connections of all its clients.
        network = network_of(address) if address is not None and not self._clients.is_trusted(address) else None
        if not self._make_room(network):
            return None
        channel: BoundedChannel | None = super().buildProtocol(addr)
        if channel is not None:
            self.connections.add(channel, network)
        return channel

    def _make_room(self, network: str | None) -> bool:
        """Whether there is room for another connection of a network, if necessary in place of a silent one."""
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
        """The file for a body. Opening a temporary file blocks the reactor, so only a large body, or one of unknown length, gets one."""
        return BytesIO() if length is not None and length <= _IN_MEMORY_BYTES else cast(IO[bytes], TemporaryFile())

    def body_limit(self, path: bytes) -> int:
        """Largest body accepted at a path, bytes."""
        return self.max_body_bytes if path.partition(b"?")[0] in self._upload_paths else MAX_OTHER_BODY_BYTES

    def address_of(self, request: Request) -> str:
        """The client's address."""
        return self._clients.address_of(request)

    def getResourceFor(self, request: Request) -> object:  # noqa: N802 - Twisted's name
        """The resource that answers."""
        direct = self._direct.get(request.path) if request.method == b"POST" else None
        if direct is None:
            return super().getResourceFor(request)
        request.prepath, request.postpath = request.postpath, []
        return direct

    def drain(self) -> None:
        """Close idle connections now and every other one after its answer; call when no port listens any more.

        Otherwise a proxy with persistent connections could send one upload after another, and the stop would never end.
        """
        self.draining = True
        for channel in list(self.connections):
            if not channel.requests and not self._is_new(channel):
                channel.close()

    @property
    def busy(self) -> bool:
        """Whether a request is being read or answered, or may be about to arrive on a new connection."""
        return any(channel.requests or self._is_new(channel) for channel in self.connections)

    def _is_new(self, channel: BoundedChannel) -> bool:
        # A client that connected just before the stop gets an answer: its request is about to arrive.
        since = channel.reading_since
        return since is not None and 0 <= self.clock.seconds() - since < _NEW_SECONDS

    def log(self, request: HTTPRequest) -> None:
        """No access log: handlers log what matters as structured events."""

    def _sweep(self) -> None:
        now = self.clock.seconds()
        limit = now - self.request_seconds
        for channel in list(self.connections):
            if channel.reading_since is not None and channel.reading_since > now:
                channel.reading_since = now  # the clock was set back
            if channel.reading_since is not None and channel.reading_since < limit:
                self.dropped_slow += 1
                channel.forceAbortClient()
