"""One connection to a real port: what its client sends and reads."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import LoopingCall
from twisted.web.resource import Resource
from twisted.web.server import Request

from cenergyd.web.server.site import BoundedSite

REQUESTS = 1500
PAGE = b"x" * 1000
MOST_UNSENT = 64 * 1024
"""Twisted's: a connection with more to send is not read."""


class Page(Resource):
    """Answers at once."""

    isLeaf = True
    answered = 0

    def render_GET(self, request: Request) -> bytes:
        self.answered += 1
        return PAGE


class AllAtOnce(Protocol):
    """A client that sends many requests before it reads an answer."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.closed: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        last = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
        self.transport.write(b"GET / HTTP/1.1\r\n\r\n" * (REQUESTS - 1) + last)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.closed.callback(None)


@pytest_twisted.ensureDeferred
async def test_a_client_that_sends_many_requests_at_once_does_not_keep_the_reactor_from_others() -> None:
    page = Page()
    site = BoundedSite(page, reactor, max_body_bytes=1000, max_connections=9, idle_seconds=60, request_seconds=60)
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    answered = [0]
    turns = LoopingCall(lambda: answered.append(page.answered))
    turns.start(0)
    try:
        client = AllAtOnce()
        await connectProtocol(HostnameEndpoint(reactor, "127.0.0.1", port.getHost().port), client)
        await client.closed
    finally:
        turns.stop()
        await port.stopListening()
    assert client.received.count(b"HTTP/1.1 200 ") == client.received.count(PAGE) == REQUESTS
    in_a_turn = max(after - before for before, after in pairwise(answered))
    assert in_a_turn <= 3 * MOST_UNSENT // len(PAGE)  # in a turn it may be sent, and be full again
