"""Uploads/s of the daemon against the design it replaces, in one run on one machine, over the same real servers.

The peer is Flask behind gunicorn (two workers) with one InfluxDB write per upload. Both take the same uploads (15 rows of 75
columns, gz) from the same load generator (wrk). Prints uploads/s, latency and the ratio.

    python benchmarks/uploads_per_second.py [--sites 200] [--seconds 10] [--daemons 2] [--connections 32]
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tests.servers import RunningInflux, RunningMongo, free_port  # noqa: E402


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--daemons", type=int, default=2, help="processes behind one port (the peer has two workers)")
    parser.add_argument("--only", choices=["peer", "cenergyd"])
    arguments = parser.parse_args()
    influx, mongo = RunningInflux(), RunningMongo()
    try:
        influx.start()
        mongo.start()
        with TemporaryDirectory() as folder:
            measure(Path(folder), influx, mongo, arguments)
    finally:
        influx.destroy()
        mongo.destroy()


def measure(folder: Path, influx: RunningInflux, mongo: RunningMongo, arguments: argparse.Namespace) -> None:
    """Both sides, one after the other."""
    uploads = folder / "uploads.lua"
    subprocess.run([sys.executable, HERE / "peer/make_uploads.py", uploads, str(arguments.sites)], check=True)
    environment = {**os.environ, "MONGO": mongo.url, "INFLUX_PORT": str(influx.port)}
    subprocess.run([sys.executable, HERE / "peer/peer_flask.py", str(arguments.sites)], env=environment, check=True)
    rates: dict[str, float] = {}
    if arguments.only != "cenergyd":
        with peer(environment) as port:
            rates["peer"] = load(port, uploads, arguments)
    if arguments.only != "peer":
        with daemons(folder, influx, mongo, arguments.daemons) as port:
            load(port, uploads, arguments, seconds=3)  # every password is hashed once
            rates["cenergyd"] = load(port, uploads, arguments)
    for name, rate in rates.items():
        print(f"{name:10} {rate:8.0f} uploads/s")
    if len(rates) == 2:
        print(f"ratio      {rates['cenergyd'] / rates['peer']:8.2f}")


@contextmanager
def peer(environment: Mapping[str, str]) -> Iterator[int]:
    """Flask and gunicorn with two workers."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-w2",
        "-b",
        f"127.0.0.1:{port}",
        "peer_flask:app",
        "--log-level",
        "error",
    ]
    process = subprocess.Popen(command, cwd=HERE / "peer", env=environment)
    time.sleep(3)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def daemons(folder: Path, influx: RunningInflux, mongo: RunningMongo, count: int) -> Iterator[int]:
    """Daemons behind one socket that they inherit, as systemd's socket unit does it."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as shared:
        port: int = shared.getsockname()[1]
        processes = [start(folder, influx, mongo, shared) for _ in range(count)]
        try:
            wait_ready(port)
            yield port
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)


def start(folder: Path, influx: RunningInflux, mongo: RunningMongo, shared: socket.socket) -> subprocess.Popen[bytes]:
    """One daemon on the inherited socket."""
    settings = {
        "server.listen": "systemd:domain=INET:index=0",
        "customers.url": f"{mongo.url}/cenergy",
        "readings.url": f"{influx.url}/cenergyd",
        "logging.level": "error",
    }
    pairs = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    # LISTEN_PID must be the daemon's own, which only a shell that becomes it can know; the socket must be descriptor 3.
    script = f'export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=x; exec "$@" 3<&{shared.fileno()}'
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "cenergyd", *pairs, "run"]
    with (folder / "daemon.log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, pass_fds=(shared.fileno(),))


def wait_ready(port: int) -> None:
    """Until /readyz says yes."""
    for _ in range(60):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise SystemExit("the daemons are not ready")


def load(port: int, uploads: Path, arguments: argparse.Namespace, seconds: int | None = None) -> float:
    """Uploads/s that wrk gets answered with SUCCESS."""
    command = [
        "wrk", "-t1", f"-c{arguments.connections}", f"-d{seconds or arguments.seconds}s", "--latency",
        "-s", str(HERE / "peer/uploads.lua"), f"http://127.0.0.1:{port}/consume",
    ]  # fmt: skip
    done = subprocess.run(
        command, env={**os.environ, "UPLOADS": str(uploads)}, capture_output=True, text=True, check=True
    )
    print(done.stdout)
    if "Non-2xx" in done.stdout:
        raise SystemExit("uploads were refused")
    match = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert match
    return float(match[1])


if __name__ == "__main__":
    main()
