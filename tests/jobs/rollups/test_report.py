"""What the jobs computed, as the API tells it."""

from __future__ import annotations

import json
from itertools import pairwise
from math import hypot
from typing import Any
from unittest import mock

import pytest

from cenergyd.customers.model import Customer, Role, TimeRange
from cenergyd.derivation.formulas import compute, reactive_power
from cenergyd.errors import InvalidField
from cenergyd.hookspecs import AlignedReading
from cenergyd.jobs.energy.job import update_energy
from cenergyd.jobs.energy.netload import update_net_load
from cenergyd.jobs.rollups.job import roll_up
from cenergyd.jobs.rollups.report import (
    energy_between,
    energy_today,
    net_load,
    role_rollup,
)
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading
from cenergyd.readings.signs import sign_corrected
from tests.jobs.site import LOAD, SOLAR, UTILITY, context_on, customer_in, run, store_with
from tests.jobs.tariff.test_tariff import at


def computed(customer: Any, **series: list[Reading]) -> MemoryReadingStore:
    """A store on which all jobs have run."""
    store = store_with(**series)
    times = [reading.time for readings in series.values() for reading in readings]
    for job in (roll_up, update_net_load, update_energy):
        run(job(customer, min(times), max(times), context_on(store)))
    return store


def every(minutes: int, start: int, end: int, P: float) -> list[Reading]:
    return [Reading(time, P=P) for time in range(start, end + 1, minutes * 60)]


def test_rollups_are_shown_as_json() -> None:
    store = computed(customer_in("UTC"), utility=every(1, 0, 3599, 2.0))
    found = run(role_rollup(customer_in("UTC"), store, "utility", "15m", TimeRange(900, 2700)))
    assert [(point["time"], point["P_mean"], point["complete"]) for point in found] == [(900, 2.0, 1), (1800, 2.0, 1)]
    assert json.loads(json.dumps(found)) == found
    with pytest.raises(InvalidField):
        run(role_rollup(customer_in("UTC"), store, "utility", "2h", TimeRange(0, 1)))


def test_todays_energy_is_of_the_customers_day() -> None:
    customer = customer_in("America/New_York")
    midnight = at("2026-03-08")  # 23 hours long
    log = every(5, midnight - 7200, midnight + 24 * 3600, 2.0)
    store = computed(customer, utility=log, load=log)
    today = run(energy_today(customer, store, midnight + 30000))
    assert (today["date"], today["end"] - today["start"]) == ("2026-03-08", 23 * 3600)
    assert today["energy"]["utility"]["import_kwh"] == pytest.approx(46)
    assert today["energy"]["utility"]["covered_seconds"] == 23 * 3600
    assert today["energy"]["solar"] == {
        "series": SOLAR, "import_kwh": 0, "export_kwh": 0, "covered_seconds": 23 * 3600,
    }  # fmt: skip
    assert json.loads(json.dumps(today)) == today


def test_energy_follows_a_role_from_meter_to_meter() -> None:
    history = [{"until": 3600, "facility": "2", "load": "1", "solar": ""}]
    customer = customer_in("UTC", extensions={"history": history})
    store = computed(customer, utility=every(1, 0, 7200, 1.0), load=every(1, 0, 7200, 5.0))
    found = run(energy_between(customer, store, TimeRange(0, 7200), 7200))
    assert found["utility"]["import_kwh"] == pytest.approx(
        6 - 5 / 60
    )  # an hour of meter 2, less the interval that ends with the other meter, then one of meter 1
    assert found["utility"]["series"] == UTILITY
    assert found["load"]["series"] == LOAD
    assert run(energy_between(customer_in("UTC", extensions={}), store, TimeRange(0, 7200), 7200))["load"][
        "import_kwh"
    ] == pytest.approx(10 - 5 / 60)


def test_the_stored_energy_of_all_roles_is_read_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    store = computed(customer_in("UTC"), utility=every(1, 0, 7260, 1.0), load=every(1, 0, 7260, 3.0))
    singly, at_once = mock.Mock(wraps=store.read_points), mock.Mock(wraps=store.read_points_many)
    monkeypatch.setattr(store, "read_points", singly)
    monkeypatch.setattr(store, "read_points_many", at_once)
    found = run(energy_between(customer_in("UTC"), store, TimeRange(0, 7200), 7200))
    assert [found[role]["import_kwh"] for role in ("utility", "load", "solar")] == pytest.approx([2.0, 6.0, 4.0])
    assert at_once.call_count == 1
    assert singly.call_count == 3  # by the call for all of them


def test_a_role_without_a_meter_is_none() -> None:
    found = run(energy_between(customer_in("UTC", extensions={}), MemoryReadingStore(), TimeRange(0, 3600), 3600))
    assert found["solar"]["covered_seconds"] == 0
    customer = customer_in("UTC")
    object.__setattr__(customer, "load", "")
    assert run(energy_between(customer, MemoryReadingStore(), TimeRange(0, 3600), 3600))["load"] is None


def test_net_load_is_shown() -> None:
    customer = customer_in("UTC")
    store = computed(customer, utility=every(1, 0, 3599, 2.0))
    found = run(net_load(customer, store, 0, 3600, 3600))
    assert [point["time"] for point in found] == [0, 900, 1800, 2700]
    assert all(other["time"] - one["time"] == 900 for one, other in pairwise(found))


def test_a_roles_rollups_follow_it_from_meter_to_meter_and_through_a_reversed_ct() -> None:
    history = [{"until": 1800, "facility": "2", "load": "1", "solar": ""}]
    customer = customer_in("UTC", extensions={"history": history, "meters": {"reversed": ["utility"]}})
    ramp = [Reading(k * 60, P=-float(k), Q=1.0, L1_V=120.0) for k in range(60)]
    store = computed(customer, utility=ramp, load=every(1, 0, 3540, 5.0))
    first, second = run(role_rollup(customer, store, "utility", "30m", TimeRange(0, 3600)))
    assert (first["series"], first["P_mean"]) == (LOAD, 5.0)
    assert second["series"] == UTILITY
    assert [second[f"P_{name}"] for name in ("min", "mean", "max")] == [30.0, 44.5, 59.0]
    assert (second["Q_mean"], second["L1_V_mean"]) == (-1.0, 120.0)
    always = customer_in("UTC", extensions={"meters": {"reversed": ["utility"]}})
    (hour,) = run(role_rollup(always, store, "utility", "1h", TimeRange(0, 1)))
    assert hour["P_sum"] == hour["PF_P_sum"] == 1770.0


def day_of(customer: Customer, store: MemoryReadingStore, role: Role, resolution: str = "24h") -> dict[str, Any]:
    (window,) = run(role_rollup(customer, store, role, resolution, TimeRange(0, 86400)))
    return window


def test_a_day_in_which_a_ct_was_mended_is_of_both_parts() -> None:
    log = [Reading(60 * k, P=-5.0 if k < 720 else 5.0) for k in range(1440)]
    history = [{"until": 43200, "facility": "1", "load": "2", "solar": "", "reversed": ["utility"]}]
    customer = customer_in("UTC", extensions={"history": history})
    day = day_of(customer, computed(customer, utility=log), "utility")
    assert (day["P_mean"], day["P_min"], day["P_max"], day["complete"]) == (5.0, 5.0, 5.0, 1.0)


def test_a_day_in_which_the_meter_changed_is_weighted_by_the_readings_of_both() -> None:
    """Meter 2 plays the role until 10:10, meter 1 after that, each with a log period of its own."""
    utility = [Reading(60 * k, P=2.0) for k in range(1440)]
    load = [Reading(600 * k, P=8.0) for k in range(144)]
    history = [{"until": 36600, "facility": "2", "load": "1", "solar": ""}]
    customer = customer_in("UTC", extensions={"history": history})
    day = day_of(customer, computed(customer, utility=utility, load=load), "utility")
    assert day["P_count"] == 61 + 830
    assert day["P_mean"] == pytest.approx((61 * 8.0 + 830 * 2.0) / 891)
    assert (day["P_min"], day["P_max"]) == (2.0, 8.0)


def test_the_day_of_a_role_that_another_was_computed_for_is_each_part_as_it_was() -> None:
    minutes = [Reading(60 * k, P=3.0) for k in range(1440)]
    history = [{"until": 45600, "facility": "", "load": "2", "solar": "1"}]
    customer = customer_in("UTC", extensions={"history": history})
    store = computed(
        customer,
        utility=minutes,
        load=[r._replace(P=7.0) for r in minutes],
        solar=[r._replace(P=-1.0) for r in minutes],
    )
    day = day_of(customer, store, "utility")
    assert day["P_mean"] == pytest.approx((760 * -1.0 + 680 * 3.0) / 1440)


def test_days_of_a_zone_of_before_are_not_shown() -> None:
    customer = customer_in("America/New_York")
    store = computed(customer, utility=[Reading(3600 * k, P=1.0) for k in range(72)])
    moved = customer_in("UTC")
    shown = run(role_rollup(moved, store, "utility", "24h", TimeRange(0, 4 * 86400)))
    assert all(window["time"] % 86400 == 0 for window in shown)


def test_complete_is_of_the_power() -> None:
    log = [Reading(60 * k, P=6.0 if k % 10 == 0 else None, L1_V=120.0) for k in range(60)]
    customer = customer_in("UTC")
    (hour,) = run(role_rollup(customer, computed(customer, utility=log), "utility", "1h", TimeRange(0, 3600)))
    assert (hour["complete"], hour["expected"], hour["P_count"], hour["L1_V_count"]) == (0.1, 60, 6, 60)


@pytest.mark.parametrize(
    "minutes",
    [(1, 15), (15, 1), (15, 60), (60, 15), (1, 60), (60, 1)],
)
@pytest.mark.parametrize("at", [12 * 3600, 12 * 3600 + 1800])
def test_a_change_of_the_log_period_costs_completeness_one_interval(minutes: tuple[int, int], at: int) -> None:
    """Every window of every resolution, and the day."""
    first, then = (60 * each for each in minutes)
    start = 1_780_012_800
    times = [*range(0, at, first), *range(-(-at // then) * then, 86400, then)]
    customer = customer_in("UTC")
    store = computed(customer, utility=[Reading(start + time, P=6.0) for time in times])
    day = TimeRange(start, start + 86400)
    for resolution, length in (("15m", 900), ("1h", 3600), ("24h", 86400)):
        windows = run(role_rollup(customer, store, "utility", resolution, day))
        lost = sum((1 - window["complete"]) * length for window in windows)
        assert lost <= max(first, then), [(w["time"] - start, w["complete"]) for w in windows if w["complete"] < 1]


def test_hourly_rows_of_a_clock_that_drifts_are_complete() -> None:
    start = 1_780_012_800
    customer = customer_in("UTC")
    store = computed(customer, utility=[Reading(start + 3601 * k, P=6.0) for k in range(24)])
    hours = run(role_rollup(customer, store, "utility", "1h", TimeRange(start, start + 86400)))
    assert [hour["complete"] for hour in hours] == [1.0] * 24


def test_complete_is_shown_for_each_channel() -> None:
    log = [Reading(60 * k, P=6.0 if k % 10 == 0 else None, L1_V=120.0) for k in range(60)]
    customer = customer_in("UTC")
    for resolution in ("15m", "1h"):
        first = run(role_rollup(customer, computed(customer, utility=log), "utility", resolution, TimeRange(0, 3600)))[
            0
        ]
        assert (first["P_complete"], first["L1_V_complete"]) == (pytest.approx(0.1, abs=0.04), 1.0)
        assert "Q_complete" not in first


def test_an_estimated_q_is_lagging_whichever_way_the_ct_is_mounted() -> None:
    """As in the derivation, which estimates from the corrected P; a measured Q turns with the CT."""
    log = [Reading(60 * k, P=-3.0, L1_PF=0.6) if k % 2 else Reading(60 * k, P=-3.0, Q=-1.0) for k in range(120)]
    customer = customer_in("UTC", extensions={"meters": {"reversed": ["utility"]}})
    for resolution, length in (("1m", 60), ("15m", 900), ("1h", 3600)):
        for window in run(
            role_rollup(customer, computed(customer, utility=log), "utility", resolution, TimeRange(0, 7200))
        ):
            rows = [sign_corrected(row) for row in log if window["time"] <= row.time < window["time"] + length]
            P, Q = sum(row.P or 0.0 for row in rows), sum(reactive_power(row)[0] or 0.0 for row in rows)
            assert window["PF"] == pytest.approx(P / hypot(P, Q)), (resolution, window["time"])
            if resolution == "1h":
                assert (window["PF_P_sum"], window["PF_Q_sum"]) == (
                    pytest.approx(180.0),
                    pytest.approx(30 * 4.0 + 30 * 1.0),
                )


@pytest.mark.parametrize("Q", [None, 0.5])
def test_the_literal_formula_gives_the_computed_meter_no_power_factor(Q: float | None) -> None:
    minutes = range(0, 7200, 60)
    load, utility = Reading(0, 5.0, 0.9, 120.0, Q), Reading(0, 2.0, 0.3, 119.0, Q)
    aligned = [
        AlignedReading(time, utility=utility._replace(time=time), load=load._replace(time=time), solar=None)
        for time in minutes
    ]
    solar = compute("solar", aligned, "literal")
    customer = customer_in("UTC")
    store = computed(
        customer,
        utility=[utility._replace(time=t) for t in minutes],
        load=[load._replace(time=t) for t in minutes],
        solar=solar,
    )
    for resolution in ("1m", "15m", "1h", "24h"):
        windows = run(role_rollup(customer, store, "solar", resolution, TimeRange(0, 7200)))
        assert windows and not any("PF" in window for window in windows)
        assert all(window["P_mean"] == 3.0 for window in windows)
    physical = computed(customer, utility=[], load=[Reading(0, P=1.0)], solar=compute("solar", aligned))
    (first, *_) = run(role_rollup(customer, physical, "solar", "1h", TimeRange(0, 7200)))
    assert "PF" in first


def test_zero_is_never_negative() -> None:
    log = [Reading(60 * k, P=0.0, Q=0.0, L1_PF=1.0) for k in range(120)]
    customer = customer_in("UTC", extensions={"meters": {"reversed": ["utility"]}})
    store = computed(customer, utility=log)
    for resolution in ("1m", "15m", "1h", "24h"):
        reported = run(role_rollup(customer, store, "utility", resolution, TimeRange(0, 86400)))
        assert "-0.0" not in json.dumps(reported)
    assert "-0.0" not in json.dumps(run(energy_between(customer, store, TimeRange(0, 86400), 86400)))
    assert "-0.0" not in json.dumps(run(net_load(customer, store, 0, 86400, 86400)))
