"""Energy: adds up over any split, gaps stay gaps, late data heal."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenergyd.jobs import backlog_walk
from cenergyd.jobs.energy.energy import Energy, energy
from cenergyd.jobs.energy.gap_bridging import Line, power_lines
from cenergyd.jobs.energy.job import update_energy
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from tests.jobs.rollups.test_job import logs, times_of, window_of
from tests.jobs.site import LOAD, SOLAR, UTILITY, all_points, context_on, customer_in, energy_shown, run, store_with

DAY = 1_780_012_800  # 2026-05-29T00:00Z


@st.composite
def walks(draw: st.DrawFn) -> list[Line]:
    """Lines over some three hours, some of them apart."""
    times = draw(st.lists(st.integers(0, 10800), min_size=2, max_size=30, unique=True).map(sorted))
    powers = draw(st.lists(st.integers(-50, 50), min_size=len(times), max_size=len(times)))
    return power_lines([Reading(time, P=float(P)) for time, P in zip(times, powers, strict=True)], 5400)


@given(walks(), st.lists(st.integers(0, 10800), max_size=10))
def test_energy_adds_up_over_any_split(lines: list[Line], cuts: list[int]) -> None:
    whole = energy(lines, 0, 10801)
    parts = [energy(lines, start, end) for start, end in pairwise([0, *sorted(cuts), 10801])]
    for name in ("import_kwh", "export_kwh", "covered_seconds"):
        assert sum(getattr(part, name) for part in parts) == pytest.approx(getattr(whole, name), abs=1e-9)


@given(walks())
def test_energy_is_what_adding_second_by_second_gives(lines: list[Line]) -> None:
    imported = exported = 0.0
    covered = 0
    for line in lines:
        for second in range(line.start, line.end):
            middle = (second + 0.5 - line.start) / (line.end - line.start)
            P = line.first + (line.last - line.first) * middle
            imported += max(P, 0) / 3600
            exported += max(-P, 0) / 3600
            covered += 1
    whole = energy(lines, 0, 10801)
    assert whole.covered_seconds == covered
    # Only the seconds in which P crosses zero differ.
    assert whole.import_kwh == pytest.approx(imported, abs=0.01)
    assert whole.export_kwh == pytest.approx(exported, abs=0.01)
    assert whole.import_kwh - whole.export_kwh == pytest.approx(imported - exported, abs=1e-9)


def test_import_and_export_are_parted_where_power_crosses_zero() -> None:
    # From 3 kW to -1 kW in an hour: zero after 45 min; 3 * 0.75 / 2 kWh in, 1 * 0.25 / 2 kWh out.
    assert energy([Line(0, 3600, 3.0, -1.0)], 0, 3600) == Energy(1.125, 0.125, 3600)
    assert energy([Line(0, 3600, -1.0, 3.0)], 0, 3600) == Energy(1.125, 0.125, 3600)
    assert energy([Line(0, 3600, -2.0, -2.0)], 0, 1800) == Energy(0, 1.0, 1800)


def test_a_gap_is_not_filled() -> None:
    log = [Reading(k * 60, P=6.0) for k in range(180) if not 70 <= k < 100]
    lines = power_lines(log, 5400)
    assert energy(lines, 0, 10740).covered_seconds == 10740 - 31 * 60
    assert energy(lines, 0, 10740).import_kwh == pytest.approx(6 * (10740 - 31 * 60) / 3600)
    assert energy(lines, 69 * 60, 100 * 60) == Energy(0, 0, 0)


def test_readings_without_power_neither_count_nor_break_a_line() -> None:
    log = [
        Reading(0, P=1.0),
        Reading(60, L1_V=120.0),
        Reading(120, P=1.7e308),
        Reading(180, P=1.0),
        Reading(240, P=1.0),
    ]
    assert power_lines(log, 5400) == [Line(0, 180, 1.0, 1.0, "interpolated"), Line(180, 240, 1.0, 1.0)]


@settings(max_examples=60, deadline=None)
@given(logs(), st.sampled_from([1, 3, 24]), st.sampled_from(["5400", "1200"]), st.booleans())
def test_incremental_is_from_scratch(log: tuple[str, list[list[Reading]]], hours: int, gap: str, in_time: bool) -> None:
    zone, uploads = log
    customer = customer_in(zone, extensions={"tariff": TARIFF})
    options = {"rollups__max_gap_seconds": gap}
    store = MemoryReadingStore()
    for upload, now in zip(uploads, times_of(uploads, in_time), strict=True):
        run(store.write([SeriesReadings(UTILITY, upload)]))
        with patch.object(backlog_walk, "CHUNK_HOURS", hours):
            run(update_energy(customer, *window_of(upload), context_on(store, now=now, **options)))
    whole = MemoryReadingStore()
    for upload in uploads:
        run(whole.write([SeriesReadings(UTILITY, upload)]))
    everything = [reading for upload in uploads for reading in upload]
    run(update_energy(customer, *window_of(everything), context_on(whole, rollups__max_gap_seconds=gap)))
    assert all_points(store) == all_points(whole)
    assert energy_shown(store, UTILITY, customer, int(gap)) == energy_shown(whole, UTILITY, customer, int(gap))


TARIFF = {
    "schedules": [
        {"season": "all", "period": "off", "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "to": "08:30"},
        {"season": "all", "period": "on", "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": "08:30"},
    ]
}


def test_energy_per_hour_of_measured_and_computed_meters() -> None:
    log = [Reading(DAY + k * 60, P=2.0) for k in range(181)]
    out = [Reading(reading.time, P=-1.0) for reading in log]
    store = store_with(utility=out, load=log, solar=log)
    run(update_energy(customer_in("UTC"), DAY, DAY + 10801, context_on(store)))
    for series, kwh in ((UTILITY, (0, 1)), (LOAD, (2, 0)), (SOLAR, (3, 0))):
        found = energy_shown(store, series)
        assert [point.time for point in found] == [DAY, DAY + 3600, DAY + 7200]
        for point in found:
            assert (point.fields["import_kwh"], point.fields["export_kwh"]) == pytest.approx(kwh)
            assert (point.fields["covered_seconds"], point.fields["seconds"]) == (3600, 3600)
            assert "season" not in point.fields


def test_an_hour_is_cut_where_the_period_changes() -> None:
    log = [Reading(DAY + 8 * 3600 + k * 60, P=2.0) for k in range(61)]
    store = store_with(utility=log)
    customer = customer_in("UTC", extensions={"tariff": TARIFF})
    run(update_energy(customer, *window_of(log), context_on(store)))
    found = [(p.time, p.fields["period"], p.fields["import_kwh"]) for p in energy_shown(store, UTILITY, customer)]
    assert found == [(DAY + 8 * 3600, "off", 1.0), (DAY + 8 * 3600 + 1800, "on", 1.0)]


def test_a_tariff_that_is_not_valid_costs_only_the_labels() -> None:
    log = [Reading(DAY + k * 60, P=2.0) for k in range(61)]
    store = store_with(utility=log)
    customer = customer_in("UTC", extensions={"tariff": {"seasons": 3}})
    run(update_energy(customer, *window_of(log), context_on(store)))
    assert [point.fields.get("period") for point in energy_shown(store, UTILITY, customer)] == [None]


def test_a_reversed_ct_swaps_import_and_export_from_its_time_on() -> None:
    log = [Reading(DAY + k * 60, P=2.0) for k in range(121)]
    store = store_with(utility=log)
    turned = DAY + 1800
    history = [{"until": turned, "facility": "1", "load": "2", "solar": ""}]
    customer = customer_in("UTC", extensions={"meters": {"reversed": ["utility"]}, "history": history})
    run(update_energy(customer, *window_of(log), context_on(store)))
    found = [
        (p.time, p.fields["import_kwh"], p.fields["export_kwh"], p.fields["seconds"])
        for p in energy_shown(store, UTILITY, customer)
    ]
    # The interval over which the sign changed is known to nobody.
    assert found == [(DAY, pytest.approx(2.0 * 29 / 60), 0, 1800), (turned, 0, 1.0, 1800), (DAY + 3600, 0, 2.0, 3600)]


def test_no_energy_is_invented_for_a_single_reading() -> None:
    store = store_with(utility=[Reading(DAY, P=5.0)])
    run(update_energy(customer_in("UTC"), DAY, DAY + 1, context_on(store)))
    assert all_points(store) == {}


def test_a_backlog_leaves_the_energy_as_if_it_had_come_in_time() -> None:
    log = [
        Reading(DAY + k * 300, P=(k * 37 % 101) / 10 - 3)
        for k in range(6 * 288)
        if not (500 < k < 900 or k % 97 == 0)  # a day off and a reading lost now and then
    ]
    customer = customer_in("America/New_York", extensions={"tariff": TARIFF})
    in_time = MemoryReadingStore()
    for first in range(0, len(log), 12):
        upload = log[first : first + 12]
        run(in_time.write([SeriesReadings(UTILITY, upload)]))
        run(update_energy(customer, *window_of(upload), context_on(in_time)))
    late = store_with(utility=log)
    run(update_energy(customer, *window_of(log), context_on(late)))
    assert all_points(late) == all_points(in_time)
    assert energy_shown(late, UTILITY, customer) == energy_shown(in_time, UTILITY, customer)
    covered = sum(point.fields["covered_seconds"] for point in energy_shown(late, UTILITY, customer))
    assert covered == sum(other.time - one.time for one, other in pairwise(log) if other.time - one.time <= 900)
