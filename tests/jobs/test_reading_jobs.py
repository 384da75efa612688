"""The three plugins on real stores: the same points as in memory, whatever comes when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from cenergyd.customers.model import Customer
from cenergyd.jobs.context import RunningJobContext
from cenergyd.plugins import energy, netload, rollups
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.readings.store import ReadingStore
from cenergyd.storage.influxdb.readings import InfluxReadingStore
from cenergyd.storage.sqlite.readings import SqliteReadingStore
from tests.jobs.site import HORIZON, LOAD, SOLAR, UTILITY, all_points, context_on, customer_in
from tests.jobs.tariff.test_tariff import FULL
from tests.servers import PATIENT_SECONDS, RunningInflux

DAY = 1_780_012_800


@pytest_twisted.async_yield_fixture(params=["sqlite", "influx"])
async def store(request: Any, tmp_path: Path, influx: RunningInflux, unique_name: str) -> AsyncIterator[ReadingStore]:
    opened: Any = (
        SqliteReadingStore(reactor, tmp_path / "readings.sqlite")
        if request.param == "sqlite"
        else InfluxReadingStore(reactor, f"{influx.url}/{unique_name}", timeout_seconds=PATIENT_SECONDS)
    )
    await opened.open()
    yield opened
    await opened.close()


async def run_jobs(customer: Customer, readings: list[Reading], context: Any) -> None:
    for plugin in (rollups, netload, energy):
        await plugin.cenergyd_job(customer=customer, start=readings[0].time, end=readings[-1].time + 1, context=context)


@pytest_twisted.ensureDeferred
async def test_real_stores_hold_what_memory_holds(store: ReadingStore) -> None:
    customer = customer_in("America/New_York", extensions={"tariff": FULL})

    async def nothing(_: Any) -> None:
        raise AssertionError("these jobs tell nobody")

    context = RunningJobContext(
        now=HORIZON, readings=store, documents=None, customers=None, settings=context_on(None).settings,  # type: ignore[arg-type]
        notifier=nothing, clock=reactor, run_in_thread=None, context_for=None,  # type: ignore[arg-type]
    )  # fmt: skip
    log = [
        Reading(DAY + k * 300, P=k % 23 - 7.5, L1_PF=0.9, L1_V=120 + k % 3, Q=k % 5 * 0.1 if k % 2 else None)
        for k in range(400)
        if k % 31
    ]
    uploads = [log[200:260], log[:100], log[260:], log[100:200], log[150:250]]
    memory = MemoryReadingStore()
    for target, place in ((store, context), (memory, context_on(memory))):
        for upload in uploads:
            await target.write([SeriesReadings(series, upload) for series in (UTILITY, LOAD, SOLAR)])
            await run_jobs(customer, upload, place)
        await target.replace(SOLAR, log[20].time, log[120].time, [])
        await run_jobs(customer, log[20:120], place)
    expected = all_points(memory)
    assert len(expected) == 3 * 5 + 1  # windows of one and five minutes are not stored
    for series, points in expected.items():
        assert await store.read_points(series, 0, HORIZON) == points


@pytest.mark.parametrize("plugin", [rollups, netload, energy])
def test_a_plugin_is_one_hook(plugin: Any) -> None:
    assert hasattr(plugin.cenergyd_job, "cenergyd_impl")
