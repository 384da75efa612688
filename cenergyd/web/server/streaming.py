"""Sends a long answer while it is made, no faster than the client takes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

from twisted.internet.defer import Deferred
from twisted.web.server import Request

from cenergyd.errors import CenergydError
from cenergyd.runtime.clock import Timers
from cenergyd.web.server.channel import BoundedChannel
from cenergyd.web.server.long_requests import Turn

TAKEN_WITHIN_SECONDS = 300
"""A client that does not take within this time what is sent already is disconnected."""
CHECK_SECONDS = 1
"""Seconds between two checks of the client's token or session, which any daemon may have ended."""


class NotTaken(CenergydError):
    """The client does not read the answer."""


class AnswerRevoked(CenergydError):
    """The client's token or session has ended while its answer was sent."""


class _Sending:
    """What the transport says about the client."""

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
        """Wait until all is sent. Raises NotTaken."""
        waiting = self._resumed = Deferred()
        late = clock.callLater(TAKEN_WITHIN_SECONDS, waiting.errback, NotTaken("the client does not read the answer"))
        try:
            await waiting
        finally:
            if late.active():
                late.cancel()


async def send_chunks(
    request: Request, chunks: AsyncIterator[bytes], clock: Timers, turn: Turn, may_go_on: Callable[[], Awaitable[bool]]
) -> None:
    """Write the chunks. While the client does not read, no further one is made, and the turn is another's. Returns once the client has taken all.

    :param may_go_on: asked every second; the connection is closed once the client may read no more.
    :raises NotTaken: it does not read at all.
    :raises AnswerRevoked: it may read no more.
    """
    sending, checked = _Sending(), clock.seconds()
    request.registerProducer(sending, True)
    try:
        async for chunk in chunks:
            if clock.seconds() - checked >= CHECK_SECONDS:
                checked = clock.seconds()
                if not await may_go_on():
                    raise AnswerRevoked("the token or session has ended")
            request.write(chunk)
            if sending.is_paused:
                async with turn.interrupted():
                    await sending.resumed(clock)
    except (NotTaken, AnswerRevoked):
        cast(BoundedChannel, request.channel).abort()
        raise
    finally:
        if request.channel is not None:  # None after the client has disconnected
            request.unregisterProducer()
