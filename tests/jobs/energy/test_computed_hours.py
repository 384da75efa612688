"""Energy of the open hour that is kept in memory: always what would be computed now."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from cenergyd.customers.model import Customer, TimeRange
from cenergyd.jobs.energy.computed_hours import MAX_HOURS, MAX_ROWS, ComputedHours, HourInputs
from cenergyd.jobs.energy.hours import HourEnergy
from cenergyd.jobs.rollups.report import energy_between
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import FieldPoint, Reading, SeriesReadings
from tests.jobs.site import LOAD, UTILITY, customer_in, run, store_with

DAY = TimeRange(0, 86400)
NOW = 100 * 60


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[TimeRange]:
    """The hours that were computed, on a fresh memory."""
    hours: list[TimeRange] = []
    compute = HourEnergy.points

    async def counted(self: HourEnergy, rows: Any, hour: TimeRange, **more: Any) -> Any:
        hours.append(hour)
        return await compute(self, rows, hour, **more)

    monkeypatch.setattr(HourEnergy, "points", counted)
    monkeypatch.setattr("cenergyd.jobs.energy.read._COMPUTED", ComputedHours())
    return hours


def site() -> MemoryReadingStore:
    rows = [Reading(60 * k, P=2.0) for k in range(60, 90)]
    return store_with(utility=rows, load=[row._replace(P=5.0) for row in rows])


def shown(store: MemoryReadingStore, customer: Customer | None = None, now: int = NOW) -> dict[str, float | None]:
    found = run(energy_between(customer or customer_in("UTC"), store, DAY, now))
    return {role: each["import_kwh"] if each else None for role, each in found.items()}


def test_an_hour_is_computed_once_while_its_readings_are_the_same(computed: list[TimeRange]) -> None:
    store = site()
    first = shown(store)
    assert first == {
        "utility": pytest.approx(2 * 29 / 60),
        "load": pytest.approx(5 * 29 / 60),
        "solar": pytest.approx(3 * 29 / 60),
    }
    assert shown(store, now=NOW + 20) == first
    assert computed == [TimeRange(3600, 7200)]
    assert shown(store_with()) == {"utility": 0, "load": 0, "solar": 0}, "another store has no such hour"


@pytest.mark.parametrize(
    "row",
    [Reading(60 * 75, P=8.0), Reading(60 * 75 + 30, P=8.0), Reading(60 * 90, P=8.0), Reading(60 * 59, P=8.0)],
    ids=["changed", "between", "newer", "before the hour"],
)
def test_another_writers_reading_counts_at_once(computed: list[TimeRange], row: Reading) -> None:
    store = site()
    before = shown(store)
    run(store.write([SeriesReadings(LOAD, [row])]))
    after = shown(store)
    assert after != before
    run(store.replace(UTILITY, 60 * 80, 60 * 90, []))
    assert shown(store) != after
    assert computed.count(TimeRange(3600, 7200)) == 3


def test_other_settings_count_at_once(computed: list[TimeRange]) -> None:
    store, customer = site(), customer_in("UTC")
    assert shown(store, customer)["utility"] == pytest.approx(2 * 29 / 60)
    turned = attrs.evolve(customer, extensions={"meters": {"reversed": ["utility"]}})
    assert shown(store, turned)["utility"] == 0
    swapped = attrs.evolve(customer, facility="2", load="1")
    assert shown(store, swapped)["utility"] == pytest.approx(5 * 29 / 60)
    assert len(computed) == 3


def test_the_evaluation_of_a_fleet_keeps_no_hour(computed: list[TimeRange]) -> None:
    """So those of the pages that are being looked at stay."""
    store = site()
    for _ in range(2):
        run(energy_between(customer_in("UTC"), store, DAY, NOW, keep=False))
    assert len(computed) == 2
    shown(store)
    assert len(computed) == 3


def test_an_hour_for_which_the_store_is_asked_for_more_is_not_kept(computed: list[TimeRange]) -> None:
    """A gap is bridged by what the meter measured in the month around it, which other readings may change."""
    rows = [Reading(60 * k, P=2.0, E_import=100 + 2 * k / 60) for k in (*range(60, 70), *range(180, 190))]
    store = store_with(utility=rows, load=rows)
    for _ in range(2):
        run(energy_between(customer_in("UTC"), store, DAY, 190 * 60, max_gap=600))
    assert computed.count(TimeRange(3600, 7200)) == 2


def test_what_is_kept_is_bounded() -> None:
    memory, customer = ComputedHours(), customer_in("UTC")
    points = {UTILITY: [FieldPoint(0, {})]}

    def inputs(hour: int, rows: int = 1) -> HourInputs:
        readings = [Reading(k, P=1.0) for k in range(rows)]
        return HourInputs.of(customer, TimeRange(hour, hour + 3600), 5400, False, {UTILITY: readings})

    for hour in range(MAX_HOURS + 1):
        memory.keep(inputs(3600 * hour), points)
    assert memory.get(inputs(0)) is None
    assert memory.get(inputs(3600)) is points
    memory.keep(inputs(3600 * 99), points)
    assert memory.get(inputs(3600)) is points, "the one that was not used for the longest time goes"
    assert memory.get(inputs(2 * 3600)) is None
    memory.keep(inputs(0, MAX_ROWS + 1), points)
    assert memory.get(inputs(0, MAX_ROWS + 1)) is None


def test_a_store_that_goes_on_using_its_lists_changes_nothing_that_is_kept() -> None:
    memory, rows = ComputedHours(), {UTILITY: [Reading(0, P=1.0)]}

    def inputs() -> HourInputs:
        return HourInputs.of(customer_in("UTC"), TimeRange(0, 3600), 5400, False, rows)

    memory.keep(inputs(), {})
    rows[UTILITY].append(Reading(60, P=2.0))
    assert memory.get(inputs()) is None


def test_readings_come_from_the_cache_and_stored_points_from_the_store(computed: list[TimeRange]) -> None:
    store, cache = site(), MemoryReadingStore()
    for place, energy in ((store, 7.0), (cache, 99.0)):
        fields = {"import_kwh": energy, "export_kwh": 0.0, "covered_seconds": 3600.0}
        run(place.write_points(f"{UTILITY}_energy_1h", [FieldPoint(0, fields)]))
    for name, power in ((UTILITY, 4.0), (LOAD, 10.0)):
        run(cache.write([SeriesReadings(name, [Reading(60 * k, P=power) for k in range(60, 90)])]))
    for recent, factor in ((cache, 2), (None, 1), (store, 1)):
        last = run((recent or store).last([UTILITY, LOAD]))
        found = run(energy_between(customer_in("UTC"), store, DAY, NOW, last=last, recent=recent))
        assert found["utility"]["import_kwh"] == pytest.approx(7.0 + factor * 2 * 29 / 60)
        assert found["load"]["import_kwh"] == pytest.approx(factor * 5 * 29 / 60)
