"""Listening sockets: those that a service manager gives, fair shares among processes, and what waits in one at a stop."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.interfaces import IStreamServerEndpoint

_MOST_WAITING = 10_000


def accept_singly(port: Any) -> None:
    """Let a listening port of Twisted's take one connection a turn of the reactor.

    By itself it takes up to a hundred at once: of several processes on one socket the first to wake then gets all that a burst brings,
    and with connections that are kept open, as proxies do, all uploads for as long as they last, while the others idle. One a turn, the process
    that has more to do comes round more rarely and gets fewer.
    """
    accept = port.doRead

    def accept_one() -> Any:
        port.numberAccepts = 1  # Twisted raises it after each call
        return accept()

    port.doRead = accept_one


def accept_waiting(port: Any) -> None:
    """Take every connection that the kernel has completed already: closing the port would reset them.

    Not for a socket that other processes share: it stays open, and what waits in it is theirs.
    """
    for _ in range(_MOST_WAITING):
        before = port.sessionno
        port.doRead()
        if port.sessionno == before:
            return


def use_own_family(endpoint: IStreamServerEndpoint) -> None:
    """Let an endpoint that adopts a socket take it for what it is, whatever its text says.

    By the wrong family the addresses of clients come out wrong: ``domain=INET`` with systemd's ``ListenStream=8080``, which is IPv6
    and takes IPv4 as well.
    """
    if isinstance(endpoint, AdoptedStreamServerEndpoint):
        with socket.socket(fileno=socket.dup(endpoint.fileno)) as adopted:
            endpoint.addressFamily = adopted.family
