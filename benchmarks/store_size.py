"""Size on disk of a site's year: days of readings are uploaded to a real daemon, derived and rolled up.

    nice python benchmarks/store_size.py [--days 14] [--interval 60] [--stores embedded|influx] [--old CHECKOUT ...]

Both meters of two sites upload 360 rows at a time, oldest first, with the registers of :mod:`benchmarks.device`; the third meter is
computed. ``--old`` are other checkouts of cenergyd with a .venv of their own, measured one after the other in the same run.
Printed per site and year: bytes of the readings of three meters, and of what is computed from them (rollups, net load, energy). InfluxDB's
are those of its data files after it has compacted them, without its index of names; they are told for all together, and the values of
each kind.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.device import METERS, request, send_at_once, serial_of, upload
from benchmarks.fleet_sides import SNAPSHOT_SECONDS, Side, cenergyd
from benchmarks.processes import PROJECT
from tests.servers import RunningInflux

SITES = 2
ROWS = 360
DAY = 86400
MOST_SECONDS = 900


def fill(side: Side, days: int, interval: int) -> None:
    """Upload the days before today, and wait until nothing is pending."""
    end = int(time.time()) // DAY * DAY
    for start in range(end - DAY * days, end, ROWS * interval):
        rows = min(ROWS, (end - start) // interval)
        sessions = [[request(upload(site, meter, start, rows, interval)) for meter in METERS] for site in range(SITES)]
        asyncio.run(send_at_once(side.port, sessions, SITES))
    until = time.monotonic() + MOST_SECONDS
    while side.tell("pending") != "0":
        time.sleep(1)
        if time.monotonic() > until:
            raise SystemExit(f"{side.name}: not computed within {MOST_SECONDS} s")


def print_influx_size(side: Side, days: int) -> None:
    """Print what InfluxDB's files of the database take."""
    assert side.influx is not None
    names = [name for (name,) in _query(side.influx, "SHOW MEASUREMENTS")]
    series = {f"{serial_of(site)}_{meter}" for site in range(SITES) for meter in (*METERS, "missing_meter")}
    values = {is_series: sum(_values(side.influx, name) for name in names if (name in series) is is_series) for is_series in (True, False)}  # fmt: skip
    size, year = influx_bytes(side.influx), 365 / days / SITES
    print(
        f"{side.name}: InfluxDB {size * year / 1e6:.1f} MB a site and year ({size / sum(values.values()):.2f} bytes a value): "
        f"{values[True] * year / 1e6:.2f} million values of readings, {values[False] * year / 1e6:.2f} million of what is computed from them",
        flush=True,
    )


def _query(influx: RunningInflux, statement: str) -> list[list[Any]]:
    asked = urllib.parse.urlencode({"db": "cenergyd", "q": statement})
    with urllib.request.urlopen(f"{influx.http_url}/query?{asked}") as reply:
        results = json.load(reply)["results"][0].get("series", [])
    return [row for part in results for row in part["values"]]


def _values(influx: RunningInflux, measurement: str) -> int:
    """How many values of all fields a measurement has."""
    return sum(number for row in _query(influx, f'SELECT COUNT(*) FROM "{measurement}"') for number in row[1:])


def influx_bytes(influx: RunningInflux) -> int:
    """Bytes of the database's data files, once InfluxDB has moved its log into them and compacted them."""
    folder, before = influx.folder / "data" / "cenergyd", -1
    for _ in range(40):
        time.sleep(2 * SNAPSHOT_SECONDS)
        log_bytes = sum(file.stat().st_size for file in (influx.folder / "wal" / "cenergyd").rglob("*.wal"))
        size = sum(file.stat().st_size for file in folder.rglob("*.tsm"))
        if not log_bytes and size == before and not list(folder.rglob("*.tmp")):
            break
        before = size
    return size


def print_embedded_size(side: Side, folder: Path, days: int) -> None:
    """Print what a copy of the embedded store takes, without free pages."""
    assert side.readings_path is not None
    path = folder / f"{side.name}.sqlite"
    with sqlite3.connect(side.readings_path) as store:
        store.execute(f"VACUUM INTO '{path}'")
    whole = path.stat().st_size
    with sqlite3.connect(path, isolation_level=None) as copy:
        (readings,) = copy.execute("SELECT count(*) FROM reading").fetchone()
        (points,) = copy.execute("SELECT count(*) FROM point").fetchone()
        copy.execute("DELETE FROM point")
        copy.execute("VACUUM")
    raw, year = path.stat().st_size, 365 / days / SITES
    print(
        f"{side.name}: embedded store, a site and year: {raw * year / 1e6:.1f} MB of readings ({raw / readings:.1f} bytes each), "
        f"{(whole - raw) * year / 1e6:.1f} MB computed from them ({(whole - raw) / points:.1f} bytes a point)",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--interval", type=int, default=60)
    parser.add_argument("--stores", choices=("embedded", "influx"), default="embedded")
    parser.add_argument("--old", type=Path, action="append", default=[], metavar="CHECKOUT")
    asked = parser.parse_args()
    side_options = argparse.Namespace(
        sites=SITES,
        customers=SITES,
        stores=asked.stores,
        backlog=asked.days,
        burst=False,
        count=False,
        set=[],
    )
    with TemporaryDirectory() as folder:
        for project in (*(old.resolve() for old in asked.old), PROJECT):
            with cenergyd(project.name if project != PROJECT else "cenergyd", project, side_options) as side:
                fill(side, asked.days, asked.interval)
                if side.influx is not None:
                    print_influx_size(side, asked.days)
                else:
                    print_embedded_size(side, Path(folder), asked.days)


if __name__ == "__main__":
    main()
