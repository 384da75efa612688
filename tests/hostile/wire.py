"""Exchanges raw bytes with a daemon, and reads the memory and CPU time of its process."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from cenergyd.acquisuite import encode
from cenergyd.testing.daemon import RunningDaemon
from tests.e2e.device import PASSWORD, acknowledged, readings, upload


def connect(daemon: RunningDaemon, source: str = "127.0.0.1", timeout: float = 120) -> socket.socket:
    """A connection from an address of the loopback network."""
    return socket.create_connection(("127.0.0.1", daemon.port), timeout, (source, 0))


def read_all(link: socket.socket) -> bytes:
    """Until the other side closes or resets."""
    received = b""
    try:
        while chunk := link.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def exchange(daemon: RunningDaemon, data: bytes, source: str = "127.0.0.1") -> bytes:
    """Send bytes and read until the connection closes; a reset while sending counts as closed."""
    with connect(daemon, source) as link:
        with suppress(ConnectionResetError, BrokenPipeError):
            link.sendall(data)
        return read_all(link)


def status_of(answer: bytes) -> int:
    """The status of the first reply; 0 where there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


def form_request(fields: dict[str, str], content: bytes | None = None, meter: str = "1", head: str = "") -> bytes:
    """A whole POST of a form, HTTP/1.0."""
    kind, body = encode.multipart_form(
        fields, encode.log_filename(meter) if content is not None else "", content or b""
    )
    lines = f"POST /consume HTTP/1.0\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{head}\r\n"
    return lines.encode() + body


def log_request(serial: str, content: bytes, password: str = PASSWORD) -> bytes:
    """A whole POST of a log whose content is given."""
    return form_request(encode.log_fields(serial, password, "1", content), content)


def still_serves(daemon: RunningDaemon, serial: str) -> None:
    """A well-behaved device is served, at no unusual cost."""
    begun = processor_time(daemon)
    assert acknowledged(upload(daemon, serial, "1", readings(int(time.time()) // 60 * 60 - 600, 2, 5.0)))
    assert processor_time(daemon) - begun < 4
    assert daemon.process is not None
    assert daemon.process.poll() is None


def memory(daemon: RunningDaemon) -> int:
    """Resident memory of the daemon, KiB."""
    assert daemon.process is not None
    return _status(daemon.process.pid, "VmRSS")


def peak_memory(daemon: RunningDaemon) -> int:
    """Its peak, KiB."""
    assert daemon.process is not None
    return _status(daemon.process.pid, "VmHWM")


def processor_time(daemon: RunningDaemon) -> float:
    """Seconds of processor time that the daemon has used, whatever else the machine does."""
    assert daemon.process is not None
    words = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def metric(daemon: RunningDaemon, name: str) -> float:
    """A metric without labels."""
    lines = daemon.get("/metrics")[1].decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.split(" ")[0] == f"cenergyd_{name}")
