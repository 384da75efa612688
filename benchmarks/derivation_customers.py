"""Derivation of the last minute of many customers: time until all are derived, and CPU time per customer.

    .venv/bin/python benchmarks/derivation_customers.py [--customers 10000] [--active N] [--rounds 3] [--stores sqlite|influx|servers]

Every round writes one more minute of both meters of the active customers, marks them, and times one pass of the service. Caches are cold
in the first round; the last round counts. If ``--active`` is less than ``--customers``, the same is done for only that many customers, on
separate stores, and the ratio of the two costs is printed. It should be near 1, because the cost depends on the active customers.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.derivation_backlog import ReactorPauses, store_urls
from cenergyd.customers.model import Customer, PendingMark
from cenergyd.daemon.plugins import build_plugin_manager
from cenergyd.derivation.service import DerivationService
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import Stores, open_stores

PORTION = 2000


async def add_customers(stores: Stores, count: int) -> list[Customer]:
    found = []
    for i in range(count):
        customer = Customer(id="", facility="1", solar="2", logger_serial_number=f"{i:012X}", logger_password="x")
        found.append(await stores.customers.add(customer))
    return found


async def one_minute(stores: Stores, customers: list[Customer], minute: int) -> None:
    for first in range(0, len(customers), PORTION):
        some = customers[first : first + PORTION]
        reading = Reading(minute, 1.5, 0.95, 120.0, 0.25)
        await stores.readings.write(
            [SeriesReadings(f"{c.logger_serial_number}_{meter}", [reading]) for c in some for meter in "12"]
        )
        await stores.customers.derivation_queue.mark([PendingMark(c.id, minute, minute + 1) for c in some])


async def main(reactor: Any) -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--customers", type=int, default=10_000)
    arguments.add_argument("--active", type=int, default=0)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--stores", choices=("sqlite", "influx", "servers"), default="servers")
    arguments.add_argument("--profile", action="store_true")
    arguments.add_argument("--set", action="append", default=[], help="section.key=value")
    chosen = arguments.parse_args()
    active = chosen.active or chosen.customers
    few = await measured(reactor, chosen, active, active) if active < chosen.customers else None
    many = await measured(reactor, chosen, active, chosen.customers)
    if few is not None:
        print(
            f"ratio: {active} of {chosen.customers} against {active} of {active}: CPU {many[0] / few[0]:.2f}, time {many[1] / few[1]:.2f}"
        )


async def measured(reactor: Any, chosen: argparse.Namespace, some: int, all_of_them: int) -> tuple[float, float]:
    """CPU seconds of this process, and seconds, of the last round."""
    with store_urls(chosen.stores) as urls:
        settings = load_settings(Settings, None, urls | dict(each.split("=", 1) for each in chosen.set))
        stores = await open_stores(settings, reactor)
        customers = await add_customers(stores, all_of_them)
        active = customers[:some]
        service = DerivationService(
            clock=reactor, settings=settings.derivation, plugins=build_plugin_manager(), readings=stores.readings,
            documents=stores.documents, derivation_queue=stores.customers.derivation_queue,
            job_queue=stores.customers.job_queue,
        )  # fmt: skip
        gc.collect()
        gc.freeze()  # as 'cenergyd run' does
        start = int(time.time()) // 60 * 60 - 60 * chosen.rounds
        for number in range(chosen.rounds):
            await one_minute(stores, active, start + 60 * number)
            profile = cProfile.Profile() if chosen.profile and number == chosen.rounds - 1 else None
            pauses, began, cpu = ReactorPauses(reactor), time.perf_counter(), time.process_time()
            if profile:
                profile.enable()
            await service.tick()
            if profile:
                profile.disable()
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            told, count = pauses.stop(), len(active)
            assert service.status.derived_readings >= count * (number + 1), service.status
            print(
                f"round {number + 1}: {count} of {all_of_them} customers in {seconds:.2f} s, "
                f"{1000 * cpu / count:.3f} ms of this process each; {told}"
            )
            if profile:
                pstats.Stats(profile).sort_stats("tottime").print_stats(35)
        assert not (await stores.customers.derivation_queue.summary()).customers
        await stores.close()
        return cpu, seconds


if __name__ == "__main__":
    react(lambda reactor: ensureDeferred(main(reactor)))
