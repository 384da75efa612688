"""What the stores of a daemon hold, read in a process of its own with the daemon's own store classes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from cenergyd.readings.model import Reading
from tests.daemon import RunningDaemon

_SCRIPT = """
import json, sys
from twisted.internet import task, defer
from cenergyd.config import load_settings
from cenergyd.settings import Settings
from cenergyd.stores import open_stores

overrides, series = json.loads(sys.stdin.read())

async def main(reactor):
    stores = await open_stores(load_settings(Settings, None, overrides), reactor)
    found = await stores.readings.read(series, 0, 1 << 40)
    pending = await stores.customers.derivation_queue.summary()
    await stores.close()
    print(json.dumps([found, pending.customers]))

task.react(lambda reactor: defer.ensureDeferred(main(reactor)))
"""


def stored(daemon: RunningDaemon, series: Sequence[str]) -> tuple[dict[str, list[Reading]], int]:
    """Readings of each series, ascending, and how many customers still wait for derivation."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        input=json.dumps([daemon.settings, list(series)]), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, pending = json.loads(done.stdout)
    return {name: [Reading(*row) for row in rows] for name, rows in found.items()}, pending
