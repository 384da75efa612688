"""Several processes on one machine behind one socket, as cenergyd.socket and cenergyd@.service make it."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol

from cenergyd.web.server.accept import accept_singly, accept_until_closed
from tests.daemon_process import RunningDaemon
from tests.e2e.device import acknowledged, add_customer, readings, upload, wait_for
from tests.e2e.stored import derived
from tests.parent_death import ending_with_tests
from tests.servers import free_port

SERIAL = "001EC6001433"
# What systemd does: the socket is file descriptor 3, and the environment says that it is for this process.
_LAUNCH = (
    "import os, sys; os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='cenergyd.socket');"
    " os.dup2(int(sys.argv[1]), 3); os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)


UNIT = Path(__file__).parents[2] / "systemd" / "cenergyd@.service"
LISTEN = re.search(r'--set "server\.listen=(.+)"$', UNIT.read_text(), re.MULTILINE)[1]  # type: ignore[index]


class DaemonOnGivenSocket(RunningDaemon):
    """A daemon that is given its listening socket, and has a port of its own besides."""

    def __init__(self, folder: Path, settings: Mapping[str, str], port: int, own: int) -> None:
        super().__init__(folder, settings, port)
        self.own = own

    def uploads(self) -> float:
        """How many it has acknowledged itself."""
        link = http.client.HTTPConnection("127.0.0.1", self.own, timeout=120)
        link.request("GET", "/metrics")
        text = link.getresponse().read().decode()
        link.close()
        found = re.search(
            r'^cenergyd_uploads_total\{mode="LOGFILEUPLOAD",outcome="success"\} (\S+)', text, re.MULTILINE
        )
        return float(found[1]) if found else 0

    def start_behind(self, listening: socket.socket) -> None:
        """Start; it is ready when its log says so, as /readyz may be answered by another one."""
        words = self.arguments("run")
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                ending_with_tests([sys.executable, "-c", _LAUNCH, str(listening.fileno()), *words[1:]]),
                pass_fds=[listening.fileno()], stdout=log, stderr=log, cwd=self.folder, env=dict(os.environ),
            )  # fmt: skip
        wait_for(lambda: "listening on" in self.log(), 120, "the start")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[DaemonOnGivenSocket]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        settings = {
            "customers.url": f"sqlite:///{tmp_path}/customers.sqlite",
            "readings.url": f"sqlite:///{tmp_path}/readings.sqlite",
        }
        daemons = []
        for name in ("1", "2"):
            (tmp_path / name).mkdir()
            own = free_port()
            listen = LISTEN.replace("1808%i", str(own))
            daemons.append(DaemonOnGivenSocket(tmp_path / name, settings | {"server.listen": listen}, port, own))
        try:
            for daemon in daemons:
                daemon.start_behind(listening)
            yield daemons
        finally:
            for daemon in daemons:
                daemon.kill()


def test_both_take_uploads_and_one_goes_on_alone(pair: list[DaemonOnGivenSocket]) -> None:
    one, other = pair
    add_customer(one, SERIAL, load="1", solar="2")
    start = int(time.time()) // 60 * 60 - 3600
    loads, solars = readings(start, 20, 90.0), readings(start, 20, 4.0)
    for i, (working, waiting) in enumerate([(one, other), (other, one)]):
        # Frozen, the other one accepts nothing: this one answers alone.
        waiting.freeze()
        assert acknowledged(upload(working, SERIAL, "1", loads[10 * i : 10 * i + 10]))
        assert acknowledged(upload(working, SERIAL, "2", solars[10 * i : 10 * i + 10]))
        waiting.thaw()
    assert (one.uploads(), other.uploads()) == (2, 2)
    assert one.process is not None
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(120) == 0
    for _ in range(5):
        assert other.ready(), "the socket stays open while one of its processes is left"
    assert derived(other, {f"{SERIAL}_1": 20, f"{SERIAL}_missing_meter": 20})[f"{SERIAL}_1"] == loads
    assert other.stop() == 0


def test_a_burst_of_connections_is_taken_one_a_turn(reactor_port: tuple[Any, list[Any]]) -> None:
    port, accepted = reactor_port
    accept_singly(port)
    links = [socket.create_connection(("127.0.0.1", port.getHost().port), 10) for _ in range(20)]
    for turn in range(1, 21):
        port.doRead()
        assert len(accepted) == turn
    for link in links:
        link.close()


@pytest_twisted.ensureDeferred
async def test_who_connects_between_the_stop_and_the_close_is_accepted(reactor_port: tuple[Any, list[Any]]) -> None:
    port, accepted = reactor_port
    accept_until_closed(port)
    address = "127.0.0.1", port.getHost().port
    links = [socket.create_connection(address, 10) for _ in range(3)]
    stopped = port.stopListening()
    links += [socket.create_connection(address, 10) for _ in range(3)]
    await stopped
    assert len(accepted) == 6
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 10)
    for link in links:
        link.close()


@pytest.fixture
def reactor_port() -> Iterator[tuple[Any, list[Any]]]:
    """A listening port, and what it has accepted; the reactor does not run meanwhile."""
    accepted: list[Any] = []

    class Counting(Factory):
        def buildProtocol(self, addr: Any) -> Protocol:
            accepted.append(addr)
            return Protocol()

    port = reactor.listenTCP(0, Counting(), interface="127.0.0.1")  # type: ignore[attr-defined]
    yield port, accepted
    port.stopListening()
