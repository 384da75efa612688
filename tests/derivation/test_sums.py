"""Roles that are sums of meters: pure, and in the service on a Clock."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.model import Customer
from cenergyd.derivation.explain import explanations
from cenergyd.derivation.plan import reach
from cenergyd.derivation.sum_deriver import sum_parts
from cenergyd.derivation.sum_plan import sum_segments, sum_segments_between
from cenergyd.derivation.sums import add_up, matched
from cenergyd.errors import StoreRejected
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from tests.derivation.memory import START, Site, settle, site

TOLERANCE = 30
SERIAL = "00SUM"

times = st.lists(st.integers(0, 600), unique=True, max_size=30).map(sorted)
powers = st.one_of(st.none(), st.floats(-1e6, 1e6))
factors = st.sampled_from([1.0, 0.5, 10.0, -1.0, -0.1])


@st.composite
def meters(draw: st.DrawFn) -> list[list[Reading]]:
    found = []
    for _ in range(draw(st.integers(1, 4))):
        own = [Reading(time, draw(powers), None, draw(powers), draw(powers)) for time in draw(times)]
        found.append(own)
    return found


@given(meters(), st.data())
def test_a_sum_is_made_of_readings_that_belong_together_each_used_once(
    readings: list[list[Reading]], data: st.DataObject
) -> None:
    given_factors = [data.draw(factors) for _ in readings]
    groups = matched(readings, TOLERANCE)
    for group in groups:
        assert max(each.time for each in group) - min(each.time for each in group) <= TOLERANCE
    for own, used in zip(readings, zip(*groups, strict=True), strict=False):
        assert len({each.time for each in used}) == len(used) and set(used) <= set(own)
    found = add_up(given_factors, readings, TOLERANCE)
    assert [each.time for each in found] == sorted({each.time for each in found})
    if len(readings) > 1:
        by_time = {min(each.time for each in group): group for group in groups}
        for reading in found:
            group = by_time[reading.time]
            expected = sum(
                factor * each.P for factor, each in zip(given_factors, group, strict=True) if each.P is not None
            )
            assert pytest.approx(expected, abs=1e-6) == reading.P
            assert all(each.P is not None for each in group), "a meter without power makes a gap"


@given(meters(), st.integers(0, 600))
def test_a_sum_depends_on_nothing_but_what_is_near(readings: list[list[Reading]], cut: int) -> None:
    ones = [1.0] * len(readings)
    whole = [each for each in add_up(ones, readings, TOLERANCE) if each.time < cut]
    near = [[each for each in own if each.time < cut + 2 * TOLERANCE] for own in readings]
    assert [each for each in add_up(ones, near, TOLERANCE) if each.time < cut] == whole
    late = [[each for each in own if each.time >= cut - TOLERANCE] for own in readings]
    rest = [each for each in add_up(ones, readings, TOLERANCE) if each.time >= cut]
    assert [each for each in add_up(ones, late, TOLERANCE) if each.time >= cut] == rest


def test_what_adds_up_and_what_does_not() -> None:
    one = Reading(0, 3.0, 0.6, 230.0, 4.0, False, 100.0, 110.0, 10.0)
    other = Reading(2, 5.0, 1.0, 232.0, 0.0, False, None, 50.0, 5.0)
    (both,) = add_up([1.0, 2.0], [[one], [other]], TOLERANCE)
    assert both == Reading(0, 13.0, pytest.approx(13 / hypot(13, 4)), 231.0, 4.0, False, 190.0, 210.0, 20.0)
    (less,) = add_up([1.0, -1.0], [[one], [other]], TOLERANCE)
    assert (less.P, less.Q, less.E_net) == (-2.0, 4.0, 55.0)
    assert (less.E_import, less.E_export) == (None, None), "of a difference only the net energy is known"
    (alone,) = add_up([1.0, 1.0], [[one], [other._replace(E_import=None)]], TOLERANCE)
    assert (alone.E_net, alone.E_import, alone.E_export) == (None, None, 15.0)
    (guessed,) = add_up([1.0, 1.0], [[one], [other._replace(Q=None)]], TOLERANCE)
    assert guessed.estimated and guessed.Q == 4.0


def test_a_single_meter_with_a_factor_keeps_what_it_said() -> None:
    reading = Reading(7, 3.0, 0.9, 230.0, None, False, 5.0, 6.0, 1.0)
    assert add_up([10.0], [[reading]], TOLERANCE) == [Reading(7, 30.0, 0.9, 230.0, None, False, 50.0, 60.0, 10.0)]
    assert add_up([-2.0], [[reading]], TOLERANCE) == [Reading(7, -6.0, 0.9, 230.0, None, False, -10.0, 2.0, 12.0)]
    assert add_up([1e6], [[Reading(7, 1e29)]], TOLERANCE) == [Reading(7)], "more than a meter can mean is a gap"


def owner(**fields: object) -> Customer:
    return Customer(id="a", **{"facility": "1", "solar": "4+2*0.5", "logger_serial_number": SERIAL, **fields})  # type: ignore[arg-type]


def test_the_plan_is_in_the_order_of_meters_and_reaches_far_enough() -> None:
    (segment,) = sum_segments(owner(), 1000, 1010, TOLERANCE)
    assert segment.text == "2*0.5+4"
    assert segment.series == [f"{SERIAL}_2", f"{SERIAL}_4", f"{SERIAL}_solar_sum"]
    assert (segment.start, segment.end, segment.read_start, segment.read_end) == (940, 1040, 910, 1100)
    assert reach(owner(), 1000, 1010, TOLERANCE) == (880, 1070)
    assert reach(owner(solar="2"), 1000, 1010, TOLERANCE) == (940, 1040)
    assert sum_segments(owner(solar="2"), 1000, 1010, TOLERANCE) == ()
    assert sum_segments(owner(solar="2+"), 1000, 1010, TOLERANCE) == ()


async def test_parts_come_to_the_same_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cenergyd.derivation.sum_deriver.CHUNK_READINGS", 10)
    store = MemoryReadingStore()
    (segment,) = sum_segments_between(owner(), 0, 100_000, TOLERANCE)
    two = [Reading(60 * i + i % 7, float(i)) for i in range(1500)]
    four = [Reading(60 * i + i % 3, 2.0 * i) for i in range(1500) if i % 100]
    await store.write([SeriesReadings(f"{SERIAL}_2", two), SeriesReadings(f"{SERIAL}_4", four)])
    parts = 0
    async for part in sum_parts(store, segment, TOLERANCE):
        parts += 1
        if part.change is not None:
            await store.write([SeriesReadings(part.change.series, part.change.readings)])
    stored = (await store.read([f"{SERIAL}_solar_sum"], 0, 1 << 32))[f"{SERIAL}_solar_sum"]
    assert stored == add_up([0.5, 1.0], [two, four], TOLERANCE)
    assert parts > 3


def rows(power: float, *, start: int = 0, count: int = 5, shift: int = 0) -> list[Reading]:
    return [Reading(START + 60 * i + shift, power, 1.0, 230.0, 0.0) for i in range(start, start + count)]


def stored(daemon: Site, series: str) -> list[Reading]:
    name = f"{SERIAL}_{series}"
    return settle(daemon.clock, daemon.readings.read([name], 0, 1 << 40))[name]


def powers_of(readings: Sequence[Reading]) -> list[tuple[int, float | None]]:
    return [((each.time - START) // 60, each.P) for each in readings]


def came(daemon: Site, meter: str, readings: list[Reading]) -> None:
    settle(daemon.clock, daemon.came("a", meter, readings))


def test_the_sum_first_then_the_third_meter_and_a_gap_where_one_is_missing() -> None:
    daemon = site(owner())
    came(daemon, "1", rows(1.0))
    came(daemon, "2", rows(4.0, shift=3))
    came(daemon, "4", rows(3.0, count=3))
    daemon.tick()
    assert powers_of(stored(daemon, "solar_sum")) == [(0, 5.0), (1, 5.0), (2, 5.0)]
    assert powers_of(stored(daemon, "missing_meter")) == [(0, 6.0), (1, 6.0), (2, 6.0)]
    assert "a" in daemon.news, "live views are notified"
    marked = daemon.jobs.marked[-1]
    assert (marked.start, marked.end) == (START - 4 * 30, START + 4 * 60 + 3 + 1 + 2 * 30)
    came(daemon, "4", rows(3.0, start=3, count=2))
    daemon.tick()
    assert [P for _, P in powers_of(stored(daemon, "missing_meter"))] == [6.0] * 5
    came(daemon, "2", [Reading(START + 3, 10.0)])  # sent again, corrected
    daemon.tick()
    assert powers_of(stored(daemon, "missing_meter"))[0] == (0, 9.0)


def test_a_site_with_nothing_to_compute_but_a_sum() -> None:
    daemon = site(owner(load="3"))
    came(daemon, "2", rows(4.0))
    came(daemon, "4", rows(3.0))
    daemon.tick()
    assert [P for _, P in powers_of(stored(daemon, "solar_sum"))] == [5.0] * 5
    assert stored(daemon, "missing_meter") == []
    assert daemon.queue.pending == {} and daemon.queue.working == {}
    assert daemon.status("a")["range"]["end"] == START + 241


def test_a_long_window_goes_by_parts_and_marks_every_sum() -> None:
    daemon = site(owner())
    long = 3000
    for meter, power in (("1", 1.0), ("2", 4.0), ("4", 3.0)):
        came(daemon, meter, rows(power, count=long))
    daemon.tick()
    while daemon.service.status.backlogs:
        daemon.clock.advance(0.05)
    assert len(stored(daemon, "solar_sum")) == len(stored(daemon, "missing_meter")) == long
    assert {each.P for each in stored(daemon, "missing_meter")} == {6.0}
    assert min(mark.start for mark in daemon.jobs.marked) <= START
    assert daemon.queue.pending == {} and daemon.queue.working == {}


def test_a_factor_from_a_time_on() -> None:
    history = [{"until": START + 120, "logger_serial_number": SERIAL, "facility": "1", "load": "", "solar": "2*10"}]
    daemon = site(owner(solar="2*20", extensions={"history": history}))
    came(daemon, "1", rows(1.0))
    came(daemon, "2", rows(4.0))
    daemon.tick()
    assert powers_of(stored(daemon, "missing_meter")) == [(0, 41.0), (1, 41.0), (2, 81.0), (3, 81.0), (4, 81.0)]


def test_a_sum_that_becomes_another_keeps_no_register_of_the_first() -> None:
    daemon = site(owner(facility="1+4", solar=""))
    readings = [Reading(START + 60 * k, 1.0, E_import=10.0, E_export=3.0) for k in range(5)]
    came(daemon, "1", readings)
    came(daemon, "4", readings)
    daemon.tick()
    assert {(each.E_import, each.E_net) for each in stored(daemon, "utility_sum")} == {(20.0, 14.0)}
    daemon.queue.customers["a"] = owner(facility="1-4", solar="")
    came(daemon, "1", readings)
    daemon.tick()
    assert {(each.E_import, each.E_net) for each in stored(daemon, "utility_sum")} == {(None, 0.0)}


def test_a_store_that_refuses_a_sum_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Customer(id="b", facility="1", solar="2", logger_serial_number="00B")
    daemon = site(owner(), other)
    write = daemon.readings.write

    async def refusing(batches: Sequence[SeriesReadings]) -> None:
        if any(batch.series.endswith("_sum") for batch in batches):
            raise StoreRejected("no")
        await write(batches)

    monkeypatch.setattr(daemon.readings, "write", refusing)
    for key in ("a", "b"):
        for meter in ("1", "2", "4"):
            settle(daemon.clock, daemon.came(key, meter, rows(1.0)))
    daemon.tick()
    assert len(settle(daemon.clock, daemon.computed("b"))) == 5
    assert daemon.status("a")["failure"]["plugin"] == "cenergyd"


async def test_why_there_is_a_sum_and_which_meter_is_missing() -> None:
    store = MemoryReadingStore()
    customer = owner()
    await store.write(
        [
            SeriesReadings(f"{SERIAL}_2", rows(4.0, count=3)),
            SeriesReadings(f"{SERIAL}_4", [*rows(3.0, count=2), *rows(3.0, start=4, count=1)]),
            SeriesReadings(f"{SERIAL}_solar_sum", [Reading(START, 5.0), Reading(START + 60, 5.0, estimated=True)]),
        ]
    )
    found = await explanations(store, customer, START, START + 300, tolerance=30, formula="physical")
    sums = [each for each in found if each.series == f"{SERIAL}_solar_sum"]
    assert [each.why for each in sums] == ["computed", "estimated", "missing", "no_readings", "waiting"]
    assert sums[0].text == "solar is the sum 2*0.5+4 of meters" and sums[0].formula == "sum/1"
    assert [(each.series, each.time, each.factor) for each in sums[0].sources] == [
        (f"{SERIAL}_2", START, 0.5),
        (f"{SERIAL}_4", START, 1.0),
    ]
    assert sums[2].text == "meter 4 of the sum 2*0.5+4 gave no reading"
    assert sums[4].text == "meter 2 of the sum 2*0.5+4 has not uploaded this time yet"
    assert {each.role for each in found} == {"solar", "load"}
