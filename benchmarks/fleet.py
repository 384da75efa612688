"""The whole work of a site's quarter of an hour, against the design it replaces, in one run on one machine.

Every quarter each site's logger uploads the next 15 minutes (15 rows of 75 columns) of two meters, evenly over some seconds. Then
the third meter is computed and rolled up, net load and energy are stored, alerts are evaluated. Counted until nothing is pending: CPU
time of every process, what the stores were asked, and how long uploads took. The sides take turns, quarter by quarter, each with
stores of its own. The peer is the design to replace: Flask, one write an upload, a task that loops over all
customers and rolls up by InfluxQL, in its favour once a quarter and not each minute.

    python benchmarks/fleet.py [--sites 400] [--quarters 4] [--seconds 20] [--daemons 1] [--stores servers|influx|embedded]
        [--old CHECKOUT] [--no-peer] [--count] [--customers N] [--burst] [--set KEY=VALUE]

Needs flask and gunicorn. ``--old`` is another checkout of cenergyd with its own .venv, measured beside this one. ``--count`` counts
MongoDB's documents by a proxy. ``--burst`` sends all sites at once instead and, while they are derived, some further uploads, whose
times are what is then printed. ``--customers`` is how many are in the store; the others send nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import attrs
from pymongo import MongoClient

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.device import METERS, REFUSED, ROWS, percentile, send_at_once, send_evenly, serial_of, session  # noqa: E402
from benchmarks.mongo_counter import MongoCounter, purpose_of  # noqa: E402
from benchmarks.processes import PROJECT, cpu_seconds, daemons  # noqa: E402
from cenergyd.testing.ports import free_port  # noqa: E402
from tests.servers import RunningInflux, RunningMongo  # noqa: E402

QUARTER = 900
QUIET = 0.06
"""Of a core: a side that uses less for a second may have nothing more to do, which is then asked for."""
ASK_SECONDS = 5
DETAIL = "detail: "
PROBES = 200
"""Uploads of a burst's further sites."""


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
        """What its stores were asked so far."""
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
        return _exchange(self.helper, line)


def _exchange(process: subprocess.Popen[str] | None, line: str) -> str:
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


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=400)
    parser.add_argument("--customers", type=int, default=0)
    parser.add_argument(
        "--quarters",
        type=int,
        default=4,
        help="measured ones, whole hours to be fair: an hour's results are written in one of them; one before them is not",
    )
    parser.add_argument("--seconds", type=float, default=20, help="over which a quarter's uploads are spread")
    parser.add_argument("--daemons", type=int, default=1)
    parser.add_argument("--stores", choices=["servers", "influx", "embedded"], default="servers")
    parser.add_argument("--old", type=Path, help="another checkout")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--count", action="store_true")
    parser.add_argument("--burst", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    # Fresh rows, as they arrive: the last quarter of an hour is that which has just ended.
    start = int(time.time()) // QUARTER * QUARTER - QUARTER * (arguments.quarters + 1)
    with ExitStack() as stack:
        sides = []
        if arguments.stores == "servers" and not arguments.no_peer:
            sides.append(stack.enter_context(peer(arguments)))
        for name, project in (("old", arguments.old), ("cenergyd", PROJECT)):
            if project is not None:
                sides.append(stack.enter_context(cenergyd(name, Path(project).resolve(), arguments)))
        for quarter in range(arguments.quarters + 1):
            since = start + QUARTER * quarter
            sessions = [session(site, since) for site in range(arguments.sites)]
            probes = [session(site, since) for site in range(arguments.sites, arguments.sites + PROBES // len(METERS))]
            for side in sides:
                run_quarter(side, sessions, probes if arguments.burst else [], arguments, since)
                if quarter:
                    tell_quarter(side, quarter, arguments)
        for side in sides:
            if side.helper is not None:
                expected = (arguments.quarters + 1) * ROWS * arguments.sites
                end = start + QUARTER * (arguments.quarters + 1)
                derived = int(side.tell(f"derived {arguments.sites} {start} {end}"))
                print(f"{side.name}: {derived} of {expected} readings are computed")
    table(sides, arguments)


def run_quarter(
    side: Side,
    sessions: Sequence[Sequence[bytes]],
    probes: Sequence[Sequence[bytes]],
    arguments: argparse.Namespace,
    since: int,
) -> None:
    """Send a quarter of an hour and wait until everything that follows from it is done."""
    cpu, counts, refused = side.cpu(), side.counts(), REFUSED.total()
    if arguments.burst:
        asyncio.run(send_at_once(side.port, sessions))
        took = asyncio.run(send_evenly(side.port, probes, arguments.seconds))
    else:
        took = asyncio.run(send_evenly(side.port, sessions, arguments.seconds))
    if side.tasks is not None:
        _exchange(side.tasks, f"{since} {since + QUARTER}")
    else:
        wait_until_done(side)
    side.used.append({name: used - cpu[name] for name, used in side.cpu().items()})
    side.asked.append(side.counts() - counts)
    side.refused += REFUSED.total() - refused
    side.took[:] = took if len(side.used) <= 2 else [*side.took, *took]


def wait_until_done(side: Side) -> None:
    """Until nothing is pending. Asked for when the processes are quiet or from time to time: asking costs the stores something too."""
    waited, before = 0, sum(side.cpu().values())
    while True:
        time.sleep(1)
        waited, now = waited + 1, sum(side.cpu().values())
        if (now - before < QUIET or waited >= ASK_SECONDS) and side.tell("pending") == "0":
            return
        waited = 0 if waited >= ASK_SECONDS else waited
        before = sum(side.cpu().values())


def tell_quarter(side: Side, quarter: int, arguments: argparse.Namespace) -> None:
    """A line for a measured quarter."""
    per_site = {name: 1000 * used / arguments.sites for name, used in side.used[-1].items()}
    text = ", ".join(f"{name} {used:.2f}" for name, used in per_site.items())
    print(f"{side.name:9} quarter {quarter}: ms of CPU a site: {text}; in all {sum(per_site.values()):.2f}", flush=True)


def table(sides: Sequence[Side], arguments: argparse.Namespace) -> None:
    """The means of the measured quarters, a line for each side."""
    costs: dict[str, float] = {}
    ours: dict[str, float] = {}
    print(
        f"\n{arguments.sites} sites, {arguments.daemons} daemon(s), {arguments.stores}; means of {arguments.quarters} quarters"
    )
    for side in sides:
        parts = {name: fmean(used[name] for used in side.used[1:]) / arguments.sites * 1000 for name in side.processes}
        costs[side.name] = sum(parts.values())
        ours[side.name] = sum(value for name, value in parts.items() if name != "MongoDB's protocol")
        text = ", ".join(f"{name} {value:.2f}" for name, value in parts.items())
        sites = 2 * QUARTER * 1000 / costs[side.name]
        print(
            f"{side.name:9} {costs[side.name]:7.2f} ms of CPU a site and quarter ({text}); two cores carry {sites:,.0f} sites"
        )
        asked = {
            name: sum(each[name] for each in side.asked[1:]) for name in sorted({k for c in side.asked for k in c})
        }
        share = arguments.sites * arguments.quarters
        counts = {name: count / share for name, count in asked.items() if count}
        print("          " + ", ".join(f"{name} {n:.2f}" for name, n in counts.items() if not name.startswith(DETAIL)))
        for name in sorted((name for name in counts if name.startswith(DETAIL)), key=counts.__getitem__, reverse=True):
            detail = name.removeprefix(DETAIL)
            purpose = purpose_of(detail)
            print(f"            {counts[name]:6.2f} {detail}" + (f" ({purpose})" if purpose else ""))
        times = [1000 * percentile(side.took, share) for share in (0.5, 0.99, 1.0)]
        print(
            "          an upload took {:.0f} ms (median), {:.0f} ms (99 %), {:.0f} ms (longest)".format(*times), end=""
        )
        print(f"; {side.refused} were answered 503 and sent again" if side.refused else "")
    for name in ("peer", "old"):
        if name in costs and "cenergyd" in costs:
            print(
                f"ratio to {name}: {costs[name] / costs['cenergyd']:.2f} in all, "
                f"{ours[name] / ours['cenergyd']:.2f} without MongoDB's protocol"
            )


@contextmanager
def servers(arguments: argparse.Namespace) -> Iterator[tuple[RunningInflux | None, RunningMongo | None]]:
    """The servers of one side."""
    influx = RunningInflux() if arguments.stores != "embedded" else None
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
def cenergyd(name: str, project: Path, arguments: argparse.Namespace) -> Iterator[Side]:
    """Daemons of a checkout on stores of their own."""
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
            probes = PROBES // len(METERS) if arguments.burst else 0
            _exchange(helper, f"add {max(arguments.customers, arguments.sites + probes)}")
            settings = {
                "customers.url": f"{counter.url}/cenergyd" if counter else customers,
                "readings.url": readings,
                **dict(each.split("=", 1) for each in arguments.set),
            }
            with daemons(Path(folder), settings, arguments.daemons, project, python) as (port, pids):
                yield Side(
                    name=name,
                    port=port,
                    processes={"daemons": pids, **server_pids(influx, mongo)},
                    influx=influx,
                    mongo=mongo,
                    counter=counter,
                    helper=helper,
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
        time.sleep(4)
        try:
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
        for site in range(arguments.sites + PROBES)
    ]


if __name__ == "__main__":
    main()
