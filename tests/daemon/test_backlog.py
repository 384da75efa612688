"""Bursts of connections are queued until they are accepted."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol

from cenergyd.daemon.web import BACKLOG, with_backlog


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("tcp:8080", f"tcp:8080:backlog={BACKLOG}"),
        ("tcp6:8080:interface=\\:\\:", f"tcp6:8080:interface=\\:\\::backlog={BACKLOG}"),
        ("ssl:443:privateKey=a:certKey=b", f"ssl:443:privateKey=a:certKey=b:backlog={BACKLOG}"),
        ("tcp:8080:backlog=5", "tcp:8080:backlog=5"),
        ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
        ("unix:/run/cenergyd.sock", "unix:/run/cenergyd.sock"),
    ],
)
def test_endpoints(given: str, used: str) -> None:
    assert with_backlog(given) == used


def test_a_burst_of_connections_is_queued_by_the_kernel() -> None:
    """Nothing is accepted here, as the reactor does not run: each connection is one that the kernel keeps."""
    listening = serverFromString(reactor, with_backlog("tcp:0:interface=127.0.0.1")).listen(
        Factory.forProtocol(Protocol)
    )
    port = listening.result
    try:
        with ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(socket.create_connection(("127.0.0.1", port.getHost().port), 0.9))
    finally:
        port.stopListening()
