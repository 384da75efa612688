"""Reads and fills the stores of whichever version of cenergyd is first on the path, for benchmarks that compare two versions.

    python store_helper.py CUSTOMERS_URL READINGS_URL

Takes a command a line and answers each with a line:

- ``add N``: add customers with the sites 0..N-1 of :mod:`benchmarks.device`.
- ``pending``: how many customers have work in either queue.
- ``oldest``: the start of the oldest window in either queue, UTC seconds; 0 if there is none.
- ``derived SITES START END``: how many computed readings those sites have in a range.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet import defer, task, threads

try:
    from cenergyd.settings.loader import load_settings
    from cenergyd.settings.sections import Settings
    from cenergyd.storage.open import open_stores
except ImportError:  # the modules of the version before they had folders by subject
    from cenergyd.config import load_settings  # type: ignore[import-not-found, no-redef]
    from cenergyd.stores import open_stores  # type: ignore[import-not-found, no-redef]

    from cenergyd.settings import Settings  # type: ignore[attr-defined, no-redef]
from cenergyd.customers.model import Customer


async def serve(clock: Any) -> None:
    """Answer until the input ends."""
    settings = load_settings(Settings, None, {"customers.url": sys.argv[1], "readings.url": sys.argv[2]})
    stores = await open_stores(settings, clock)
    commands: dict[str, Callable[..., Awaitable[int]]] = {
        "add": add,
        "pending": pending,
        "oldest": oldest,
        "derived": derived,
    }
    while line := await threads.deferToThread(sys.stdin.readline):
        name, *words = line.split()
        print(await commands[name](stores, *map(int, words)), flush=True)
    await stores.close()


async def add(stores: Any, number: int) -> int:
    """Add customers with a load and a solar meter."""
    for site in range(number):
        serial = f"001EC6{site:06X}"
        await stores.customers.add(
            Customer(
                id="", name=f"Site {site}", load="1", solar="2", logger_serial_number=serial, logger_password=f"pw-{serial}"
            )
        )  # fmt: skip
    return number


async def pending(stores: Any) -> int:
    """Customers with work."""
    queues = stores.customers.derivation_queue, stores.customers.job_queue
    return sum([(await queue.summary()).customers for queue in queues])


async def oldest(stores: Any) -> int:
    """The oldest work."""
    queues = stores.customers.derivation_queue, stores.customers.job_queue
    starts = [(await queue.summary()).oldest for queue in queues]
    return min((start for start in starts if start is not None), default=0)


async def derived(stores: Any, sites: int, start: int, end: int) -> int:
    """Computed readings."""
    found = 0
    for first in range(0, sites, 100):
        names = [f"001EC6{site:06X}_missing_meter" for site in range(first, min(sites, first + 100))]
        found += sum(map(len, (await stores.readings.read(names, start, end)).values()))
    return found


task.react(lambda clock: defer.ensureDeferred(serve(clock)))
