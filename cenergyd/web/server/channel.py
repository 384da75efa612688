"""One HTTP/1 connection: counted, and not read while its client does not read the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.tcp import Connection
from twisted.web.http import HTTPChannel
from twisted.web.server import Request

if TYPE_CHECKING:
    from cenergyd.web.server.site import BoundedSite


class BoundedChannel(HTTPChannel):
    """One connection, counted by its site."""

    factory: BoundedSite
    site: BoundedSite
    reading_since: float | None = None
    """When the request being read began; None between requests and while one is being answered."""

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Start the first request's time limit."""
        self.site = self.factory
        super().connectionMade()
        self.reading_since = self.site.clock.seconds()

    def connectionLost(self, reason: object = None) -> None:  # noqa: N802 - Twisted's name
        """The connection is closed."""
        self.site.connections.remove(self)
        super().connectionLost(reason)

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered, and no part of one has arrived."""
        return not self.requests

    def close(self) -> None:
        """Close the connection once its output is sent."""
        self.loseConnection()

    def abort(self) -> None:
        """Close the connection at once, because its client does not read what is sent."""
        self.forceAbortClient()

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The client does not read its answers: stop reading and parsing its requests.

        Twisted stops reading only between requests, so a client that keeps sending requests and reads no answer would fill the memory.
        """
        super().pauseProducing()
        self.paused = True
        self._networkProducer.pauseProducing()  # type: ignore[misc]

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The output is sent: continue with what has arrived meanwhile."""
        super().resumeProducing()
        self.paused = False
        self._networkProducer.resumeProducing()  # type: ignore[misc]
        self.dataReceived(b"")

    def checkPersistence(self, request: Request, version: bytes) -> bool:  # noqa: N802 - Twisted's name
        """Whether another request may follow on this connection."""
        return not self.site.draining and bool(super().checkPersistence(request, version))

    def requestDone(self, request: Request) -> None:  # noqa: N802 - Twisted's name
        """The answer is complete: send it now, because as an event of the reactor that takes a turn of its own.

        Not if more requests have arrived: as long as all is sent at once, nothing would interrupt answering them.
        """
        super().requestDone(request)
        link = self.transport
        if not self._buffer and isinstance(link, Connection) and link.connected and not link.disconnecting:
            link.doWrite()  # what cannot be sent now is sent, and errors are handled, by the reactor

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        """A request or header line; the first one starts the request's time limit."""
        if self.reading_since is None:
            self.reading_since = self.site.clock.seconds()
        super().lineReceived(line)
