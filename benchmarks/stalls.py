"""How long the heaviest requests and computations delay other requests: the longest response time of /healthz during each of them.

    python -m benchmarks.stalls [--days 366] [--customers 10000] [--store embedded|production] [--only GROUP ...] [--case TEXT] [--places] [--folder FOLDER]

One customer has a year of readings per minute of three meters, and hourly readings of thirteen more series; the others only matter for lists and the
start. A separate process requests /healthz over one connection, again a few milliseconds after each response. Prints three figures per case: the longest
response time; the longest response time without the time in which the daemon's main thread or the requesting process was runnable but waited for a
processor (the kernel counts that in schedstat), which must not exceed 100 ms; and the most CPU time that the main thread used between two polls of the
reactor (benchmarks/long_turns.py measures that inside the daemon; less than 20 ms is shown as 0), which must not exceed 50 ms. ``--places`` shows where.

With --folder the filled stores are kept there and used again by the next run; `--only` without a group only fills them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from tests.servers import RunningInflux, RunningMongo, RunningServer

from . import overview, year_view

DAY = 86400
MAY_TAKE = 0.1
"""Seconds."""
MAY_COMPUTE = 0.05
"""Seconds of CPU time between two polls of the reactor."""
PAUSE = 0.003
PASSWORD = "password of the logger"
FURTHER = [f"{year_view.SERIAL}_{meter}" for meter in range(3, 16)]
"""Series with a reading an hour."""
LARGE_ROWS = 60_000


class LongestResponses(NamedTuple):
    """The longest response times in a period, s."""

    whole: float = 0.0
    own: float = 0.0
    """Without waiting for a processor."""

    def or_longer(self, other: LongestResponses) -> LongestResponses:
        return LongestResponses(*(max(pair) for pair in zip(self, other, strict=True)))


class Prober:
    """Requests /healthz continuously, in a separate process."""

    def __init__(self, port: int) -> None:
        self._asked: Queue[int] = Queue()
        self._found: Queue[LongestResponses] = Queue()
        self._process = Process(target=_probe, args=(port, self._asked, self._found), daemon=True)
        self._process.start()

    def watch(self, pid: int) -> None:
        """Set the process id of the daemon."""
        self._asked.put(pid)
        self._found.get()

    def longest(self) -> LongestResponses:
        """The longest response times since the last call."""
        self._asked.put(0)
        return self._found.get()

    def close(self) -> None:
        self._process.terminate()
        self._process.join()


def _probe(port: int, asked: Queue[int], found: Queue[LongestResponses]) -> None:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    longest, pid = LongestResponses(), 0
    while True:
        if not asked.empty():
            pid = asked.get() or pid
            found.put(longest)
            longest = LongestResponses()
        waited = _ready(pid)
        began = time.perf_counter()
        try:
            link.request("GET", "/healthz")
            link.getresponse().read()
        except ConnectionRefusedError:
            began = time.perf_counter()  # not started yet, or stopped
            link.close()
        except (OSError, http.client.HTTPException):
            link.close()
        took = time.perf_counter() - began
        longest = longest.or_longer(LongestResponses(took, max(0.0, took - (_ready(pid) - waited))))
        time.sleep(PAUSE)


def _ready(pid: int) -> float:
    """Time in which a process's main thread, or this process, was ready to run and had no processor, s."""
    waited = 0
    for thread in (f"{pid}/task/{pid}", f"{os.getpid()}/task/{os.getpid()}"):
        with suppress(OSError):
            waited += int(Path(f"/proc/{thread}/schedstat").read_text().split()[1])
    return waited / 1e9


class WatchedDaemon(RunningDaemon):
    """A daemon that writes down where its reactor computed for long (:mod:`benchmarks.long_turns`)."""

    @property
    def turns_path(self) -> Path:
        """The file with its long turns."""
        return self.folder / "long-turns.jsonl"

    def arguments(self, *words: str) -> list[str]:
        """The command line under watch, of ``run`` only."""
        given = super().arguments(*words)
        if words != ("run",):
            return given
        return [given[0], str(Path(__file__).with_name("long_turns.py")), str(self.turns_path), *given[2:]]

    def new_turns(self) -> list[dict[str, Any]]:
        """What was written since the last call."""
        if not self.turns_path.exists():
            return []
        found = [json.loads(line) for line in self.turns_path.read_text().splitlines()]
        self.turns_path.write_text("")
        return found


class ProbedSite(NamedTuple):
    """The daemon, and the credentials and customer of requests."""

    daemon: RunningDaemon
    token: str
    customer: str
    end: int
    days: int

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of a response."""
        link = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=180)
        try:
            link.request(method, path, body, {"Authorization": f"Bearer {self.token}", **(headers or {})})
            answer = link.getresponse()
            return answer.status, answer.read()
        finally:
            link.close()

    def got(self, path: str) -> str:
        """The size of a response to GET, which must be 200."""
        status, body = self.ask(path)
        assert status == 200, (path, status, body[:300])
        return f"{len(body) / 1024:,.0f} kB"

    def sent(self, path: str, method: str, body: object, kind: str = "application/json", **headers: str) -> str:
        """Send a change; its size and the status, which may be a refusal."""
        given = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, answer = self.ask(
            path, method, given, {"Content-Type": kind, "If-Match": "*", "Origin": self.daemon.url, **headers}
        )
        assert status < 500, (path, status, answer[:300])
        return f"{len(given) / 1024:,.0f} kB, {status}"


Case = tuple[str, Callable[[], str]]


def groups(place: ProbedSite) -> dict[str, Callable[[], Iterator[Case]]]:
    """The cases on the running daemon, by subject."""
    return {
        "pages": lambda: pages(place),
        "reads": lambda: largest_responses(place),
        "changes": lambda: changes(place),
        "uploads": lambda: uploads(place),
        "commands": lambda: commands(place),
        "derivation": lambda: derivation(place),
    }


def pages(place: ProbedSite) -> Iterator[Case]:
    """Every page for the first time since the start."""
    own = "settings power energy alerts tariff charges doctor meters access corrections stores"
    paths = ["/sign-in", "/overview", "/rejected", "/plugins", "/access", "/sessions", "/stores", "/customers/new"]
    paths += [f"/customers/{place.customer}/{name}" for name in own.split()]
    for path in (*paths, "/loggers/" + year_view.SERIAL, "/nowhere"):
        yield f"first {path.replace(place.customer, '...')}", lambda path=path: str(place.ask(path)[0])


def commands(place: ProbedSite) -> Iterator[Case]:
    """Commands that an administrator may run beside the daemon."""
    if place.daemon.settings["customers.url"].startswith("mongodb"):
        yield "migrate", lambda: _ran(place.daemon.run("migrate"))
    serial, customer = year_view.SERIAL, place.customer
    day = [datetime.fromtimestamp(at, UTC).date().isoformat() for at in (place.end - 60 * DAY, place.end)]
    within = ["--from", day[0], "--to", day[1]]
    yield "reread of 41 days", lambda: _ran(place.daemon.run("reread", serial, *within))
    yield "doctor, as a command", lambda: _ran(place.daemon.run("doctor", customer))
    yield "customers list", lambda: _ran(place.daemon.run("customers", "list"))
    yield "backup", lambda: _ran(place.daemon.run("backup", str(place.daemon.folder / f"backup-{time.time()}")))


def derivation(place: ProbedSite) -> Iterator[Case]:
    """Long work for derivation and jobs."""
    yield "corrections of a year", lambda: correct(place)
    yield "a year derived again", lambda: backfill(place)


def correct(place: ProbedSite) -> str:
    """Correct most of the year, and wait until everything is recomputed."""
    one = f"/api/v1/customers/{place.customer}/corrections"
    wanted = {"meter": "1", "start": place.end - 300 * DAY, "end": place.end, "kind": "scale", "factor": 2.0}
    status, answer = place.ask(
        one, "POST", json.dumps({**wanted, "reason": "benchmark"}).encode(), {"Content-Type": "application/json"}
    )
    assert status == 201, answer
    return f"{settled(place):.0f} s"


def largest_responses(place: ProbedSite) -> Iterator[Case]:
    """The largest responses that a user can request."""
    one, end, start = f"/api/v1/customers/{place.customer}", place.end, place.end - min(place.days, 366) * DAY
    curves = f"start={start}&end={end}&resolution=3600"
    every = "&".join(["role=load", "role=solar", "role=utility", *(f"series={name}" for name in FURTHER)])
    for kind in ("readings", "readings.csv"):
        yield f"{kind}: a year of hours, 3 roles", lambda kind=kind: place.got(f"{one}/{kind}?{curves}")
        yield f"{kind}: the same of 16 curves", lambda kind=kind: place.got(f"{one}/{kind}?{curves}&{every}")
        raw = f"start={start}&end={end}&resolution=raw"
        yield f"{kind}: 10,000 single readings of 16 curves", lambda kind=kind, raw=raw: place.got(f"{one}/{kind}?{raw}&{every}")  # fmt: skip
    for kind in ("readings", "readings.csv"):
        yield f"{kind}: 16 requests at once", lambda kind=kind: at_once(place, [f"{one}/{kind}?{curves}"] * 16)
    yield "rollups: 16 requests at once", lambda: at_once(place, [f"{one}/rollups?role=load&resolution=15m&start={start}&end={end}"] * 16)  # fmt: skip
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
    yield "overview: search", lambda: place.got("/api/v1/overview?search=site%2099&sort=solar_today")
    yield "overview page", lambda: place.got("/overview")
    yield "list of customers", lambda: place.got("/api/v1/customers")
    yield "OpenAPI document", lambda: place.got("/api/v1/openapi.json")
    yield "metrics", lambda: place.got("/metrics")


def at_once(place: ProbedSite, paths: Sequence[str]) -> str:
    """Many requests at the same time."""
    with ThreadPoolExecutor(len(paths)) as threads:
        return " ".join(Counter(str(status) for status, _ in threads.map(place.ask, paths)))


def changes(place: ProbedSite) -> Iterator[Case]:
    """The largest accepted bodies, with costly content."""
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


def uploads(place: ProbedSite) -> Iterator[Case]:
    """The largest uploads that a logger can send."""
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


def upload(place: ProbedSite, content: bytes) -> str:
    kind, body = encode.multipart_form(
        encode.log_fields(year_view.SERIAL, PASSWORD, "1", content), encode.log_filename("1"), content
    )
    return place.sent("/consume", "POST", body, kind)


def backfill(place: ProbedSite) -> str:
    """Request a backfill, and wait until nothing is pending."""
    began = time.monotonic()
    start = place.end - place.days * DAY
    place.sent(f"/api/v1/customers/{place.customer}/backfill", "POST", {"start": start, "end": place.end})
    settled(place)
    return f"{time.monotonic() - began:.0f} s"


def settled(place: ProbedSite) -> float:
    """Wait until nothing of the customer is pending, at most 200 s; returns the seconds."""
    began = time.monotonic()
    while time.monotonic() - began < 200:
        time.sleep(1)
        status = json.loads(place.ask(f"/api/v1/customers/{place.customer}/status")[1])
        if status["derivation"]["pending_start"] is None:
            break
    return time.monotonic() - began


def _ran(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr, done.stderr
    return f"exit code {done.returncode}"


class CaseRunner:
    """Runs cases on a daemon and prints their lines."""

    def __init__(self, daemon: WatchedDaemon, prober: Prober, *, places: bool) -> None:
        self._daemon = daemon
        self._prober = prober
        self._places = places
        self.worst = 0.0
        """The longest answer of all, without waiting for a processor, s."""
        self.computed = 0.0
        """The longest turn of all, s of CPU time."""

    def row(self, name: str, run: Callable[[], str]) -> None:
        """Run a case and print its line."""
        self._prober.longest()
        self._daemon.new_turns()
        began = time.monotonic()
        try:
            told = run()
        except (AssertionError, OSError) as error:
            told = f"FAILED: {str(error)[:200]}"
        took = time.monotonic() - began
        longest = self._prober.longest()
        found = self._daemon.new_turns()
        computed = max((turn.get("cpu", 0.0) for turn in found), default=0.0)
        self.worst, self.computed = max(self.worst, longest.own), max(self.computed, computed)
        whole, own, cpu = (f"{each * 1000:7.0f}" for each in (*longest, computed))
        mark = "!" if longest.own > MAY_TAKE or computed > MAY_COMPUTE else " "
        print(f"{mark} {name:45}{whole}{own}{cpu} ms  (it took {took:6.2f} s; {told})", flush=True)
        if self._places:
            for turn in sorted(found, key=lambda turn: turn.get("turn", 0.0))[-4:]:
                print("      " + json.dumps(turn), flush=True)


def measure(daemon: WatchedDaemon, customer: str, end: int, given: argparse.Namespace) -> CaseRunner:
    """Measure the chosen groups."""
    prober = Prober(daemon.port)
    measuring = CaseRunner(daemon, prober, places=given.places)
    try:
        measuring.row(f"start with {given.customers:,} customers", lambda: started(daemon, prober))
        token = daemon.run("token", "add", "--operator", "benchmark").stdout.strip()
        measuring.row("nothing for 3 s", lambda: time.sleep(3) or "")  # type: ignore[func-returns-value]
        for name, cases in groups(ProbedSite(daemon, token, customer, end, given.days)).items():
            for what, run in cases() if name in given.only else ():
                if given.case in what:
                    measuring.row(what, run)
    finally:
        prober.close()
        daemon.kill()
    return measuring


def started(daemon: RunningDaemon, prober: Prober) -> str:
    began = time.monotonic()
    daemon.launch()
    assert daemon.process is not None
    prober.watch(daemon.process.pid)
    daemon.wait_ready()
    took = time.monotonic() - began
    time.sleep(10)  # work that begins after the start
    return f"ready after {took:.1f} s"


def fill(daemon: RunningDaemon, start: int, end: int, customers: int) -> str:
    """Write customers and readings in a separate process; returns the id of the customer with readings."""
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
    """Run it; exit code 1 if any response took longer than MAY_TAKE."""
    known = ["pages", "reads", "changes", "uploads", "commands", "derivation"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=366)
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--store", choices=["embedded", "production"], default="embedded")
    parser.add_argument("--only", nargs="*", choices=known, default=known)
    parser.add_argument("--case", default="", help="only cases with this in their names")
    parser.add_argument("--places", action="store_true")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder: Path = given.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        found = prepared(folder, given)
    if found is not None:
        print(f"the longest answer: {found.worst * 1000:.0f} ms (at most {MAY_TAKE * 1000:.0f} ms)")
        print(f"the longest turn: {found.computed * 1000:.0f} ms of CPU time (at most {MAY_COMPUTE * 1000:.0f} ms)")
        sys.exit(found.worst > MAY_TAKE or found.computed > MAY_COMPUTE)


def prepared(folder: Path, given: argparse.Namespace) -> CaseRunner | None:
    """Start the stores, fill them unless they are filled, and measure."""
    settings = {"archive.folder": str(folder / "archive"), "archive.days": "5"}
    servers: list[RunningServer] = []
    try:
        if given.store == "production":
            influx, mongo = RunningInflux(folder=folder), RunningMongo(folder=folder)
            servers = [influx, mongo]
            for server in servers:
                server.start()
            settings |= {"customers.url": f"{mongo.url}/stalls", "readings.url": f"{influx.url}/stalls"}
        daemon = WatchedDaemon(folder, settings)
        filled = folder / "filled.json"
        if not filled.exists():
            began, end = time.monotonic(), int(time.time()) // DAY * DAY
            filled.write_text(json.dumps([fill(daemon, end - given.days * DAY, end, given.customers), end]))
            print(f"filled in {time.monotonic() - began:.0f} s", flush=True)
        customer, end = json.loads(filled.read_text())
        return measure(daemon, customer, end, given) if given.only else None
    finally:
        for server in servers:
            server.stop()


if __name__ == "__main__":
    fill_stores() if "--fill" in sys.argv else main()
