"""Long answers: no faster than the client takes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from cenergyd.web.server.long_requests import LongRequests
from cenergyd.web.server.streaming import (
    CHECK_SECONDS,
    READ_WITHIN_SECONDS,
    ClientNotReading,
    PermissionEnded,
    send_chunks,
)


class Connection:
    """A request whose client says when it has taken what was sent."""

    def __init__(self, *, slow: bool) -> None:
        self.slow = slow
        self.sent: list[bytes] = []
        self.made = 0
        self.aborted = False
        self.producer: Any = None
        self.channel: Any = self

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, chunk: bytes) -> None:
        self.sent.append(chunk)
        if self.slow:
            self.producer.pauseProducing()

    def abort(self) -> None:
        self.aborted = True

    async def chunks(self, number: int) -> AsyncIterator[bytes]:
        for position in range(number):
            self.made += 1
            yield b"%d" % position


class StreamedAnswer:
    """A place for one long request, and a connection that sends three chunks."""

    def __init__(self, *, slow: bool) -> None:
        self.clock = Clock()
        self.places = LongRequests(1)
        self.connection = Connection(slow=slow)
        self.others = 0
        self.is_revoked = False
        self.sending = Deferred.fromCoroutine(self._send())

    async def _send(self) -> None:
        async with self.places.turn("slow") as turn:
            request = cast(Any, self.connection)
            await send_chunks(request, self.connection.chunks(3), self.clock, turn, self._is_allowed)

    async def _is_allowed(self) -> bool:
        return not self.is_revoked

    async def other(self) -> None:
        async with self.places.turn("other"):
            self.others += 1


def test_a_client_that_reads_at_once_gets_all_chunks() -> None:
    streamed = StreamedAnswer(slow=False)
    assert streamed.sending.called
    assert streamed.connection.sent == [b"0", b"1", b"2"]
    assert streamed.connection.producer is None


def test_no_chunk_is_computed_ahead_and_others_get_the_place() -> None:
    streamed = StreamedAnswer(slow=True)
    for number in (1, 2, 3):
        assert (len(streamed.connection.sent), streamed.connection.made) == (number, number)
        Deferred.fromCoroutine(streamed.other())
        assert streamed.others == number
        assert not streamed.sending.called, "until the client has taken all, its memory counts"
        streamed.connection.producer.resumeProducing()
    assert streamed.sending.called
    assert not streamed.clock.getDelayedCalls()


def test_a_client_that_does_not_read_is_disconnected() -> None:
    streamed = StreamedAnswer(slow=True)
    failed: list[Any] = []
    streamed.sending.addErrback(failed.append)
    streamed.clock.advance(READ_WITHIN_SECONDS)
    assert failed[0].check(ClientNotReading)
    assert streamed.connection.aborted
    Deferred.fromCoroutine(streamed.other())
    assert streamed.others == 1


def test_a_revoked_token_ends_the_answer() -> None:
    streamed = StreamedAnswer(slow=True)
    failed: list[Any] = []
    streamed.sending.addErrback(failed.append)
    streamed.connection.producer.resumeProducing()
    streamed.clock.advance(CHECK_SECONDS)
    streamed.is_revoked = True
    streamed.connection.producer.resumeProducing()
    assert failed[0].check(PermissionEnded)
    assert streamed.connection.sent == [b"0", b"1"]
    assert streamed.connection.aborted


@pytest.mark.parametrize("paused", [False, True])
def test_a_client_that_goes_away_leaves_nothing_behind(paused: bool) -> None:
    streamed = StreamedAnswer(slow=True)
    if not paused:
        streamed.connection.slow = False
    streamed.connection.channel = None
    streamed.sending.addErrback(lambda failure: failure.trap(CancelledError))
    streamed.sending.cancel()
    assert streamed.sending.called
    assert not streamed.clock.getDelayedCalls()
    Deferred.fromCoroutine(streamed.other())
    assert streamed.others == 1
