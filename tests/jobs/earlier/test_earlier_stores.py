"""A store written by an earlier version gives the same answers, and is continued.

``COMMIT.json`` contains what that commit stored and returned for the readings of ``log.py``; ``make.py`` says how it was made. The commits:

- ``38efd4d`` stored every window as it is shown;
- ``ddbee06`` stored less of a window, and wrote windows once they were over, but also the hour of the newest reading after a pause;
- ``c5686c7`` decided the completeness of rollups hour by hour, and stored the registers' energy;
- ``db03231`` stored energy and net load of an hour once it was over, as later versions do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cenergyd.jobs.energy.job import update_energy
from cenergyd.jobs.energy.netload import update_net_load
from cenergyd.jobs.rollups.job import roll_up
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import FieldPoint, SeriesReadings
from tests.jobs.earlier.log import ALL, INTERVAL, START, UNTIL, meter_log
from tests.jobs.site import SERIAL, all_shown, context_on, customer_in, energy_shown, net_load_shown, run, shown

METERS = {"1": 1, "2": 2, "missing_meter": 0}
NET_LOAD = f"{SERIAL}_net_load_15m"
HOUR = 3600


@pytest.fixture(params=["38efd4d", "ddbee06", "c5686c7", "db03231"])
def commit(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def made_by(commit: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(__file__).with_name(f"{commit}.json").read_text())
    return found


def with_readings(commit: str, last: int) -> MemoryReadingStore:
    store = MemoryReadingStore()
    registers = commit != "38efd4d"  # it did not keep them
    for meter, number in METERS.items():
        rows = meter_log(number, 0, last, registers=registers)
        run(store.write([SeriesReadings(f"{SERIAL}_{meter}", rows)]))
    return store


def written_by(commit: str, last: int = UNTIL) -> MemoryReadingStore:
    store = with_readings(commit, last)
    for series, points in made_by(commit)["stored"].items():
        run(store.write_points(series, [FieldPoint(time, fields) for time, fields in points]))
    return store


def assert_shown(found: list[FieldPoint], wanted: list[Any], where: str) -> None:
    """The times, and all fields of the old points; there may be more fields now."""
    assert [point.time for point in found] == [time for time, _ in wanted], where
    for point, (time, fields) in zip(found, wanted, strict=True):
        same = {name: point.fields.get(name) for name in fields}
        assert same == pytest.approx(fields, rel=1e-9, abs=1e-9), (where, time)


def test_rollups_are_shown_as_before(commit: str) -> None:
    store = written_by(commit)
    for name, wanted in made_by(commit)["rollups"].items():
        series, _, resolution = name.rpartition("_")
        assert_shown(shown(store, series, resolution), wanted, name)


def test_net_load_and_energy_are_shown_as_before(commit: str) -> None:
    store, made = written_by(commit), made_by(commit)
    stored = made["stored"]
    energy = made.get("energy") or {meter: stored[f"{SERIAL}_{meter}_energy_1h"] for meter in METERS}
    assert_shown(net_load_shown(store), made.get("net_load", stored[NET_LOAD]), NET_LOAD)
    for meter in METERS:
        assert_shown(energy_shown(store, f"{SERIAL}_{meter}"), energy[meter], meter)


def test_what_follows_is_as_if_this_version_had_stored_all(commit: str) -> None:
    store, whole = written_by(commit), with_readings(commit, ALL)
    for first in range(UNTIL, ALL, 3):
        rows = {
            meter: meter_log(number, first, min(first + 3, ALL), registers=commit != "38efd4d")
            for meter, number in METERS.items()
        }
        for meter, each in rows.items():
            run(store.write([SeriesReadings(f"{SERIAL}_{meter}", each)]))
        now = rows["1"][-1].time + 30
        for job in (roll_up, update_net_load, update_energy):
            run(job(customer_in("UTC"), rows["1"][0].time, now - 29, context_on(store, now=now)))
    for job in (roll_up, update_net_load, update_energy):
        run(job(customer_in("UTC"), START, START + INTERVAL * ALL, context_on(whole)))
    open_then = START + INTERVAL * UNTIL // HOUR * HOUR
    ours, theirs = all_shown(store), all_shown(whole)
    for series, wanted in theirs.items():
        if not series.endswith("_24h") or commit != "38efd4d":
            later = [[point.time, point.fields] for point in wanted if point.time >= open_then]
            assert_shown([point for point in ours[series] if point.time >= open_then], later, series)
    quarters = [[point.time, point.fields] for point in net_load_shown(whole)]
    assert_shown(net_load_shown(store), quarters, NET_LOAD)
    for meter in METERS:
        hours = [[p.time, p.fields] for p in energy_shown(whole, f"{SERIAL}_{meter}") if p.time >= open_then]
        found = [p for p in energy_shown(store, f"{SERIAL}_{meter}") if p.time >= open_then]
        assert_shown(found, hours, meter)
