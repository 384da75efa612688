"""One connection of HTTP/1: counted, and read no faster than its answers are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.web.http import HTTPChannel
from twisted.web.server import Request

if TYPE_CHECKING:
    from cenergyd.web.server.site import BoundedSite


class BoundedChannel(HTTPChannel):
    """One connection, counted by its site."""

    factory: BoundedSite
    site: BoundedSite
    reading_since: float | None = None
    """When the request that is being read began; None between requests and while one is answered."""

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """The first request's time begins."""
        self.site = self.factory
        super().connectionMade()
        self.reading_since = self.site.clock.seconds()

    def connectionLost(self, reason: object = None) -> None:  # noqa: N802 - Twisted's name
        """It is over."""
        self.site.connections.remove(self)
        super().connectionLost(reason)

    @property
    def is_idle(self) -> bool:
        """Whether nothing of a request has come, or of the next one."""
        return not self.requests

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
