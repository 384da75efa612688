"""What the stores of a daemon hold, read in a process of its own with the daemon's own store classes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from cenergyd.readings.model import Reading
from tests import forking
from tests.daemon_process import RunningDaemon
from tests.servers import PATIENT

_SCRIPT = """
import json, sys, time
from twisted.internet import task, defer
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import open_stores

overrides, series, counts, seconds, jobs = json.loads(sys.stdin.read())

async def main(reactor):
    stores = await open_stores(load_settings(Settings, None, overrides), reactor)
    end, quiet, pause = time.monotonic() + seconds, 0, 0.05
    while True:
        # First the queue: readings that are read before it may be older than its end.
        waiting = (await stores.customers.derivation_queue.summary()).customers
        if jobs:
            waiting += (await stores.customers.job_queue.summary()).customers
        late = time.monotonic() > end
        enough = False
        if late or not (counts and waiting):
            found = await stores.readings.read(series, 0, 1 << 40)
            enough = all(len(found[name]) >= count for name, count in counts.items())
        quiet = quiet + 1 if enough else 0
        if late or quiet == (3 if jobs else 1):
            break
        await task.deferLater(reactor, pause)
        pause = 0.05 if enough else min(pause * 1.5, 0.4)
    await stores.close()
    print(json.dumps([found, waiting]))

task.react(lambda reactor: defer.ensureDeferred(main(reactor)))
"""


def stored(
    daemon: RunningDaemon,
    series: Sequence[str],
    counts: Mapping[str, int] | None = None,
    timeout: float = 0,
    *,
    jobs: bool = False,
) -> tuple[dict[str, list[Reading]], int]:
    """Readings of each series, ascending, and how many customers still wait for derivation.

    With ``counts`` it waits, at most ``timeout`` seconds, until each series has so many and nobody waits, with ``jobs`` not for
    them either.
    """
    # The daemon may be one that gives up on a store soon; here it is waited for.
    done = forking.run(
        [sys.executable, "-c", _SCRIPT],
        input=json.dumps([daemon.in_the_ini | PATIENT, list(series), dict(counts or {}), timeout, jobs]),
        capture_output=True, text=True, timeout=120 + timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, pending = json.loads(done.stdout)
    return {name: [Reading(*row) for row in rows] for name, rows in found.items()}, pending


def derived(daemon: RunningDaemon, counts: Mapping[str, int], timeout: float = 120) -> dict[str, list[Reading]]:
    """The readings of series once each has so many; fails where that does not come to be in time."""
    found, pending = stored(daemon, list(counts), counts, timeout)
    assert {name: len(values) for name, values in found.items()} == dict(counts), f"{pending} customers wait"
    return found


def processed(daemon: RunningDaemon, counts: Mapping[str, int], timeout: float = 240) -> dict[str, list[Reading]]:
    """The same, once the jobs have finished too."""
    found, waiting = stored(daemon, list(counts), counts, timeout, jobs=True)
    assert {name: len(values) for name, values in found.items()} == dict(counts), f"{waiting} customers wait"
    assert waiting == 0
    return found
