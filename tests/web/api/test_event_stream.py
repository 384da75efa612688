"""One stream on a Clock: keep-alive, back pressure, and the end of a permission."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.server import Request

from cenergyd.errors import StoreUnavailable
from cenergyd.web.api.live import CHECK_SECONDS, KEEP_ALIVE_SECONDS, EventStream


class Recorder:
    """A request that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.producer: Any = None
        self.channel = object()

    def setHeader(self, name: bytes, value: bytes) -> None:
        pass

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, chunk: bytes) -> None:
        self.written.append(chunk)


def begun(is_allowed: Any = None) -> tuple[EventStream, Recorder, Clock, Deferred[None]]:
    clock, request = Clock(), Recorder()

    async def yes() -> bool:
        return True

    stream = EventStream(request, clock, is_allowed or yes)
    done: Deferred[None] = Deferred.fromCoroutine(stream.finished())
    stream.deliver(("meanwhile", 1))
    stream.begin([("first", {"a": None})])
    return stream, request, clock, done


def advance(clock: Clock, seconds: float) -> None:
    clock.pump([1.0] * int(seconds))


def test_first_events_come_before_what_came_meanwhile() -> None:
    _, request, _, _ = begun()
    assert request.written == [
        b"retry: 5000\n\n",
        b'event: first\ndata: {"a":null}\n\n',
        b"event: meanwhile\ndata: 1\n\n",
    ]


def test_silence_is_filled() -> None:
    stream, request, clock, _ = begun()
    request.written.clear()
    advance(clock, KEEP_ALIVE_SECONDS - 1)
    assert request.written == []
    advance(clock, KEEP_ALIVE_SECONDS)
    assert request.written == [b": still here\n\n"]
    stream.end()
    advance(clock, 100)
    assert len(request.written) == 1
    assert request.producer is None


def test_a_client_that_does_not_read_is_dropped() -> None:
    stream, request, _, done = begun()
    request.written.clear()
    request.producer.pauseProducing()
    for n in range(100):
        stream.deliver(("n", n))
    assert request.written == []
    assert not done.called
    request.producer.resumeProducing()
    assert len(request.written) == 100
    request.producer.pauseProducing()
    for n in range(101):
        stream.deliver(("n", n))
    assert done.called


def test_ends_when_the_permission_does() -> None:
    answers: list[Any] = [True, StoreUnavailable("down"), False]

    async def may() -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    _, _, clock, done = begun(may)
    advance(clock, CHECK_SECONDS * 2)
    assert not done.called
    assert len(answers) == 1
    advance(clock, CHECK_SECONDS)
    assert done.called


def test_a_stream_that_ends_before_its_first_events_leaves_no_producer() -> None:
    clock, request = Clock(), Recorder()

    async def yes() -> bool:
        return True

    stream = EventStream(cast(Request, request), clock, yes)
    stream.end()
    stream.begin([("first", 1)])
    assert (request.producer, request.written) == (None, [])
    assert Deferred.fromCoroutine(stream.finished()).called
    assert clock.getDelayedCalls() == []
