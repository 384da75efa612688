"""The energy of each meter of a sum, and of each meter of a site, by hours and days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from math import fsum
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenergyd.customers.model import Customer
from cenergyd.jobs.energy.hours import energy_series
from cenergyd.jobs.energy.job import update_energy
from cenergyd.jobs.energy.meter_periods import MeterEnergy, meter_energies
from cenergyd.jobs.energy.periods import EnergyWindow, energy_windows
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from tests.jobs.site import HORIZON, context_on, points, run

SERIAL = "001EC6001433"
DAY = 1_780_012_800  # 2026-05-29T00:00Z
FIRST, AFTER = date(2026, 5, 29), date(2026, 5, 30)
HOUR = 3600


def site(solar: str, **more: Any) -> Customer:
    return Customer(
        id="c", facility="1", solar=solar, logger_serial_number=SERIAL, logger_password="x", time_zone="UTC", **more
    )


def rows(power: float, count: int = 181, skip: range = range(0)) -> list[Reading]:
    return [Reading(DAY + 60 * k, P=power) for k in range(count) if k not in skip]


def metered(customer: Customer, **series: Sequence[Reading]) -> MemoryReadingStore:
    """A store with readings and the energy that the job makes of them."""
    store = MemoryReadingStore()
    run(store.write([SeriesReadings(f"{SERIAL}_{name.removeprefix('m')}", found) for name, found in series.items()]))
    run(update_energy(customer, DAY, DAY + 4 * HOUR, context_on(store)))
    return store


def energy_of(
    customer: Customer, store: MemoryReadingStore, step: Any = "hour", now: int = HORIZON
) -> tuple[list[EnergyWindow], dict[str, MeterEnergy]]:
    windows = run(energy_windows(customer, store, (FIRST, AFTER), step, now))
    found = run(meter_energies(customer, store, windows, now))
    return windows, {each.meter: each for each in found}


def imports(meter: MeterEnergy, count: int = 3) -> list[float | None]:
    return [None if each.energy is None else each.energy.import_kwh for each in meter.windows[:count]]


def test_meters_of_a_sum_are_distinguished_with_their_factors() -> None:
    customer = site("2+4*0.5")
    sums = [Reading(DAY + 60 * k, P=10.0) for k in range(181)]
    store = metered(customer, m1=rows(1.0), m2=rows(6.0), m4=rows(8.0), solar_sum=sums)
    windows, meters = energy_of(customer, store)
    assert list(meters) == ["1", "2", "4"]
    assert imports(meters["2"]) == pytest.approx([6.0] * 3)
    assert imports(meters["4"]) == pytest.approx([4.0] * 3)
    assert imports(meters["1"]) == pytest.approx([1.0] * 3)
    assert [each.roles["solar"].import_kwh for each in windows[:3]] == pytest.approx([10.0] * 3)
    assert meters["4"].factor == 0.5
    _, by_day = energy_of(customer, store, "day")
    (whole,) = by_day["4"].windows
    assert whole.energy is not None
    assert (whole.energy.import_kwh, whole.complete) == (pytest.approx(12.0), 0.125)


def test_a_gap_of_one_meter_is_its_own() -> None:
    customer = site("2+4")
    store = metered(customer, m1=rows(1.0), m2=rows(6.0), m4=rows(4.0, skip=range(60, 121)))
    _, meters = energy_of(customer, store)
    assert imports(meters["2"]) == pytest.approx([6.0] * 3)
    first, gap, last = imports(meters["4"])
    assert (first, gap, last) == (pytest.approx(4.0 * 59 / 60), None, pytest.approx(4.0 * 59 / 60))
    assert meters["4"].windows[0].complete == pytest.approx(59 / 60)
    assert meters["4"].windows[1].complete == 0.0


def test_a_gap_is_bridged_by_the_meters_own_registers() -> None:
    customer = site("2+4*0.5")
    counting = [each._replace(E_import=8.0 * k / 60) for k, each in enumerate(rows(8.0))]
    lost = [each for k, each in enumerate(counting) if not 60 < k < 120]
    store = metered(customer, m1=rows(1.0), m2=rows(6.0), m4=lost)
    _, meters = energy_of(customer, store)
    hour = meters["4"].windows[1].energy
    assert hour is not None
    assert (hour.import_kwh, hour.bridged_import_kwh, hour.bridged_seconds) == (
        pytest.approx(4.0), pytest.approx(4.0), HOUR,
    )  # fmt: skip


def test_what_is_subtracted_counts_the_other_way() -> None:
    customer = site("2-4")
    store = metered(customer, m1=rows(1.0), m2=rows(6.0), m4=rows(1.5))
    _, meters = energy_of(customer, store)
    hour = meters["4"].windows[0].energy
    assert hour is not None
    assert (hour.import_kwh, hour.export_kwh) == (0.0, pytest.approx(1.5))
    turned = site("2-4", extensions={"meters": {"reversed": ["solar"]}})
    _, meters = energy_of(turned, metered(turned, m1=rows(1.0), m2=rows(6.0), m4=rows(1.5)))
    hour = meters["4"].windows[0].energy
    assert hour is not None
    assert (hour.import_kwh, hour.export_kwh) == (pytest.approx(1.5), 0.0)


def test_a_meter_that_joins_a_sum_has_one_line_and_what_left_has_its_own() -> None:
    changed = DAY + 2 * HOUR
    history = [{"until": changed, "logger_serial_number": SERIAL, "facility": "1", "load": "", "solar": "3"}]
    customer = site("2+4", extensions={"history": history})
    store = metered(customer, m1=rows(1.0), m2=rows(6.0), m3=rows(5.0), m4=rows(4.0))
    _, meters = energy_of(customer, store)
    assert list(meters) == ["1", "3", "2", "4"]
    assert imports(meters["3"]) == [pytest.approx(5.0), pytest.approx(5.0 * 59 / 60, abs=0.09), None]
    assert imports(meters["2"])[:2] == [None, None]
    assert imports(meters["2"])[2] == pytest.approx(6.0)
    # A meter lacks nothing of a time in which it had no role.
    assert [each.due_seconds for each in meters["3"].windows[:3]] == [HOUR, HOUR, 0.0]
    assert [each.due_seconds for each in meters["4"].windows[:3]] == [0.0, 0.0, HOUR]


def test_a_replaced_logger_has_meters_of_its_own() -> None:
    history = [{"until": DAY + HOUR, "logger_serial_number": "AA01", "facility": "1", "load": "", "solar": "2"}]
    customer = site("2", extensions={"history": history})
    store = MemoryReadingStore()
    run(store.write([SeriesReadings("AA01_2", rows(3.0, 61)), SeriesReadings(f"{SERIAL}_2", rows(4.0)[60:])]))
    run(update_energy(customer, DAY, DAY + 4 * HOUR, context_on(store)))
    windows = run(energy_windows(customer, store, (FIRST, AFTER), "hour", HORIZON))
    found = run(meter_energies(customer, store, windows, HORIZON))
    solar = {each.serial: each for each in found if each.role == "solar"}
    assert imports(solar["AA01"], 2) == [pytest.approx(3.0, abs=0.06), None]
    assert imports(solar[SERIAL], 2) == [None, pytest.approx(4.0, abs=0.08)]


def test_a_role_of_one_meter_is_not_read_again() -> None:
    customer = site("2")
    store = metered(customer, m1=rows(1.0), m2=rows(6.0))
    windows = run(energy_windows(customer, store, (FIRST, AFTER), "hour", HORIZON))

    class UnreadableStore:
        async def read_points(self, *arguments: object) -> list[Any]:
            raise AssertionError("read twice")

    found = run(meter_energies(customer, UnreadableStore(), windows, HORIZON))  # type: ignore[arg-type]
    assert [(each.meter, each.role) for each in found] == [("1", "utility"), ("2", "solar")]
    assert imports(found[1]) == pytest.approx([6.0] * 3)
    assert run(meter_energies(customer, store, [], HORIZON)) == []


def test_what_has_not_passed_is_not_missed() -> None:
    customer = site("2+4")
    store = metered(customer, m1=rows(1.0), m2=rows(6.0), m4=rows(4.0))
    _, meters = energy_of(customer, store, "day", now=DAY + 3 * HOUR)
    (whole,) = meters["4"].windows
    assert (whole.due_seconds, whole.complete) == (3 * HOUR, 1.0)


def test_a_meter_of_two_roles_is_not_counted_twice() -> None:
    """Settings that the site reports as wrong: the role's own meter goes before the sum's."""
    customer = site("2+1")
    store = metered(customer, m1=rows(1.0), m2=rows(6.0))
    found = points(store, energy_series(f"{SERIAL}_1"))
    assert [point.time for point in found] == sorted({point.time for point in found})


powers = st.lists(st.floats(-20, 20), min_size=3, max_size=40)


@settings(max_examples=60)
@given(powers, powers, st.sampled_from([1.0, 0.5, 10.0, -1.0, -0.25]), st.booleans(), st.lists(st.integers(0, 240)))
def test_meters_add_up_to_their_sum_where_all_are_known(
    one: list[float], other: list[float], factor: float, is_reversed: bool, cuts: list[int]
) -> None:
    text = f"2{'-' if factor < 0 else '+'}4" + (f"*{abs(factor):g}" if abs(factor) != 1 else "")
    customer = site(text, extensions={"meters": {"reversed": ["solar"] if is_reversed else []}})
    count = min(len(one), len(other))
    mine = [Reading(DAY + 300 * k, P=one[k]) for k in range(count)]
    theirs = [Reading(DAY + 300 * k, P=other[k]) for k in range(count)]
    both = [Reading(DAY + 300 * k, P=one[k] + factor * other[k]) for k in range(count)]
    store = MemoryReadingStore()
    series = {f"{SERIAL}_2": mine, f"{SERIAL}_4": theirs, f"{SERIAL}_solar_sum": both}
    run(store.write([SeriesReadings(name, found) for name, found in series.items()]))
    for start, end in zip(*(sorted([*cuts, *edge]) for edge in ((0,), (240,))), strict=True):
        if start < end:
            run(update_energy(customer, DAY + 60 * start, DAY + 60 * end, context_on(store)))
    windows = run(energy_windows(customer, store, (FIRST, AFTER), "hour", HORIZON))
    meters = [each for each in run(meter_energies(customer, store, windows, HORIZON)) if each.role == "solar"]
    assert [each.meter for each in meters] == ["2", "4"]
    for number, window in enumerate(windows):
        whole, parts = window.roles.get("solar"), [each.windows[number].energy for each in meters]
        if whole is None:
            assert parts == [None, None]
            continue
        known = [part for part in parts if part is not None]
        assert len(known) == 2
        assert {part.covered_seconds for part in known} == {whole.covered_seconds}
        net = fsum(part.import_kwh - part.export_kwh for part in known)
        assert net == pytest.approx(whole.import_kwh - whole.export_kwh, abs=1e-6)


def test_an_owner_change_ends_a_meters_time() -> None:
    customer = attrs.evolve(site("2+4"), logger_serial_number="")
    store = MemoryReadingStore()
    windows = run(energy_windows(customer, store, (FIRST, AFTER), "hour", HORIZON))
    assert run(meter_energies(customer, store, windows, HORIZON)) == []
