"""A real daemon as a subprocess on a free loopback port, for tests that act as a device or a browser."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from cenergyd.testing.ports import free_port

TUNED = Path(__file__).with_name("tuned.py")

_NEED_STORES = ("customers", "token", "doctor", "backfill")


class RunningDaemon:
    """One daemon, with short intervals.

    :param settings: ``section.key`` -> text over the defaults; ``cenergyd.MODULE.NAME`` -> text for constants.
    """

    popen: ClassVar[type[subprocess.Popen[Any]]] = subprocess.Popen
    """The class that starts its processes."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.settings = {
            "server.listen": f"tcp:{self.port}:interface=127.0.0.1",
            "customers.url": f"sqlite:///{folder}/customers.sqlite",
            "readings.url": f"sqlite:///{folder}/readings.sqlite",
            "derivation.interval_seconds": "0.2",
            "cenergyd.derivation.service.MAX_REST_SECONDS": "0",
            "jobs.interval_seconds": "0.5",
            "cenergyd.jobs.service.MAX_REST_SECONDS": "0",
            "cenergyd.customers.passwords.MEMORY_KIB": "64",
            "cenergyd.customers.passwords.ITERATIONS": "1",
            **(settings or {}),
        }
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.log_path = folder / "daemon.log"

    def arguments(self, *words: str) -> list[str]:
        """The command line of ``cenergyd`` with this daemon's settings."""
        constants = [f"{key}={value}" for key, value in self.settings.items() if key.startswith("cenergyd.")]
        pairs = [part for key, value in self.in_the_ini.items() for part in ("--set", f"{key}={value}")]
        return [sys.executable, str(TUNED), *constants, "--", *pairs, *words]

    @property
    def in_the_ini(self) -> dict[str, str]:
        """Its settings without the constants."""
        return {key: value for key, value in self.settings.items() if not key.startswith("cenergyd.")}

    def start(self, timeout: float = 120) -> None:
        """Start and wait until it is ready."""
        self.launch()
        self.wait_ready(timeout)

    def launch(self) -> None:
        """Start the process without waiting."""
        with self.log_path.open("ab") as log:
            environment = {key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"}
            self.process = self.popen(self.arguments("run"), stdout=log, stderr=log, cwd=self.folder, env=environment)

    def wait_ready(self, timeout: float = 120) -> None:
        """Poll /readyz until the daemon is ready."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.log()}")
            if self.ready():
                return
            time.sleep(0.05)
        raise AssertionError(f"the daemon is not ready after {timeout} s:\n{self.log()}")

    def ready(self) -> bool:
        """Whether /readyz reports ready; False if there is no answer."""
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """GET a path; status and body."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            link.request("GET", path, headers=dict(headers or {}))
            reply = link.getresponse()
            return reply.status, reply.read()
        finally:
            link.close()

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run another ``cenergyd`` command with the same settings. Before the first start the daemon is run once to create its databases."""
        if words[0] in _NEED_STORES and self.process is None and self._lacks_databases():
            self.start()
            self.stop()
        arguments = self.arguments(*words)
        pipe = subprocess.PIPE
        with self.popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=self.folder) as process:
            try:
                out, complaint = process.communicate(stdin, timeout=300)
            except BaseException:
                process.kill()
                raise
            return subprocess.CompletedProcess(arguments, process.wait(), out, complaint)

    def _lacks_databases(self) -> bool:
        urls = (self.settings["customers.url"], self.settings["readings.url"])
        paths = [Path(url.removeprefix("sqlite:///")) for url in urls if url.startswith("sqlite:///")]
        return not all(path.exists() for path in paths)

    def kill(self) -> None:
        """SIGKILL: ends at once, without cleaning up."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)

    def freeze(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing. Returns once every thread has stopped."""
        assert self.process is not None
        freeze_process(self.process.pid)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM, then wait; returns the exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    def log(self) -> str:
        """Its log so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""


def freeze_process(process: int) -> None:
    """SIGSTOP; returns once every thread has stopped, because one that runs a moment longer could still take a connection."""
    os.kill(process, signal.SIGSTOP)
    end = time.monotonic() + 120
    while not _is_stopped(process):
        if time.monotonic() > end:
            raise AssertionError("the process did not stop at SIGSTOP")
        time.sleep(0.01)


def _is_stopped(process: int) -> bool:
    threads = Path(f"/proc/{process}/task").iterdir()
    return all((thread / "stat").read_text().rpartition(")")[2].split()[0] in "Tt" for thread in threads)


def raw_post(
    port: int, path: str, content_type: str, body: bytes, *, version: str = "1.0", timeout: float = 120
) -> tuple[int, bytes]:
    """POST over a raw socket, as old firmware does; status and body. Raises OSError on a lost connection."""
    host = "Host: 127.0.0.1\r\nConnection: close\r\n" if version == "1.1" else ""
    head = (
        f"POST {path} HTTP/{version}\r\n{host}Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as link:
        link.sendall(head + body)
        received = b""
        while chunk := link.recv(65536):
            received += chunk
    if not received:
        raise ConnectionError("the server closed the connection without an answer")
    header, _, content = received.partition(b"\r\n\r\n")
    return int(header.split()[1]), content
