"""Derivation of a backlog of 400 days of minutes of one customer: speed, memory, and pauses of the reactor.

    .venv/bin/python benchmarks/derivation_backlog.py [--days 400] [--stores sqlite|influx|servers]

Prints minutes derived per second, the peak of Python's memory above the start (in a second run, with tracemalloc), and the longest pause of
the reactor (measured with a timer due every millisecond). ``servers``: InfluxDB and a server of MongoDB's protocol, started here;
``influx``: InfluxDB for readings, SQLite for customers.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import LoopingCall, deferLater, react

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cenergyd.customers.model import Customer, PendingMark
from cenergyd.daemon.plugins import build_plugin_manager
from cenergyd.derivation import backlog, batch
from cenergyd.derivation.service import DerivationService
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import Stores, open_stores
from tests.servers import RunningInflux, RunningMongo

T0 = 1_600_000_020
SERIAL = "001EC6001433"


@contextmanager
def store_urls(kind: str) -> Iterator[dict[str, str]]:
    """Settings of empty stores."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield {"customers.url": f"sqlite:///{folder}/c.sqlite", "readings.url": f"sqlite:///{folder}/r.sqlite"}
        return
    if kind == "influx":
        influx = RunningInflux()
        try:
            influx.start()
            with tempfile.TemporaryDirectory() as folder:
                readings = f"influxdb://127.0.0.1:{influx.port}/bench"
                yield {"customers.url": f"sqlite:///{folder}/c.sqlite", "readings.url": readings}
        finally:
            influx.destroy()
        return
    influx, mongo = RunningInflux(), RunningMongo()
    try:
        influx.start()
        mongo.start()
        yield {"customers.url": f"{mongo.url}/bench", "readings.url": f"influxdb://127.0.0.1:{influx.port}/bench"}
    finally:
        influx.destroy()
        mongo.destroy()


async def fill(stores: Stores, minutes: int) -> Customer:
    """A customer with two meters and their readings."""
    customer = await stores.customers.add(
        Customer(id="", facility="1", solar="2", logger_serial_number=SERIAL, logger_password="x")
    )
    for first in range(0, minutes, 20_000):
        times = range(T0 + 60 * first, T0 + 60 * min(first + 20_000, minutes), 60)
        for meter, P in (("1", 3.0), ("2", 1.0)):
            readings = [Reading(t, P + t % 977 / 1000, 0.95, 120.0, 0.25) for t in times]
            await stores.readings.write([SeriesReadings(f"{SERIAL}_{meter}", readings)])
    return customer


class ReactorPauses:
    """Pauses of the reactor, measured with a timer due every millisecond."""

    def __init__(self, reactor: Any) -> None:
        self.gaps: list[float] = []
        self._last = time.perf_counter()
        self._loop = LoopingCall(self._look)
        self._loop.clock = reactor
        self._loop.start(0.001)

    def _look(self) -> None:
        now = time.perf_counter()
        self.gaps.append(now - self._last)
        self._last = now

    def stop(self) -> str:
        self._loop.stop()
        gaps = sorted(self.gaps)
        return f"longest pause {gaps[-1] * 1000:.1f} ms, 99.9 % below {gaps[int(len(gaps) * 0.999)] * 1000:.1f} ms"


async def drained(reactor: Any, service: DerivationService, stores: Stores) -> None:
    """Wait until nothing is pending."""
    while True:
        await service.tick()
        if not (await stores.customers.derivation_queue.summary()).customers:
            return
        await deferLater(reactor, 0.05, lambda: None)


async def measure(reactor: Any, kind: str, days: int, *, traced: bool) -> None:
    minutes = days * 1440
    with store_urls(kind) as urls:
        settings = load_settings(Settings, None, urls)
        stores = await open_stores(settings, reactor)
        customer = await fill(stores, minutes)
        deriving = DerivationService(
            clock=reactor, settings=settings.derivation, plugins=build_plugin_manager(), readings=stores.readings,
            documents=stores.documents, derivation_queue=stores.customers.derivation_queue,
            job_queue=stores.customers.job_queue,
        )  # fmt: skip
        end = T0 + 60 * (minutes - 1) + 1
        await stores.customers.derivation_queue.mark([PendingMark(customer.id, T0, end)])
        gc.collect()
        gc.freeze()  # as 'cenergyd run' does
        if traced:
            tracemalloc.start()
        pauses, began = ReactorPauses(reactor), time.perf_counter()
        await drained(reactor, deriving, stores)
        seconds, told = time.perf_counter() - began, pauses.stop()
        assert deriving.status.derived_readings == minutes, deriving.status
        series = f"{SERIAL}_missing_meter"
        windows = await stores.readings.summarise([series], T0 - T0 % 86400, end, 86400)
        assert sum(window.readings for window in windows[series]) == minutes
        if traced:
            print(f"{kind}: peak of memory {tracemalloc.get_traced_memory()[1] / 1e6:.1f} MB above the start")
            tracemalloc.stop()
        else:
            print(f"{kind}: {minutes} minutes in {seconds:.1f} s, {minutes / seconds:.0f} a second; {told}")
        await stores.close()


async def main(reactor: Any) -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--days", type=int, default=400)
    arguments.add_argument("--stores", choices=("sqlite", "influx", "servers"), default="sqlite")
    arguments.add_argument("--chunk", type=int, help="readings per meter held at once; default: as shipped")
    chosen = arguments.parse_args()
    if chosen.chunk:
        for module in (backlog, batch):
            vars(module)["CHUNK_READINGS"] = chosen.chunk
    for traced in (False, True):
        await measure(reactor, chosen.stores, chosen.days, traced=traced)


if __name__ == "__main__":
    react(lambda reactor: ensureDeferred(main(reactor)))
