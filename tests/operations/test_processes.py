"""Several processes on one machine behind one socket, as cenergyd.socket and cenergyd@.service make it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import RunningDaemon
from tests.e2e.device import acknowledged, add_customer, readings, upload, wait_for
from tests.e2e.stored import stored

SERIAL = "001EC6001433"
# What systemd does: the socket is file descriptor 3, and the environment says that it is for this process.
_LAUNCH = (
    "import os, sys; os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='cenergyd.socket');"
    " os.dup2(int(sys.argv[1]), 3); os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)


class Behind(RunningDaemon):
    """A daemon that is given its listening socket."""

    def start_behind(self, listening: socket.socket) -> None:
        """Start; it is ready when its log says so, as /readyz may be answered by another one."""
        words = self.arguments("run")
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _LAUNCH, str(listening.fileno()), *words[1:]],
                pass_fds=[listening.fileno()], stdout=log, stderr=log, cwd=self.folder, env=dict(os.environ),
            )  # fmt: skip
        wait_for(lambda: "listening on" in self.log(), 60, "the start")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[Behind]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        settings = {
            "server.listen": "systemd:domain=INET:index=0",
            "customers.url": f"sqlite:///{tmp_path}/customers.sqlite",
            "readings.url": f"sqlite:///{tmp_path}/readings.sqlite",
        }
        daemons = []
        for name in ("1", "2"):
            (tmp_path / name).mkdir()
            daemons.append(Behind(tmp_path / name, settings, port))
        try:
            for daemon in daemons:
                daemon.start_behind(listening)
            yield daemons
        finally:
            for daemon in daemons:
                daemon.kill()


def test_both_take_uploads_and_one_goes_on_alone(pair: list[Behind]) -> None:
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
    assert one.process is not None
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(30) == 0
    for _ in range(5):
        assert other.ready(), "the socket stays open while one of its processes is left"
    derived = f"{SERIAL}_missing_meter"
    wait_for(lambda: len(stored(other, [derived])[0][derived]) == 20, what="derivation")
    assert stored(other, [f"{SERIAL}_1"])[0][f"{SERIAL}_1"] == loads
    assert other.stop() == 0
