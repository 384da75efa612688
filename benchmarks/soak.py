"""A soak test on real servers, with faults of devices and stores: memory, descriptors, log, CPU, and lost readings.

    nice python -m benchmarks.soak [--minutes 60] [--sites 100]

Simulated loggers upload sixty times faster than real ones, with every fault of the simulator (lost replies, resent files, outages, gaps, wrong
clocks, all encodings). Every two minutes a store is frozen for 20 s, killed, or restarted, in turn. At the end the stores work, the pending readings
are derived, and everything that was acknowledged is compared with the store. Prints a row a minute, and finally the figures of the run without its
first quarter, in which caches fill.
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


class Sample(NamedTuple):
    """The state of the daemon at one time."""

    seconds: float
    resident_mb: float
    descriptors: int
    log_bytes: int
    cpu_seconds: float
    acknowledged: float
    pending: float


def sample(daemon: RunningDaemon, began: float) -> Sample:
    """The present state. Raises OSError if the daemon does not answer."""
    assert daemon.process is not None
    process = Path(f"/proc/{daemon.process.pid}")
    resident = re.search(r"VmRSS:\s+(\d+) kB", (process / "status").read_text())
    assert resident
    text = daemon.get("/metrics")[1].decode()

    def total(pattern: str) -> float:
        return sum(float(value) for value in re.findall(rf"^{pattern} (\S+)$", text, re.MULTILINE))

    return Sample(
        time.monotonic() - began,
        int(resident[1]) * 1024 / 1e6,
        len(list((process / "fd").iterdir())),
        daemon.log_path.stat().st_size,
        total("process_cpu_seconds_total"),
        total(r'cenergyd_uploads_total\{[^}]*outcome="success"[^}]*\}'),
        total("cenergyd_derivation_pending_customers") + total("cenergyd_jobs_pending_customers"),
    )


def faults(stores: list[RunningServer]) -> Iterator[tuple[str, Callable[[], None]]]:
    """Endless faults of the stores, each with its description."""

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
    """Parse the command line, start the servers and run."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=60)
    options.add_argument("--sites", type=int, default=100)
    given = options.parse_args()
    influx, mongo = RunningInflux(), RunningMongo()
    try:
        influx.start()
        mongo.start()
        with TemporaryDirectory() as folder:
            soak(Path(folder), influx, mongo, given)
    finally:
        influx.destroy()
        mongo.destroy()


def soak(folder: Path, influx: RunningInflux, mongo: RunningMongo, given: argparse.Namespace) -> None:
    """Upload, cause faults, and check."""
    urls = {"customers.url": f"{mongo.url}/soak", "readings.url": f"{influx.url}/soak"}
    intervals = {"derivation.interval_seconds": "5", "jobs.interval_seconds": "60"}
    daemon = RunningDaemon(folder, urls | intervals)
    daemon.start()
    log = (folder / "simulate.log").open("wb")
    arguments = (
        "simulate", "--url", f"{daemon.url}/consume", "--sites", str(given.sites), "--register", "--faults", "all",
        "--speed", str(SPEED), "--days", f"{given.minutes * 60 * SPEED / 86400:.4f}", "--report", "report",
    )  # fmt: skip
    loggers = subprocess.Popen(daemon.arguments(*arguments), stdout=log, stderr=log, cwd=folder)
    samples: list[Sample] = []
    try:
        watch(daemon, loggers, [influx, mongo], samples, given.minutes * 60 + 600)
        wait_until_derived(daemon)
        checked = daemon.run("simulate", "--check", "report", "--wait", "100")
        print(checked.stdout.strip() or checked.stderr.strip())
        summary(samples, daemon)
    finally:
        if loggers.poll() is None:
            loggers.kill()
            loggers.wait()
        print((folder / "simulate.log").read_text()[-600:])
        daemon.stop()


def watch(
    daemon: RunningDaemon,
    loggers: subprocess.Popen[bytes],
    stores: list[RunningServer],
    samples: list[Sample],
    most: float,
) -> None:
    """Cause faults and record samples until the loggers have sent everything."""
    began = time.monotonic()
    next_fault, next_sample, to_cause = FAULT_SECONDS, 0.0, faults(stores)
    while loggers.poll() is None and time.monotonic() - began < most:
        now = time.monotonic() - began
        if now >= next_fault:
            description, cause = next(to_cause)
            print(f"{now:6.0f} s  {description}", flush=True)
            cause()
            next_fault += FAULT_SECONDS
        if now >= next_sample:
            latest = sample(daemon, began)
            samples.append(latest)
            print(
                f"{latest.seconds:6.0f} s  {latest.resident_mb:6.1f} MB  {latest.descriptors:4} descriptors  {latest.log_bytes:9} bytes of log"
                f"  {latest.cpu_seconds:7.1f} s CPU  {latest.acknowledged:8.0f} acknowledged  {latest.pending:4.0f} pending",
                flush=True,
            )
            next_sample += 60
        time.sleep(0.5)


def wait_until_derived(daemon: RunningDaemon) -> None:
    """Wait until nothing is pending."""
    end = time.monotonic() + 900
    while sample(daemon, 0).pending and time.monotonic() < end:
        time.sleep(5)


def summary(samples: list[Sample], daemon: RunningDaemon) -> None:
    """Figures over the run without its first quarter."""
    kept = [each for each in samples if each.seconds >= samples[-1].seconds / 4]
    half = len(kept) // 2
    first, last = kept[0], kept[-1]
    hours = (last.seconds - first.seconds) / 3600
    uploads = last.acknowledged - first.acknowledged
    early, late = (fmean(each.resident_mb for each in part) for part in (kept[:half], kept[half:]))
    print(f"memory       {early:.1f} MB, then {late:.1f} MB: ratio {late / early:.3f}")
    print(f"descriptors  {min(each.descriptors for each in kept)} to {max(each.descriptors for each in kept)}")
    print(f"log          {(last.log_bytes - first.log_bytes) / hours / 1e6:.2f} MB an hour")
    cpu = last.cpu_seconds - first.cpu_seconds
    print(f"CPU          {cpu / hours / 3600:.3f} of a core, {1000 * cpu / max(uploads, 1):.2f} ms an upload")
    print(f"uploads      {uploads / hours / 3600:.1f} acknowledged a second")
    # Only the last line of a traceback, which names the error, is indented no further.
    errors = Counter(re.findall(r"^    \| (\w+(?:\.\w+)+: .{0,120})", daemon.log(), re.MULTILINE))
    print(f"tracebacks   {daemon.log().count('Traceback (most recent call last)')} in the log")
    for error, count in errors.most_common(10):
        print(f"             {count} times {error}")


if __name__ == "__main__":
    main()
