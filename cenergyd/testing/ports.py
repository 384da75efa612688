"""Free ports for servers of tests."""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import SystemRandom
from tempfile import gettempdir

PORTS = (12_000, 32_000)
_random = SystemRandom()  # hypothesis seeds the shared generator, so parallel workers would choose the same ports
_given: set[int] = set()


def free_port() -> int:
    """A loopback TCP port that is not in use, a different one each time and in each of this user's processes.

    It is below the range that the kernel uses for outgoing connections, one of which could otherwise take the port before the server
    does, or while the server is restarted.
    """
    while True:
        port = _random.randrange(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            if port not in _given and _reserve(port):
                _given.add(port)
                return port


def _reserve(port: int) -> bool:
    """Lock the port's byte of a common file until this process ends: its server may be started later, or be down for a while."""
    try:
        fcntl.lockf(_reservations(os.getpid()), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except BlockingIOError:
        return False
    return True


@cache
def _reservations(process: int) -> int:
    path = Path(gettempdir()) / f"cenergyd-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
