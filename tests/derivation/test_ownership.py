"""Attempts to read another customer's readings, and loggers that change hands, on both pairs of stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from pymongo import MongoClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from cenergyd.customers import meter_history
from cenergyd.customers.meter_history import role_segments
from cenergyd.customers.model import ROLES, Customer
from cenergyd.customers.ownership import FOREVER, OwnedLogger, owned_loggers
from cenergyd.derivation.front_end_watch import FrontEndWatch
from cenergyd.derivation.reconfigure import add_customer, change_customer
from cenergyd.errors import SerialTaken
from cenergyd.ingest.receiver import Receiver
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import Stores, open_stores
from tests.derivation.test_real_stores import came, computed, daemon, idle, until
from tests.servers import PATIENT, RunningMongo

X, OWN = "001EC6009999", "001EC6001433"
NOW = 1_700_100_000


@pytest_twisted.async_yield_fixture(params=["sqlite", "servers"])
async def stores(
    request: pytest.FixtureRequest, tmp_path: Path, unique_name: str
) -> AsyncIterator[tuple[Settings, Stores]]:
    urls = {"customers.url": f"sqlite:///{tmp_path}/c.sqlite", "readings.url": f"sqlite:///{tmp_path}/r.sqlite"}
    if request.param == "servers":
        mongo, influx = request.getfixturevalue("mongo"), request.getfixturevalue("influx")
        urls = {
            **PATIENT,
            "customers.url": f"{mongo.url}/{unique_name}",
            "readings.url": f"influxdb://127.0.0.1:{influx.port}/{unique_name}",
        }
    settings = load_settings(Settings, None, urls)
    opened = await open_stores(settings, reactor)  # type: ignore[arg-type]
    yield settings, opened
    await opened.close()


async def change(stores: Stores, customer: Customer, changes: dict[str, Any], *, by_operator: bool = False) -> Customer:
    done = await change_customer(
        stores.customers, stores.readings, customer.id, changes, NOW, by_operator=by_operator
    )  # fmt: skip
    return done.new


async def fresh(stores: Stores, customer: Customer) -> Customer:
    found = await stores.customers.get(customer.id)
    assert found is not None
    return found


def sees(customer: Customer) -> set[str]:
    """Every series that the customer may read at any time."""
    return {segment.series for role in ROLES for segment in role_segments(customer, role, 0, FOREVER)}


def rows(start: int, P: float) -> list[Reading]:
    return [Reading(start + 60 * minute, P, 1.0, 120.0, 0.0) for minute in range(5)]


@pytest_twisted.ensureDeferred
async def test_a_customer_cannot_take_over_anothers_logger(stores: tuple[Settings, Stores]) -> None:
    settings, opened = stores
    thief = await add_customer(opened.customers, opened.readings, Customer(id="", load="1", solar="2", logger_serial_number=OWN), NOW)  # fmt: skip
    # Names a logger that has stored nothing, back-dated, and returns to the own one.
    claim = meter_history.dated_change(thief, NOW - 90_000, {"logger_serial_number": X}, NOW)
    thief = await change(opened, thief, claim)
    back = meter_history.dated_change(await fresh(opened, thief), NOW - 10, {"logger_serial_number": OWN}, NOW)
    thief = await change(opened, await fresh(opened, thief), back)
    # Later the real owner's logger arrives, with readings of that time.
    owner = await add_customer(opened.customers, opened.readings, Customer(id="", load="1", solar="2", logger_serial_number=X), NOW)  # fmt: skip
    for meter, P in (("1", 5.0), ("2", 2.0)):
        await came(opened, owner, meter, rows(NOW - 50_000, P))
    service = daemon(settings, opened)
    await Deferred.fromCoroutine(service.tick())
    await until(lambda: idle(opened))
    assert [row.P for row in await computed(opened, owner)] == [3.0] * 5
    thief = await fresh(opened, thief)
    assert X not in {series.partition("_")[0] for series in sees(thief)}
    assert owned_loggers(thief) == [OwnedLogger(OWN, 0, FOREVER)] or X not in {
        each.serial for each in owned_loggers(thief) or ()
    }
    # Nor does the thief's derivation overwrite what was computed for the owner.
    thief = await change(opened, thief, {"load": "2", "solar": "1"})
    await Deferred.fromCoroutine(service.tick())
    await until(lambda: idle(opened))
    assert [row.P for row in await computed(opened, owner)] == [3.0] * 5
    assert sees(await fresh(opened, owner)) == {f"{X}_1", f"{X}_2", f"{X}_missing_meter"}
    await service.stopService()


@pytest_twisted.ensureDeferred
async def test_a_logger_changes_hands(stores: tuple[Settings, Stores]) -> None:
    _, opened = stores
    first = await add_customer(opened.customers, opened.readings, Customer(id="", load="1", solar="2", logger_serial_number=X), NOW)  # fmt: skip
    await came(opened, first, "1", rows(NOW - 5000, 5.0))
    with pytest.raises(SerialTaken):
        await add_customer(opened.customers, opened.readings, Customer(id="", logger_serial_number=X), NOW)
    first = await change(opened, first, meter_history.dated_change(first, NOW, {"logger_serial_number": OWN}, NOW))
    end = NOW - 5000 + 240 + 1
    # What was computed of the day may begin before the first reading.
    since = (NOW - 5000) // 86400 * 86400
    assert OwnedLogger(X, since, end) in (owned_loggers(first) or [])
    assert f"{X}_1" in sees(first)
    second = await add_customer(opened.customers, opened.readings, Customer(id="", load="1", solar="2", logger_serial_number=X), NOW)  # fmt: skip
    assert owned_loggers(second) == [OwnedLogger(X, end, FOREVER)]
    assert [segment[:3] for segment in role_segments(second, "load", 0, NOW)] == [(end, NOW, f"{X}_1")]
    # The former holder keeps what was theirs, and nothing later.
    assert [segment[:3] for segment in role_segments(first, "load", 0, NOW)] == [(since, end, f"{X}_1")]
    # Whoever is no operator gets only what comes from now on.
    await came(opened, second, "1", rows(NOW - 2000, 5.0))
    await change(opened, second, {"logger_serial_number": ""}, by_operator=True)
    third = await opened.customers.add(Customer(id="", load="1"))
    third = await change(opened, third, {"logger_serial_number": X})
    assert owned_loggers(third) == [OwnedLogger(X, NOW - 2000 + 240 + 1, FOREVER)]


@pytest_twisted.ensureDeferred
async def test_naming_anothers_logger_in_the_front_end_takes_nothing(
    mongo: RunningMongo, unique_name: str, tmp_path: Path
) -> None:
    urls = {**PATIENT, "customers.url": f"{mongo.url}/{unique_name}", "readings.url": f"sqlite:///{tmp_path}/r.sqlite"}
    opened = await open_stores(load_settings(Settings, None, urls), reactor)  # type: ignore[arg-type]
    watch = FrontEndWatch(reactor, opened.customers, opened.readings, reported)  # type: ignore[arg-type]
    try:
        with MongoClient[Any](mongo.url) as client:
            shared = client[unique_name].customer
            for key, serial in (("owner", X), ("thief", OWN)):
                shared.insert_one({"_id": key, "load": "1", "solar": "2", "logger_serial_number": serial})
            while not await watch.check():
                pass
            shared.update_one({"_id": "thief"}, {"$set": {"logger_serial_number": X}})
            for _ in range(2):
                while not await watch.check():
                    pass
            assert shared.find_one({"_id": "thief"})["logger_serial_number"] == X  # type: ignore[index]
        owner = await opened.customers.by_serial(X)
        assert owner is not None and owner.id == "owner"
        thief = await opened.customers.get("thief")
        assert thief is not None
        assert X not in {series.partition("_")[0] for series in sees(thief)}
    finally:
        await opened.close()


def test_nobody_changes_readings_of_anothers_time() -> None:
    customer = Customer(id="b", logger_serial_number=X, extensions={"loggers": [{"serial": X, "since": NOW}]})
    batches = [SeriesReadings(f"{X}_1", rows(NOW - 120, 5.0))]
    receiver = object.__new__(Receiver)
    assert [row.time for row in receiver._owned(customer, batches)[0].readings] == [NOW, NOW + 60, NOW + 120]
    assert receiver._owned(Customer(id="c", logger_serial_number=X), batches) == batches


async def reported(old: Customer | None, new: Customer | None) -> None:
    """Ignores notifications."""
