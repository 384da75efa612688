"""The service on real stores and the real reactor: embedded SQLite, and InfluxDB with MongoDB's protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from cenergyd.customers.claims import DerivationQueue
from cenergyd.customers.model import Customer, PendingMark, PendingWork, TimeRange
from cenergyd.daemon.plugins import build_plugin_manager
from cenergyd.derivation import backlog, batch, service
from cenergyd.derivation.service import DerivationService
from cenergyd.documents.body import body_of
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import Stores, open_stores
from tests.derivation.memory import minutes
from tests.servers import PATIENT, RunningInflux, RunningMongo

START = 1_700_000_040


@pytest_twisted.async_yield_fixture(params=["sqlite", "servers"])
async def stores(
    request: pytest.FixtureRequest, tmp_path: Path, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Settings, Stores]]:
    if request.param == "sqlite":
        urls = {"customers.url": f"sqlite:///{tmp_path}/c.sqlite", "readings.url": f"sqlite:///{tmp_path}/r.sqlite"}
    else:
        influx: RunningInflux = request.getfixturevalue("influx")
        mongo: RunningMongo = request.getfixturevalue("mongo")
        urls = {
            **PATIENT,
            "customers.url": f"{mongo.url}/{unique_name}",
            "readings.url": f"influxdb://127.0.0.1:{influx.port}/{unique_name}",
        }
    for module in (backlog, batch):
        monkeypatch.setattr(module, "CHUNK_READINGS", 500)
    monkeypatch.setattr(service, "BATCH_CUSTOMERS", 20)
    settings = load_settings(Settings, None, urls)
    opened = await open_stores(settings, reactor)
    yield settings, opened
    await opened.close()


def daemon(settings: Settings, stores: Stores) -> DerivationService:
    return DerivationService(
        clock=reactor, settings=settings.derivation, plugins=build_plugin_manager(), readings=stores.readings,
        documents=stores.documents, derivation_queue=stores.customers.derivation_queue,
        job_queue=stores.customers.job_queue,
    )  # fmt: skip


async def came(stores: Stores, customer: Customer, meter: str, readings: list[Reading]) -> None:
    await stores.readings.write([SeriesReadings(f"{customer.logger_serial_number}_{meter}", readings)])
    await stores.customers.derivation_queue.mark([PendingMark(customer.id, readings[0].time, readings[-1].time + 1)])


async def computed(stores: Stores, customer: Customer) -> list[Reading]:
    name = f"{customer.logger_serial_number}_missing_meter"
    return (await stores.readings.read([name], 0, 1 << 32))[name]


async def until(done: Callable[[], Any], seconds: float = 240) -> None:
    """Wait for something that other tasks bring about."""
    end = reactor.seconds() + seconds  # type: ignore[attr-defined]
    while not await done():
        assert reactor.seconds() < end, "it did not happen"  # type: ignore[attr-defined]
        await deferLater(reactor, 0.02, lambda: None)


async def idle(stores: Stores) -> bool:
    return (await stores.customers.derivation_queue.summary()).customers == 0


@pytest_twisted.ensureDeferred
async def test_a_fleet_late_data_and_a_backlog(stores: tuple[Settings, Stores]) -> None:
    settings, opened = stores
    fleet = [
        await opened.customers.add(Customer(id="", facility="1", solar="2", logger_serial_number=f"00F{i:03X}"))
        for i in range(50)
    ]
    for customer in fleet:
        for meter in "12":
            await came(opened, customer, meter, minutes(3))
    one, two = daemon(settings, opened), daemon(settings, opened)  # two share the work
    await Deferred.fromCoroutine(one.tick())
    await Deferred.fromCoroutine(two.tick())
    await until(lambda: idle(opened))
    for customer in fleet:
        assert [each.P for each in await computed(opened, customer)] == [2.0, 4.0, 6.0]
    assert one.status.derived_readings + two.status.derived_readings == 150

    late = fleet[7]
    for meter in "12":
        await came(opened, late, meter, minutes(2000, start=START - 2000 * 60))
    two.startService()
    await until(lambda: idle(opened))
    await two.stopService()
    assert [each.time for each in await computed(opened, late)] == [START + 60 * i for i in range(-2000, 3)]
    derived = await opened.customers.get(late.id)
    assert derived is not None
    assert body_of(derived.derivation)["derived_until"] == START + 120
    works = await opened.customers.job_queue.claim("test", START * 2, 60, 100)
    assert len(works) == 50


@pytest_twisted.ensureDeferred
async def test_a_corrected_reading_replaces_what_was_computed(stores: tuple[Settings, Stores]) -> None:
    settings, opened = stores
    customer = await opened.customers.add(Customer(id="", load="1", solar="2", logger_serial_number="00AB"))
    service = daemon(settings, opened)
    await came(opened, customer, "1", [Reading(START, 5.0, 0.9, 120.0), Reading(START + 30, 7.0)])
    await came(opened, customer, "2", [Reading(START + 31, 1.0, 1.0, 121.0)])
    await service.tick()
    (first,) = await computed(opened, customer)
    assert (first.time, first.P) == (START + 30, 6.0)
    await came(opened, customer, "2", [Reading(START + 1, 1.0, 1.0, 121.0)])
    await came(opened, customer, "1", [Reading(START + 31, 8.0, 0.5, 120.0, 3.0)])
    await service.tick()
    found = await computed(opened, customer)
    assert [(each.time, each.P, each.estimated) for each in found] == [(START, 4.0, True), (START + 31, 7.0, True)]
    assert pytest.approx(3.0) == found[1].Q
    await service.stopService()


@pytest_twisted.ensureDeferred
async def test_a_role_of_two_inverters(stores: tuple[Settings, Stores]) -> None:
    settings, opened = stores
    customer = await opened.customers.add(
        Customer(id="", facility="1", solar="2+4*0.5", logger_serial_number="00AC", logger_password="x")
    )
    service = daemon(settings, opened)
    name = "00AC_solar_sum"
    await came(opened, customer, "1", minutes(3))
    await came(opened, customer, "2", minutes(3))
    await service.tick()
    assert (await opened.readings.read([name], 0, 1 << 32))[name] == []
    assert await computed(opened, customer) == [], "meter 4 is missing: a gap"
    await came(opened, customer, "4", [Reading(START + 60 * i + 5, 2.0, 1.0, 120.0, 0.0, E_net=10.0) for i in range(3)])
    await service.tick()
    total = (await opened.readings.read([name], 0, 1 << 32))[name]
    assert [each.P for each in total] == [2.0, 3.0, 4.0]
    assert [each.P for each in await computed(opened, customer)] == [3.0, 5.0, 7.0]
    assert name not in await opened.readings.series_of("00AC"), "it is no meter of the logger"
    await opened.readings.replace("00AC_4", START, START + 70, [])  # gone again
    await opened.customers.derivation_queue.mark([PendingMark(customer.id, START, START + 180)])
    await service.tick()
    assert [each.time for each in (await opened.readings.read([name], 0, 1 << 32))[name]] == [START + 120]
    assert [each.P for each in await computed(opened, customer)] == [7.0]
    await service.stopService()


class NoJobs:
    """Jobs that have nothing to do: derived windows end at once."""

    def __init__(self, queue: DerivationQueue) -> None:
        self._queue = queue

    async def take_over(
        self, works: Sequence[PendingWork], windows: Sequence[TimeRange], results: Sequence[str], until: Sequence[float]
    ) -> list[bool]:
        return await self._queue.finish_with_results(works, windows, results)


@pytest_twisted.ensureDeferred
async def test_two_daemons_that_keep_the_newest_readings_of_one_logger(stores: tuple[Settings, Stores]) -> None:
    settings, opened = stores
    others = [await open_stores(settings, reactor) for _ in range(2)]
    services = []
    for each in others:
        queue = each.customers.derivation_queue
        service = DerivationService(
            clock=reactor, settings=settings.derivation, plugins=build_plugin_manager(), readings=each.cached_readings,
            documents=each.documents, derivation_queue=queue, job_queue=each.customers.job_queue,
            claimed=each.recent.claimed, jobs=NoJobs(queue), settling=0.0,
        )  # fmt: skip
        service.marks.open = True
        services.append(service)
    customer = await opened.customers.add(Customer(id="", facility="1", solar="2", logger_serial_number="00FC"))
    start = int(reactor.seconds()) // 60 * 60 - 3600  # type: ignore[attr-defined]
    names = ["00FC_1", "00FC_2", "00FC_missing_meter"]

    async def upload(number: int, readings: list[Reading]) -> None:
        batches = [SeriesReadings(name, readings) for name in names[:2]]
        await others[number].readings.write(batches)
        await services[number].marks.mark([PendingMark(customer.id, readings[0].time, readings[-1].time + 1)])

    for turn, number in enumerate([0, 0, 0, 1, 0, 1, 1, 0, 0, 0]):
        at = start + 300 * turn
        await upload(number, [Reading(at - 20, 50.0 + turn), *minutes(4, start=at)])
        if turn == 7:  # a command voids what was stored
            await opened.readings.replace("00FC_1", at - 60, at - 10, [])
            await opened.customers.derivation_queue.mark([PendingMark(customer.id, at - 60, at - 10)])
        for service in services:
            await service.tick()
        view = others[number].recent.view
        assert await view.read(names, at - 90, at + 600) == await opened.readings.read(names, at - 90, at + 600)
    measured = await opened.readings.read(names, 0, 1 << 32)
    one, two = ({each.time: each.P for each in measured[name]} for name in names[:2])
    assert {each.time: each.P for each in measured[names[2]]} == {
        time: one[time] + two[time] for time in one.keys() & two.keys()
    }
    assert len(measured[names[2]]) == 49
    assert min(each.recent.from_cache for each in others) > 0
    for each in others:
        await each.close()
