"""What the existing front end changes counts from when it was noticed, on real stores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from pymongo import MongoClient
from pymongo.collection import Collection
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cenergyd.customers.meter_history import role_segments
from cenergyd.customers.model import Customer, Role
from cenergyd.derivation.front_end_watch import (
    PAGE_SECONDS,
    PASS_SECONDS,
    STREAM_PASS_SECONDS,
    STREAM_SECONDS,
    FrontEndWatch,
)
from cenergyd.derivation.reconfigure import change_customer, followed
from cenergyd.errors import StoreUnavailable
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import Stores, open_stores
from tests.servers import PATIENT, RunningMongo

START, NOW = 1_700_000_000, 1_700_100_000
SERIAL = "001EC6001433"
MILL = {"_id": "mill", "name": "Mill", "facility": "", "load": "1", "solar": "2", "logger_serial_number": SERIAL, "logger_password": "p"}  # fmt: skip


@pytest.fixture
def shared(mongo: RunningMongo, unique_name: str) -> Iterator[Collection[Any]]:
    """The shared collection, as the front end writes it."""
    with MongoClient[Any](mongo.url) as client:
        yield client[unique_name].customer


@pytest_twisted.async_yield_fixture
async def stores(mongo: RunningMongo, unique_name: str, tmp_path: Path) -> AsyncIterator[Stores]:
    from twisted.internet import reactor

    urls = {**PATIENT, "customers.url": f"{mongo.url}/{unique_name}", "readings.url": f"sqlite:///{tmp_path}/r.sqlite"}
    opened = await open_stores(load_settings(Settings, None, urls), reactor)  # type: ignore[arg-type]
    yield opened
    await opened.close()


class WatchOnClock:
    def __init__(self, stores: Stores) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.reported: list[tuple[Customer | None, Customer | None]] = []
        self.customers, self.readings = stores.customers, stores.readings
        self.watch = FrontEndWatch(self.clock, stores.customers, stores.readings, self.tell)

    async def tell(self, old: Customer | None, new: Customer | None) -> None:
        self.reported.append((old, new))

    async def whole_pass(self) -> None:
        while not await self.watch.check():
            pass


async def read(stores: Stores, *series: str) -> None:
    for name in series:
        await stores.readings.write([SeriesReadings(name, [Reading(START, 1.0), Reading(NOW - 60, 1.0)])])


@pytest_twisted.ensureDeferred
async def test_a_change_of_meters_there_is_an_entry_of_the_history(stores: Stores, shared: Collection[Any]) -> None:
    shared.insert_one(MILL)
    watch = WatchOnClock(stores)
    await watch.whole_pass()
    assert watch.reported == []
    await read(stores, f"{SERIAL}_1", f"{SERIAL}_2", f"{SERIAL}_missing_meter")
    shared.update_one({}, {"$set": {"facility": "2", "solar": ""}})
    await watch.whole_pass()
    customer = await stores.customers.get("mill")
    assert customer is not None
    assert (customer.facility, customer.solar, customer.missing_role) == ("2", "", "solar")
    assert [(before.solar, after) for before, after in watch.reported if before] == [("2", customer)]
    # What was computed before still belongs to the utility, and is never shown as solar.
    missing = f"{SERIAL}_missing_meter"

    def places(role: Role) -> list[tuple[int, int, str]]:
        return [segment[:3] for segment in role_segments(customer, role, START, NOW + 100)]

    assert places("utility") == [(START, NOW, missing), (NOW, NOW + 100, f"{SERIAL}_2")]
    assert places("solar") == [(START, NOW, f"{SERIAL}_2"), (NOW, NOW + 100, missing)]
    assert customer.pending_start == NOW
    await watch.whole_pass()
    assert len(watch.reported) == 1


@pytest_twisted.ensureDeferred
async def test_a_completion_counts_for_all_times(stores: Stores, shared: Collection[Any]) -> None:
    shared.insert_one({**MILL, "solar": ""})
    watch = WatchOnClock(stores)
    await watch.whole_pass()
    await read(stores, f"{SERIAL}_1", f"{SERIAL}_2")
    shared.update_one({}, {"$set": {"solar": "2"}})
    await watch.whole_pass()
    customer = await stores.customers.get("mill")
    assert customer is not None
    assert customer.missing_role == "utility"
    assert "history" not in customer.extensions
    assert customer.pending_start == START


@pytest_twisted.ensureDeferred
async def test_a_password_or_name_changes_no_reading(stores: Stores, shared: Collection[Any]) -> None:
    shared.insert_one(MILL)
    watch = WatchOnClock(stores)
    await watch.whole_pass()
    await read(stores, f"{SERIAL}_1", f"{SERIAL}_2")
    shared.update_one({}, {"$set": {"logger_password": "new", "facility_name": "Old Mill", "timezone": "PST8PDT"}})
    await watch.whole_pass()
    customer = await stores.customers.get("mill")
    assert customer is not None
    assert (customer.logger_password, customer.name, customer.time_zone) == ("new", "Old Mill", "PST8PDT")
    assert customer.pending_start is None and not customer.extensions


@pytest_twisted.ensureDeferred
async def test_a_change_made_here_takes_the_front_ends_over_first(stores: Stores, shared: Collection[Any]) -> None:
    shared.insert_one(MILL)
    watch = WatchOnClock(stores)
    await watch.whole_pass()
    shared.update_one({}, {"$set": {"solar": "3"}})
    await change_customer(stores.customers, stores.readings, "mill", {"load": "4"}, NOW)
    document = shared.find_one()
    assert document == {**MILL, "solar": "3", "load": "4"}
    customer = await stores.customers.get("mill")
    assert customer is not None
    assert (customer.solar, customer.load) == ("3", "4")


@pytest_twisted.ensureDeferred
async def test_removed_there_is_removed_here(stores: Stores, shared: Collection[Any]) -> None:
    shared.insert_one(MILL)
    watch = WatchOnClock(stores)
    await watch.whole_pass()
    shared.delete_one({})
    await watch.whole_pass()
    assert [(before.id if before else None, after) for before, after in watch.reported] == [("mill", None)]
    assert await stores.customers.by_serial(SERIAL) is None


@pytest_twisted.ensureDeferred
async def test_the_service_makes_a_pass_every_half_minute_and_survives_outages() -> None:
    class FrontEnd:
        asked = 0

        async def next_changes(self) -> tuple[list[Any], bool]:
            self.asked += 1
            if self.asked == 3:
                raise StoreUnavailable("down")
            if self.asked == 4:
                raise RuntimeError("unexpected")
            return [], self.asked != 1

        async def streamed_changes(self) -> None:
            return None

    class Customers:
        front_end = FrontEnd()

    stores: Any = Stores(customers=Customers(), readings=None, cached_readings=None, recent=None, documents=None)  # type: ignore[arg-type]
    watch = WatchOnClock(stores)
    watch.watch.startService()
    assert Customers.front_end.asked == 1
    watch.clock.advance(PAGE_SECONDS)
    assert Customers.front_end.asked == 2
    for asked in (3, 4, 5):
        watch.clock.advance(PASS_SECONDS)
        assert Customers.front_end.asked == asked
    stopped = watch.watch.stopService()
    assert isinstance(stopped, Deferred)
    await stopped
    assert not watch.clock.getDelayedCalls()


@pytest_twisted.ensureDeferred
async def test_a_change_stream_is_read_every_second_and_passes_are_rare() -> None:
    class FrontEnd:
        passes = looks = 0
        alive = True

        async def next_changes(self) -> tuple[list[Any], bool]:
            self.passes += 1
            return [], True

        async def streamed_changes(self) -> list[Any] | None:
            self.looks += 1
            return [] if self.alive else None

    class Customers:
        front_end = FrontEnd()

    front_end = Customers.front_end
    stores: Any = Stores(customers=Customers(), readings=None, cached_readings=None, recent=None, documents=None)  # type: ignore[arg-type]
    watch = WatchOnClock(stores)
    watch.watch.startService()
    for _ in range(100):
        watch.clock.advance(STREAM_SECONDS)
    assert (front_end.passes, front_end.looks) == (1, 101)
    front_end.alive = False  # the stream ends: everything is read again, and then every half minute
    watch.clock.advance(STREAM_SECONDS)
    watch.clock.advance(PAGE_SECONDS)
    assert front_end.passes == 2
    watch.clock.advance(PASS_SECONDS)
    assert front_end.passes == 3
    front_end.alive = True
    watch.clock.advance(PASS_SECONDS)
    for _ in range(int(STREAM_PASS_SECONDS / STREAM_SECONDS)):
        watch.clock.advance(STREAM_SECONDS)
    watch.clock.advance(PAGE_SECONDS)
    assert front_end.passes == 5
    stopped = watch.watch.stopService()
    assert isinstance(stopped, Deferred)
    await stopped


def test_a_full_history_is_no_reason_to_miss_a_change() -> None:
    history = [{"until": 1000 + n, "load": "1", "solar": "2"} for n in range(500)]
    customer = Customer(id="a", load="1", solar="2", logger_serial_number=SERIAL, extensions={"history": history})
    assert followed(customer, {"solar": "3"}, NOW) == {"solar": "3"}
    assert followed(customer, {"name": "x"}, NOW) == {"name": "x"}
