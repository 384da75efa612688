"""The HTTP server itself: bounded bodies, bounded connections, slow senders dropped, no form parsing of Twisted's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Mapping
from functools import lru_cache
from random import Random
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource, NoResource, Resource
from twisted.web.server import Request, Site

from cenergyd.runtime.attempts import network_of
from cenergyd.runtime.byte_budget import ByteBudget, Lease
from cenergyd.runtime.clock import Reactor, Timers, twisted_clock
from cenergyd.web.server.clients import Clients
from cenergyd.web.server.security import set_security_headers

_TOO_LARGE = (
    b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Type: text/plain\r\nX-Content-Type-Options: nosniff\r\n"
    b"Content-Length: 40\r\n\r\nFAILURE: the request body is too large.\n"
)
_PROBLEM = b'{"type":"about:blank","title":"Content Too Large","status":413,"code":"too_large","detail":"the body is too large"}\n'
_API_TOO_LARGE = (
    b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
    b"X-Content-Type-Options: nosniff\r\nContent-Length: %d\r\n\r\n%s" % (len(_PROBLEM), _PROBLEM)
)
_NO_ROOM = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: text/plain\r\nX-Content-Type-Options: nosniff\r\n"
    b"Retry-After: 60\r\nContent-Length: 57\r\n\r\nFAILURE: too much is being received already, try later.\n\n"
)
_AMBIGUOUS = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nX-Content-Type-Options: nosniff\r\n"
    b"Content-Length: 53\r\n\r\nFAILURE: where the request body ends is not certain.\n"
)
MAX_BODY_BYTES = 32 << 20
"""A larger request is refused with 413. The 8 MB of a logger's flash fit, also as XML or uncompressed."""
MAX_REQUEST_SECONDS = 900
"""A request must have arrived completely within so long, however slowly it comes."""
MAX_OTHER_BODY_BYTES = 128 << 10
"""Of a request that is no upload. Forms and JSON have bounds of half of it, and tell so better."""
DEFAULT_BUDGET_BYTES = 352 << 20
MIN_CONNECTIONS_OF_ADDRESS = 20
_SWEEP_SECONDS = 5
_NEW_SECONDS = 2.0
"""A stop waits so long for the request of a connection that has not sent one yet."""
_ids = Random()
log = Logger()


class BoundedRequest(Request):
    """A request that is refused as soon as its body is known to be too large (413) or its end to be uncertain (400)."""

    channel: Any
    _refused = False
    _received = 0
    _most = 0
    _lease: Lease | None = None
    _id: str | None = None

    @property
    def request_id(self) -> str:
        """Names this request in the log and in the reply's X-Request-Id."""
        if self._id is None:
            self._id = f"{_ids.getrandbits(48):012x}"
        return self._id

    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's name
        """The headers are read; ``length`` is None for a chunked body."""
        super().gotLength(length)
        site = self.channel.site
        # Twisted tells the request its path only once it is read whole.
        self._most = site.body_limit(self.channel._path)
        network = network_of(site.address_of(self))
        self._lease = site.budget.lease(network, known=network in site.known_networks)
        if length is not None and length > self._most:
            self._refuse_size()
        codings = self.requestHeaders.getRawHeaders(b"transfer-encoding", [])
        if codings and [coding.strip().lower() for coding in codings] != [b"chunked"]:
            # A proxy before us may see the end of the body elsewhere, and take the rest for somebody else's request.
            self._refuse(_AMBIGUOUS)

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Part of the body."""
        self._received += len(data)
        if self._received > self._most:
            self._refuse_size()
        elif self._lease is not None and not self._refused and not self._lease.fits(self._received):
            self._refuse(_NO_ROOM)
        if not self._refused:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 - Twisted's name
        """The whole request is read."""
        self.channel.reading_since = None
        if not self._refused:
            super().requestReceived(command, path, version)

    def render(self, resrc: IResource) -> None:
        """Answer; which server this is concerns nobody, and no browser is to guess what an answer is."""
        self.responseHeaders.removeHeader(b"server")
        self.setHeader(b"X-Content-Type-Options", b"nosniff")
        super().render(resrc)

    def take_lease(self) -> Lease | None:
        """What the request holds of the memory that requests may take; whoever takes it releases it."""
        lease, self._lease = self._lease, None
        return lease

    def finish(self) -> None:
        """The answer is whole."""
        super().finish()
        self._release()

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """The client has gone."""
        super().connectionLost(reason)
        self._release()

    def _release(self) -> None:
        lease = self.take_lease()
        if lease is not None:
            lease.release()

    def _refuse_size(self) -> None:
        if not self._refused:
            self.channel.site.refused_bodies += 1
            self._refuse(_API_TOO_LARGE if self.channel._path.startswith(b"/api/") else _TOO_LARGE)

    def _refuse(self, answer: bytes) -> None:
        if not self._refused:
            self._refused = True
            self.channel.transport.write(answer)
            self.channel.loseConnection()

    def processingFailed(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """Log what went wrong under the request's id, and tell the client no more than that id."""
        log.failure("request {request_id} to {path} failed", reason, request_id=self.request_id, path=self.path)
        if self.startedWriting:
            self.loseConnection()
            return
        self.setResponseCode(500)
        self.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        self.write(f"FAILURE: internal error, see the server's log for {self.request_id}\n".encode())
        self.finish()


class BoundedChannel(HTTPChannel):
    """One connection, counted by its site."""

    factory: Any
    site: BoundedSite
    counted_for: str | None = None
    """The network whose connection it is."""
    reading_since: float | None = None
    """When the request that is being read began; None between requests and while one is answered."""

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Register with the site."""
        self.site = self.factory.site
        super().connectionMade()
        self.reading_since = self.site.clock.seconds()
        self.site.channels.add(self)

    def connectionLost(self, reason: object = None) -> None:  # noqa: N802 - Twisted's name
        """Unregister."""
        self.site.forget(self)
        super().connectionLost(reason)

    def close(self) -> None:
        """Close the connection once what was answered is sent."""
        self.loseConnection()

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """More waits to be sent than the client reads: read and parse nothing more from it.

        Twisted stops reading only between requests, so a client that asks and asks and reads no answer would fill our memory.
        """
        super().pauseProducing()
        self.paused = True
        self._networkProducer.pauseProducing()  # type: ignore[misc]

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """What waited is sent: go on with what came meanwhile."""
        super().resumeProducing()
        self.paused = False
        self._networkProducer.resumeProducing()  # type: ignore[misc]
        self.dataReceived(b"")

    def checkPersistence(self, request: Request, version: bytes) -> bool:  # noqa: N802 - Twisted's name
        """Whether another request may follow on this connection."""
        return not self.site.draining and bool(super().checkPersistence(request, version))

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        """A request or header line; the first one starts the request's time."""
        if self.reading_since is None:
            self.reading_since = self.site.clock.seconds()
        super().lineReceived(line)


class BoundedSite(Site):
    """A Site with bounds.

    :param max_body_bytes: a larger request body is refused with 413.
    :param upload_paths: where a body may be so large; any other path takes :data:`MAX_OTHER_BODY_BYTES`.
    :param max_connections: connections beyond that are closed as they come; of one address, a quarter of that.
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
        self._of_address: Counter[str] = Counter()
        self.max_connections = max_connections
        self.request_seconds = request_seconds
        self.channels: set[BoundedChannel] = set()
        self.draining = False
        self.refused_bodies = 0
        self.refused_connections = 0
        self.dropped_slow = 0
        self.protocol: Any = BoundedChannel
        self.site = self
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
        """A channel, or None (the connection is closed) where there are too many."""
        address = getattr(addr, "host", None)
        # A proxy brings the connections of all its clients.
        own = address is not None and not self._clients.is_trusted(address)
        share = max(MIN_CONNECTIONS_OF_ADDRESS, self.max_connections // 4)
        if len(self.channels) >= self.max_connections or (own and self._of_address[network_of(address)] >= share):
            self.refused_connections += 1
            return None
        channel = super().buildProtocol(addr)
        if own and channel is not None:
            channel.counted_for = network_of(address)
            self._of_address[channel.counted_for] += 1
        return channel

    def forget(self, channel: BoundedChannel) -> None:
        """A connection is over."""
        self.channels.discard(channel)
        network, channel.counted_for = channel.counted_for, None
        if network is not None:
            self._of_address[network] -= 1
            if not self._of_address[network]:
                del self._of_address[network]

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
        for channel in list(self.channels):
            if not channel.requests and not self._is_new(channel):
                channel.close()

    @property
    def busy(self) -> bool:
        """Whether a request is being read or answered, or may be about to come on a new connection."""
        return any(channel.requests or self._is_new(channel) for channel in self.channels)

    def _is_new(self, channel: BoundedChannel) -> bool:
        # Who connected just before the end is told no error for it: its request is under way.
        since = channel.reading_since
        return since is not None and 0 <= self.clock.seconds() - since < _NEW_SECONDS

    def log(self, request: HTTPRequest) -> None:
        """No access log: what matters is logged as structured events by those who handle it."""

    def _sweep(self) -> None:
        now = self.clock.seconds()
        limit = now - self.request_seconds
        for channel in list(self.channels):
            if channel.reading_since is not None and channel.reading_since > now:
                channel.reading_since = now  # the clock was set back
            if channel.reading_since is not None and channel.reading_since < limit:
                self.dropped_slow += 1
                channel.forceAbortClient()


class Root(Resource):
    """Hands requests to the apps by their path: the longest mount that fits.

    :param mounts: path -> resource that sees the rest of the path.
    :param whole: path -> resource that sees the whole path, for apps that answer at several places.
    """

    def __init__(self, mounts: Mapping[str, IResource], whole: Mapping[str, IResource]) -> None:
        super().__init__()
        self._mounts = {_segments(path): (resource, True) for path, resource in mounts.items()}
        self._mounts |= {_segments(path): (resource, False) for path, resource in whole.items()}
        self._depths = sorted({len(path) for path in self._mounts}, reverse=True)

    def getChild(self, path: bytes, request: Request) -> Resource | IResource:  # noqa: N802 - Twisted's name
        """Twisted's traversal took the first segment; find the mount and leave it the rest."""
        segments = (*(request.prepath or ()), *(request.postpath or ()))
        if not (_is_text(*segments) and _is_host(request.getRequestHostname())):
            # Klein and werkzeug would refuse it as well, but log each one as an error of ours.
            return BadRequest()
        for depth in self._depths:
            found = self._mounts.get(segments[:depth])
            if found is not None and depth <= len(segments):
                resource, stripped = found
                cut = depth if stripped else 0
                request.prepath = list(segments[:cut])
                request.postpath = list(segments[cut:])
                return resource
        return NoResource()


class BadRequest(Resource):
    """For an address that is not UTF-8, or a host that no name can be."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        """400 and no more."""
        request.setResponseCode(400)
        set_security_headers(request, secure=False)
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return b"FAILURE: no such address is possible\n"


def _is_text(*parts: bytes) -> bool:
    try:
        b"".join(parts).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@lru_cache(256)
def _is_host(name: bytes) -> bool:
    """Remembered: nearly all requests name the same few, and a header's size is bounded."""
    try:
        # With a port, as werkzeug looks at it.
        (name.decode("utf-8") + ":65535").encode("idna")
    except UnicodeError:
        return False
    return True


def _segments(path: str) -> tuple[bytes, ...]:
    return tuple(part.encode() for part in path.split("/") if part)
