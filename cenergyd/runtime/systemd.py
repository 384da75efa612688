"""Tells systemd how the daemon is doing: the sd_notify protocol, one datagram per message."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from cenergyd.runtime.clock import Reactor, twisted_clock

_log = Logger()
EXTEND_SECONDS = 10.0
"""During a long start systemd is asked at this interval, s, for three times as much time, so that a slow store or a long migration does not get
the daemon killed."""


class SystemdNotifier:
    """Sends service states to the service manager; does nothing where there is none.

    :param address: ``$NOTIFY_SOCKET``, a path or an abstract name that starts with ``@``; None outside systemd.
    :param watchdog_seconds: the manager's watchdog interval; None: no watchdog.
    """

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self.watchdog_seconds = watchdog_seconds

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> SystemdNotifier:
        """By the environment in which systemd started this process. A watchdog for another process is ignored."""
        interval = None
        if environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            microseconds = environ.get("WATCHDOG_USEC", "")
            interval = int(microseconds) / 1e6 if microseconds.isdigit() and int(microseconds) else None
        return cls(environ.get("NOTIFY_SOCKET") or None, interval)

    def extend_start(self, reactor: Reactor) -> Callable[[], None]:
        """Keep asking for more time during a long start; returns a function that ends this."""
        loop = LoopingCall(self._send, f"EXTEND_TIMEOUT_USEC={int(3 * EXTEND_SECONDS * 1e6)}")
        loop.clock = twisted_clock(reactor)
        loop.start(EXTEND_SECONDS).addErrback(lambda failure: _log.failure("asking for time", failure))
        return loop.stop

    def ready(self, status: str = "") -> None:
        """Start or reload is complete."""
        self._send("READY=1", status)

    def reloading(self) -> None:
        """The settings are being read again; :meth:`ready` ends this."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The stop has begun."""
        self._send("STOPPING=1", "finishing uploads")

    def watchdog(self) -> None:
        """Report that the daemon is alive."""
        self._send("WATCHDOG=1")

    def keep_alive(self, reactor: Reactor) -> LoopingCall | None:
        """Start notifying the watchdog as long as ``reactor`` runs; returns what to stop, or None without a watchdog."""
        if not self._address or not self.watchdog_seconds:
            return None
        loop = LoopingCall(self.watchdog)
        loop.clock = twisted_clock(reactor)
        # Half the limit, as sd_watchdog_enabled(3) advises.
        loop.start(self.watchdog_seconds / 2).addErrback(lambda failure: _log.failure("watchdog", failure))
        return loop

    def _send(self, state: str, status: str = "") -> None:
        if not self._address:
            return
        message = f"{state}\nSTATUS={status}" if status else state
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
            try:
                channel.sendto(message.encode(), self._address)
            except OSError as error:
                _log.warn("cannot notify the service manager of {state}: {error}", state=state, error=error)
