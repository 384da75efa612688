"""A customer with readings in memory, for tests of the jobs on readings."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import attrs

from cenergyd.customers.model import ROLES, Customer, TimeRange
from cenergyd.jobs.energy.netload import NetLoadReader
from cenergyd.jobs.energy.read import EnergyReader
from cenergyd.jobs.rollups.read import read_rollup
from cenergyd.jobs.windows import RESOLUTIONS
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import FieldPoint, Reading, SeriesReadings
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from tests.near import all_near

T = TypeVar("T")

SERIAL = "001EC6001433"
UTILITY, LOAD, SOLAR = f"{SERIAL}_1", f"{SERIAL}_2", f"{SERIAL}_missing_meter"
HORIZON = 1 << 33


def run(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that has nothing to wait for."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits for something")


def customer_in(time_zone: str, **more: Any) -> Customer:
    """A customer whose solar meter is computed."""
    return Customer(
        id="c", time_zone=time_zone, facility="1", load="2", logger_serial_number=SERIAL, logger_password="x", **more
    )


@attrs.define
class Context:
    """A JobContext on a store; ``pauses`` counts."""

    readings: Any
    settings: Settings
    now: int = HORIZON
    documents: Any = None
    customers: Any = None
    pauses: int = 0

    async def notify(self, notification: Any) -> None:
        raise AssertionError("these jobs tell nobody")

    async def pause(self) -> None:
        self.pauses += 1


def context_on(store: Any, *, now: int = HORIZON, **settings: str) -> Context:
    """A context with settings such as ``rollups__max_gap_seconds="1200"``."""
    overrides = {name.replace("__", "."): value for name, value in settings.items()}
    return Context(readings=store, settings=load_settings(Settings, None, overrides), now=now)


def store_with(**series: Sequence[Reading]) -> MemoryReadingStore:
    """A store with readings, ``utility=``, ``load=``, ``solar=``."""
    store = MemoryReadingStore()
    names = {"utility": UTILITY, "load": LOAD, "solar": SOLAR}
    run(store.write([SeriesReadings(names[role], readings) for role, readings in series.items()]))
    return store


def points(store: MemoryReadingStore, series: str) -> list[FieldPoint]:
    """All field points of a series."""
    return run(store.read_points(series, 0, HORIZON))


def energy_shown(store: Any, series: str, customer: Customer | None = None, max_gap: int = 5400) -> list[FieldPoint]:
    """All hours of a series' energy as readers get them."""

    async def shown_hours() -> list[FieldPoint]:
        reader = EnergyReader(customer or customer_in("UTC"), store, HORIZON, max_gap)
        return [
            point
            for role in ROLES
            async for place, found in reader.points(role, 0, HORIZON, HORIZON)
            if place.series == series
            for point in found
        ]

    return run(shown_hours())


def net_load_shown(store: Any, customer: Customer | None = None) -> list[FieldPoint]:
    """All quarters of an hour of the net load as readers get them."""

    async def shown_quarters() -> list[FieldPoint]:
        reader = NetLoadReader(customer or customer_in("UTC"), store, HORIZON)
        return [point async for found in reader.points(0, HORIZON, HORIZON) for point in found]

    return run(shown_quarters())


def all_points(store: MemoryReadingStore) -> dict[str, list[FieldPoint]]:
    """All field points of all series that have any, ascending in time."""
    return {name: [kept[time] for time in sorted(kept)] for name, kept in store._points.items() if kept}


def shown(store: MemoryReadingStore, series: str, resolution: str, zone: str = "UTC") -> list[FieldPoint]:
    """All windows of a series as they are shown."""
    return run(read_rollup(store, series, resolution, TimeRange(0, HORIZON), ZoneInfo(zone)))


def all_shown(store: MemoryReadingStore, zone: str = "UTC") -> dict[str, list[FieldPoint]]:
    """All windows of all series and resolutions."""
    return {
        f"{series}_{resolution}": found
        for series in sorted(store._readings)
        for resolution in RESOLUTIONS
        if (found := shown(store, series, resolution, zone))
    }


def same(found: dict[str, list[FieldPoint]], wanted: dict[str, list[FieldPoint]]) -> bool:
    """Whether two fleets' windows are the same but for rounding: a mean comes back exactly, a sum of it need not."""
    for series in found.keys() | wanted.keys():
        ours, theirs = found.get(series, []), wanted.get(series, [])
        assert [point.time for point in ours] == [point.time for point in theirs], series
        for our, their in zip(ours, theirs, strict=True):
            assert all_near(our.fields, their.fields, rel=1e-9, abs=1e-9), (series, our.time, our.fields, their.fields)
    return True
