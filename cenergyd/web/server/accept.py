"""Listening sockets: adopting a service manager's, sharing one fairly among processes, and pending connections at a stop."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.interfaces import IAddress, IStreamServerEndpoint
from twisted.python.failure import Failure

_MOST_WAITING = 10_000


class ListeningPort(Protocol):
    """The parts of Twisted's ``twisted.internet.tcp.Port`` that are used here; ``IListeningPort`` lacks them."""

    numberAccepts: float
    sessionno: int
    doRead: Callable[[], object]
    connectionLost: Callable[[Failure], object]

    def getHost(self) -> IAddress: ...  # noqa: N802
    def stopListening(self) -> Deferred[None] | None: ...  # noqa: N802


def accept_singly(port: ListeningPort) -> None:
    """Make a Twisted listening port accept one connection per iteration of the reactor.

    By default it accepts up to a hundred at once: with several processes on one socket, the first to wake up takes a whole burst. If these
    are persistent connections of a proxy, it then gets all uploads, and the other processes stay idle. With one per iteration, a busy
    process iterates less often and so accepts fewer.
    """
    accept = port.doRead

    def accept_one() -> object:
        port.numberAccepts = 1  # Twisted raises it after each call
        return accept()

    port.doRead = accept_one


def accept_until_closed(port: ListeningPort) -> None:
    """Make a port, when it is closed, accept every connection that the kernel has completed already: closing would reset them.

    A port is closed one iteration of the reactor after ``stopListening``; it accepts just before that. Not for a socket shared with other
    processes: it stays open, and they accept its pending connections.
    """
    close = port.connectionLost

    def accept_and_close(reason: Failure) -> object:
        _accept_waiting(port)
        return close(reason)

    port.connectionLost = accept_and_close


def _accept_waiting(port: ListeningPort) -> None:
    for _ in range(_MOST_WAITING):
        before = port.sessionno
        port.doRead()
        if port.sessionno == before:
            return


def use_own_family(endpoint: IStreamServerEndpoint) -> None:
    """Make an endpoint that adopts a socket use the socket's own address family, whatever its description says.

    With the wrong family the addresses of clients are wrong: ``domain=INET`` with systemd's ``ListenStream=8080``, which is IPv6 and takes
    IPv4 as well.
    """
    if isinstance(endpoint, AdoptedStreamServerEndpoint):
        with socket.socket(fileno=socket.dup(endpoint.fileno)) as adopted:
            endpoint.addressFamily = adopted.family
