"""The start, the idle memory and the power page in two versions of cenergyd, in turns on stores of their own.

    nice python benchmarks/daemon_pairs.py --old CHECKOUT [--stores embedded|servers] [--rounds 5] [--pages 300]

CHECKOUT has a .venv of its own. In each round each version's daemon is started on stores with one site, two days of minutes of two
meters, that has just uploaded. Printed for each figure: the least of all rounds and the ratio, new to old; a machine's other work only ever
adds. The kernel counts CPU time in steps of 10 ms, so the first view of a page, which is one request, is exact to that.
"""

from __future__ import annotations

import argparse
import asyncio
import os
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

from benchmarks.device import METERS, ROWS, password_of, request, send_at_once, serial_of, upload  # noqa: E402
from benchmarks.memory import resident_mb  # noqa: E402
from benchmarks.processes import PROJECT, cpu_seconds, daemons  # noqa: E402
from tests.servers import RunningInflux, RunningMongo  # noqa: E402

SITE = 1
DAY = 86400
IDLE_SECONDS = 4
"""Between the start and the measurement of memory."""
SETTLE_SECONDS = 8
"""For derivation, jobs and the state of the site."""
DAYS = 2
"""Of minutes, before the first round."""
Figures = dict[str, float]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--stores", choices=["embedded", "servers"], default="embedded")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pages", type=int, default=300)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder, servers(asked.stores) as urls:
        sides = {
            name: Side(Path(folder) / name, name, project, urls)
            for name, project in (("old", asked.old.resolve()), ("new", PROJECT))
        }
        found: dict[str, list[Figures]] = {"old": [], "new": []}
        for number in range(asked.rounds):
            for name in ("old", "new") if number % 2 else ("new", "old"):
                found[name].append(sides[name].measure(asked.pages))
                print(name, {key: round(value, 2) for key, value in found[name][-1].items()}, flush=True)
    print(f"\n{asked.stores} stores, the least of {asked.rounds} rounds")
    for key in found["new"][0]:
        old, new = (min(each[key] for each in found[name]) for name in ("old", "new"))
        print(f"  {key:40} old {old:8.2f}  new {new:8.2f}  ratio {new / old:5.2f}")


@contextmanager
def servers(stores: str) -> Iterator[Mapping[str, str]]:
    """The URLs of real servers by setting, without the database; empty for embedded stores."""
    if stores == "embedded":
        yield {}
        return
    influx, mongo = RunningInflux(), RunningMongo()
    try:
        influx.start()
        mongo.start()
        yield {"customers.url": mongo.url, "readings.url": influx.url}
    finally:
        influx.destroy()
        mongo.destroy()


class Side:
    """One version with its stores."""

    def __init__(self, folder: Path, name: str, project: Path, urls: Mapping[str, str]) -> None:
        folder.mkdir()
        self._folder, self._project, self._python = folder, project, str(project / ".venv/bin/python")
        # As in an installed package: compiling at the start would leave gaps in the daemon's memory.
        subprocess.run([self._python, "-m", "compileall", "-q", str(project / "cenergyd")], check=True)
        self._settings = {key: f"{url}/{name}" for key, url in urls.items()}
        with daemons(self._folder, self._settings, 1, self._project, self._python) as (port, _):
            words = [
                "customers",
                "add",
                "--name",
                "Site",
                "--serial",
                serial_of(SITE),
                "--load",
                "1",
                "--solar",
                "2",
                "--password-stdin",
            ]
            self._customer = self._run(*words, stdin=password_of(SITE) + "\n").strip()
            self._token = self._run("token", "add", "--operator", "benchmark").strip()
            now = int(time.time()) // 60 * 60
            logs = [(meter, now - day * DAY) for day in range(DAYS, 0, -1) for meter in METERS]
            bodies = [request(upload(SITE, meter, start, DAY // 60)) for meter, start in logs]
            asyncio.run(send_at_once(port, [bodies], 1))
            time.sleep(SETTLE_SECONDS)

    def _run(self, *words: str, stdin: str = "") -> str:
        pairs = [word for key, value in self._settings.items() for word in ("--set", f"{key}={value}")]
        command = [self._python, "-m", "cenergyd", *pairs, *words]
        environment = {**os.environ, "PYTHONPATH": str(self._project)}
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, cwd=self._folder, env=environment
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        return done.stdout

    def measure(self, pages: int) -> Figures:
        """Figures of one start."""
        with daemons(self._folder, self._settings, 1, self._project, self._python) as (port, (pid,)):
            figures = {"start, s of CPU until /readyz": cpu_seconds(pid)}
            time.sleep(IDLE_SECONDS)
            figures["idle memory, MB"] = resident_mb(pid)
            start = int(time.time()) // 60 * 60 - 60 * ROWS
            asyncio.run(send_at_once(port, [[request(upload(SITE, meter, start)) for meter in METERS]], 1))
            time.sleep(SETTLE_SECONDS)
            path = f"/customers/{self._customer}/power?range=day"
            before = cpu_seconds(pid)
            self._get(port, path)
            figures["power page, first view, ms of CPU"] = 1000 * (cpu_seconds(pid) - before)
            for name, query, number in (("power page", "", pages), ("power page with table", "&table=1", pages // 3)):
                before, took = cpu_seconds(pid), []
                for _ in range(number):
                    began = time.perf_counter()
                    size = self._get(port, path + query)
                    took.append(time.perf_counter() - began)
                figures[f"{name}, ms of CPU"] = 1000 * (cpu_seconds(pid) - before) / number
                figures[f"{name}, least ms"] = 1000 * min(took)
                figures[f"{name}, bytes"] = size
            return figures

    def _get(self, port: int, path: str) -> int:
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {self._token}"}
        )
        with urllib.request.urlopen(asked, timeout=60) as reply:
            return len(reply.read())


if __name__ == "__main__":
    main()
