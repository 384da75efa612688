"""Uploads/s of the daemon against the design it replaces, in one run on one machine, over the same real servers.

The peer is Flask behind gunicorn (two workers) with one InfluxDB write per upload. Both take the same uploads from the same load
generator (wrk), in turns: of both meters of each site, 15 rows of 75 columns, gz, never the same rows twice. So the daemons also
derive meanwhile. Prints uploads/s, latency, CPU time of each for an upload, and the ratio.

    python benchmarks/uploads_per_second.py [--sites 200] [--seconds 10] [--rounds 3] [--daemons 2] [--connections 192] [--bare]
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from pymongo import MongoClient

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.device import BOUNDARY, FreshUploads  # noqa: E402
from benchmarks.processes import cpu_seconds, daemons, freeze, thaw, thawed  # noqa: E402
from cenergyd.testing.ports import free_port  # noqa: E402
from tests.servers import RunningInflux, RunningMongo  # noqa: E402


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=10, help="of each round")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--connections", type=int, default=192)
    parser.add_argument("--daemons", type=int, default=2, help="processes behind one port (the peer has two workers)")
    parser.add_argument("--only", choices=["peer", "cenergyd"])
    parser.add_argument(
        "--bare",
        action="store_true",
        help="also Twisted's web server that does nothing with an upload, and one that reads it and stores nothing",
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the daemons")
    on_real_servers(measure, parser.parse_args())


MOST_PER_SECOND = 4000
"""Uploads prepared per second of load: more than either side accepts."""
Measure = Callable[[Path, RunningInflux, RunningMongo, argparse.Namespace], None]


def on_real_servers(measure: Measure, arguments: argparse.Namespace) -> None:
    """Call ``measure`` with a folder and two servers of its own."""
    influx, mongo = RunningInflux(), RunningMongo()
    try:
        influx.start()
        mongo.start()
        with TemporaryDirectory() as folder:
            measure(Path(folder), influx, mongo, arguments)
    finally:
        influx.destroy()
        mongo.destroy()


def make_sites(folder: Path, influx: RunningInflux, mongo: RunningMongo, sites: int) -> FreshUploads:
    """Add the customers, for each side its own (a daemon hashes the passwords that the peer compares)."""
    subprocess.run(
        [sys.executable, HERE / "peer/peer_flask.py", str(sites)], env=peer_environment(influx, mongo), check=True
    )
    with MongoClient[dict[str, Any]](mongo.url) as client:
        customers = [{**found, "facility": "", "load": "1", "solar": "2"} for found in client.cenergy.customer.find()]
        client.cenergyd.customer.insert_many(customers)
    return FreshUploads(folder / "uploads", sites)


def peer_environment(influx: RunningInflux, mongo: RunningMongo) -> Mapping[str, str]:
    """Environment variables with the servers' addresses for the peer."""
    return {**os.environ, "MONGO": mongo.url, "INFLUX_PORT": str(influx.port)}


def measure(folder: Path, influx: RunningInflux, mongo: RunningMongo, arguments: argparse.Namespace) -> None:
    """Measure both sides in turns, because a machine's speed varies. The daemons are frozen after their turn, because they would go on deriving."""
    uploads = make_sites(folder, influx, mongo, arguments.sites)
    assert influx.process and mongo.process
    servers = {"InfluxDB": [influx.process.pid], "MongoDB's protocol": [mongo.process.pid]}
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack:
        sides: dict[str, tuple[int, list[int]]] = {}
        if arguments.only != "cenergyd":
            sides["peer"] = stack.enter_context(peer(peer_environment(influx, mongo)))
        if arguments.bare:
            sides["bare"] = stack.enter_context(bare_servers(arguments.daemons))
            sides["reading"] = stack.enter_context(bare_servers(arguments.daemons, "--read"))
        if arguments.only != "peer":
            sides["cenergyd"] = port, pids = stack.enter_context(
                daemons(folder, server_settings(influx, mongo, arguments.set), arguments.daemons)
            )
            warm_up(port, uploads, arguments)
            freeze(pids)
            stack.callback(thaw, pids)  # frozen processes cannot end
        for _ in range(arguments.rounds):
            for name, (port, pids) in sides.items():
                with thawed(pids) if name == "cenergyd" else nullcontext():
                    fresh = name not in ("bare", "reading")
                    # In the first seconds the daemons also do work that was delayed while they were frozen.
                    load(port, uploads, arguments, {}, seconds=4, fresh=fresh)
                    rate = load(port, uploads, arguments, servers | {name: pids}, fresh=fresh)
                    rates.setdefault(name, []).append(rate)
    for name, each in rates.items():
        print(f"{name:10} {fmean(each):8.0f} uploads/s  ({', '.join(f'{rate:.0f}' for rate in each)})")
    if {"peer", "cenergyd"} <= rates.keys():
        print(f"ratio      {fmean(rates['cenergyd']) / fmean(rates['peer']):8.2f}")


@contextmanager
def peer(environment: Mapping[str, str]) -> Iterator[tuple[int, list[int]]]:
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
        yield port, [process.pid]
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def bare_servers(number: int, *words: str) -> Iterator[tuple[int, list[int]]]:
    """Processes of Twisted's web server behind one socket."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as shared:
        command = [sys.executable, str(HERE / "peer/bare_twisted.py"), str(shared.fileno()), *words]
        processes = [subprocess.Popen(command, pass_fds=(shared.fileno(),)) for _ in range(number)]
        time.sleep(2)
        try:
            yield shared.getsockname()[1], [process.pid for process in processes]
        finally:
            for process in processes:
                process.terminate()
                process.wait(20)


def server_settings(influx: RunningInflux, mongo: RunningMongo, more: Sequence[str]) -> dict[str, str]:
    """A daemon's settings on the two servers; ``more`` are those of the command line."""
    urls = {"customers.url": f"{mongo.url}/cenergyd", "readings.url": f"{influx.url}/cenergyd"}
    return {**urls, **dict(each.split("=", 1) for each in more)}


def warm_up(port: int, uploads: FreshUploads, arguments: argparse.Namespace) -> None:
    """Upload until the daemons' caches are filled and the rate no longer grows.

    Each daemon hashes every password once and stores clear-text ones hashed, which the others see when their cache entries expire.
    """
    until = time.monotonic() + 2.5 * 30  # cenergyd.ingest.credentials.CACHE_SECONDS
    last, rate = 0.0, 0.0
    while time.monotonic() < until or rate > 1.1 * last:
        last, rate = max(rate, last), load(port, uploads, arguments, {}, seconds=5)


def load(
    port: int,
    uploads: FreshUploads,
    arguments: argparse.Namespace,
    processes: Mapping[str, Sequence[int]],
    seconds: int | None = None,
    *,
    fresh: bool = True,
) -> float:
    """Uploads/s that are answered with SUCCESS; prints each process' CPU time per upload."""
    before = {name: sum(map(cpu_seconds, pids)) for name, pids in processes.items()}
    done = wrk(port, uploads, arguments.connections, seconds or arguments.seconds, fresh=fresh)
    print(done.told)
    for name, pids in processes.items():
        used = sum(map(cpu_seconds, pids)) - before[name]
        print(f"  {name:20} {1000 * used / done.requests:6.2f} ms of CPU per upload")
    return done.rate


class WrkResult(NamedTuple):
    """The result of wrk."""

    rate: float
    """Uploads/s."""
    requests: int
    told: str


_sent: dict[int, int] = {}
"""Port -> number of uploads of the file that were sent there."""


def wrk(port: int, uploads: FreshUploads, connections: int, seconds: int, *, fresh: bool = True) -> WrkResult:
    """Upload as fast as possible. Exits if an upload is refused.

    :param fresh: False for a server that stores nothing, which gets the same uploads repeatedly.
    """
    offset = uploads.offset(_sent.get(port, 0), MOST_PER_SECOND * seconds if fresh else connections)
    command = [
        "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency",
        "-s", str(HERE / "peer/uploads.lua"), f"http://127.0.0.1:{port}/consume",
    ]  # fmt: skip
    environment = {**os.environ, "UPLOADS": str(uploads.path), "OFFSET": str(offset), "BOUNDARY": BOUNDARY}
    if not fresh:
        environment["AGAIN"] = "1"
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in told:
        raise SystemExit(f"uploads were refused\n{told}")
    rate, requests = re.search(r"Requests/sec:\s+([\d.]+)", told), re.search(r"(\d+) requests in", told)
    assert rate and requests
    _sent[port] = _sent.get(port, 0) + int(requests[1]) + connections
    return WrkResult(float(rate[1]), int(requests[1]), told)


if __name__ == "__main__":
    main()
