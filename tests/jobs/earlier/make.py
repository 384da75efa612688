"""Writes a file with what an earlier version stores and returns; run in a checkout of that version, beside a copy of ``log.py``.

git worktree add --detach /tmp/earlier COMMIT
cp tests/jobs/earlier/{log,make}.py /tmp/earlier/ && cd /tmp/earlier
PYTHONPATH=. /path/to/.venv/bin/python make.py > /path/to/tests/jobs/earlier/COMMIT.json
"""

from __future__ import annotations

import json
from typing import Any

from log import INTERVAL, START, UNTIL, meter_log  # type: ignore[import-not-found]

from tests.jobs.site import context_on, customer_in, points, run, store_with

try:
    from cenergyd.jobs.energy.job import update_energy
    from cenergyd.jobs.energy.netload import update_net_load
    from cenergyd.jobs.rollups.job import roll_up
    from tests.jobs import site

    shown = vars(site).get("shown") or vars(site)["told"]  # its earlier name

    IS_FIRST = False
except ImportError:  # 38efd4d
    from cenergyd.jobs.metering import update_energy  # type: ignore[no-redef,import-not-found]
    from cenergyd.jobs.netload import update_net_load  # type: ignore[no-redef,import-not-found]
    from cenergyd.jobs.rolling import roll_up  # type: ignore[no-redef,import-not-found]

    shown = None  # type: ignore[assignment]  # it stored the fields as they are shown
    IS_FIRST = True
    site = None  # type: ignore[assignment]

# None in versions that stored every hour of them at once
energy_shown, net_load_shown = (
    None if site is None else vars(site).get(f"{name}_shown") or vars(site).get(f"{name}_told")
    for name in ("energy", "net_load")
)

SERIAL = "001EC6001433"
METERS = {"1": 1, "2": 2, "missing_meter": 0}


def plain(found: Any) -> list[Any]:
    """Points as JSON."""
    return [[point.time, point.fields] for point in found]


def main() -> None:
    """Upload each quarter of an hour as it would have come."""
    store: Any = store_with()
    write = type(store_with()).write
    from cenergyd.readings.model import SeriesReadings

    for first in range(0, UNTIL, 3):
        after = min(first + 3, UNTIL)
        rows = {meter: meter_log(number, first, after, registers=not IS_FIRST) for meter, number in METERS.items()}
        if not rows["1"]:
            continue
        run(write(store, [SeriesReadings(f"{SERIAL}_{meter}", each) for meter, each in rows.items()]))
        start, end = START + INTERVAL * first, rows["1"][-1].time + (0 if IS_FIRST else 1)
        for job in (roll_up, update_net_load, update_energy):
            run(job(customer_in("UTC"), start, end, context_on(store)))
    stored = {name: plain(points(store, name)) for name in sorted(store._points)}
    rollups = {
        f"{SERIAL}_{meter}_{resolution}": plain(shown(store, f"{SERIAL}_{meter}", resolution))
        if shown
        else stored[f"{SERIAL}_{meter}_{resolution}"]
        for meter in ("1", "missing_meter")
        for resolution in ("5m", "30m", "1h", "24h")
    }
    found = {"stored": stored, "rollups": rollups}
    if energy_shown and net_load_shown:
        found["net_load"] = plain(net_load_shown(store))
        found["energy"] = {meter: plain(energy_shown(store, f"{SERIAL}_{meter}")) for meter in METERS}
    print(json.dumps(found, indent=None, separators=(",", ":")))


if __name__ == "__main__":
    main()
