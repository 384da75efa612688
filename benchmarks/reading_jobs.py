"""Cost of rollups, net load and energy: for one more upload, whatever is stored, and for a backlog.

    .venv/bin/python benchmarks/reading_jobs.py [--customers 50] [--days 60] [--stores sqlite|servers]

Jobs run as in the daemon: for 8 customers concurrently, which share round trips. Every customer has two meters and a computed one, with a reading
per minute. Prints, per job and customer, CPU and elapsed milliseconds for one new minute, for each upload of 15 minutes of an hour and
their mean, and for one late minute; the ratio of a new minute's cost with ``--days`` stored to that with half a day stored; then for a backlog of ``--days``: seconds per
day, the peak of Python's memory (in a second run), and the longest pause.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import attrs
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react

from cenergyd.jobs.service import CONCURRENT_CUSTOMERS

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.derivation_backlog import ReactorPauses, store_urls
from cenergyd.customers.model import Customer
from cenergyd.jobs.context import RunningJobContext
from cenergyd.jobs.energy.job import update_energy
from cenergyd.jobs.energy.netload import update_net_load
from cenergyd.jobs.rollups.job import roll_up
from cenergyd.jobs.shared_reads import SharedReads
from cenergyd.readings.batching import BatchingReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.runtime.gather import gather_limited
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import open_stores

T0 = 1_750_000_080 // 86400 * 86400
P = ParamSpec("P")
T = TypeVar("T")
JOBS = (roll_up, update_net_load, update_energy)


def customer(number: int) -> Customer:
    return Customer(
        id=str(number), time_zone="America/New_York", facility="1", load="2", logger_serial_number=f"00{number:06d}"
    )


async def fill(store: Any, customers: Sequence[Customer], first: int, last: int) -> None:
    """Minutes ``first`` to ``last`` (exclusive) of all three meters."""
    for begin in range(first, last, 10_000):
        minutes = range(begin, min(begin + 10_000, last))
        computed = [Reading(T0 + 60 * k, k % 17 - 3.5, 0.95, 120.1, 1.5) for k in minutes]
        log = [r._replace(E_net=kwh, E_import=kwh, E_export=0.0) for r in computed for kwh in ((r.time - T0) / 600,)]
        for one in customers:
            serial = one.logger_serial_number
            meters = (("1", log), ("2", log), ("missing_meter", computed))
            await store.write([SeriesReadings(f"{serial}_{meter}", readings) for meter, readings in meters])


async def measured(context: Any, customers: Sequence[Customer], first: int, last: int, what: str) -> float:
    """CPU milliseconds a customer of all jobs for some minutes. The jobs of a customer share what they read, as in the daemon."""
    total = 0.0
    now = T0 + 60 * last
    contexts = [attrs.evolve(context, readings=SharedReads(context.readings), now=now) for _ in customers]
    for job in JOBS:
        began, cpu = time.perf_counter(), time.process_time()
        work = [job(one, T0 + 60 * first, T0 + 60 * last, own) for one, own in zip(customers, contexts, strict=True)]
        await gather_limited(work, CONCURRENT_CUSTOMERS)
        elapsed = (time.perf_counter() - began) / len(customers) * 1000
        used = (time.process_time() - cpu) / len(customers) * 1000
        total += used
        print(f"{what}, {job.__name__}: {used:.2f} ms of CPU, {elapsed:.2f} ms, a customer")
    return total


async def run(reactor: Any, chosen: argparse.Namespace, *, traced: bool) -> None:
    with store_urls(chosen.stores) as urls:
        settings = load_settings(Settings, None, urls)
        stores = await open_stores(settings, reactor)
        try:
            context = RunningJobContext(
                now=T0, readings=BatchingReadingStore(stores.readings, reactor), documents=stores.documents, customers=stores.customers,
                settings=settings, notifier=_nobody, clock=reactor, run_in_thread=_no_thread, context_for=lambda _: context,
            )  # fmt: skip
            minutes = chosen.days * 1440
            if not traced:
                await uploads(context, chosen.customers, minutes)
            long = customer(999_999)
            await fill(stores.readings, [long], 0, minutes)
            gc.collect()
            gc.freeze()  # as 'cenergyd run' does
            if traced:
                tracemalloc.start()
            pauses, began = ReactorPauses(reactor), time.perf_counter()
            for job in JOBS:
                await job(long, T0, T0 + 60 * minutes, context)
            seconds, told = time.perf_counter() - began, pauses.stop()
            if traced:
                print(f"backlog: peak of memory {tracemalloc.get_traced_memory()[1] / 1e6:.1f} MB above the start")
                tracemalloc.stop()
            else:
                print(f"backlog: {chosen.days} days in {seconds:.1f} s, {seconds / chosen.days:.2f} s a day; {told}")
                await fill(stores.readings, [long], minutes, minutes + 1)
                much = await measured(context, [long], minutes, minutes + 1, f"a minute after {chosen.days} days")
                few = customer(999_998)
                await fill(stores.readings, [few], minutes - 720, minutes + 1)
                for job in JOBS:
                    await job(few, T0 + 60 * (minutes - 720), T0 + 60 * minutes, context)
                little = await measured(context, [few], minutes, minutes + 1, "a minute after half a day")
                print(f"ratio of the two: {much / little:.2f}")
        finally:
            await stores.close()


async def uploads(context: Any, count: int, minutes: int) -> None:
    """Write and process one more minute, a quarter of an hour, and a late minute."""
    customers = [customer(number) for number in range(count)]
    await fill(context.readings, customers, 0, 600)
    for job in JOBS:
        for one in customers:
            await job(one, T0, T0 + 60 * 600, context)
    await fill(context.readings, customers, 600, 601)
    await measured(context, customers, 600, 601, "one more minute")
    hour = 0.0  # its results are written by one of its uploads
    for first in range(601, 661, 15):
        await fill(context.readings, customers, first, first + 15)
        hour += await measured(context, customers, first, first + 15, "an upload of 15 minutes")
    quarter = hour / 4
    print(f"an upload of 15 minutes, mean of an hour's: {quarter:.2f} ms of CPU a customer")
    await measured(context, customers, 300, 301, "a late minute")
    print(f"10,000 customers that upload every 15 minutes: {quarter * 10_000 / 900 / 10:.0f} % of a core")


async def _no_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    raise AssertionError("these jobs need no thread")


async def _nobody(_: Any) -> None:
    raise AssertionError("these jobs notify nobody")


async def main(reactor: Any) -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--customers", type=int, default=50)
    arguments.add_argument("--days", type=int, default=60)
    arguments.add_argument("--stores", choices=("sqlite", "servers"), default="sqlite")
    chosen = arguments.parse_args()
    for traced in (False, True):
        await run(reactor, chosen, traced=traced)


if __name__ == "__main__":
    react(lambda reactor: ensureDeferred(main(reactor)))
