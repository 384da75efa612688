"""Empty embedded databases, as the daemon makes them at its first start: the other commands make none."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from tests import forking

_SCRIPT = """
import json, sys
from twisted.internet import defer, task
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import open_stores

async def main(reactor):
    await (await open_stores(load_settings(Settings, None, json.loads(sys.argv[1])), reactor)).close()

task.react(lambda reactor: defer.ensureDeferred(main(reactor)))
"""


def make_databases(folder: Path, settings: Mapping[str, str] | None = None) -> None:
    """Make them, called ``customers.sqlite`` and ``readings.sqlite``, or as the settings say."""
    folder.mkdir(parents=True, exist_ok=True)
    urls = {f"{name}.url": f"sqlite:///{folder}/{name}.sqlite" for name in ("customers", "readings")}
    urls |= {key: value for key, value in (settings or {}).items() if key in urls}
    forking.run([sys.executable, "-c", _SCRIPT, json.dumps(urls)], check=True, timeout=120)
