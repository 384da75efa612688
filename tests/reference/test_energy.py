"""Every stored hour of energy is what the reference says, however the uploads arrived."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from math import fsum
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from cenergyd.customers.model import FIELD_OF_ROLE, Customer, Role
from cenergyd.jobs.energy.job import update_energy
from cenergyd.jobs.energy.periods import energy_windows
from cenergyd.jobs.energy.read import EnergyReader
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.storage.influxdb.readings import InfluxReadingStore
from cenergyd.storage.sqlite.readings import SqliteReadingStore
from tests.jobs.site import SERIAL, context_on
from tests.near import near
from tests.reference import energy as reference
from tests.reference.sites import Site, random_site
from tests.servers import PATIENT_SECONDS, RunningInflux

NEAR = 2e-3
"""kWh: the reference adds up seconds, so the second in which power crosses zero differs."""


@pytest_twisted.async_yield_fixture(params=["memory", "sqlite", "influx"])
async def store(request: Any, tmp_path: Path, influx: RunningInflux, unique_name: str) -> AsyncIterator[Any]:
    opened: Any = MemoryReadingStore()
    if request.param == "sqlite":
        opened = SqliteReadingStore(reactor, tmp_path / "readings.sqlite")
    elif request.param == "influx":
        opened = InfluxReadingStore(reactor, f"{influx.url}/{unique_name}", timeout_seconds=PATIENT_SECONDS)
    await opened.open()
    yield opened
    await opened.close()


def customer_of(site: Site) -> Customer:
    """The customer with the site's setups: the last is the present one."""

    def fields(setup: dict[str, tuple[str, bool]]) -> dict[str, Any]:
        roles: tuple[Role, ...] = ("utility", "load", "solar")
        named = {FIELD_OF_ROLE[role]: setup[role][0] if role in setup else "" for role in roles}
        return {**named, "reversed": [role for role in roles if role in setup and setup[role][1]]}

    history = [
        {"until": following, "logger_serial_number": SERIAL, **fields(setup)}
        for (_, setup), (following, _) in zip(site.setups, site.setups[1:], strict=False)
    ]
    now = fields(site.setups[-1][1])
    extensions: dict[str, Any] = {"meters": {"reversed": now.pop("reversed")}}
    if history:
        extensions["history"] = history
    return Customer(
        id="c", time_zone=site.zone, logger_serial_number=SERIAL, logger_password="x", extensions=extensions, **now
    )


def readings_of(rows: list[dict[str, Any]]) -> list[Reading]:
    registers = ("E_net", "E_import", "E_export")
    found = [Reading(r["time"], P=r["P"], L1_V=r["L1_V"], **{name: r[name] for name in registers}) for r in rows]
    return [reading for reading in found if any(value is not None for value in reading.values)]


async def play(store: Any, customer: Customer, site: Site) -> None:
    for meter, rows in site.uploads:
        await store.write([SeriesReadings(f"{SERIAL}_{meter}", readings_of(rows))])
        await update_energy(customer, rows[0]["time"], rows[-1]["time"] + 1, context_on(store))


async def check(store: Any, seed: int) -> None:
    site = random_site(seed)
    customer = customer_of(site)
    await play(store, customer, site)
    start, end = site.start - 7200, site.end + 7200
    expected = reference.hours(site.setups, site.rows, site.zone, start, end)
    found = await energy_shown(store, customer, start, end)
    assert found.keys() == expected.keys(), seed
    for key, fields in found.items():
        for name, value in expected[key].items():
            assert near(fields.get(name, 0.0), value, abs=NEAR), (seed, key, name, fields, value)
    assert roles_that_add_up(found)
    await check_sum(store, customer, site, expected)


async def energy_shown(store: Any, customer: Customer, start: int, end: int) -> dict[tuple[str, int], dict[str, Any]]:
    """The hours of each role as readers get them, by role and time."""
    reader, roles = EnergyReader(customer, store, 1 << 33), ("utility", "load", "solar")
    return {
        (role, point.time): point.fields
        for role in roles
        async for _, points in reader.points(role, start, end)  # type: ignore[arg-type]
        for point in points
    }


def roles_that_add_up(found: Mapping[tuple[str, int], Mapping[str, Any]]) -> int:
    """Hours that are known of all three roles, in each of which load is solar and import less export, to 0.1 Wh."""
    whole = {key: each for key, each in found.items() if each["covered_seconds"] == each["seconds"]}
    hours = 0
    for role, time in whole:
        three = [whole.get((each, time)) for each in ("load", "utility", "solar")]
        if role != "load" or None in three:
            continue
        load, utility, solar = (each["import_kwh"] - each["export_kwh"] for each in three if each is not None)
        assert load == pytest.approx(utility + solar, abs=1e-4), time
        hours += 1
    return hours


async def check_sum(store: Any, customer: Customer, site: Site, expected: Any) -> None:
    """All hours together are what the days tell."""
    first = datetime.fromtimestamp(site.start, UTC).date() - timedelta(days=2)
    days = await energy_windows(customer, store, (first, first + timedelta(days=6)), "day", site.end)
    for role in ("utility", "load", "solar"):
        for name in ("import_kwh", "export_kwh", "covered_seconds", "bridged_seconds", "interpolated_seconds"):
            whole = fsum(piece[name] for (each, _), piece in expected.items() if each == role)
            shown = fsum(getattr(day.roles[role], name) for day in days if role in day.roles)
            assert shown == pytest.approx(whole, abs=12 * NEAR), (role, name)


def segments(site: Site, role: str, start: int, end: int) -> list[tuple[int, int, str]]:
    found = []
    for position, (since, setup) in enumerate(site.setups):
        until = site.setups[position + 1][0] if position + 1 < len(site.setups) else end
        name = setup[role][0] if role in setup else "missing_meter"
        found.append((max(since, start), until, f"{SERIAL}_{name}"))
    return found


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("seed", range(1))
async def test_on_every_store(store: Any, seed: int) -> None:
    await check(store, seed)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("seed", range(10, 14))
async def test_in_memory(seed: int) -> None:
    await check(MemoryReadingStore(), seed)
