"""Resident memory of a daemon over many uploads, on real servers, and the ratio of its end to its middle.

    python benchmarks/memory.py [--uploads 1000000] [--sites 1000]

Every site uploads repeatedly, so caches are full early; later growth is a leak. The ratio of the mean in the last quarter to the mean in the
second quarter should be near 1.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path
from statistics import fmean

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.processes import daemons  # noqa: E402
from benchmarks.uploads_per_second import make_sites, on_real_servers, server_settings, warm_up, wrk  # noqa: E402
from tests.servers import RunningInflux, RunningMongo  # noqa: E402


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=1_000_000)
    parser.add_argument("--sites", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=128)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the daemon")
    arguments = parser.parse_args()
    on_real_servers(measure, arguments)


def measure(folder: Path, influx: RunningInflux, mongo: RunningMongo, arguments: argparse.Namespace) -> None:
    """Upload and record the memory."""
    uploads = make_sites(folder, influx, mongo, arguments.sites)
    with daemons(folder, server_settings(influx, mongo, arguments.set)) as (port, (pid,)):
        warm_up(port, uploads, arguments)
        done, began = 0, time.monotonic()
        seen: list[tuple[int, float]] = []
        while done < arguments.uploads:
            done += wrk(port, uploads, arguments.connections, 15).requests
            seen.append((done, resident_mb(pid)))
            print(f"{done:9} uploads  {time.monotonic() - began:6.0f} s  {seen[-1][1]:7.1f} MB", flush=True)
    middle = fmean(mb for count, mb in seen if arguments.uploads / 4 < count <= arguments.uploads / 2)
    end = fmean(mb for count, mb in seen if count > arguments.uploads * 3 / 4)
    print(f"ratio of the last quarter ({end:.1f} MB) to the second ({middle:.1f} MB): {end / middle:.3f}")


def resident_mb(pid: int) -> float:
    """Resident memory of a process, MB."""
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
