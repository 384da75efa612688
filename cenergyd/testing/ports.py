"""Free ports for servers of tests."""

from __future__ import annotations

import socket
from contextlib import suppress
from random import SystemRandom

PORTS = (12_000, 32_000)
_random = SystemRandom()  # hypothesis seeds the shared generator, so parallel workers would choose the same ports
_given: set[int] = set()


def free_port() -> int:
    """A loopback TCP port that is not in use, a different one each time.

    It is below the range that the kernel uses for outgoing connections, one of which could otherwise take the port before the server
    does, or while the server is restarted.
    """
    while True:
        port = _random.randrange(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port
