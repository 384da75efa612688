"""Sends a long response while it is computed, no faster than the client reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

from twisted.internet.defer import Deferred
from twisted.web.server import Request

from cenergyd.errors import CenergydError
from cenergyd.runtime.clock import Timers
from cenergyd.web.server.channel import BoundedChannel
from cenergyd.web.server.long_requests import Turn

READ_WITHIN_SECONDS = 300
"""A client that does not read what has been sent within this time is disconnected."""
CHECK_SECONDS = 1
"""Seconds between two checks of the client's token or session, which any daemon may have ended."""


class ClientNotReading(CenergydError):
    """The client does not read the response."""


class PermissionEnded(CenergydError):
    """The client's token or session ended while the response was being sent."""


class _Sending:
    """The producer that the transport pauses while the client does not read."""

    def __init__(self) -> None:
        self.is_paused = False
        self._resumed: Deferred[None] | None = None

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The client reads more slowly than we write."""
        self.is_paused = True

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """All is sent."""
        self.is_paused = False
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.called:
            resumed.callback(None)

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The connection is closed: Klein cancels the handler."""
        self.is_paused = True

    async def resumed(self, clock: Timers) -> None:
        """Wait until all is sent. Raises ClientNotReading."""
        waiting = self._resumed = Deferred()
        late = clock.callLater(
            READ_WITHIN_SECONDS, waiting.errback, ClientNotReading("the client does not read the response")
        )
        try:
            await waiting
        finally:
            if late.active():
                late.cancel()


async def send_chunks(
    request: Request, chunks: AsyncIterator[bytes], clock: Timers, turn: Turn, is_allowed: Callable[[], Awaitable[bool]]
) -> None:
    """Write the chunks. While the client does not read, no further chunk is computed, and other requests get the turn. Returns once all is sent.

    :param is_allowed: whether the client may still read it; asked every second.
    :raises ClientNotReading: the client has read nothing for READ_WITHIN_SECONDS; its connection is closed.
    :raises PermissionEnded: the client may no longer read it; its connection is closed.
    """
    sending, checked = _Sending(), clock.seconds()
    request.registerProducer(sending, True)
    try:
        async for chunk in chunks:
            if clock.seconds() - checked >= CHECK_SECONDS:
                checked = clock.seconds()
                if not await is_allowed():
                    raise PermissionEnded("the token or session has ended")
            request.write(chunk)
            if sending.is_paused:
                async with turn.interrupted():
                    await sending.resumed(clock)
    except (ClientNotReading, PermissionEnded):
        cast(BoundedChannel, request.channel).abort()
        raise
    finally:
        if request.channel is not None:  # None after the client has disconnected
            request.unregisterProducer()
