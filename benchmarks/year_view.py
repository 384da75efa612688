"""Server time to open the power view over 400 days of minutes of three meters, by resolution.

Fills the stores directly, starts the daemon on them, and makes the page's requests: the page itself, the curves of a day to 400 days, the
table. Every figure is the time of the whole response over loopback, of the first request and the best of the following ones.

    python benchmarks/year_view.py [--days 400] [--store embedded|production]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from cenergyd.readings.model import Reading, SeriesReadings  # noqa: E402
from cenergyd.runtime.clock import Reactor  # noqa: E402
from tests.daemon_process import RunningDaemon  # noqa: E402
from tests.servers import RunningInflux, RunningMongo  # noqa: E402

SERIAL = "001EC6001433"
DAY = 86400
LIMIT_SECONDS = 2.0
CHUNK = 20_000
REPEATS = 5


def main() -> None:
    """Run it; exit code 1 if the slowest view takes longer than LIMIT_SECONDS."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--store", choices=["embedded", "production"], default="embedded")
    arguments = parser.parse_args()
    influx, mongo = RunningInflux(), RunningMongo()
    production = arguments.store == "production"
    try:
        settings: dict[str, str] = {}
        if production:
            influx.start()
            mongo.start()
            settings = {"customers.url": f"{mongo.url}/year", "readings.url": f"{influx.url}/year"}
        with TemporaryDirectory() as folder:
            slowest = measure(RunningDaemon(Path(folder), settings), arguments.days)
    finally:
        if production:
            influx.destroy()
            mongo.destroy()
    print(f"slowest first answer: {slowest:.2f} s (at most {LIMIT_SECONDS:.0f} s)")
    sys.exit(slowest > LIMIT_SECONDS)


def measure(daemon: RunningDaemon, days: int) -> float:
    """Request all views of one daemon; returns the slowest first response, s."""
    end = int(time.time()) // DAY * DAY
    began = time.perf_counter()
    customer = fill(daemon, end - days * DAY, end)
    print(f"filled: 3 meters, {days} days, {3 * days * 1440:,} readings in {time.perf_counter() - began:.0f} s")
    daemon.start()
    try:
        token = daemon.run("token", "add", "--operator", "benchmark").stdout.strip()
        headers = {"Authorization": f"Bearer {token}"}
        slowest = 0.0
        for name, path in views(customer, end, days):
            slowest = max(slowest, ask(daemon, headers, name, path))
        return slowest
    finally:
        daemon.kill()


def views(customer: str, end: int, days: int) -> Iterator[tuple[str, str]]:
    """The requests: name and address."""
    curves = f"/api/v1/customers/{customer}/readings?end={end}"
    for length in (days, 366, 31, 7, 1):
        step = DAY if length > 100 else "auto"
        if length <= days:
            yield f"curves, {length} days", f"{curves}&channel=P&resolution={step}&start={end - length * DAY}"
    yield "page", f"/customers/{customer}/power?range=year"
    yield "page with table of a year", f"/customers/{customer}/power?start={end - 366 * DAY}&end={end}&table=1"


def ask(daemon: RunningDaemon, headers: dict[str, str], name: str, path: str) -> float:
    """Time of the first answer, s; prints that and the best of some more."""
    times, busy = [], []
    for _ in range(REPEATS):
        began, worked = time.perf_counter(), processor_seconds(daemon)
        status, body = daemon.get(path, headers)
        times.append(time.perf_counter() - began)
        busy.append(processor_seconds(daemon) - worked)
        assert status == 200, body[:500]
    points = ""
    if path.startswith("/api"):
        answer = json.loads(body)
        points = f"{len(answer['curves'])} x {len(answer['curves'][0]['time'])} points of {answer['resolution']} s"
    print(
        f"{name:32} {times[0]:6.3f} s, then {min(times[1:]):6.3f} s  processor {min(busy):5.2f} s  {len(body) / 1024:7.0f} kB  {points}"
    )
    return times[0]


def processor_seconds(daemon: RunningDaemon) -> float:
    """CPU time of the daemon, which is more meaningful than elapsed time on a busy machine."""
    assert daemon.process is not None
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fill(daemon: RunningDaemon, start: int, end: int) -> str:
    """Register a customer and write their readings, in a process of its own; the customer's id."""
    words = [
        "customers",
        "add",
        "--name",
        "Year",
        "--serial",
        SERIAL,
        "--load",
        "1",
        "--solar",
        "2",
        "--password-stdin",
    ]
    added = daemon.run(*words, stdin="password of the logger\n")
    assert added.returncode == 0, added.stderr
    asked = json.dumps([daemon.in_the_ini, start, end])
    done = subprocess.run(
        [sys.executable, __file__, "--fill"], input=asked, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def fill_stores() -> None:
    """The other process: settings, start and end come as JSON."""
    from twisted.internet import defer, task

    from cenergyd.settings.loader import load_settings
    from cenergyd.settings.sections import Settings
    from cenergyd.storage.open import open_stores

    overrides, start, end = json.loads(sys.stdin.read())

    async def work(reactor: Reactor) -> None:
        stores = await open_stores(load_settings(Settings, None, overrides), reactor)
        for since in range(start, end, CHUNK * 60):
            times = range(since, min(end, since + CHUNK * 60), 60)
            await stores.readings.write(
                [
                    SeriesReadings(f"{SERIAL}_1", [Reading(t, load(t), 0.95, 120.5, load(t) * 0.3) for t in times]),
                    SeriesReadings(f"{SERIAL}_2", [Reading(t, sun(t), 1.0, 120.5, 0.01) for t in times]),
                    SeriesReadings(
                        f"{SERIAL}_missing_meter",
                        [Reading(t, load(t) - sun(t), 0.9, 120.5, load(t) * 0.3) for t in times],
                    ),
                ]
            )
        customer = await stores.customers.by_serial(SERIAL)
        await stores.close()
        assert customer is not None
        print(customer.id)

    task.react(lambda reactor: defer.ensureDeferred(work(reactor)))


def load(time: int) -> float:
    """A load, kW."""
    return round(2 + math.sin(time / 5000) + (time % 7) / 10, 3)


def sun(time: int) -> float:
    """Solar power, kW."""
    return round(max(0.0, 5 * math.sin((time % DAY / DAY - 0.25) * 2 * math.pi)), 3)


if __name__ == "__main__":
    fill_stores() if "--fill" in sys.argv else main()
