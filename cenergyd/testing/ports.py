"""Free ports for servers of tests."""

from __future__ import annotations

import socket
from contextlib import suppress
from random import SystemRandom

PORTS = (12_000, 32_000)
_random = SystemRandom()  # hypothesis seeds the common one: workers would choose alike
_given: set[int] = set()


def free_port() -> int:
    """A loopback TCP port that nobody listens on now, each time another one.

    Below those that the kernel gives to outgoing connections: one of them could take the port before its server does, or while that is
    restarted.
    """
    while True:
        port = _random.randrange(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port
