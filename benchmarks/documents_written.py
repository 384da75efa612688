"""Counts what a fleet's uploads read and write in MongoDB, in real time: ``python benchmarks/documents_written.py --sites 12 --every 90``.

:mod:`benchmarks.fleet` sets the daemons' clock forward between two quarters of an hour. Here every logger uploads readings of the present at
a fixed interval by the machine's clock, to show that this makes no difference. The first uploads are not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.device import METERS, request, send_evenly, upload
from benchmarks.fleet_sides import DETAIL, Side, cenergyd
from benchmarks.mongo_counter import purpose_of
from benchmarks.processes import PROJECT


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=12)
    parser.add_argument("--every", type=int, default=90, help="seconds between two uploads of a logger")
    parser.add_argument("--first", type=int, default=3, help="uploads that are not counted")
    parser.add_argument("--rounds", type=int, default=4, help="uploads that are counted")
    parser.add_argument("--daemons", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    arguments.stores, arguments.customers, arguments.count = "servers", arguments.sites, True
    arguments.backlog, arguments.burst, arguments.limit, arguments.seconds = 0, False, 1800, arguments.every
    with cenergyd("cenergyd", PROJECT, arguments) as side:
        began = time.time()
        for number in range(arguments.first):
            send(side, arguments, began + number * arguments.every)
        before, counted = side.counts(), time.time()
        for number in range(arguments.first, arguments.first + arguments.rounds):
            send(side, arguments, began + number * arguments.every)
        print_counts(side.counts() - before, arguments, time.time() - counted)


def send(side: Side, arguments: argparse.Namespace, at: float) -> None:
    """The next upload of every logger, spread over the interval; returns at its end."""
    rows = max(1, arguments.every // 60)
    sessions = []
    for site in range(arguments.sites):
        start = int(at + arguments.every * site / arguments.sites) - 60 * rows
        sessions.append([request(upload(site, meter, start, rows)) for meter in METERS])
    asyncio.run(send_evenly(side.port, sessions, arguments.every))
    time.sleep(max(0.0, at + arguments.every - time.time()))


def print_counts(counts: Counter[str], arguments: argparse.Namespace, seconds: float) -> None:
    """Print documents written by purpose for each upload of a site, and finds by second."""
    uploads = arguments.sites * arguments.rounds
    print(f"{arguments.sites} sites, an upload of {len(METERS)} meters every {arguments.every} s, {seconds:.0f} s")
    print(f"documents written: {counts['documents written'] / uploads:.2f} for an upload of a site")
    finds = counts["find commands"]
    print(f"finds: {finds / uploads:.2f} for an upload of a site, {finds / seconds:.2f} a second")
    details = {name.removeprefix(DETAIL): count for name, count in counts.items() if name.startswith(DETAIL)}
    for name in sorted(details, key=details.__getitem__, reverse=True):
        purpose = purpose_of(name)
        print(f"  {details[name] / uploads:6.2f} {name}" + (f" ({purpose})" if purpose else ""))


if __name__ == "__main__":
    main()
