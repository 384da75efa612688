"""One request: its body is limited while it arrives, its reply does not name the server."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request

from cenergyd.runtime.attempts import network_of
from cenergyd.runtime.byte_budget import Lease

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
_ids = Random()
log = Logger()


class BoundedRequest(Request):
    """A request that is refused as soon as its body is known to be too large (413) or its length to be ambiguous (400)."""

    channel: Any
    is_gone = False
    """Whether the client has disconnected before the reply was complete."""
    _refused = False
    _received = 0
    _most = 0
    _lease: Lease | None = None
    _id: str | None = None

    @property
    def request_id(self) -> str:
        """Id of this request in the log and in the reply's X-Request-Id."""
        if self._id is None:
            self._id = f"{_ids.getrandbits(48):012x}"
        return self._id

    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's name
        """The headers are read; ``length`` is None for a chunked body."""
        super().gotLength(length)
        site = self.channel.site
        # Twisted sets the request's path only once it is read completely.
        self._most = site.body_limit(self.channel._path)
        network = network_of(site.address_of(self))
        self._lease = site.budget.lease(network, known=network in site.known_networks)
        if length is not None and length > self._most:
            self._refuse_size()
        codings = self.requestHeaders.getRawHeaders(b"transfer-encoding", [])
        if codings and [coding.strip().lower() for coding in codings] != [b"chunked"]:
            # A proxy in front of us may find the end of the body elsewhere and take the rest for somebody else's request.
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
        """Answer without naming the server; browsers must not guess the content type."""
        self.responseHeaders.removeHeader(b"server")
        self.setHeader(b"X-Content-Type-Options", b"nosniff")
        super().render(resrc)

    def take_lease(self) -> Lease | None:
        """The request's share of the memory for requests; whoever takes it must release it."""
        lease, self._lease = self._lease, None
        return lease

    def hold(self, size: int) -> None:
        """Reserve this much memory, bytes, for its response until that is sent. Raises Overloaded if there is no room."""
        if self._lease is not None:
            self._lease.hold(size)

    def finish(self) -> None:
        """The reply is complete."""
        super().finish()
        self._release()

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """The client has disconnected."""
        self.is_gone = True
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
        """Log the error under the request's id, and show the client only that id."""
        log.failure("request {request_id} to {path} failed", reason, request_id=self.request_id, path=self.path)
        if self.startedWriting:
            self.loseConnection()
            return
        self.setResponseCode(500)
        self.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        self.write(f"FAILURE: internal error, see the server's log for {self.request_id}\n".encode())
        self.finish()
