"""The sides of the fleet benchmark: daemons of a checkout, or the design to replace, each on stores of its own."""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
from pymongo import MongoClient

from benchmarks.device import METERS, serial_of
from benchmarks.mongo_counter import MongoCounter
from benchmarks.processes import PROJECT, cpu_seconds, daemons
from benchmarks.shifted_clock import ShiftedClock
from cenergyd.testing.ports import free_port
from tests.servers import RunningInflux, RunningMongo

HERE = Path(__file__).parent
DETAIL = "detail: "
PROBES = 200
"""Uploads of a burst's further sites, and of a backlog's at a time."""
SNAPSHOT_SECONDS = 15
EARLY_SNAPSHOTS = f"""
cache-snapshot-write-cold-duration = "{SNAPSHOT_SECONDS}s"
compact-full-write-cold-duration = "{2 * SNAPSHOT_SECONDS}s"
"""
"""So that InfluxDB's size on disk can be measured soon after the last write."""


@attrs.define(kw_only=True)
class Side:
    """One of those that take turns."""

    name: str
    port: int
    processes: Mapping[str, Sequence[int]]
    """What they are -> their process ids."""
    influx: RunningInflux | None = None
    mongo: RunningMongo | None = None
    counter: MongoCounter | None = None
    helper: subprocess.Popen[str] | None = None
    tasks: subprocess.Popen[str] | None = None
    readings_path: Path | None = None
    """The embedded store of readings."""
    clock: ShiftedClock | None = None
    """The daemons' clock, if it is not the machine's."""
    used: list[dict[str, float]] = attrs.field(factory=list)
    """CPU seconds of each measured quarter."""
    asked: list[Counter[str]] = attrs.field(factory=list)
    took: list[float] = attrs.field(factory=list)
    """Seconds that uploads took."""
    refused: int = 0
    """Answers of 503, after which an upload was sent again."""

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far."""
        return {name: sum(map(cpu_seconds, pids)) for name, pids in self.processes.items()}

    def counts(self) -> Counter[str]:
        """The requests to its stores so far."""
        found: Counter[str] = Counter(self.counter.counts if self.counter else {})
        if self.counter is not None:
            found.update({f"{DETAIL}{name}": count for name, count in self.counter.detailed.items()})
        if self.influx is not None:
            found.update(_influx_counts(self.influx.port))
        if self.mongo is not None and self.counter is None:
            with MongoClient[dict[str, Any]](self.mongo.url) as client:
                operations = client.admin.command("serverStatus")["opcounters"]
            found.update({f"MongoDB {name}": operations[name] for name in ("query", "insert", "update", "delete")})
        return found

    def tell(self, line: str) -> str:
        """Have its helper do something."""
        return exchange(self.helper, line)


def exchange(process: subprocess.Popen[str] | None, line: str) -> str:
    assert process and process.stdin and process.stdout
    process.stdin.write(line + "\n")
    process.stdin.flush()
    answer = process.stdout.readline().strip()
    if not answer:
        raise SystemExit(f"no answer to {line!r}")
    return answer


def _influx_counts(port: int) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/query?q=show+stats") as reply:
        series = json.load(reply)["results"][0]["series"]
    values = {each["name"]: dict(zip(each["columns"], each["values"][0], strict=True)) for each in series}
    return {
        "InfluxDB points written": values["httpd"]["pointsWrittenOK"],
        "InfluxDB bytes written": values["httpd"]["writeReqBytes"],
        "InfluxDB writes": values["httpd"]["writeReq"],
        "InfluxDB queries": values["queryExecutor"]["queriesExecuted"],
        "InfluxDB query requests": values["httpd"]["queryReq"],
    }


def check_limit(began: float, arguments: argparse.Namespace) -> None:
    """Give up after ``--limit`` seconds."""
    if time.monotonic() > began + arguments.limit:
        raise SystemExit(f"not done within {arguments.limit:.0f} s")


@contextmanager
def servers(arguments: argparse.Namespace) -> Iterator[tuple[RunningInflux | None, RunningMongo | None]]:
    """The servers of one side."""
    influx = (
        RunningInflux(data=EARLY_SNAPSHOTS if arguments.backlog else "") if arguments.stores != "embedded" else None
    )
    mongo = RunningMongo() if arguments.stores == "servers" else None
    running = [server for server in (influx, mongo) if server is not None]
    try:
        for server in running:
            server.start()
        yield influx, mongo
    finally:
        for server in running:
            server.destroy()


def server_pids(influx: RunningInflux | None, mongo: RunningMongo | None) -> dict[str, list[int]]:
    """Name -> process ids."""
    both = (("InfluxDB", influx), ("MongoDB's protocol", mongo))
    return {name: [server.process.pid] for name, server in both if server is not None and server.process is not None}


@contextmanager
def cenergyd(
    name: str, project: Path, arguments: argparse.Namespace, began: float | None = None, number: int = 1
) -> Iterator[Side]:
    """Daemons of a checkout on stores of their own.

    :param began: the daemons' time at their start, UTC seconds, for a clock that can be set; None: the machine's.
    :param number: of daemons.
    """
    python = str(project / ".venv/bin/python") if project != PROJECT else sys.executable
    with TemporaryDirectory() as folder, servers(arguments) as (influx, mongo):
        counter = MongoCounter(mongo.port) if arguments.count and mongo is not None else None
        customers = f"{mongo.url}/cenergyd" if mongo else f"sqlite:///{folder}/customers.sqlite"
        readings = f"{influx.url}/cenergyd" if influx else f"sqlite:///{folder}/readings.sqlite"
        helper = subprocess.Popen(
            [python, HERE / "store_helper.py", customers, readings],
            env={**os.environ, "PYTHONPATH": str(project)}, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            probes = PROBES // len(METERS) if arguments.burst or arguments.backlog else 0
            exchange(helper, f"add {max(arguments.customers, arguments.sites + probes)}")
            settings = {
                "customers.url": f"{counter.url}/cenergyd" if counter else customers,
                "readings.url": readings,
                **dict(each.split("=", 1) for each in arguments.set),
            }
            clock = None if began is None else ShiftedClock(Path(folder) / "clock", began)
            path = None if clock is None else clock.path
            with daemons(Path(folder), settings, number, project, python, path) as (port, pids):
                yield Side(
                    name=name,
                    port=port,
                    processes={"daemons": pids, **server_pids(influx, mongo)},
                    influx=influx,
                    mongo=mongo,
                    counter=counter,
                    helper=helper,
                    readings_path=Path(folder) / "readings.sqlite" if influx is None else None,
                    clock=clock,
                )
        finally:
            helper.kill()
            helper.wait()


@contextmanager
def peer(arguments: argparse.Namespace) -> Iterator[Side]:
    """Flask behind gunicorn with two workers, and the tasks."""
    with servers(arguments) as (influx, mongo):
        assert influx and mongo
        with MongoClient[dict[str, Any]](mongo.url) as client:
            client.cenergy.customer.insert_many(peer_customers(arguments))
            client.cenergy.customer.create_index("logger_serial_number")
        create = urllib.request.Request(
            f"http://127.0.0.1:{influx.port}/query?q=CREATE+DATABASE+cenergy", method="POST"
        )
        urllib.request.urlopen(create).close()
        environment = {**os.environ, "MONGO": mongo.url, "INFLUX_PORT": str(influx.port)}
        port = free_port()
        bind = ("-w2", "-k", "sync", "-b", f"127.0.0.1:{port}", "--keep-alive", "5", "--log-level", "error")
        web = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *bind, "peer_flask:app"], cwd=HERE / "peer", env=environment
        )
        tasks = subprocess.Popen(
            [sys.executable, HERE / "peer/peer_tasks.py"],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            wait_for(port, web)
            yield Side(
                name="peer",
                port=port,
                processes={"gunicorn": [web.pid], "tasks": [tasks.pid], **server_pids(influx, mongo)},
                influx=influx,
                mongo=mongo,
                tasks=tasks,
            )
        finally:
            for process in (web, tasks):
                process.terminate()
                process.wait(20)


def wait_for(port: int, process: subprocess.Popen[Any], seconds: float = 30) -> None:
    """Return once a process listens on a port; exit if it ends or takes too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("gunicorn does not answer; its messages are above")


def peer_customers(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The same customers as the peer stores them."""
    return [
        {
            "name": f"Site {site}",
            "logger_serial_number": serial_of(site),
            "logger_password": f"pw-{serial_of(site)}",
            "facility": "",
            "load": "1",
            "solar": "2",
        }
        for site in range(arguments.sites + (PROBES // len(METERS) if arguments.burst else 0))
    ]
