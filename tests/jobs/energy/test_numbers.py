"""Energy that was wrong in the field, and what is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from math import fsum

import attrs
import pytest

from cenergyd.customers.model import Customer
from cenergyd.jobs.energy.job import update_energy
from cenergyd.jobs.energy.netload import update_net_load
from cenergyd.jobs.energy.periods import energy_windows
from cenergyd.readings.model import FieldPoint, Reading, SeriesReadings
from tests.jobs.site import LOAD, SOLAR, UTILITY, context_on, customer_in, energy_shown, net_load_shown, run, store_with

DAY = 1_780_012_800  # 2026-05-29T00:00Z
HOUR = 3600


def hours_of(log: Sequence[Reading], customer: Customer | None = None, series: str = UTILITY) -> list[FieldPoint]:
    """The energy points of a log, taken in uploads of a quarter of an hour."""
    store = store_with(utility=log)
    run(update_energy(customer or customer_in("UTC"), log[0].time, log[-1].time + 1, context_on(store)))
    return energy_shown(store, series, customer)


def total(found: Sequence[FieldPoint], field: str = "import_kwh") -> float:
    return fsum(float(point.fields.get(field, 0.0)) for point in found)


def constant(times: Sequence[int], power: float = 6.0) -> list[Reading]:
    return [Reading(DAY + time, P=power) for time in times]


def test_hourly_rows_of_a_clock_that_drifts() -> None:
    found = hours_of(constant([HOUR * k + k for k in range(49)]))
    assert [point.fields["import_kwh"] for point in found[:48]] == pytest.approx([6.0] * 48)


def test_hourly_rows_with_jitter() -> None:
    found = hours_of(constant([HOUR * k + (0, 6, 1, 5, 2, 4, 3)[k % 7] for k in range(49)]))
    assert total(found) == pytest.approx(288, abs=0.01)
    assert all(point.fields["covered_seconds"] == HOUR for point in found[:48])


def test_one_row_of_an_hour_is_lost() -> None:
    (hour,) = hours_of(constant([60 * k for k in range(61) if k != 30]))
    assert hour.fields["import_kwh"] == pytest.approx(6.0)
    assert (hour.fields["interpolated_seconds"], hour.fields["interpolated_import_kwh"]) == (120, pytest.approx(0.2))


def test_a_lost_hour_is_bridged_by_the_registers() -> None:
    log = [
        Reading(DAY + 60 * k, P=6.0, E_net=100 + 0.1 * k, E_import=100 + 0.1 * k, E_export=0.0)
        for k in range(181)
        if not 60 < k < 120
    ]
    found = hours_of(log)
    assert total(found) == pytest.approx(18.0)
    assert [point.fields.get("bridged_seconds", 0) for point in found] == [0, 3600, 0]
    assert found[1].fields["bridged_import_kwh"] == pytest.approx(6.0)


def without_registers(log: Sequence[Reading]) -> list[Reading]:
    return [reading._replace(E_net=None, E_import=None, E_export=None) for reading in log]


def registers(log: Sequence[Reading], start: float, modulus: float = 1e9) -> list[Reading]:
    """Registers that go on with the times at 6 kW."""
    return [r._replace(E_import=(start + 6.0 * (r.time - DAY) / HOUR) % modulus, E_export=0.0) for r in log]


HOLE = [k for k in range(181) if not 60 < k < 120]


@pytest.mark.parametrize(
    ("log", "kwh"),
    [
        (registers(constant([60 * k for k in HOLE]), 9990.0, 1e4), 18.0),  # it rolls over at 10,000
        (registers(constant([60 * k for k in HOLE]), 9985.0, 1e4), 18.0),  # in the gap
        ([r._replace(E_import=(r.E_import or 0) if r.time < DAY + 90 * 60 else 3.0) for r in registers(constant([60 * k for k in HOLE]), 500.0)], 12.0),  # reset
        ([r._replace(E_import=(r.E_import or 0) + (40 if r.time > DAY + 90 * 60 else 0)) for r in registers(constant([60 * k for k in HOLE]), 500.0)], 12.0),  # more than could be
        (without_registers(constant([60 * k for k in HOLE])), 12.0),
    ],
)  # fmt: skip
def test_registers_are_used_if_plausible(log: list[Reading], kwh: float) -> None:
    assert total(hours_of(log)) == pytest.approx(kwh)


@pytest.mark.parametrize(
    ("times", "most"),
    [
        ([60 * k for k in range(720)] + [900 * k for k in range(48, 96)], 0.0),
        ([900 * k for k in range(48)] + [60 * k for k in range(720, 1426)], 1.5),
        ([900 * k for k in range(48)] + [3600 * k for k in range(12, 24)], 6.0),
        ([3600 * k for k in range(12)] + [60 * k for k in range(720, 1441)], 6.0),
        ([60 * k for k in range(360)] + [900 * k for k in range(24, 49)], 0.0),  # field file 09
    ],
)
def test_a_change_of_the_log_period_loses_one_interval_at_most(times: list[int], most: float) -> None:
    whole = 6.0 * times[-1] / HOUR
    assert whole - most - 1e-6 <= total(hours_of(constant(times))) <= whole + 1e-6


def test_nothing_is_interpolated_over_a_mended_ct() -> None:
    mended = DAY + 6 * HOUR + 420
    log = [Reading(DAY + 900 * k, P=-5.0 if DAY + 900 * k < mended else 5.0) for k in range(49)]
    history = [{"until": mended, "facility": "1", "load": "2", "solar": "", "reversed": ["utility"]}]
    found = hours_of(log, customer_in("UTC", extensions={"history": history}))
    assert 60 - 1.25 - 1e-9 <= total(found) <= 60
    assert total(found, "export_kwh") == 0.0


def test_roles_add_up_by_the_same_intervals() -> None:
    """Two meters with clocks of their own: the computed role's energy is the difference of theirs."""
    utility = [Reading(DAY + 60 * k + k % 7, P=((k * 37) % 101) / 10 - 3) for k in range(400)]
    load = [Reading(DAY + 60 * k + 20 + k % 5, P=((k * 53) % 97) / 10) for k in range(400)]
    store = store_with(utility=utility, load=load)
    run(update_energy(customer_in("UTC"), DAY, DAY + 400 * 60, context_on(store)))
    found = {name: {p.time: p.fields for p in energy_shown(store, name)} for name in (UTILITY, LOAD, SOLAR)}
    full = 0
    for time, solar in found[SOLAR].items():
        parts = [found[name][time] for name in (UTILITY, LOAD)]
        if all(part["covered_seconds"] == HOUR for part in parts):
            full += 1
            net = [float(part["import_kwh"]) - float(part["export_kwh"]) for part in (*parts, solar)]
            assert net[2] == pytest.approx(net[1] - net[0], abs=1e-9)
    assert full >= 5


def test_a_computed_role_is_bridged_where_one_of_its_meters_is() -> None:
    load = [Reading(DAY + 60 * k, P=2.0) for k in range(181)]
    store = store_with(utility=registers(constant([60 * k for k in HOLE]), 10.0), load=load)
    run(update_energy(customer_in("UTC"), DAY, DAY + 3 * HOUR, context_on(store)))
    found = energy_shown(store, SOLAR)
    assert total(found, "export_kwh") == pytest.approx(12.0)
    assert [point.fields.get("bridged_seconds") for point in found] == [None, 3600, None]


def split_quarters(log: Sequence[Reading]) -> list[list[Reading]]:
    uploads: dict[int, list[Reading]] = {}
    for reading in log:
        uploads.setdefault(reading.time // 900, []).append(reading)
    return list(uploads.values())


@pytest.mark.parametrize(
    "order", [lambda uploads: uploads, lambda uploads: uploads[::-1], lambda uploads: uploads[1::2] + uploads[::2]]
)
def test_any_order_of_uploads_gives_the_same_energy(
    order: Callable[[list[list[Reading]]], list[list[Reading]]],
) -> None:
    """Gaps of days, bridged over many hours, and filled late."""
    times = (
        [60 * k for k in range(200)]
        + [86400 * 3 + 900 * k for k in range(40)]
        + [86400 * 4 + 3600 * k for k in range(30)]
    )
    log = [r._replace(P=6.0 + (r.time // 60) % 3) for r in registers(constant(times), 100.0)]
    customer = attrs.evolve(customer_in("America/New_York"))
    store = store_with()
    for upload in order(split_quarters(log)):
        run(store.write([SeriesReadings(UTILITY, upload)]))
        run(update_energy(customer, upload[0].time, upload[-1].time + 1, context_on(store)))
    whole = store_with(utility=log)
    run(update_energy(customer, log[0].time, log[-1].time + 1, context_on(whole)))
    assert energy_shown(store, UTILITY) == energy_shown(whole, UTILITY)
    assert fsum(float(p.fields["covered_seconds"]) for p in energy_shown(whole, UTILITY)) == log[-1].time - log[0].time


def test_sums_tell_what_is_measured_bridged_and_interpolated() -> None:
    log = registers(constant([60 * k for k in HOLE if k != 20]), 100.0)
    store = store_with(utility=log, load=log)
    run(update_energy(customer_in("UTC"), DAY, DAY + 3 * HOUR + 1, context_on(store)))
    day = date(2026, 5, 29)
    (window,) = run(energy_windows(customer_in("UTC"), store, (day, day + timedelta(days=1)), "day", DAY + 86400))
    grid, solar = window.roles["utility"], window.roles["solar"]
    assert (grid.covered_seconds, grid.bridged_seconds, grid.interpolated_seconds) == (3 * HOUR, HOUR, 120)
    assert grid.computed_seconds == 0
    assert (grid.import_kwh, grid.bridged_import_kwh, grid.interpolated_import_kwh) == pytest.approx((18.0, 6.0, 0.2))
    assert (solar.computed_seconds, solar.bridged_seconds) == (3 * HOUR, HOUR)


@pytest.mark.parametrize(
    "times",
    [
        [60 * k for k in range(360)] + [900 * k for k in range(24, 49)],
        [900 * k for k in range(24)] + [60 * k for k in range(360, 721)],
        [HOUR * k + k for k in range(13)],
    ],
)
def test_demand_counts_through_a_change_of_the_log_period_and_a_drifting_clock(times: list[int]) -> None:
    log = constant(times)
    store = store_with(utility=log)
    run(update_net_load(customer_in("UTC"), log[0].time, log[-1].time + 1, context_on(store)))
    quarters = net_load_shown(store)
    assert len(quarters) == len({time // 900 for time in times})
    assert all(quarter.fields["complete"] == 1.0 for quarter in quarters[:-1])


def test_a_quarter_of_an_hour_with_lost_rows_is_not_complete() -> None:
    log = constant([60 * k for k in range(120) if not 32 <= k < 40])
    store = store_with(utility=log)
    run(update_net_load(customer_in("UTC"), log[0].time, log[-1].time + 1, context_on(store)))
    found = {(p.time - DAY) // 900: p.fields["complete"] for p in net_load_shown(store)}
    assert found[2] == pytest.approx(7 / 15, abs=0.01)
    assert all(value == 1.0 for quarter, value in found.items() if quarter != 2)
