"""``cenergyd run`` under a service manager, and the simulator, replay and demo against the running daemon."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cenergyd.testing.daemon import freeze_process
from tests import forking
from tests.daemon_process import RunningDaemon
from tests.parent_death import ending_with_tests

SAMPLES = Path(__file__).parents[1] / "samples"


class Manager:
    """A service manager's end of the notification socket."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.bind(self.address)

    def wait_for(self, state: str, timeout: float = 120) -> str:
        """The message that begins with a state; earlier ones are skipped."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            self._channel.settimeout(left)
            message = self._channel.recv(4096).decode()
            if message.startswith(state):
                return message
        raise AssertionError(f"the service manager never heard {state}")

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    one = Manager(tmp_path)
    yield one
    one.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RunningDaemon]:
    one = RunningDaemon(tmp_path)
    one.start()
    yield one
    one.kill()


def started(folder: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    return forking.Popen(
        [sys.executable, "-m", "cenergyd", *words], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment},
    )  # fmt: skip


def test_the_service_manager_is_notified_of_start_reload_and_stop(tmp_path: Path, manager: Manager) -> None:
    (tmp_path / "my.ini").write_text("[logging]\nformat = json\n")
    process = started(
        tmp_path, "run", "--config", "my.ini", "--port", "0", "--state", "var",
        NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="1000000",
    )  # fmt: skip
    try:
        ready = manager.wait_for("READY=1")
        assert "STATUS=listening on http://127.0.0.1:" in ready
        manager.wait_for("WATCHDOG=1")
        manager.wait_for("WATCHDOG=1")

        process.send_signal(signal.SIGHUP)
        manager.wait_for("RELOADING=1")
        manager.wait_for("READY=1")
        # A wrong file must not take down a daemon that works.
        (tmp_path / "my.ini").write_text("[logging]\nformat = wrong\n")
        process.send_signal(signal.SIGHUP)
        manager.wait_for("RELOADING=1")
        manager.wait_for("READY=1")
        manager.wait_for("WATCHDOG=1")

        process.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING=1")
        _, log = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, log
    events = [json.loads(line) for line in log.splitlines()]
    assert {"time", "level", "namespace", "event"} <= events[0].keys()
    said = [event["event"] for event in events]
    assert any(text.startswith("settings read again from") for text in said)
    assert any(text.startswith("the settings stay as they were: my.ini: [logging] format = 'wrong'") for text in said)
    assert said[-1] == "stopped"


def test_ctrl_c_is_a_clean_stop(tmp_path: Path, manager: Manager) -> None:
    process = started(tmp_path, "run", "--port", "0", "--state", "var", NOTIFY_SOCKET=manager.address)
    try:
        manager.wait_for("READY=1")
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in log


def test_several_processes_behind_one_socket_of_the_service_manager(tmp_path: Path, manager: Manager) -> None:
    """As cenergyd.socket and cenergyd@.service do: the listening socket is file descriptor 3."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        command = (
            "import os, sys; os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='x');"
            " os.dup2(int(sys.argv[1]), 3); os.execv(sys.executable, [sys.executable, '-m', 'cenergyd', 'run', '--state',"
            " 'var', '--set', 'server.listen=systemd:domain=INET:index=0'])"
        )
        processes = []
        try:
            for _ in range(2):
                process = subprocess.Popen(
                    ending_with_tests([sys.executable, "-c", command, str(listening.fileno())]), cwd=tmp_path,
                    pass_fds=[listening.fileno()], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                    env={**os.environ, "NOTIFY_SOCKET": manager.address},
                )  # fmt: skip
                processes.append(process)
                manager.wait_for("READY=1")
            for process in processes:  # the other one must answer alone
                other = next(one for one in processes if one is not process)
                freeze_process(other.pid)
                with socket.create_connection(("127.0.0.1", port), timeout=120) as link:
                    link.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                    assert link.recv(100).split()[1] == b"200"
                other.send_signal(signal.SIGCONT)
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            codes = [process.wait(120) for process in processes]
    assert codes == [0, 0]


def test_a_simulated_fleet_with_faults_ends_with_store_equal_to_acknowledged(daemon: RunningDaemon) -> None:
    common = ("--sites", "3", "--days", "0.25", "--seed", "11")
    target = f"{daemon.url}/consume"
    uploaded = daemon.run(
        "simulate", "--url", target, *common, "--faults", "all", "--config-exchange", "--upload-every", "1800",
        "--report", "report.jsonl", "--register",
    )  # fmt: skip
    assert uploaded.returncode == 0, uploaded.stderr
    assert (daemon.folder / "simulator.password").stat().st_mode & 0o077 == 0
    checked = daemon.run("simulate", "--check", "report.jsonl", "--wait", "100")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert ": 0 lost, 0 different" in checked.stdout
    # The check can fail: it reports a reading that was never acknowledged.
    lines = (daemon.folder / "report.jsonl").read_text().splitlines()
    forged = json.loads(lines[-1])
    forged["readings"][0][0] += 1
    (daemon.folder / "forged.jsonl").write_text("\n".join([*lines[:-1], json.dumps(forged)]) + "\n")
    assert daemon.run("simulate", "--check", "forged.jsonl").returncode == 1


def test_a_customer_made_elsewhere_is_simulated_by_its_own_settings(daemon: RunningDaemon) -> None:
    serial = "001EC60000AA"
    (daemon.folder / "pw").write_text("a password of its own\n")
    added = daemon.run(
        "customers", "add", "--serial", serial, "--load", "7", "--solar", "12", "--time-zone", "America/Denver",
        "--password-file", "pw",
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    words = ("simulate", "--url", f"{daemon.url}/consume", "--customer", serial, "--password-file", "pw")
    done = daemon.run(*words, "--days", "0.1", "--report", "report.jsonl")
    assert done.returncode == 0, done.stderr
    checked = daemon.run("simulate", "--check", "report.jsonl", "--wait", "100")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    first = json.loads((daemon.folder / "report.jsonl").read_text().splitlines()[0])
    assert (first["site"], first["facility"], first["load"], first["solar"]) == (serial, "", "7", "12")
    assert daemon.run(*words, "--register").returncode == 2
    unknown = daemon.run("simulate", "--customer", "nobody", "--password-file", "pw")
    assert unknown.returncode == 1
    assert "there is no customer" in unknown.stderr


def test_simulate_with_a_wrong_password_fails_and_says_so(daemon: RunningDaemon) -> None:
    (daemon.folder / "pw").write_text("wrong\n")
    result = daemon.run("simulate", "--url", f"{daemon.url}/consume", "--days", "0.02", "--password-file", "pw")
    assert result.returncode == 1
    assert "401" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_real_log_is_replayed_once(daemon: RunningDaemon) -> None:
    serial = "001EC6051C6F"
    logs = daemon.folder / "logs" / serial / "modbus"
    logs.mkdir(parents=True)
    for name in ("mb-001.log.gz", "mb-001.ini"):
        (logs / name).write_bytes((SAMPLES / name).read_bytes())
    added = daemon.run("customers", "add", "--serial", serial, "--facility", "1", "--password-stdin", stdin="pw\n")
    assert added.returncode == 0, added.stderr
    words = ("replay", "logs", "--url", f"{daemon.url}/consume", "--device-class", "10", "--password-stdin")
    first = daemon.run(*words, stdin="pw\n")
    assert first.returncode == 0, first.stderr
    assert first.stdout == "1 log files uploaded, 0 acknowledged before, 1 config files\n"
    again = daemon.run(*words, stdin="pw\n")
    assert again.stdout == "0 log files uploaded, 1 acknowledged before, 0 config files\n"


def test_backfill_derives_deleted_readings_again(daemon: RunningDaemon) -> None:
    target = f"{daemon.url}/consume"
    assert daemon.run("simulate", "--url", target, "--days", "0.1", "--report", "r", "--register").returncode == 0
    assert daemon.run("simulate", "--check", "r", "--wait", "100").returncode == 0
    daemon.stop()
    import sqlite3

    serial = json.loads((daemon.folder / "r").read_text().splitlines()[0])["site"]
    with sqlite3.connect(daemon.folder / "readings.sqlite") as database:
        (key,) = database.execute("SELECT id FROM series WHERE name = ?", (f"{serial}_missing_meter",)).fetchone()
        gone = database.execute("DELETE FROM reading WHERE series_id = ?", (key,)).rowcount
    assert gone == 144
    assert daemon.run("simulate", "--check", "r").returncode == 1
    result = daemon.run("backfill", serial, "--from", "1d")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "144 readings computed, 144 of them new or different\n"
    assert daemon.run("simulate", "--check", "r").returncode == 0


@pytest.mark.slow
def test_the_demo_shows_derived_readings_arriving(tmp_path: Path, manager: Manager) -> None:
    process = started(
        tmp_path, "run", "--demo", "--port", "0", "--state", "var", "--set", "derivation.interval_seconds=0.5",
        NOTIFY_SOCKET=manager.address, PYTHONUNBUFFERED="1",
    )  # fmt: skip
    try:
        manager.wait_for("READY=1")
        assert process.stdout is not None
        shown = ""
        for line in process.stdout:
            shown += line
            if line.count(" kW") == 3:
                break
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=120)
    finally:
        process.kill()
    assert "simulated site: Simulated Phoenix 1, its utility meter is computed" in shown
    assert "(computed)" in shown.splitlines()[-1]
    assert process.returncode == 0
    assert "Traceback" not in log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_simulation_ends_with_130_and_no_traceback(tmp_path: Path, number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        silent.settimeout(60)
        (tmp_path / "simulator.password").write_text("x\n")
        process = started(tmp_path, "simulate", "--url", f"http://127.0.0.1:{silent.getsockname()[1]}/consume")
        try:
            silent.accept()
            process.send_signal(number)
            _, complaint = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130
    assert complaint == ""
