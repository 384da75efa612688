"""The backlog of the fleet benchmark: sites send at once what their loggers have kept over days without a connection.

It is sent by a process of its own, so that it delays no other uploads:

    python fleet_backlog.py PORT SITES DAYS END

Each of the sites 0..SITES-1 uploads the days before END (UTC seconds) of both meters, a reading every minute, a log a day, oldest first,
all sites at once. Prints the seconds until the last log was acknowledged, and the number of 503 responses, after which a log is sent again.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.device import METERS, REFUSED, percentile, request, send_at_once, send_evenly, session, upload
from benchmarks.fleet_sides import PROBES, Side, check_limit

DAY = 86400
QUARTER = 900
PROBES_SECONDS = 20
OTHERS = 48
"""Quarters of an hour after the backlog that other sites upload, one after the other, after one before it."""
ROWS_A_DAY = 1440
CONNECTIONS = 100


def sessions(sites: int, days: int, end: int) -> Iterator[Sequence[bytes]]:
    """Made when they are sent, because all of them would not fit into memory."""
    for day in range(days, 0, -1):
        for site in range(sites):
            yield [request(upload(site, meter, end - DAY * day, ROWS_A_DAY)) for meter in METERS]


def run_backlog(side: Side, arguments: argparse.Namespace) -> None:
    """Have all sites send a backlog, and other sites new uploads, until all of it is computed; print what it took."""
    days, sites = arguments.backlog, arguments.sites
    end = int(time.time()) // QUARTER * QUARTER - OTHERS * QUARTER
    others = range(sites, sites + PROBES // len(METERS))
    # The other sites are not new: their passwords, checked by a slow hash, are known, and so are their columns.
    asyncio.run(send_evenly(side.port, [session(site, end - QUARTER) for site in others], PROBES_SECONDS))
    cpu, counts, began = side.cpu(), side.counts(), time.monotonic()
    words: list[str] = [sys.executable, __file__, *map(str, (side.port, sites, days, end))]
    sender = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    took: list[float] = []
    try:
        number = 0
        while sender.poll() is None or 0 < int(side.tell("oldest")) < end:
            uploads = [session(site, end + QUARTER * (number % OTHERS)) for site in others]
            took += asyncio.run(send_evenly(side.port, uploads, PROBES_SECONDS))
            number += 1
            check_limit(began, arguments)
    finally:
        sender.kill()
    all_done = time.monotonic() - began
    assert sender.stdout is not None
    acknowledged, refused = sender.stdout.read().split()
    used = {name: (value - cpu[name]) / sites / days for name, value in side.cpu().items()}
    computed = int(side.tell(f"derived {sites} {end - DAY * days} {end}"))
    print(
        f"{side.name}: {days} days of {sites} sites: acknowledged after {acknowledged} s ({refused} times 503), "
        f"computed and rolled up after {all_done:.0f} s: {computed} of {sites * days * ROWS_A_DAY} readings"
    )
    print("          s of CPU for a day of a site: " + ", ".join(f"{name} {value:.3f}" for name, value in used.items()))
    times = [1000 * percentile(took, share) for share in (0.5, 0.99, 1.0)]
    print(
        f"          {len(took)} uploads of other sites meanwhile took "
        "{:.0f} ms (median), {:.0f} ms (99 %), {:.0f} ms (longest)".format(*times)
    )
    if side.influx is not None:
        points = (side.counts() - counts)["InfluxDB points written"] / sites / days
        print(f"          InfluxDB: {points:.0f} points written for a site and day, other sites' included")


def main() -> None:
    """Send them."""
    port, sites, days, end = map(int, sys.argv[1:])
    began = time.monotonic()
    asyncio.run(send_at_once(port, sessions(sites, days, end), min(sites, CONNECTIONS)))
    print(f"{time.monotonic() - began:.1f} {REFUSED.total()}", flush=True)


if __name__ == "__main__":
    main()
