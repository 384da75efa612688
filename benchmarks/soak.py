"""A daemon for an hour on real servers, with devices and stores that misbehave: memory, descriptors, log, CPU, and whether anything was lost.

    nice python -m benchmarks.soak [--minutes 60] [--sites 100]

Simulated loggers upload sixty times faster than real ones, with every fault of the simulator (lost replies, resent files, outages, gaps, clocks that
are wrong, odd encodings). Every two minutes a store is frozen for 20 s, killed, or restarted, one after the other. At the end all is well again, what waits is derived, and
everything that was acknowledged is compared with the store. Prints a row a minute, and at last the figures over the run without its first quarter, in
which caches fill.
"""

from __future__ import annotations

import argparse
import itertools
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import NamedTuple

from cenergyd.testing.daemon import RunningDaemon
from tests.servers import RunningInflux, RunningMongo, RunningServer

SPEED = 60
FAULT_SECONDS = 120.0
FROZEN_SECONDS = 20.0


class Look(NamedTuple):
    """The daemon at one moment."""

    seconds: float
    resident_mb: float
    descriptors: int
    log_bytes: int
    cpu_seconds: float
    acknowledged: float
    pending: float


def look(daemon: RunningDaemon, began: float) -> Look:
    """Raises OSError where it does not answer."""
    assert daemon.process is not None
    process = Path(f"/proc/{daemon.process.pid}")
    resident = re.search(r"VmRSS:\s+(\d+) kB", (process / "status").read_text())
    assert resident
    text = daemon.get("/metrics")[1].decode()

    def total(pattern: str) -> float:
        return sum(float(value) for value in re.findall(rf"^{pattern} (\S+)$", text, re.MULTILINE))

    return Look(
        time.monotonic() - began,
        int(resident[1]) * 1024 / 1e6,
        len(list((process / "fd").iterdir())),
        daemon.log_path.stat().st_size,
        total("process_cpu_seconds_total"),
        total(r'cenergyd_uploads_total\{[^}]*outcome="success"[^}]*\}'),
        total("cenergyd_derivation_pending_customers") + total("cenergyd_jobs_pending_customers"),
    )


def faults(stores: list[RunningServer]) -> Iterator[tuple[str, Callable[[], None]]]:
    """What to do to the stores, one after the other."""

    def frozen(store: RunningServer) -> None:
        store.pause()
        time.sleep(FROZEN_SECONDS)
        store.resume()

    def killed(store: RunningServer) -> None:
        store.kill()
        time.sleep(5)
        store.start()

    def restarted(store: RunningServer) -> None:
        store.stop()
        store.start()

    for fault in itertools.cycle((frozen, killed, restarted)):
        for store in stores:
            yield f"{store.name} {fault.__name__}", lambda fault=fault, store=store: fault(store)  # type: ignore[misc]


def main() -> None:
    """Run it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=60)
    options.add_argument("--sites", type=int, default=100)
    asked = options.parse_args()
    influx, mongo = RunningInflux(), RunningMongo()
    try:
        influx.start()
        mongo.start()
        with TemporaryDirectory() as folder:
            soak(Path(folder), influx, mongo, asked)
    finally:
        influx.destroy()
        mongo.destroy()


def soak(folder: Path, influx: RunningInflux, mongo: RunningMongo, asked: argparse.Namespace) -> None:
    """Upload, disturb, look."""
    urls = {"customers.url": f"{mongo.url}/soak", "readings.url": f"{influx.url}/soak"}
    usual = {"derivation.interval_seconds": "5", "jobs.interval_seconds": "60"}
    daemon = RunningDaemon(folder, urls | usual)
    daemon.start()
    log = (folder / "simulate.log").open("wb")
    words = (
        "simulate", "--url", f"{daemon.url}/consume", "--sites", str(asked.sites), "--register", "--faults", "all",
        "--speed", str(SPEED), "--days", f"{asked.minutes * 60 * SPEED / 86400:.4f}", "--report", "report",
    )  # fmt: skip
    loggers = subprocess.Popen(daemon.arguments(*words), stdout=log, stderr=log, cwd=folder)
    looks: list[Look] = []
    try:
        watch(daemon, loggers, [influx, mongo], looks, asked.minutes * 60 + 600)
        settle(daemon)
        checked = daemon.run("simulate", "--check", "report", "--wait", "100")
        print(checked.stdout.strip() or checked.stderr.strip())
        summary(looks, daemon)
    finally:
        if loggers.poll() is None:
            loggers.kill()
            loggers.wait()
        print((folder / "simulate.log").read_text()[-600:])
        daemon.stop()


def watch(
    daemon: RunningDaemon, loggers: subprocess.Popen[bytes], stores: list[RunningServer], looks: list[Look], most: float
) -> None:
    """Disturb the stores and look at the daemon until the loggers have sent all."""
    began = time.monotonic()
    next_fault, next_look, doing = FAULT_SECONDS, 0.0, faults(stores)
    while loggers.poll() is None and time.monotonic() - began < most:
        now = time.monotonic() - began
        if now >= next_fault:
            what, do = next(doing)
            print(f"{now:6.0f} s  {what}", flush=True)
            do()
            next_fault += FAULT_SECONDS
        if now >= next_look:
            seen = look(daemon, began)
            looks.append(seen)
            print(
                f"{seen.seconds:6.0f} s  {seen.resident_mb:6.1f} MB  {seen.descriptors:4} descriptors  {seen.log_bytes:9} bytes of log"
                f"  {seen.cpu_seconds:7.1f} s CPU  {seen.acknowledged:8.0f} acknowledged  {seen.pending:4.0f} pending",
                flush=True,
            )
            next_look += 60
        time.sleep(0.5)


def settle(daemon: RunningDaemon) -> None:
    """Wait until nothing is pending."""
    end = time.monotonic() + 900
    while look(daemon, 0).pending and time.monotonic() < end:
        time.sleep(5)


def summary(looks: list[Look], daemon: RunningDaemon) -> None:
    """Figures over the run without its first quarter."""
    kept = [one for one in looks if one.seconds >= looks[-1].seconds / 4]
    half = len(kept) // 2
    first, last = kept[0], kept[-1]
    hours = (last.seconds - first.seconds) / 3600
    uploads = last.acknowledged - first.acknowledged
    early, late = (fmean(one.resident_mb for one in part) for part in (kept[:half], kept[half:]))
    print(f"memory       {early:.1f} MB, then {late:.1f} MB: ratio {late / early:.3f}")
    print(f"descriptors  {min(one.descriptors for one in kept)} to {max(one.descriptors for one in kept)}")
    print(f"log          {(last.log_bytes - first.log_bytes) / hours / 1e6:.2f} MB an hour")
    cpu = last.cpu_seconds - first.cpu_seconds
    print(f"CPU          {cpu / hours / 3600:.3f} of a core, {1000 * cpu / max(uploads, 1):.2f} ms an upload")
    print(f"uploads      {uploads / hours / 3600:.1f} acknowledged a second")
    # The last line of a traceback, which names the error, is the only one of it that is not indented any further.
    ends = Counter(re.findall(r"^    \| (\w+(?:\.\w+)+: .{0,120})", daemon.log(), re.MULTILINE))
    print(f"tracebacks   {daemon.log().count('Traceback (most recent call last)')} in the log")
    for end, count in ends.most_common(10):
        print(f"             {count} times {end}")


if __name__ == "__main__":
    main()
