"""An upload's cost in two versions of cenergyd, in turns on the same real servers or on embedded stores: CPU time of the daemon and of each server, memory.

    nice python benchmarks/upload_pairs.py --old CHECKOUT [--stores servers|embedded] [--sites 60] [--seconds 5] [--rounds 5]
        [--connections 32]

CHECKOUT has a .venv of its own. Derivation and jobs are delayed, so that only the uploads are compared. Each round of each version has two
parts: uploads with energy registers, which versions before them do not store, and uploads whose registers are empty, which all versions
store alike. Printed per upload: the least of all rounds and the ratio, new to old; a machine's other work only ever adds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pymongo import MongoClient

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.device import FreshUploads, password_of, serial_of  # noqa: E402
from benchmarks.memory import resident_mb  # noqa: E402
from benchmarks.processes import PROJECT, cpu_seconds, daemons, freeze, thaw, thawed  # noqa: E402
from benchmarks.uploads_per_second import make_sites, on_real_servers, wrk  # noqa: E402
from tests.servers import RunningInflux, RunningMongo  # noqa: E402

WARM_UP_SECONDS = 15
LEAD_SECONDS = 3
"""Before each measurement: work that was delayed while a daemon was frozen."""
KINDS = ("with registers", "without")
Figures = dict[str, float]
Servers = tuple[RunningInflux, RunningMongo]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--stores", choices=["servers", "embedded"], default="servers")
    parser.add_argument("--sites", type=int, default=60)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=32)
    asked = parser.parse_args()
    if asked.stores == "servers":
        on_real_servers(on_servers, asked)
    else:
        with TemporaryDirectory() as folder:
            uploads = {
                kind: FreshUploads(Path(folder) / kind, asked.sites, registers=kind == KINDS[0]) for kind in KINDS
            }
            measure(Path(folder), None, uploads, asked)


def on_servers(folder: Path, influx: RunningInflux, mongo: RunningMongo, asked: argparse.Namespace) -> None:
    """Measure on real servers."""
    uploads = {KINDS[0]: make_sites(folder, influx, mongo, asked.sites)}
    uploads[KINDS[1]] = FreshUploads(folder / "without", asked.sites, registers=False)
    with MongoClient[dict[str, Any]](mongo.url) as client:
        client.old.customer.insert_many(list(client.cenergyd.customer.find()))
    measure(folder, (influx, mongo), uploads, asked)


def measure(
    folder: Path, servers: Servers | None, uploads: Mapping[str, FreshUploads], asked: argparse.Namespace
) -> None:
    """Measure both versions in turns; a daemon is frozen while the other one is measured."""
    found: dict[tuple[str, str], list[Figures]] = {}
    with ExitStack() as stack:
        sides: dict[str, tuple[int, int]] = {}
        for name, project in (("old", asked.old.resolve()), ("new", PROJECT)):
            port, (pid,) = stack.enter_context(_daemon(folder / name, name, project, servers))
            if servers is None:
                add_sites(folder / name, project, asked.sites)
            wrk(port, uploads[KINDS[1]], asked.connections, WARM_UP_SECONDS)
            freeze([pid])
            stack.callback(thaw, [pid])  # a frozen process cannot end
            sides[name] = port, pid
        for number in range(asked.rounds):
            for name in ("old", "new") if number % 2 else ("new", "old"):
                with thawed([sides[name][1]]):
                    for kind in KINDS:
                        figures = one(*sides[name], uploads[kind], servers, asked)
                        found.setdefault((kind, name), []).append(figures)
                        print(kind, name, {key: round(value, 3) for key, value in figures.items()}, flush=True)
    for kind in KINDS:
        print(f"\n{kind}: the least of {asked.rounds} rounds")
        for key in found[kind, "new"][0]:
            old, new = (min(each[key] for each in found[kind, name]) for name in ("old", "new"))
            print(f"  {key:32} old {old:8.3f}  new {new:8.3f}  ratio {new / old:5.2f}")


def add_sites(folder: Path, project: Path, count: int) -> None:
    """Register sites in the embedded stores of a daemon that runs in a folder, by the version's own command."""
    for site in range(count):
        words = [
            "--name",
            f"Site {site}",
            "--serial",
            serial_of(site),
            "--load",
            "1",
            "--solar",
            "2",
            "--password-stdin",
        ]
        command = [str(project / ".venv/bin/python"), "-m", "cenergyd", "customers", "add", *words]
        environment = {**os.environ, "PYTHONPATH": str(project)}
        subprocess.run(
            command, input=password_of(site) + "\n", text=True, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )  # fmt: skip


def _daemon(folder: Path, name: str, project: Path, servers: Servers | None) -> Any:
    """A daemon of a checkout with databases of its own; None: embedded ones."""
    folder.mkdir()
    python = str(project / ".venv/bin/python")
    # As in an installed package: compiling at the start would leave gaps in the daemon's memory.
    subprocess.run([python, "-m", "compileall", "-q", str(project / "cenergyd")], check=True)
    database = "cenergyd" if name == "new" else "old"
    settings = {"derivation.interval_seconds": "600", "jobs.interval_seconds": "600"}
    if servers is not None:
        influx, mongo = servers
        settings |= {"customers.url": f"{mongo.url}/{database}", "readings.url": f"{influx.url}/{database}"}
    return daemons(folder, settings, 1, project, python)


def one(port: int, pid: int, uploads: FreshUploads, servers: Servers | None, asked: argparse.Namespace) -> Figures:
    """Figures of one measurement, for an upload."""
    processes = {"daemon": pid}
    if servers is not None:
        influx, mongo = servers
        assert influx.process and mongo.process
        processes |= {"InfluxDB": influx.process.pid, "MongoDB's protocol": mongo.process.pid}
    wrk(port, uploads, asked.connections, LEAD_SECONDS)
    used = {name: cpu_seconds(each) for name, each in processes.items()}
    work = dict(influx_work(servers[0])) if servers is not None else {}
    done = wrk(port, uploads, asked.connections, asked.seconds).requests
    figures = {f"{name}, ms of CPU": 1000 * (cpu_seconds(each) - used[name]) / done for name, each in processes.items()}
    if servers is not None:
        figures |= {f"InfluxDB: {key}": (value - work[key]) / done for key, value in influx_work(servers[0])}
    return {**figures, "the daemon's memory, MB": resident_mb(pid)}


def influx_work(influx: RunningInflux) -> Iterator[tuple[str, float]]:
    """What InfluxDB has counted of requests since its start."""
    with urllib.request.urlopen(f"{influx.http_url}/debug/vars") as reply:
        counted: Mapping[str, float] = next(each["values"] for key, each in json.load(reply).items() if key.startswith("httpd:"))  # fmt: skip
    for key, name in (
        ("writeReq", "writes"),
        ("pointsWrittenOK", "points"),
        ("writeReqBytes", "bytes written"),
        ("req", "requests"),
    ):
        yield name, counted[key]


if __name__ == "__main__":
    main()
