"""Points stored before retention policies were named are moved into them by the statements of docs/operating.md, on a real InfluxDB."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest_twisted
from influxdb import InfluxDBClient
from twisted.internet import reactor

from cenergyd.customers.model import Customer
from cenergyd.jobs.energy.hours import energy_series
from cenergyd.jobs.energy.netload import net_load_series
from cenergyd.readings.model import FieldPoint, Reading, SeriesReadings
from cenergyd.storage.influxdb.connection import Policy
from cenergyd.storage.influxdb.readings import InfluxReadingStore
from tests.servers import PATIENT_SECONDS, RunningInflux

PAGE = Path(__file__).parents[3] / "docs" / "operating.md"
YEAR = datetime.fromtimestamp(time.time(), UTC).year - 1
START, END = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (YEAR, YEAR + 1))
SERIAL = "001EC6001433"
CUSTOMER = Customer(id="c", facility="1", solar="2+4*0.5", logger_serial_number=SERIAL)
MEASURED = [f"{SERIAL}_1", f"{SERIAL}_2", f"{SERIAL}_250"]
COMPUTED = [CUSTOMER.series_of(role) for role in ("load", "solar")]
ROLLUPS = [f"{name}_{size}" for name in (*MEASURED, *COMPUTED) for size in ("1m", "5m", "15m", "1h")]
ENERGY = [energy_series(name) for name in (*MEASURED, *COMPUTED)] + [net_load_series(SERIAL)]
PLUGINS = [f"{SERIAL}_missing_meter_daily_peak"]
TIMES = (START - 60, START, START + 86400 * 200 + 60, END - 60, END)


def statements(of: str) -> list[str]:
    """The lines of the page that begin so, with last year in place of the one that they name."""
    found = re.findall(rf"^    ({of} .*)$", PAGE.read_text(), re.MULTILINE)
    return [re.sub(r"'(\d{4})-", lambda year: f"'{YEAR + int(year[1]) - 2026}-", line) for line in found]


def reading(when: int) -> Reading:
    return Reading(when, 1.5, 0.25, 120.0, -1.0, estimated=when % 120 == 0, E_net=7.0)


def point(when: int) -> FieldPoint:
    return FieldPoint(when, {"P": 1.0, "count": 3, "complete": 0.5})


@pytest_twisted.ensureDeferred
async def test_a_year_is_moved_by_the_documented_statements(own_influx: Callable[[], RunningInflux]) -> None:
    server = own_influx()
    client = InfluxDBClient(port=server.port, database="energy")
    before = InfluxReadingStore(reactor, f"{server.url}/energy", timeout_seconds=PATIENT_SECONDS)
    await before.open()
    try:
        await before.write([SeriesReadings(name, list(map(reading, TIMES))) for name in (*MEASURED, *COMPUTED)])
        for name in (*ROLLUPS, *ENERGY, *PLUGINS):
            await before.write_points(name, list(map(point, TIMES)))
    finally:
        await before.close()

    after = InfluxReadingStore(
        reactor, f"{server.url}/energy", policy=Policy("kept", 833), points_policy=Policy("kept_longer", 3683),
        timeout_seconds=PATIENT_SECONDS,
    )  # fmt: skip
    await after.open()
    try:
        assert (await after.read(MEASURED, 0, END * 2)) == {name: [] for name in MEASURED}
        for statement in statements("SELECT"):
            client.query(statement, method="POST")
        moved = [time for time in TIMES if START <= time < END]
        for name, found in (await after.read([*MEASURED, *COMPUTED], 0, END * 2)).items():
            assert found == list(map(reading, moved)), name
        for name in (*ROLLUPS, *ENERGY, *PLUGINS):
            assert await after.read_points(name, 0, END * 2) == list(map(point, moved)), name
    finally:
        await after.close()
    # Each kind in its own policy alone.
    assert in_policy(client, "kept") == {*MEASURED, *COMPUTED}
    assert in_policy(client, "kept_longer") == {*ROLLUPS, *ENERGY, *PLUGINS}


def in_policy(client: InfluxDBClient, policy: str) -> set[str]:
    return {name for (name, _), _ in client.query(f'SELECT * FROM "{policy}"./.*/').items()}


@pytest_twisted.ensureDeferred
async def test_the_documented_policies_are_those_that_the_daemon_makes(own_influx: Callable[[], RunningInflux]) -> None:
    server = own_influx()
    client = InfluxDBClient(port=server.port, database="energy")
    client.create_database("energy")
    for statement in statements("CREATE RETENTION POLICY"):
        client.query(statement, method="POST")
    by_hand = {policy["name"]: policy for policy in client.get_list_retention_policies("energy")}
    client.drop_database("energy")
    store = InfluxReadingStore(
        reactor, f"{server.url}/energy", policy=Policy("kept", 833), points_policy=Policy("kept_longer", 3683),
        timeout_seconds=PATIENT_SECONDS,
    )  # fmt: skip
    await store.open()
    await store.close()
    made = {policy["name"]: policy for policy in client.get_list_retention_policies("energy")}
    assert by_hand == made
    assert {"kept", "kept_longer"} < made.keys()
