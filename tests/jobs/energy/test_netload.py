"""Net load per 15 minutes, measured or computed."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenergyd.customers.model import Customer
from cenergyd.jobs import backlog_walk
from cenergyd.jobs.energy.netload import update_net_load
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from tests.jobs.rollups.test_job import logs, times_of, window_of
from tests.jobs.site import SERIAL, UTILITY, all_points, context_on, customer_in, net_load_shown, run, store_with

DAY = 1_780_012_800


def test_net_load_is_the_mean_power_at_the_grid() -> None:
    log = [Reading(DAY + k * 60, P=float(k)) for k in range(40)]
    store = store_with(utility=log, load=[Reading(DAY, P=99.0)])
    run(update_net_load(customer_in("UTC"), *window_of(log), context_on(store)))
    found = net_load_shown(store)
    assert [(p.time, p.fields["P_mean"], p.fields["complete"]) for p in found] == [
        (DAY, 7.0, 1),
        (DAY + 900, 22.0, 1),
        (DAY + 1800, 34.5, pytest.approx(10 / 15, abs=1e-4)),
    ]


def test_a_computed_utility_meter_counts_as_well() -> None:
    customer = Customer(id="c", load="2", solar="3", logger_serial_number=SERIAL)
    store = store_with(solar=[Reading(DAY + k * 60, P=-3.0) for k in range(15)])  # the missing meter's series
    run(update_net_load(customer, DAY, DAY + 901, context_on(store)))
    assert [p.fields["P_mean"] for p in net_load_shown(store, customer)] == [-3.0]


def test_a_change_of_meter_and_direction_within_a_window() -> None:
    other = f"{SERIAL}_9"
    store = store_with(utility=[Reading(DAY + k * 60, P=2.0) for k in range(15)])
    run(store.write([SeriesReadings(other, [Reading(DAY + k * 60, P=-8.0) for k in range(15)])]))
    history = [{"until": DAY + 600, "facility": "1", "load": "2", "solar": ""}]
    customer = Customer(
        id="c",
        facility="9",
        load="2",
        logger_serial_number=SERIAL,
        extensions={"history": history, "meters": {"reversed": ["utility"]}},
    )
    run(update_net_load(customer, DAY, DAY + 900, context_on(store)))
    assert [p.fields["P_mean"] for p in net_load_shown(store, customer)] == [(10 * 2.0 + 5 * 8.0) / 15]


def test_a_window_belongs_to_the_logger_at_its_start() -> None:
    old = "00AA00AA00AA"
    history = [{"until": DAY + 600, "logger_serial_number": old, "facility": "1", "load": "2", "solar": ""}]
    customer = customer_in("UTC", extensions={"history": history})
    store = store_with(utility=[Reading(DAY + k * 60, P=4.0) for k in range(10, 30)])
    run(store.write([SeriesReadings(f"{old}_1", [Reading(DAY + k * 60, P=1.0) for k in range(10)])]))
    run(update_net_load(customer, DAY, DAY + 1800, context_on(store)))
    assert [(p.time, p.fields["P_mean"]) for p in net_load_shown(store, customer)] == [(DAY, 2.0), (DAY + 900, 4.0)]
    run(store.write([SeriesReadings(UTILITY, [Reading(DAY + 3600, P=4.0)])]))
    run(update_net_load(customer, DAY + 3600, DAY + 3601, context_on(store)))
    stored = all_points(store)
    assert [(p.time, p.fields["P_mean"]) for p in stored[f"{old}_net_load_15m"]] == [(DAY, 2.0)]
    assert [(p.time, p.fields["P_mean"]) for p in stored[f"{SERIAL}_net_load_15m"]] == [(DAY + 900, 4.0)]


def test_without_a_meter_at_the_grid_there_is_none() -> None:
    customer = Customer(id="c", load="2", logger_serial_number=SERIAL)
    store = store_with(load=[Reading(DAY, P=1.0)])
    run(update_net_load(customer, DAY, DAY + 1, context_on(store)))
    assert all_points(store) == {}


@pytest.mark.parametrize("minutes", [1, 15])
def test_a_window_of_implausibly_large_powers_has_no_point(minutes: int) -> None:
    """A computed power may exceed what is accepted of a meter."""
    log = [Reading(DAY + k * 60, P=2e30) for k in range(minutes)]
    log += [Reading(DAY + 5 * 3600 + k * 60, P=1.0) for k in range(61)]
    store = store_with(utility=log)
    run(update_net_load(customer_in("UTC"), *window_of(log), context_on(store)))
    shown = [(p.time, p.fields["P_mean"]) for p in net_load_shown(store)]
    assert shown == [(DAY + 5 * 3600 + k * 900, 1.0) for k in range(5)]


@settings(max_examples=40, deadline=None)
@given(logs(), st.sampled_from([1, 6]), st.booleans())
def test_incremental_is_from_scratch(log: tuple[str, list[list[Reading]]], hours: int, in_time: bool) -> None:
    zone, uploads = log
    customer = customer_in(zone)
    store = MemoryReadingStore()
    for upload, now in zip(uploads, times_of(uploads, in_time), strict=True):
        run(store.write([SeriesReadings(UTILITY, upload)]))
        with patch.object(backlog_walk, "CHUNK_HOURS", hours):
            run(update_net_load(customer, *window_of(upload), context_on(store, now=now)))
    whole = MemoryReadingStore()
    for upload in uploads:
        run(whole.write([SeriesReadings(UTILITY, upload)]))
    everything = [reading for upload in uploads for reading in upload]
    run(update_net_load(customer, *window_of(everything), context_on(whole)))
    assert all_points(store) == all_points(whole)
    assert net_load_shown(store, customer) == net_load_shown(whole, customer)
