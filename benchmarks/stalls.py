"""How long anything that a user can ask for keeps /healthz waiting: the longest answer of /healthz during each of the heaviest computations.

    python -m benchmarks.stalls [--days 366] [--customers 10000] [--store embedded|production]

One customer has a year of minutes of three meters and thirteen more series of hours; the others are there for the lists and for the start. A process
of its own asks /healthz over one connection, again a few milliseconds after each answer. On a machine whose processors are taken by others every
figure is larger: the first row says what nothing at all costs.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from multiprocessing import Process, Queue
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS
from cenergyd.customers.model import Customer
from cenergyd.documents.kinds import SITE
from cenergyd.documents.store import NewDocument
from cenergyd.jobs.site_state.summary import summary_to_json
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.testing.daemon import RunningDaemon
from tests.servers import RunningInflux, RunningMongo

from . import overview, year_view

DAY = 86400
MAY_TAKE = 0.1
"""Seconds."""
PAUSE = 0.003
PASSWORD = "password of the logger"
FURTHER = [f"{year_view.SERIAL}_{meter}" for meter in range(3, 16)]
"""Series with a reading an hour."""
LARGE_ROWS = 60_000


class Prober:
    """Asks /healthz all the time, in a process of its own."""

    def __init__(self, port: int) -> None:
        self._asked: Queue[str] = Queue()
        self._found: Queue[float] = Queue()
        self._process = Process(target=_probe, args=(port, self._asked, self._found), daemon=True)
        self._process.start()

    def longest(self) -> float:
        """Seconds that the longest answer took since this was asked the last time."""
        self._asked.put("longest")
        return self._found.get()

    def close(self) -> None:
        self._process.terminate()
        self._process.join()


def _probe(port: int, asked: Queue[str], found: Queue[float]) -> None:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    longest = 0.0
    while True:
        if not asked.empty():
            asked.get()
            found.put(longest)
            longest = 0.0
        began = time.perf_counter()
        try:
            link.request("GET", "/healthz")
            link.getresponse().read()
        except ConnectionRefusedError:
            began = time.perf_counter()  # not yet there, or not any more
            link.close()
        except (OSError, http.client.HTTPException):
            link.close()
        longest = max(longest, time.perf_counter() - began)
        time.sleep(PAUSE)


class Place(NamedTuple):
    """Where and as whom to ask."""

    daemon: RunningDaemon
    token: str
    customer: str
    end: int
    days: int

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of an answer."""
        link = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=180)
        try:
            link.request(method, path, body, {"Authorization": f"Bearer {self.token}", **(headers or {})})
            answer = link.getresponse()
            return answer.status, answer.read()
        finally:
            link.close()

    def got(self, path: str) -> str:
        """GET, which has to be answered with 200; how much came."""
        status, body = self.ask(path)
        assert status == 200, (path, status, body[:300])
        return f"{len(body) / 1024:,.0f} kB"

    def sent(self, path: str, method: str, body: object, kind: str = "application/json", **headers: str) -> str:
        """A change, whatever is said to it; the status."""
        given = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, answer = self.ask(
            path, method, given, {"Content-Type": kind, "If-Match": "*", "Origin": self.daemon.url, **headers}
        )
        assert status < 500, (path, status, answer[:300])
        return f"{len(given) / 1024:,.0f} kB, {status}"


Case = tuple[str, Callable[[], str]]


def cases(place: Place) -> Iterator[Case]:
    """All that is tried on the running daemon."""
    yield "nothing", lambda: time.sleep(3) or "3 s"  # type: ignore[func-returns-value]
    yield from questions(place)
    yield from changes(place)
    yield from uploads(place)
    if place.daemon.settings["customers.url"].startswith("mongodb"):
        yield "migrate beside the daemon", lambda: _ran(place.daemon.run("migrate"))
    yield "a year derived again by the daemon", lambda: backfill(place)


def questions(place: Place) -> Iterator[Case]:
    """Whatever a user may look at."""
    one, end, start = f"/api/v1/customers/{place.customer}", place.end, place.end - min(place.days, 366) * DAY
    curves = f"start={start}&end={end}&resolution=3600"
    every = "&".join(["role=load", "role=solar", "role=utility", *(f"series={name}" for name in FURTHER)])
    for kind in ("readings", "readings.csv"):
        yield f"{kind}: a year of hours, 3 roles", lambda kind=kind: place.got(f"{one}/{kind}?{curves}")
        yield f"{kind}: the same of 16 curves", lambda kind=kind: place.got(f"{one}/{kind}?{curves}&{every}")
        raw = f"start={start}&end={end}&resolution=raw"
        yield f"{kind}: 10,000 single readings of 16 curves", lambda kind=kind, raw=raw: place.got(f"{one}/{kind}?{raw}&{every}")  # fmt: skip
    first, after = (datetime.fromtimestamp(at, UTC).date().isoformat() for at in (start, end))
    for step in ("day", "month"):
        asked = f"start={first}&end={after}&step={step}"
        yield f"energy: a year by {step}", lambda asked=asked: place.got(f"{one}/energy?{asked}")
    yield "energy: ten years by month", lambda: place.got(f"{one}/energy?start=2017-01-01&end=2026-11-01&step=month")
    for role in ("load", "utility"):
        asked = f"role={role}&resolution=15m&start={start}&end={end}"
        yield f"rollups: a year of 15 minutes of {role}", lambda asked=asked: place.got(f"{one}/rollups?{asked}")
    yield "net load of a year", lambda: place.got(f"{one}/net-load?start={start}&end={end}")
    yield "charges", lambda: place.got(f"{one}/charges")
    yield "charges page", lambda: place.got(f"/customers/{place.customer}/charges")
    yield "energy page of a year", lambda: place.got(f"/customers/{place.customer}/energy?step=year")
    yield "power page with the table of a year", lambda: place.got(f"/customers/{place.customer}/power?start={start}&end={end}&table=1")  # fmt: skip
    yield "doctor", lambda: place.got(f"{one}/doctor")
    yield "overview", lambda: place.got("/api/v1/overview")
    yield "overview: search", lambda: place.got("/api/v1/overview?search=site%2099&sort=made")
    yield "overview page", lambda: place.got("/overview")
    yield "list of customers", lambda: place.got("/api/v1/customers")
    yield "OpenAPI document", lambda: place.got("/api/v1/openapi.json")
    yield "metrics", lambda: place.got("/metrics")


def changes(place: Place) -> Iterator[Case]:
    """The largest bodies that are taken, as bad as they can be."""
    one = f"/api/v1/customers/{place.customer}"
    size = 65_000
    deep: Any = []
    for _ in range(30):
        deep = [deep]
    bodies: dict[str, object] = {
        "a long name": {"name": "n" * size},
        "many fields": {f"f{n}": 1 for n in range(size // 12)},
        "a long sum": {"load": "+".join(["1"] * (size // 2 - 10))},
        "extensions": {"extensions": {f"e{n}": [n] for n in range(size // 15)}},
        "nested": {"extensions": {"x": [deep] * (size // 70)}},
        "long digits": {"extensions": {"x": [10**3000] * (size // 3100)}},
    }
    for name, body in bodies.items():
        yield f"settings: {name}", lambda body=body: place.sent(one + "/settings", "PATCH", body, "application/merge-patch+json")  # fmt: skip
    periods = [{"name": f"p{n}", "energy": "0.1", "days": ["mon"], "hours": [[0, 24]]} for n in range(size // 80)]
    yield "tariff of 64 kB", lambda: place.sent(one + "/tariff", "PUT", {"currency": "EUR", "periods": periods})
    channels = [{"type": "email", "to": f"a{n}@example.org"} for n in range(size // 48)]
    yield "alerts of 64 kB", lambda: place.sent(one + "/alerts", "PUT", {"channels": channels})
    form = "application/x-www-form-urlencoded"
    yield "settings form of 64 kB", lambda: place.sent(f"/customers/{place.customer}/settings", "POST", b"&".join(b"f%d=1" % n for n in range(size // 9)), form)  # fmt: skip
    yield "sign-in form of 64 kB", lambda: place.sent("/sign-in", "POST", b"token=" + b"%41" * (size // 3), form)


def uploads(place: Place) -> Iterator[Case]:
    """What a logger may send."""
    start = place.end - LARGE_ROWS * 60
    rows = [Reading(start + 60 * n, 2.0 + n % 7 / 8, 0.95, 120.5, 0.5) for n in range(LARGE_ROWS)]
    text = encode.log_text(rows, VERIS)
    for name, content in (("gzip", encode.gz(text)), ("plain", text[: 24 << 20].rpartition(b"\n")[0] + b"\n")):
        yield f"upload of a large log, {name}", lambda content=content: upload(place, content)
    record = "<record><time>2026-01-01 00:00:00</time>" + '<point number="10" value="1"/>' * 20 + "</record>"
    head = f"<DAS><mode>LOGFILEUPLOAD</mode><serial>{year_view.SERIAL}</serial><password>{PASSWORD}</password><devices><device><address>1</address><records>"
    body = (head + record * 14_000 + "</records></device></devices></DAS>").encode()
    yield "upload of a large XML message", lambda: place.sent("/consume", "POST", body, "text/xml")
    config = b"".join(b"POINT%dNAME=%d\r\n" % (n, n) for n in range(14_000))[: 250 << 10]
    fields = {"MODE": "CONFIGFILEUPLOAD", "SERIALNUMBER": year_view.SERIAL, "PASSWORD": PASSWORD, "MODBUSDEVICE": "1"}
    kind, form = encode.multipart_form(fields, "mb-001.ini", config)
    yield "upload of the largest config file", lambda: place.sent("/consume", "POST", form, kind)


def upload(place: Place, content: bytes) -> str:
    kind, body = encode.multipart_form(
        encode.log_fields(year_view.SERIAL, PASSWORD, "1", content), encode.log_filename("1"), content
    )
    return place.sent("/consume", "POST", body, kind)


def backfill(place: Place) -> str:
    """Marks the range and waits until nothing is pending any more, its rollups and energy included."""
    began = time.monotonic()
    start = place.end - place.days * DAY
    place.sent(f"/api/v1/customers/{place.customer}/backfill", "POST", {"start": start, "end": place.end})
    while time.monotonic() - began < 600:
        time.sleep(1)
        lines = place.ask("/metrics")[1].decode().splitlines()
        waiting = [line for line in lines if "_pending_customers " in line and line.startswith("cenergyd_")]
        if waiting and all(float(line.split()[-1]) == 0 for line in waiting):
            break
    return f"{time.monotonic() - began:.0f} s"


def _ran(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode in (0, 1), done.stderr
    return f"exit code {done.returncode}"


def measure(daemon: RunningDaemon, days: int, customers: int) -> float:
    """All cases; the longest answer of all, s."""
    end = int(time.time()) // DAY * DAY
    began = time.monotonic()
    customer = fill(daemon, end - days * DAY, end, customers)
    print(f"filled in {time.monotonic() - began:.0f} s", flush=True)
    prober = Prober(daemon.port)
    worst = 0.0
    try:
        worst = max(worst, row(prober, f"start with {customers:,} customers", lambda: started(daemon)))
        token = daemon.run("token", "add", "--operator", "benchmark").stdout.strip()
        for name, run in cases(Place(daemon, token, customer, end, days)):
            worst = max(worst, row(prober, name, run))
    finally:
        prober.close()
        daemon.kill()
    return worst


def started(daemon: RunningDaemon) -> str:
    began = time.monotonic()
    daemon.start()
    took = time.monotonic() - began
    time.sleep(10)  # what begins after the start
    return f"ready after {took:.1f} s"


def row(prober: Prober, name: str, run: Callable[[], str]) -> float:
    """Run a case and print its line."""
    prober.longest()
    began = time.monotonic()
    told = run()
    took = time.monotonic() - began
    longest = prober.longest()
    print(f"{'!' if longest > MAY_TAKE else ' '} {name:45} {longest * 1000:7.0f} ms  (it took {took:6.2f} s; {told})", flush=True)  # fmt: skip
    return longest


def fill(daemon: RunningDaemon, start: int, end: int, customers: int) -> str:
    """Write customers and readings in a process of its own; the id of the one with readings."""
    words = ["--name", "Year", "--serial", year_view.SERIAL, "--load", "1", "--solar", "2", "--password-stdin"]
    added = daemon.run("customers", "add", *words, stdin=PASSWORD + "\n")
    assert added.returncode == 0, added.stderr
    asked = json.dumps([daemon.in_the_ini, start, end, customers])
    command = [sys.executable, "-m", "benchmarks.stalls", "--fill"]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def fill_stores() -> None:
    """The other process: settings, range and number of customers come as JSON."""
    from twisted.internet import defer, task

    from cenergyd.settings.loader import load_settings
    from cenergyd.settings.sections import Settings
    from cenergyd.storage.open import open_stores

    overrides, start, end, customers = json.loads(sys.stdin.read())

    async def work(reactor: Any) -> None:
        stores = await open_stores(load_settings(Settings, None, overrides), reactor)
        now = int(time.time())
        for number in range(customers):
            site = Customer(id="", name=f"Site {number}", load="1", solar="2", logger_serial_number=f"AA{number:010}")
            await stores.customers.add(site)
        for first in range(0, customers, 1000):
            sites = [overview.made_up(number, now) for number in range(first, min(first + 1000, customers))]
            await stores.documents.put_many(
                SITE, [NewDocument(each.customer_id, summary_to_json(each), each.state.kind, now) for each in sites]
            )
        for since in range(start, end, 20_000 * 60):
            await stores.readings.write(_readings(range(since, min(end, since + 20_000 * 60), 60)))
        customer = await stores.customers.by_serial(year_view.SERIAL)
        assert customer is not None
        await stores.close()
        print(customer.id)

    task.react(lambda reactor: defer.ensureDeferred(work(reactor)))


def _readings(times: range) -> list[SeriesReadings]:
    load, sun, serial = year_view.load, year_view.sun, year_view.SERIAL
    hours = [at for at in times if at % 3600 == 0]
    return [
        SeriesReadings(f"{serial}_1", [Reading(at, load(at), 0.95, 120.5, load(at) * 0.3) for at in times]),
        SeriesReadings(f"{serial}_2", [Reading(at, sun(at), 1.0, 120.5, 0.01) for at in times]),
        *(SeriesReadings(name, [Reading(at, load(at), 0.95, 120.5, 0.5) for at in hours]) for name in FURTHER),
    ]


def main() -> None:
    """Run it; exit code 1 where anything took longer than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=366)
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--store", choices=["embedded", "production"], default="embedded")
    given = parser.parse_args()
    influx, mongo = RunningInflux(), RunningMongo()
    settings: dict[str, str] = {}
    try:
        if given.store == "production":
            influx.start()
            mongo.start()
            settings = {"customers.url": f"{mongo.url}/stalls", "readings.url": f"{influx.url}/stalls"}
        with TemporaryDirectory() as folder:
            worst = measure(RunningDaemon(Path(folder), settings), given.days, given.customers)
    finally:
        if given.store == "production":
            with suppress(Exception):
                influx.destroy()
                mongo.destroy()
    print(f"the longest: {worst * 1000:.0f} ms (at most {MAY_TAKE * 1000:.0f} ms)")
    sys.exit(worst > MAY_TAKE)


if __name__ == "__main__":
    fill_stores() if "--fill" in sys.argv else main()
