"""Whole random sites on every pair of stores: each stored point, rollup, energy hour, quarter hour of demand and charge is what the reference says.

Uploads come in as they did, late ones and repeated ones too; derivation and jobs run between them, now and then.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from cenergyd.customers.model import Customer, PendingMark, Role, TimeRange
from cenergyd.daemon.plugins import build_plugin_manager
from cenergyd.derivation.service import DerivationService
from cenergyd.documents.memory import MemoryDocumentStore
from cenergyd.jobs.energy.job import update_energy
from cenergyd.jobs.energy.netload import NetLoadReader, update_net_load
from cenergyd.jobs.rollups.job import roll_up
from cenergyd.jobs.rollups.read import read_rollup
from cenergyd.jobs.rollups.report import role_rollup
from cenergyd.jobs.tariff.parsing import tariff_from_json
from cenergyd.jobs.tariff.report import charges_of
from cenergyd.jobs.windows import RESOLUTIONS, window_at
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import open_stores
from tests.derivation.memory import MemoryQueue
from tests.jobs.site import SERIAL, context_on
from tests.near import near
from tests.reference import charges, derive, energy, rollups
from tests.reference.sites import LORD_HOWE, Site, random_site, random_site_with_sums
from tests.reference.test_energy import NEAR, customer_of, energy_shown, segments
from tests.servers import PATIENT

MISSING = f"{SERIAL}_missing_meter"
CHANNELS = ("P", "Q", "L1_PF", "L1_V")


@attrs.frozen
class Daemon:
    """What works on a customer's readings, on some stores."""

    readings: Any
    pending: Any
    jobs: Any
    service: DerivationService
    customer: Customer
    times: list[int] = attrs.field(factory=list)
    """Time of the newest readings that arrived."""

    async def came(self, meter: str, rows: list[dict[str, Any]]) -> None:
        """An upload."""
        readings = [reading_of(row) for row in rows]
        self.times.append(readings[-1].time)
        await self.readings.write([SeriesReadings(f"{SERIAL}_{meter}", readings)])
        await self.pending.mark([PendingMark(self.customer.id, readings[0].time, readings[-1].time + 1)])

    async def catch_up(self) -> None:
        """Derive and run the jobs until nothing is left."""
        while (await self.pending.summary()).customers:
            await self.service.tick()
            await deferLater(reactor, 0)  # long windows are derived in the background
        while works := await self.jobs.claim("test", 1 << 32, 60, 10):
            for work in works:
                for job in (roll_up, update_energy, update_net_load):
                    context = context_on(self.readings, now=max(self.times, default=0) + 60)
                    await job(self.customer, work.start, work.end, context)
            await self.jobs.finish(works)


def reading_of(row: dict[str, Any]) -> Reading:
    """A row as a reading."""
    r = row
    registers = {name: r[name] for name in ("E_net", "E_import", "E_export")}
    return Reading(r["time"], r["P"], r["L1_PF"], r["L1_V"], r["Q"], **registers)


def daemon_on(customer: Customer, readings: Any, documents: Any, pending: Any, jobs: Any) -> Daemon:
    service = DerivationService(
        clock=reactor, settings=load_settings(Settings, None, {}).derivation, plugins=build_plugin_manager(),
        readings=readings, documents=documents, derivation_queue=pending, job_queue=jobs,
    )  # fmt: skip
    return Daemon(readings, pending, jobs, service, customer)


async def in_memory(site: Site) -> Daemon:
    customer = customer_of(site)
    customers = {customer.id: customer}
    jobs = MemoryQueue(customers)
    pending = MemoryQueue(customers, following=jobs)
    return daemon_on(customer, MemoryReadingStore(), MemoryDocumentStore(), pending, jobs)


@pytest_twisted.async_yield_fixture(params=["sqlite", "servers"])
async def stores(request: Any, tmp_path: Path, unique_name: str) -> AsyncIterator[Any]:
    urls = {"customers.url": f"sqlite:///{tmp_path}/c.sqlite", "readings.url": f"sqlite:///{tmp_path}/r.sqlite"}
    if request.param == "servers":
        influx, mongo = request.getfixturevalue("influx"), request.getfixturevalue("mongo")
        urls = {
            **PATIENT,
            "customers.url": f"{mongo.url}/{unique_name}",
            "readings.url": f"influxdb://127.0.0.1:{influx.port}/{unique_name}",
        }
    opened = await open_stores(load_settings(Settings, None, urls), reactor)
    yield opened
    await opened.close()


async def check(daemon: Daemon, site: Site, seed: int) -> None:
    rng = random.Random(seed)
    for meter, rows in site.uploads:
        await daemon.came(meter, rows)
        if rng.random() < 0.15:
            await daemon.catch_up()
    await daemon.catch_up()
    await check_all(daemon, site)


async def check_all(daemon: Daemon, site: Site) -> None:
    """Compare everything that a daemon has stored with the reference."""
    await daemon.service.stopService()
    site = site._replace(rows=derive.with_sums(site.setups, site.rows))
    rows = {**site.rows, "missing_meter": derive.missing_meter(site.setups, site.rows)}
    await check_points(daemon, rows)
    await check_rollups(daemon, site, rows)
    await check_roles(daemon, site, rows)
    quarters = await check_net_load(daemon, site, rows)
    await check_charges(daemon, site, quarters)


async def check_points(daemon: Daemon, rows: dict[str, list[dict[str, Any]]]) -> None:
    for meter, own in rows.items():
        if derive.is_sum(meter):
            continue  # known as <role>_sum as well, which is its series
        stored = (await daemon.readings.read([f"{SERIAL}_{meter}"], 0, 1 << 33))[f"{SERIAL}_{meter}"]
        assert [reading.time for reading in stored] == [row["time"] for row in own], meter
        for reading, row in zip(stored, own, strict=True):
            assert reading.estimated == row.get("estimated", False), (meter, row)
            for channel in (*CHANNELS, "E_import", "E_export", "E_net"):
                assert near(getattr(reading, channel), row[channel], abs=2e-9), (meter, channel, reading, row)


async def check_rollups(daemon: Daemon, site: Site, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Of the series that play a role all the time; jobs look at a meter only while it has one."""
    always = set.intersection(*({name(role, setup) for role in setup} for _, setup in site.setups))
    for meter in sorted({*always, "missing_meter"}):
        own = rows[meter]
        for resolution in RESOLUTIONS:
            series = f"{SERIAL}_{meter}"
            shown = await read_rollup(daemon.readings, series, resolution, TimeRange(0, 1 << 33), ZoneInfo(site.zone))
            wanted = rollups.windows(own, resolution, site.zone)
            assert [point.time for point in shown] == sorted(wanted), (meter, resolution)
            for point in shown:
                same(point.fields, wanted[point.time], (meter, resolution, point.time))


def name(role: str, setup: dict[str, tuple[str, bool]]) -> str:
    """The name of a role's series, without the serial."""
    return f"{role}_sum" if derive.is_sum(setup[role][0]) else setup[role][0]


def same(found: dict[str, Any], wanted: dict[str, Any], where: Any) -> None:
    for name, value in wanted.items():
        assert name in found, (where, name)
        tolerance = {"abs": 6e-5} if name.endswith("complete") else {"rel": 1e-6, "abs": 1e-7}
        assert near(found[name], value, **tolerance), (where, name, found[name], value)
    assert ("PF" in found, "expected" in found) == ("PF" in wanted, "expected" in wanted), where


async def check_roles(daemon: Daemon, site: Site, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Each role's windows of hours and days, those in which its meter or CT changed as well."""
    roles: tuple[Role, ...] = ("utility", "load", "solar")
    for role in roles:
        parts = role_parts(site, role, rows)
        for resolution in ("15m", "1h", "24h"):
            within = TimeRange(site.start - 2 * 86400, site.end + 2 * 86400)
            shown = await role_rollup(daemon.customer, daemon.readings, role, resolution, within)
            wanted = rollups.of_role(parts, resolution, site.zone)
            assert [window["time"] for window in shown] == sorted(wanted), (role, resolution)
            for window in shown:
                same(window, wanted[window["time"]], (role, resolution, window["time"]))


def role_parts(site: Site, role: str, rows: dict[str, list[dict[str, Any]]]) -> list[Any]:
    """(start, end, rows of the series with import positive) for as long as nothing changes for the role."""
    found: list[Any] = []
    for position, (since, setup) in enumerate(site.setups):
        until = site.setups[position + 1][0] if position + 1 < len(site.setups) else 1 << 40
        what = setup.get(role, ("missing_meter", False))
        if found and found[-1][2] == what:
            found[-1][1] = until
        else:
            found.append([since, until, what])
    return [
        (since, until, derive.corrected(rows[f"{role}_sum" if derive.is_sum(meter) else meter], 0, 1 << 40, turned))
        for since, until, (meter, turned) in found
    ]


def role_rows(site: Site, role: str, rows: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    found = []
    for position, (since, setup) in enumerate(site.setups):
        until = site.setups[position + 1][0] if position + 1 < len(site.setups) else 1 << 40
        meter, is_reversed = setup.get(role, ("missing_meter", False))
        found += derive.corrected(rows[meter], since, until, is_reversed)
    return found


async def check_net_load(daemon: Daemon, site: Site, rows: dict[str, list[dict[str, Any]]]) -> dict[int, Any]:
    own = [row for row in role_rows(site, "utility", rows) if row["P"] is not None]
    lasting = rollups.stand_for([row["time"] for row in own])
    wanted: dict[int, Any] = {}
    for window in sorted({rollups.window_of(time, "15m", site.zone) for time in lasting}):
        inside = [row for row in own if window[0] <= row["time"] < window[1]]
        expected = rollups.by_pauses(window, [row["time"] for row in inside], lasting)
        wanted[window[0]] = rollups.summary(inside, expected)
    reader = NetLoadReader(daemon.customer, daemon.readings, 1 << 33)
    shown = [point async for points in reader.points(0, 1 << 33, 1 << 33) for point in points]
    assert [point.time for point in shown] == list(wanted)
    for point in shown:
        for name in ("P_mean", "P_min", "P_max", "P_count", "expected", "complete"):
            value = wanted[point.time].get(name)
            assert (name in point.fields) == (value is not None), (point.time, name)
            if value is not None:
                assert near(point.fields[name], value, rel=1e-9, abs=6e-5), (point, name, value)
    return wanted


async def check_energy(daemon: Daemon, site: Site, hours: dict[tuple[str, int], dict[str, float]]) -> None:
    found = await energy_shown(daemon.readings, daemon.customer, site.start - 2 * 86400, site.end + 2 * 86400)
    assert found.keys() == hours.keys()
    for key, fields in found.items():
        for name, value in hours[key].items():
            assert near(fields.get(name, 0.0), value, abs=NEAR), (key, name, fields, value)


async def check_charges(daemon: Daemon, site: Site, quarters: dict[int, Any]) -> None:
    zone = ZoneInfo(site.zone)
    start, end = window_at(site.start, "24h", zone).start, window_at(site.end, "24h", zone).end
    known = site.start - 7200, site.end + 7200
    hours = energy.hours(site.setups, site.rows, site.zone, *known)
    await check_energy(daemon, site, hours)
    pieces = {begin: piece for (role, begin), piece in hours.items() if role == "utility"}
    counts = energy.counts(site.setups, site.rows, site.zone, *known)
    meters = {
        begin: f"{meter}"
        for since, until, meter in segments(site, "utility", start, end)
        for begin in counts
        if since <= begin < until
    }
    for (role, time), fields in (await energy_shown(daemon.readings, daemon.customer, start, end)).items():
        if role == "utility":
            for name, value in counts.get(time, {}).items():
                shown = fields.get("register_seconds" if name == "seconds" else name, 0.0)
                assert near(shown, value, abs=NEAR), (time, name, shown, value)
            assert ("register_seconds" in fields) == (time in counts), time
    highest = max((q["P_mean"] for q in quarters.values() if q.get("complete", 1.0) >= 0.5), default=0.0)
    for way in ("power", "registers"):
        tariff = tariff_from_json({**charges.TARIFF, "energy_from": way})
        bill = await charges_of(daemon.customer, daemon.readings, tariff, TimeRange(start, end), end)
        wanted = charges.by_power(pieces, site.zone)
        if way == "registers":
            wanted = charges.by_registers(pieces, counts, meters, site.zone)
        assert {line.period for line in bill.energy} == set(wanted)
        for line in bill.energy:
            assert (line.import_kwh, line.export_kwh) == pytest.approx(wanted[line.period], abs=12 * NEAR), (way, line)
        assert [line.kw for line in bill.demand] == [pytest.approx(max(0.0, highest))]
        assert float(bill.total) == pytest.approx(float(charges.bill(wanted, highest)), abs=0.04)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("seed", (355,))
async def test_on_real_stores(stores: Any, seed: int) -> None:
    site = random_site_with_sums(seed)
    customer = await stores.customers.add(attrs.evolve(customer_of(site), id=""))
    daemon = daemon_on(
        customer, stores.readings, stores.documents, stores.customers.derivation_queue, stores.customers.job_queue
    )
    await check(daemon, site, seed)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("seed", (100, 101, 102, 105, 110, 111, 112))
async def test_in_memory(seed: int) -> None:
    site = random_site(seed)
    await check(await in_memory(site), site, seed)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("seed", (328, 346, 355, 369))
async def test_sums_in_memory(seed: int) -> None:
    site = random_site_with_sums(seed)
    await check(await in_memory(site), site, seed)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("seed", (201, 202, 203))
async def test_where_the_clock_changes_by_half_an_hour(seed: int) -> None:
    site = random_site(seed, LORD_HOWE)
    await check(await in_memory(site), site, seed)
