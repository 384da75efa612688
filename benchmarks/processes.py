"""Processes for the benchmarks: daemons behind one socket, their CPU time, freezing them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parent
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children, including ended ones, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS + sum(map(cpu_seconds, children(pid)))


def children(pid: int) -> list[int]:
    """The child processes of a process, whichever of its threads started them."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def freeze(pids: Sequence[int]) -> None:
    """Stop processes and their children until :func:`thaw`."""
    _signal_all(pids, signal.SIGSTOP)


def thaw(pids: Sequence[int]) -> None:
    """Continue frozen processes."""
    _signal_all(pids, signal.SIGCONT)


@contextmanager
def thawed(pids: Sequence[int]) -> Iterator[None]:
    """Continue frozen processes for the duration of the context."""
    thaw(pids)
    try:
        yield
    finally:
        freeze(pids)


def _signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)
        _signal_all(children(pid), number)


@contextmanager
def daemons(
    folder: Path,
    settings: Mapping[str, str],
    number: int = 1,
    project: Path = PROJECT,
    python: str = sys.executable,
    clock: Path | None = None,
) -> Iterator[tuple[int, list[int]]]:
    """The port and the process ids of daemons behind one socket, which they inherit as from systemd's socket unit.

    :param settings: ``section.key`` -> text, over the defaults.
    :param project: the checkout that is run.
    :param clock: the file of :mod:`benchmarks.shifted_clock` that sets their time; None: the machine's.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as shared:
        port: int = shared.getsockname()[1]
        started = ["-m"] if clock is None else [str(HERE / "shifted_clock.py"), str(clock)]
        processes = [_start(folder, settings, shared, project, [python, *started]) for _ in range(number)]
        try:
            try:
                wait_ready(port)
            except RuntimeError:
                print((folder / "daemon.log").read_text()[-3000:], file=sys.stderr)
                raise
            yield port, [process.pid for process in processes]
        finally:
            for process in processes:
                thaw([process.pid] if process.poll() is None else [])
                process.terminate()
            for process in processes:
                process.wait(60)


def _start(
    folder: Path, settings: Mapping[str, str], shared: socket.socket, project: Path, python: Sequence[str]
) -> subprocess.Popen[bytes]:
    """One daemon on the inherited socket.

    :param python: the command that runs a module.
    """
    settings = {"server.listen": "systemd:domain=INET:index=0", "logging.level": "error", **settings}
    pairs = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    # LISTEN_PID must be the daemon's own pid, so a shell sets it before exec. The socket must be descriptor 3; dash cannot redirect from 10 on.
    script = f'export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=x; exec "$@" 3<&{shared.fileno()}'
    command = ["bash", "-c", script, "bash", *python, "cenergyd", *pairs, "run"]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    with (folder / "daemon.log").open("ab") as log:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, pass_fds=(shared.fileno(),)
        )


def wait_ready(port: int, seconds: float = 60) -> None:
    """Return once /readyz reports ready."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("the daemons are not ready")
