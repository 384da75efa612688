"""New readings after which nothing need be written, and the hour that is computed on request."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import Any, cast
from zoneinfo import ZoneInfo

import attrs
import pytest

from cenergyd.customers.model import TimeRange
from cenergyd.jobs.energy.hours import energy_series
from cenergyd.jobs.energy.job import update_energy
from cenergyd.jobs.energy.netload import NetLoadReader, net_load_series, update_net_load
from cenergyd.jobs.energy.read import EnergyReader
from cenergyd.jobs.open_hour import measured_segments, newest_reading, stays_open, without
from cenergyd.jobs.rollups.job import roll_up
from cenergyd.jobs.shared_reads import SharedReads
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import FieldPoint, Reading, SeriesReadings
from cenergyd.readings.store import ReadingStore
from tests.jobs.site import (
    HORIZON,
    LOAD,
    SERIAL,
    SOLAR,
    UTILITY,
    all_points,
    context_on,
    customer_in,
    energy_shown,
    net_load_shown,
    run,
    store_with,
)

HOUR = 3600
UTC = ZoneInfo("UTC")


def minutes(first: int, last: int, P: float = 2.0) -> list[Reading]:
    return [Reading(60 * k, P=P) for k in range(first, last)]


def all_meters(last: int, **more: list[Reading]) -> MemoryReadingStore:
    return store_with(**{"utility": minutes(0, last), "load": minutes(0, last), "solar": minutes(0, last), **more})


@pytest.mark.parametrize(
    ("window", "last", "now", "stays"),
    [
        ((75, 90), 90, 90, True),
        ((63, 90), 90, 90, True),
        (
            (62, 90),
            90,
            90,
            False,
        ),  # two readings before it: the pauses before the hour may be classified differently now
        ((50, 90), 90, 90, False),  # it began in the hour before
        ((105, 121), 121, 121, False),  # it ends in the next
        ((75, 90), 121, 121, False),  # late: the next hour has begun
        ((75, 90), 90, 400, False),  # very late
    ],
)
def test_which_windows_leave_nothing_to_write(window: tuple[int, int], last: int, now: int, stays: bool) -> None:
    start, end = (60 * each for each in window)
    found = run(stays_open(customer_in("UTC"), TimeRange(start, end), all_meters(last), 60 * now, UTC))
    assert found == stays


def test_a_meter_that_lags_behind_decides_too() -> None:
    store = all_meters(90, load=minutes(0, 62))
    assert not run(stays_open(customer_in("UTC"), TimeRange(75 * 60, 90 * 60), store, 90 * 60, UTC))
    store = all_meters(90, load=minutes(0, 64))
    assert run(stays_open(customer_in("UTC"), TimeRange(75 * 60, 90 * 60), store, 90 * 60, UTC))


def test_an_upload_within_an_hour_writes_nothing_and_reads_little() -> None:
    class Counting(MemoryReadingStore):
        rows = 0

        async def read(self, *args: Any, **kwargs: Any) -> Any:
            found = await super().read(*args, **kwargs)
            self.rows += sum(map(len, found.values()))
            return found

        async def replace_points_many(self, items: Any, field: str = "") -> None:
            raise AssertionError("nothing is over")

        merge_points_many = replace_points_many

    store = Counting()
    store._readings.update(all_meters(330)._readings)
    for job in (roll_up, update_net_load, update_energy):
        run(job(customer_in("UTC"), 315 * 60, 330 * 60, context_on(store, now=330 * 60)))
    assert store.rows == 3 * 3 * 30, "of three meters the half hour since the hour began, by three jobs"


def test_a_meter_that_stopped_days_ago_has_no_old_hours_written_again() -> None:
    class Counting(MemoryReadingStore):
        oldest = HORIZON

        async def replace_points_many(self, items: Any, field: str = "") -> None:
            self.oldest = min([self.oldest, *(start for _, start, _, _ in items)])
            await super().replace_points_many(items, field)

    store, customer = Counting(), customer_in("UTC")
    stopped = store_with(utility=minutes(0, 3000), load=minutes(0, 90), solar=minutes(0, 90))
    store._readings.update(stopped._readings)
    for job in (update_net_load, update_energy):
        run(job(customer, 0, 3000 * 60, context_on(store, now=3000 * 60)))
    for last in range(3015, 3075, 15):  # 3000 is the start of an hour
        run(store.write([SeriesReadings(UTILITY, minutes(last - 15, last))]))
        store.oldest = HORIZON
        for job in (update_net_load, update_energy):
            run(job(customer, (last - 15) * 60, last * 60, context_on(store, now=last * 60)))
        assert store.oldest >= (2940 if last < 3060 else 3000) * 60, "the hour that was open, not those since the stop"
    at_once = store_of(store)
    for job in (update_net_load, update_energy):
        run(job(customer, 0, 3060 * 60, context_on(at_once, now=3060 * 60)))
    assert all_points(store) == all_points(at_once)


def store_of(other: MemoryReadingStore) -> MemoryReadingStore:
    """Its readings alone."""
    store = MemoryReadingStore()
    store._readings.update(other._readings)
    return store


def test_what_is_reported_of_an_hour_does_not_wait_for_its_end() -> None:
    store = all_meters(90)
    customer = customer_in("UTC")
    for job in (update_net_load, update_energy):
        run(job(customer, 0, 90 * 60, context_on(store, now=90 * 60)))
    assert [point.time for point in all_points(store)[energy_series(UTILITY)]] == [0]
    assert [point.time for point in all_points(store)[net_load_series(SERIAL)]] == [0, 900, 1800, 2700]
    assert [(p.time, p.fields["covered_seconds"]) for p in energy_shown(store, UTILITY)] == [(0, 3600), (3600, 29 * 60)]
    assert [p.time for p in net_load_shown(store)] == [900 * k for k in range(6)]


def test_what_was_stored_of_an_hour_that_is_open_again_does_not_count() -> None:
    """What came after it was voided."""
    store = all_meters(90)
    stale = {"import_kwh": 99.0, "export_kwh": 0.0, "covered_seconds": 3600.0, "seconds": 3600.0}
    run(store.write_points(energy_series(UTILITY), [FieldPoint(3600, stale)]))
    assert energy_shown(store, UTILITY)[-1].fields["import_kwh"] == pytest.approx(2 * 29 / 60)


def test_a_clock_that_is_far_ahead_hides_no_hour() -> None:
    """Two stray readings of the future: neither hour is that of the site's own newest reading."""
    store = all_meters(90)
    customer = customer_in("UTC")
    run(update_energy(customer, 0, 90 * 60, context_on(store, now=90 * 60)))
    run(store.write([SeriesReadings(UTILITY, [Reading(HOUR * 900, P=1.0), Reading(HOUR * 999, P=1.0)])]))

    async def starts() -> list[int]:
        reader = EnergyReader(customer, store, 90 * 60)
        return [p.time async for _, points in reader.points("utility", 0, 2 * HOUR) for p in points]

    assert run(starts()) == [0, 3600]


@pytest.mark.parametrize("reader_of", [EnergyReader, NetLoadReader])
def test_a_reader_is_freed_without_the_garbage_collector(reader_of: Any) -> None:
    """One is used for every site: if its objects were left to the collector, that would stop the reactor for some 100 ms."""
    store = all_meters(90)
    reader = reader_of(customer_in("UTC"), store, 90 * 60)
    role = ("utility",) if reader_of is EnergyReader else ()

    async def count(pieces: Any) -> int:
        return sum([len(piece) async for piece in pieces])

    assert run(count(reader.points(*role, 0, 2 * HOUR, 2 * HOUR))) > 0
    known = weakref.ref(reader)
    gc.disable()
    try:
        del reader
        assert known() is None
    finally:
        gc.enable()


def test_the_newest_reading_is_one_of_the_customers() -> None:
    """After a meter lost its role, and its logger went to somebody else, its readings are not the customer's."""
    store = store_with(utility=minutes(0, 500), load=minutes(0, 100), solar=minutes(0, 800))
    history = [{"until": 200 * 60, "facility": "1", "load": "2", "solar": ""}]
    customer = attrs.evolve(customer_in("UTC", extensions={"history": history}), facility="", load="2", solar="9")

    def segments(start: int, end: int) -> Any:
        return measured_segments(customer, start, end)

    assert {each.series for each in segments(0, 1 << 33)} == {UTILITY, LOAD, f"{SERIAL}_9"}
    assert run(newest_reading(segments, store)) == 199 * 60
    assert run(newest_reading(segments, store, 150 * 60)) == 149 * 60
    assert run(newest_reading(segments, store, 0)) is None
    assert SOLAR not in {each.series for each in segments(0, 1 << 33)}


@pytest.mark.parametrize(
    ("last", "asked", "newest"),
    [
        ({LOAD: Reading(60, P=1.0), UTILITY: None}, [], 60),
        ({LOAD: Reading(60, P=1.0), UTILITY: Reading(120, P=1.0), SOLAR: Reading(180, P=1.0)}, [], 120),
        ({LOAD: None, UTILITY: None}, [], None),
        ({LOAD: Reading(60, P=1.0)}, [[UTILITY, LOAD]], 49 * 60),
        ({}, [[UTILITY, LOAD]], 49 * 60),
    ],
)
def test_the_store_is_not_asked_for_newest_readings_that_were_just_read(
    last: dict[str, Reading | None], asked: list[list[str]], newest: int | None
) -> None:
    calls = []

    class Recorded(MemoryReadingStore):
        async def last(self, series: Sequence[str], before: int | None = None) -> dict[str, Reading]:
            calls.append(list(series))
            return await super().last(series, before)

    store = Recorded()
    run(store.write([SeriesReadings(LOAD, minutes(0, 50)), SeriesReadings(UTILITY, minutes(0, 50))]))
    customer = customer_in("UTC")

    def segments(start: int, end: int) -> Any:
        return measured_segments(customer, start, end)

    assert run(newest_reading(segments, store, last=last)) == newest
    assert calls == asked
    assert run(newest_reading(segments, store, 10 * 60, last=last)) == 9 * 60, "an earlier one is always read"


def test_the_parts_of_a_range_without_the_open_hour() -> None:
    assert without(TimeRange(0, 3), None) == [TimeRange(0, 3)]
    assert without(TimeRange(0, 3), TimeRange(1, 2)) == [TimeRange(0, 1), TimeRange(2, 3)]
    assert without(TimeRange(0, 3), TimeRange(2, 3)) == [TimeRange(0, 2)]
    assert without(TimeRange(0, 3), TimeRange(0, 3)) == []
    assert without(TimeRange(0, 3), TimeRange(7, 8)) == [TimeRange(0, 3)]


def test_the_jobs_of_a_range_decide_alike_whatever_arrives_meanwhile() -> None:
    store = all_meters(90)
    shared = SharedReads(store)

    def stays() -> bool:
        return run(
            stays_open(customer_in("UTC"), TimeRange(75 * 60, 90 * 60), cast(ReadingStore, shared), 90 * 60, UTC)
        )

    assert stays()
    run(store.write([SeriesReadings(series, minutes(90, 121)) for series in (UTILITY, LOAD, SOLAR)]))
    assert stays(), "the new readings have marked a range of their own"
    run(shared.write([SeriesReadings(f"{SERIAL}_own", minutes(0, 1))]))
    assert not stays(), "after a job's own write everything is read again"
