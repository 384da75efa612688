"""Points per second of backlog uploads through InfluxReadingStore.write, against raw HTTP writes of the same points.

    .venv/bin/python benchmarks/backlog_points.py [--days 30] [--meters 4] [--upload 1440]

Starts an influxd of its own. Both sides write the same readings, in the same portions, one after the other on one
connection, into databases of their own; rounds alternate and the medians count. Raw: the lines are made beforehand and posted
by http.client, so only InfluxDB and the loopback are measured. Ours: readings as the parser leaves them, formatting included.
"""

from __future__ import annotations

import argparse
import http.client
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import react

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cenergyd.ingest.group_commit import GroupCommit
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.storage.influxdb.line_protocol import reading_lines
from cenergyd.storage.influxdb.readings import InfluxReadingStore
from tests.servers import RunningInflux

T0 = 1_735_689_600
Portion = list[SeriesReadings]


def make_portions(days: int, meters: int, size: int) -> list[Portion]:
    """Uploads of a backlog: ``size`` minutes of one meter each, values as a meter sends them (three decimals)."""
    values = random.Random(1)
    portions = []
    for start in range(0, days * 1440, size):
        for meter in range(meters):
            readings = [
                Reading(
                    T0 + 60 * minute,
                    round(values.uniform(-20, 20), 3),
                    round(values.uniform(-1, 1), 3),
                    round(values.uniform(118, 124), 2),
                    round(values.uniform(-5, 5), 3),
                )
                for minute in range(start, min(start + size, days * 1440))
            ]
            portions.append([SeriesReadings(f"001EC6BENCH_{meter}", readings)])
    return portions


def raw_writes(server: RunningInflux, database: str, bodies: Sequence[bytes]) -> float:
    """Seconds that InfluxDB itself takes."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    begun = time.perf_counter()
    for body in bodies:
        connection.request("POST", f"/write?db={database}&precision=s", body)
        response = connection.getresponse()
        response.read()
        assert response.status == 204
    took = time.perf_counter() - begun
    connection.close()
    return took


async def our_writes(server: RunningInflux, database: str, portions: Sequence[Portion]) -> float:
    """Seconds through the store, one write at a time."""
    store = InfluxReadingStore(reactor, f"{server.url}/{database}")
    await store.open()
    begun = time.perf_counter()
    for portion in portions:
        await store.write(portion)
    took = time.perf_counter() - begun
    await store.close()
    return took


async def no_marks(_marks: Sequence[object]) -> None:
    """Nothing to mark here."""


def grouped(in_flight: int) -> Callable[..., Any]:
    """Seconds through the group commit, all uploads at once, ``in_flight`` groups at a time."""

    async def run(server: RunningInflux, database: str, portions: Sequence[Portion]) -> float:
        store = InfluxReadingStore(reactor, f"{server.url}/{database}")
        await store.open()
        commit: GroupCommit[str] = GroupCommit(
            store, reactor, no_marks, max_queued_uploads=10**6, max_queued_readings=10**8, max_write_readings=10_000,
            max_in_flight=in_flight,
        )  # fmt: skip
        begun = time.perf_counter()
        answers = [commit.commit(portion) for portion in portions]
        for answer in answers:
            await answer
        took = time.perf_counter() - begun
        await store.close()
        return took

    return run


def formatting(portions: Sequence[Portion]) -> float:
    """Seconds to make the lines alone."""
    begun = time.perf_counter()
    for portion in portions:
        for series, readings in portion:
            "\n".join(reading_lines(series, readings)).encode()
    return time.perf_counter() - begun


async def main(_reactor: Any) -> None:
    """Run and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--meters", type=int, default=4)
    parser.add_argument("--upload", type=int, default=1440, help="readings in one upload")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    portions = make_portions(options.days, options.meters, options.upload)
    bodies = ["\n".join(reading_lines(*portion[0])).encode() for portion in portions]
    points = sum(len(portion[0].readings) for portion in portions)
    print(f"{points} points in {len(portions)} uploads of {options.upload}; {options.rounds} rounds, medians")
    server = RunningInflux()
    server.start()
    took: dict[str, list[float]] = {}
    try:
        ways = {"store.write": our_writes, "grouped, 1 in flight": grouped(1), "grouped, 2 in flight": grouped(2)}
        for number in range(options.rounds):
            _create(server, f"raw{number}")
            took.setdefault("raw HTTP", []).append(raw_writes(server, f"raw{number}", bodies))
            for name, way in ways.items():
                database = name.replace(" ", "").replace(",", "").replace(".", "") + str(number)
                took.setdefault(name, []).append(await way(server, database, portions))
            took.setdefault("formatting alone", []).append(formatting(portions))
    finally:
        server.destroy()
    raw = statistics.median(took["raw HTTP"])
    for name, seconds in took.items():
        median = statistics.median(seconds)
        print(f"{name:22} {points / median:10,.0f} points/s   {raw / median:5.2f} of raw")


def _create(server: RunningInflux, database: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("POST", f"/query?q=CREATE%20DATABASE%20{database}")
    assert connection.getresponse().status == 200
    connection.close()


if __name__ == "__main__":
    react(main)
