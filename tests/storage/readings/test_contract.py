"""One suite for every reading store: what :class:`cenergyd.readings.store.ReadingStore` promises."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest
import pytest_twisted
from hypothesis import strategies as st

from cenergyd.errors import StoreRejected
from cenergyd.readings.memory import summaries
from cenergyd.readings.merging import merged_reading
from cenergyd.readings.model import CHANNELS, FieldPoint, Reading, SeriesReadings, missing_series, series_name
from cenergyd.readings.store import ReadingStore, Summary
from tests.properties import for_all

T0 = 1_577_836_800  # 2020-01-01
END = T0 + 10 * 86400

numbers = count()


def fresh_series() -> str:
    """A series of its own for each example, so that examples share a store."""
    return f"EXAMPLE{next(numbers)}_1"


async def everything(store: ReadingStore, series: str) -> list[Reading]:
    return (await store.read([series], 0, END * 2))[series]


values = st.one_of(
    st.none(),
    st.floats(-1e6, 1e6, allow_nan=False),
    st.sampled_from([0.0, -0.0, -0.001, 1e-300, 1.7976931348623157e308, -5e-324, 0.1 + 0.2]),
)
readings = st.builds(
    Reading.of_values,
    st.integers(T0, T0 + 30).map(lambda t: T0 + (t - T0) * 60),
    st.tuples(values, values, values, values, values, values, values),
    st.booleans(),
)


# --- write


@pytest_twisted.ensureDeferred
async def test_a_written_reading_comes_back_exactly(store: ReadingStore, serial: str) -> None:
    series = series_name(serial, "1")
    given = [
        Reading(T0, 1.5, 0.98, 120.25, -0.75, True),
        Reading(T0 + 60, -3.25),
        Reading(T0 + 120, None, None, 119.0),
        Reading(T0 + 180, 0.1 + 0.2, -1.0, None, 1e-12),
        Reading(T0 + 240, 1.5, 0.98, 120.25, -0.75, E_net=81432.1, E_import=90000.0, E_export=8567.9),
        Reading(T0 + 300, 1.5, E_net=-3.0),
        Reading(T0 + 360, E_import=0.0),
    ]
    await store.write([SeriesReadings(series, given)])
    found = await everything(store, series)
    assert found == given
    assert all(type(reading) is Reading and type(reading.estimated) is bool for reading in found)


@pytest_twisted.ensureDeferred
async def test_order_of_arrival_does_not_show(store: ReadingStore, serial: str) -> None:
    series = series_name(serial, "1")
    given = [Reading(T0 + 60 * k, float(k)) for k in range(50)]
    shuffled = random.Random(7).sample(given, len(given))
    await store.write([SeriesReadings(series, shuffled[:20])])
    await store.write([SeriesReadings(series, shuffled[20:])])
    assert await everything(store, series) == given


@pytest_twisted.ensureDeferred
async def test_merging_keeps_what_a_later_reading_does_not_have(store: ReadingStore, serial: str) -> None:
    series = series_name(serial, "1")
    await store.write([SeriesReadings(series, [Reading(T0, 1.0, 0.9)])])
    await store.write([SeriesReadings(series, [Reading(T0, None, 0.8, 121.0)])])
    await store.write([SeriesReadings(series, [Reading(T0, 2.0, estimated=True)])])
    await store.write([SeriesReadings(series, [Reading(T0, None, None, None, 0.5, E_net=9.0, E_import=10.0)])])
    await store.write([SeriesReadings(series, [Reading(T0, E_net=9.5, E_export=1.0)])])
    assert await everything(store, series) == [Reading(T0, 2.0, 0.8, 121.0, 0.5, True, 9.5, 10.0, 1.0)]


@pytest_twisted.ensureDeferred
async def test_negative_zero_is_stored_as_zero(store: ReadingStore, serial: str) -> None:
    series = series_name(serial, "1")
    given = Reading(T0, -0.0, -0.0, -0.0, -0.0, False, -0.0, -0.0, -0.0)
    await store.write([SeriesReadings(series, [given])])
    await store.replace(series, T0 + 60, T0 + 120, [given._replace(time=T0 + 60)])
    points = series_name(serial, "1_energy_1h")
    await store.write_points(points, [FieldPoint(T0, {"kwh": -0.0})])
    for reading in await everything(store, series):
        assert [str(float(value)) for value in reading.values if value is not None] == ["0.0"] * 7
    (point,) = await store.read_points(points, T0, END)
    assert str(float(point.fields["kwh"])) == "0.0"


@pytest_twisted.ensureDeferred
async def test_the_later_of_two_readings_in_one_write_wins(store: ReadingStore, serial: str) -> None:
    series = series_name(serial, "1")
    batches = [
        SeriesReadings(series, [Reading(T0, 1.0, 0.5), Reading(T0, 2.0)]),
        SeriesReadings(series, [Reading(T0, 3.0, None, 120.0)]),
    ]
    await store.write(batches)
    assert await everything(store, series) == [Reading(T0, 3.0, 0.5, 120.0)]


@pytest_twisted.ensureDeferred
async def test_a_reading_without_any_channel_is_a_gap(store: ReadingStore, serial: str) -> None:
    series = series_name(serial, "1")
    await store.write([SeriesReadings(series, [Reading(T0), Reading(T0 + 60, estimated=True), Reading(T0 + 120, 1.0)])])
    await store.write([SeriesReadings(series_name(serial, "2"), [])])
    await store.write([])
    assert await everything(store, series) == [Reading(T0 + 120, 1.0)]
    assert await store.series_of(serial) == [series]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
async def test_a_value_that_is_no_number_is_rejected(store: ReadingStore, serial: str, value: float) -> None:
    series = series_name(serial, "1")
    for reading in (Reading(T0, value), Reading(T0, 1.0, 1.0, 120.0, value), Reading(T0, 1.0, E_export=value)):
        with pytest.raises(StoreRejected):
            await store.write([SeriesReadings(series, [reading])])
        with pytest.raises(StoreRejected):
            await store.replace(series, T0, T0 + 1, [reading])
    assert await everything(store, series) == []


@pytest_twisted.ensureDeferred
async def test_times_that_no_store_can_hold_are_rejected(store: ReadingStore, serial: str) -> None:
    for time in (2**40, -(2**40), 2**70):
        with pytest.raises(StoreRejected):
            await store.write([SeriesReadings(series_name(serial, "1"), [Reading(time, 1.0)])])


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("name", ["", "A", "A_", "A_1 x", 'A_1"; DROP DATABASE x', "A_1,t=1", "é_1", "A_1\n"])
async def test_anything_but_a_series_name_is_rejected(store: ReadingStore, name: str) -> None:
    calls = [
        store.write([SeriesReadings(name, [Reading(T0, 1.0)])]),
        store.replace(name, T0, T0 + 1, []),
        store.read([name], T0, END),
        store.last([name]),
        store.first([name]),
        store.summarise([name], T0, END, 60),
        store.write_points(name, [FieldPoint(T0, {"x": 1.0})]),
        store.replace_points(name, T0, END, []),
        store.read_points(name, T0, END),
    ]
    for call in calls:
        with pytest.raises(StoreRejected):
            await call


@pytest_twisted.ensureDeferred
async def test_every_allowed_name_is_a_series_of_its_own(store: ReadingStore) -> None:
    names = ["A_1", "a_1", "A_10", "A_1_15m", "A_1_1h", "x" * 32 + "_" + "9" * 48, "0_0", "A__1", "SELECT_1"]
    await store.write([SeriesReadings(name, [Reading(T0, float(k))]) for k, name in enumerate(names)])
    found = await store.read(names, T0, END)
    assert found == {name: [Reading(T0, float(k))] for k, name in enumerate(names)}


@for_all(data=st.data())
async def test_any_order_and_any_repeat_end_the_same(store: ReadingStore, data: st.DataObject) -> None:
    """Uploads are resent whole and out of order: readings with one value each per time and channel."""
    unique: dict[int, Reading] = {r.time: r for r in data.draw(st.lists(readings, min_size=1, max_size=20))}
    given = list(unique.values())
    order = data.draw(st.permutations(given + data.draw(st.lists(st.sampled_from(given), max_size=10))))
    cut = data.draw(st.integers(0, len(order)))
    series = fresh_series()

    await store.write([SeriesReadings(series, order[:cut]), SeriesReadings(series, order[cut:])])
    await store.write([SeriesReadings(series, given)])
    expected = [unique[t] for t in sorted(unique) if any(v is not None for v in unique[t].values)]
    assert await everything(store, series) == expected


@for_all(writes=st.lists(st.lists(readings, max_size=6), max_size=5))
async def test_writes_merge_as_the_reference_says(store: ReadingStore, writes: list[list[Reading]]) -> None:
    series = fresh_series()
    expected: dict[int, Reading] = {}
    for reading in (r for batch in writes for r in batch if any(v is not None for v in r.values)):
        old = expected.get(reading.time)
        expected[reading.time] = merged_reading(old, reading) if old else reading

    for batch in writes:
        await store.write([SeriesReadings(series, batch)])
    assert await everything(store, series) == [expected[time] for time in sorted(expected)]


# --- replace


@pytest_twisted.ensureDeferred
async def test_replace_removes_times_and_fields_in_the_range_only(store: ReadingStore, serial: str) -> None:
    series, other = series_name(serial, "1"), series_name(serial, "2")
    old = [Reading(T0 + 60 * k, float(k), 0.9, 120.0, 0.1, True) for k in range(6)]
    await store.write([SeriesReadings(series, old), SeriesReadings(other, old)])
    new = [Reading(T0 + 60, 7.0, None, 121.0), Reading(T0 + 90, 8.0), Reading(T0 + 180, 3.0, 0.9, 120.0, 0.1)]
    for _ in range(2):  # repeating changes nothing
        await store.replace(series, T0 + 60, T0 + 240, new)
        assert await everything(store, series) == [old[0], *new, old[4], old[5]]
    assert await everything(store, other) == old


@pytest_twisted.ensureDeferred
async def test_replace_by_nothing_empties_the_range(store: ReadingStore, serial: str) -> None:
    series = series_name(serial, "1")
    await store.write([SeriesReadings(series, [Reading(T0 + k, float(k)) for k in range(5)])])
    await store.replace(series, T0 + 1, T0 + 4, [])
    assert [r.time for r in await everything(store, series)] == [T0, T0 + 4]
    await store.replace(series, T0, T0 + 5, [Reading(T0 + 2)])
    assert await everything(store, series) == []
    await store.write([SeriesReadings(series, [Reading(T0 + 1, 9.0)])])
    assert await everything(store, series) == [Reading(T0 + 1, 9.0)]


@pytest_twisted.ensureDeferred
async def test_replace_refuses_readings_outside_its_range(store: ReadingStore, serial: str) -> None:
    series = series_name(serial, "1")
    await store.write([SeriesReadings(series, [Reading(T0, 1.0)])])
    for time in (T0 - 1, T0 + 60):
        with pytest.raises(StoreRejected):
            await store.replace(series, T0, T0 + 60, [Reading(time, 2.0)])
    assert await everything(store, series) == [Reading(T0, 1.0)]


@pytest_twisted.ensureDeferred
async def test_many_replaced_at_once(store: ReadingStore, serial: str) -> None:
    names = [series_name(serial, str(k)) for k in range(30)]
    await store.write([SeriesReadings(name, [Reading(T0 + k, 1.0, 0.5) for k in range(4)]) for name in names])
    # Half of them over one common range, half over ranges of their own; two ranges of one series.
    items = [
        (name, T0 + (k % 2) * (k % 3), T0 + 3, [Reading(T0 + 2, float(k))] if k else []) for k, name in enumerate(names)
    ]
    items.append((names[0], T0 + 3, T0 + 9, [Reading(T0 + 8, -1.0)]))
    await store.replace_many(items)
    await store.replace_many([])
    found = await store.read(names, T0, END)
    assert found[names[0]] == [Reading(T0 + 8, -1.0)]
    for k, name in enumerate(names[1:], 1):
        kept = [Reading(T0 + t, 1.0, 0.5) for t in range((k % 2) * (k % 3))]
        assert found[name] == [*kept, Reading(T0 + 2, float(k)), Reading(T0 + 3, 1.0, 0.5)]


@for_all(
    old=st.lists(readings, max_size=12),
    new=st.lists(readings, max_size=12),
    bounds=st.tuples(*[st.integers(0, 31)] * 2),
)
async def test_replace_as_the_reference_says(
    store: ReadingStore, old: list[Reading], new: list[Reading], bounds: tuple[int, int]
) -> None:
    series = fresh_series()
    start, end = (T0 + 60 * b for b in sorted(bounds))
    new = list({r.time: r for r in new if start <= r.time < end}.values())

    await store.write([SeriesReadings(series, old)])
    before = await everything(store, series)
    await store.replace(series, start, end, new)
    kept = [r for r in before if not start <= r.time < end]
    kept += [r for r in new if any(v is not None for v in r.values)]
    assert await everything(store, series) == sorted(kept)


# --- read


@pytest_twisted.ensureDeferred
async def test_ranges_are_half_open_and_limits_take_the_earliest(store: ReadingStore, serial: str) -> None:
    a, b, none = (series_name(serial, meter) for meter in ("1", "2", "3"))
    given = [Reading(T0 + k, float(k)) for k in range(10)]
    await store.write([SeriesReadings(a, given), SeriesReadings(b, given[5:])])
    assert await store.read([a, b, none], T0 + 2, T0 + 7) == {a: given[2:7], b: given[5:7], none: []}
    assert await store.read([a, b], T0, END, limit=3) == {a: given[:3], b: given[5:8]}
    assert await store.read([a], T0, END, limit=10) == {a: given}
    assert await store.read([a], T0, END, limit=0) == {a: []}
    assert await store.read([a], T0 + 3, T0 + 3) == {a: []}
    assert await store.read([a], T0 + 5, T0) == {a: []}
    assert await store.read([], T0, END) == {}
    assert await store.read([a], -(2**62), 2**62) == {a: given}
    assert await store.read([a, a], T0 + 8, END) == {a: given[8:]}


@pytest_twisted.ensureDeferred
async def test_last_and_first(store: ReadingStore, serial: str) -> None:
    a, b, none = (series_name(serial, meter) for meter in ("1", "2", "3"))
    given = [Reading(T0 + 86400 * k, float(k), None, 120.0) for k in range(10)]
    await store.write([SeriesReadings(a, given), SeriesReadings(b, given[5:])])
    both = [a, b, none]
    assert await store.last(both) == {a: given[9], b: given[9]}
    assert await store.last(both, T0 + 5 * 86400) == {a: given[4]}
    assert await store.last(both, T0 + 5 * 86400 + 1) == {a: given[5], b: given[5]}
    assert await store.last(both, T0) == {}
    assert await store.first(both) == {a: given[0], b: given[5]}
    assert await store.first(both, T0 + 6 * 86400) == {a: given[6], b: given[6]}
    assert await store.first(both, T0 + 6 * 86400 + 1) == {a: given[7], b: given[7]}
    assert await store.first(both, END) == {}
    assert await store.last([]) == {}


@pytest_twisted.ensureDeferred
async def test_hundreds_of_series_at_once(store: ReadingStore, serial: str) -> None:
    names = [f"{serial}{k}_1" for k in range(500)]
    given = {name: [Reading(T0 + 60 * j, k + j / 4) for j in range(1 + k % 3)] for k, name in enumerate(names)}
    await store.write([SeriesReadings(name, readings) for name, readings in given.items()])
    unknown = [f"{serial}{k}_2" for k in range(100)]
    assert await store.read([*names, *unknown], T0, END) == given | {name: [] for name in unknown}
    assert await store.last([*names, *unknown]) == {name: readings[-1] for name, readings in given.items()}
    assert await store.first([*names, *unknown]) == {name: readings[0] for name, readings in given.items()}
    found = await store.summarise([*names, *unknown], T0, END, 86400)
    assert {name: [s.readings for s in found[name]] for name in names} == {n: [len(r)] for n, r in given.items()}
    assert not any(found[name] for name in unknown)


@pytest_twisted.ensureDeferred
async def test_a_long_read_is_complete(store: ReadingStore, serial: str) -> None:
    """Longer than the slices and pages that the stores read by."""
    a, b = series_name(serial, "1"), series_name(serial, "2")
    given = [Reading(T0 + k, k / 8) for k in range(60_001)]
    await store.write([SeriesReadings(a, given), SeriesReadings(b, given)])
    found = await store.read([a, b], T0, END)
    assert found == {a: given, b: given}
    found = await store.read([a, b], T0 + 1, END, limit=55_000)
    assert found == {a: given[1:55_001], b: given[1:55_001]}


# --- summarise


def same(found: Sequence[Summary], expected: Sequence[Summary]) -> bool:
    """Equal but for the last bits of the mean, which depend on the order of summation."""
    assert [(s.time, s.readings, s.estimated, set(s.channels)) for s in found] == [
        (s.time, s.readings, s.estimated, set(s.channels)) for s in expected
    ]
    for one, other in zip(found, expected, strict=True):
        for channel, (low, mean, high) in one.channels.items():
            wanted_low, wanted_mean, wanted_high = other.channels[channel]
            assert (low, high) == (wanted_low, wanted_high)
            assert mean == pytest.approx(wanted_mean, rel=1e-9, abs=1e-9 * max(abs(low), abs(high)))
    return True


@pytest_twisted.ensureDeferred
async def test_summaries(store: ReadingStore, serial: str) -> None:
    a, b, none = (series_name(serial, meter) for meter in ("1", "2", "3"))
    given = [
        Reading(T0 - 1, 100.0),
        Reading(T0, -2.0, 0.5, 120.0),
        Reading(T0 + 60, 4.0, None, 122.0, 1.0, True),
        Reading(T0 + 900, None, 0.25, 121.0),
        Reading(T0 + 960, None, None, 119.0),
        Reading(T0 + 2700, 1.0),
    ]
    await store.write([SeriesReadings(a, given), SeriesReadings(b, given[1:2])])
    found = await store.summarise([a, b, none], T0, T0 + 2701, 900)
    assert found[a] == [
        Summary(T0, 2, {"P": (-2.0, 1.0, 4.0), "L1_PF": (0.5, 0.5, 0.5), "L1_V": (120.0, 121.0, 122.0), "Q": (1.0,) * 3}, True),
        Summary(T0 + 900, 1, {"L1_PF": (0.25,) * 3, "L1_V": (119.0, 120.0, 121.0)}, False),
        Summary(T0 + 2700, 1, {"P": (1.0,) * 3}, False),
    ]  # fmt: skip
    assert found[b] == [Summary(T0, 1, {"P": (-2.0,) * 3, "L1_PF": (0.5,) * 3, "L1_V": (120.0,) * 3}, False)]
    assert found[none] == []
    voltage = await store.summarise([a], T0, T0 + 2701, 900, channels=["L1_V"])
    assert [(s.time, s.readings, list(s.channels)) for s in voltage[a]] == [(T0, 2, ["L1_V"]), (T0 + 900, 2, ["L1_V"])]
    # A range that begins inside a window: the window's own start, the range's readings.
    partial = (await store.summarise([a], T0 + 1, T0 + 61, 900))[a]
    assert [(s.time, s.readings, s.channels["P"]) for s in partial] == [(T0, 1, (4.0, 4.0, 4.0))]
    shifted = (await store.summarise([a], T0, T0 + 2701, 900, ["P"], offset=60))[a]
    assert [(s.time, s.channels["P"][1]) for s in shifted] == [(T0 - 840, -2.0), (T0 + 60, 4.0), (T0 + 1860, 1.0)]
    assert await store.summarise([a], END, END + 1, 60) == {a: []}
    for resolution, channels in ((0, CHANNELS), (60, ()), (60, ("time",))):
        with pytest.raises(StoreRejected):
            await store.summarise([a], T0, END, resolution, channels)


tame = st.one_of(st.none(), st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3) + 0.0))


@for_all(
    given=st.lists(
        st.builds(Reading.of_values, st.integers(T0 - 4000, T0 + 400 * 86400), st.tuples(*[tame] * 7), st.booleans()),
        max_size=25,
    ),
    resolution=st.sampled_from([1, 60, 300, 7000, 86400, 40 * 86400]),
    bounds=st.tuples(*[st.integers(T0 - 4000, T0 + 401 * 86400)] * 2),
    offset=st.sampled_from([0, 0, 17, 18000, -19800, 86399]),
)
async def test_summaries_as_the_reference_says(
    store: ReadingStore, given: list[Reading], resolution: int, bounds: tuple[int, int], offset: int
) -> None:
    series = fresh_series()
    start, end = sorted(bounds)

    await store.write([SeriesReadings(series, given)])
    stored = (await store.read([series], start, end))[series]
    found = await store.summarise([series], start, end, resolution, offset=offset)
    assert same(found[series], summaries(stored, resolution, offset=offset))


# --- series_of


@pytest_twisted.ensureDeferred
async def test_series_of_a_logger(store: ReadingStore, serial: str) -> None:
    own = sorted([series_name(serial, "1"), series_name(serial, "12"), missing_series(serial)])
    others = [f"{serial}0_1", f"X{serial}_1", f"{serial}_1_15m", f"{serial}_missing_meter_1h", f"{serial}_x"]
    await store.write([SeriesReadings(name, [Reading(T0, 1.0)]) for name in (*own, *others)])
    await store.write_points(f"{serial}_1_1h", [FieldPoint(T0, {"kwh": 1.0})])
    assert await store.series_of(serial) == own
    for strange in ("", "nobody", f"{serial}_1", ".*", "/", "%"):
        assert await store.series_of(strange) == []


# --- field points


@pytest_twisted.ensureDeferred
async def test_points_come_back_and_are_replaced_whole(store: ReadingStore, serial: str) -> None:
    series = f"{serial}_1_15m"
    first = FieldPoint(T0, {"P_mean": 1.5, "count": 15, "season": 'winter "x" \\ é\n=, ', "complete": True})
    await store.write_points(series, [first, FieldPoint(T0 + 900, {"P_mean": -0.5, "complete": False, "text": ""})])
    found = await store.read_points(series, T0, END)
    assert found == [first, FieldPoint(T0 + 900, {"P_mean": -0.5, "complete": False, "text": ""})]
    assert type(found[0].fields["count"]) is float
    assert found[0].fields["complete"] is True
    await store.write_points(series, [FieldPoint(T0, {"P_mean": 2.0})])
    await store.write_points(series, [])
    found = await store.read_points(series, T0, END)
    assert [point.fields for point in found] == [{"P_mean": 2.0}, {"P_mean": -0.5, "complete": False, "text": ""}]
    # What was a whole number once may have a fraction the next time.
    await store.write_points(series, [FieldPoint(T0 + 1800, {"count": 14.5}), FieldPoint(T0 + 1800, {"count": 14.25})])
    assert await store.read_points(series, T0 + 1800, T0 + 1801) == [FieldPoint(T0 + 1800, {"count": 14.25})]


@pytest_twisted.ensureDeferred
async def test_points_are_merged_field_by_field(store: ReadingStore, serial: str) -> None:
    series, other = f"{serial}_1_5m", f"{serial}_2_5m"
    await store.merge_points_many([(series, [FieldPoint(T0, {"P": 1.5, "flags": 2, "n": 4})]), (other, [])])
    await store.merge_points_many([
        (series, [FieldPoint(T0, {"P": 2.5, "flags": 0}), FieldPoint(T0 + 300, {"P": -1})]),
        (other, [FieldPoint(T0, {"P": 3.0, "ok": True})]),
    ])  # fmt: skip
    found = await store.read_points_many([(series, T0, END), (other, T0, END)])
    assert found[0] == [FieldPoint(T0, {"P": 2.5, "flags": 0.0, "n": 4.0}), FieldPoint(T0 + 300, {"P": -1.0})]
    assert type(found[0][0].fields["flags"]) is float
    assert found[1] == [FieldPoint(T0, {"P": 3.0, "ok": True})]
    with pytest.raises(StoreRejected):
        await store.merge_points_many([(series, [FieldPoint(T0, {"P": float("nan")})])])


@pytest_twisted.ensureDeferred
async def test_points_losing_a_field_far_apart_leave_their_neighbours(store: ReadingStore, serial: str) -> None:
    series = f"{serial}_1_1h"
    given = [FieldPoint(T0 + k * 86400, {"kwh": float(k), "peak": "on"}) for k in range(40)]
    await store.write_points(series, given)
    changed = {k: FieldPoint(T0 + k * 86400, {"kwh": -1.0}) for k in (0, 3, 20, 39)}
    await store.write_points(series, list(changed.values()))
    expected = [changed.get(k, point) for k, point in enumerate(given)]
    assert await store.read_points(series, T0, T0 + 41 * 86400) == expected


@pytest_twisted.ensureDeferred
async def test_ranges_of_points(store: ReadingStore, serial: str) -> None:
    series = f"{serial}_1_1h"
    given = [FieldPoint(T0 + 3600 * k, {"kwh": float(k)}) for k in range(10)]
    await store.write_points(series, given)
    assert await store.read_points(series, T0 + 3600, T0 + 4 * 3600) == given[1:4]
    assert await store.read_points(series, T0, END, limit=2) == given[:2]
    assert await store.read_points(series, T0, END, limit=0) == []
    assert await store.read_points(f"{serial}_2_1h", T0, END) == []
    asked = [(series, T0, END), (f"{serial}_2_1h", T0, END), (series, T0 + 3600, T0 + 4 * 3600), (series, T0, END)]
    assert await store.read_points_many(asked) == [given, [], given[1:4], given]
    assert await store.read_points_many([]) == []
    assert await store.read_points_many(asked, ["kwh"]) == [given, [], given[1:4], given]
    new = [FieldPoint(T0 + 3600 * 2, {"kwh": 9.0, "note": "x"}), FieldPoint(T0 + 3600 * 2 + 5, {"kwh": 1.0})]
    for _ in range(2):
        await store.replace_points(series, T0 + 3600, T0 + 5 * 3600, new)
        assert await store.read_points(series, T0, END) == [given[0], *new, *given[5:]]
    some = await store.read_points_many(asked[:2], ["note", "absent"])
    assert some == [[FieldPoint(new[0].time, {"note": "x"})], []]
    with pytest.raises(StoreRejected):
        await store.read_points_many(asked, ['kwh" FROM "other'])
    with pytest.raises(StoreRejected):
        await store.replace_points(series, T0, T0 + 1, [FieldPoint(T0 + 1, {"kwh": 1.0})])
    await store.replace_points(series, 0, END, [])
    assert await store.read_points(series, T0, END) == []


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("field", ["", "kwh"])
async def test_many_ranges_of_points_are_replaced_in_one_call(store: ReadingStore, serial: str, field: str) -> None:
    hours, days, other = f"{serial}_1_1h", f"{serial}_1_24h", f"{serial}_2_1h"
    old = [FieldPoint(T0 + 3600 * k, {"kwh": float(k), "old": True}) for k in range(6)]
    for series in (hours, days, other):
        await store.write_points(series, old)
    new = [FieldPoint(T0 + 3600, {"kwh": 9.0}), FieldPoint(T0 + 3700, {"kwh": 8.0})]
    items = [
        (hours, T0 + 3600, T0 + 7200, new),
        (hours, T0 + 4 * 3600, END, []),
        (days, T0 + 7200, T0 + 7201, [FieldPoint(T0 + 7200, {"kwh": 1.5, "more": "x"})]),
    ]
    for _ in range(2):
        await store.replace_points_many(items, field)
        assert await store.read_points(hours, T0, END) == [old[0], *new, *old[2:4]]
        assert await store.read_points(days, T0, END) == [
            *old[:2],
            FieldPoint(T0 + 7200, {"kwh": 1.5, "more": "x"}),
            *old[3:],
        ]
        assert await store.read_points(other, T0, END) == old
    with pytest.raises(StoreRejected):
        await store.replace_points_many([(hours, T0, END, []), (days, T0, T0 + 1, [FieldPoint(T0 + 1, {"x": 1.0})])])
    assert len(await store.read_points(hours, T0, END)) == 5
    await store.replace_points_many([])


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "fields",
    [{}, {"x": float("nan")}, {"time": 1.0}, {"a b": 1.0}, {"": 1.0}, {"x": "y" * 40000}, {"x": "\ud800"}, {"x": None}],
)
async def test_points_that_no_store_could_keep_are_rejected(
    store: ReadingStore, serial: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(StoreRejected):
        await store.write_points(f"{serial}_1_1h", [FieldPoint(T0, {"ok": 1.0}), FieldPoint(T0 + 1, fields)])
    assert await store.read_points(f"{serial}_1_1h", T0, END) == []


field_values = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0),
    st.integers(-(2**53), 2**53),
    st.text(max_size=30),
    st.booleans(),
)


@for_all(fields=st.dictionaries(st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,8}\Z"), field_values, min_size=1, max_size=4))
async def test_any_fields_come_back(store: ReadingStore, fields: dict[str, Any]) -> None:
    fields.pop("time", None)
    fields["always"] = True
    series = fresh_series()

    await store.write_points(series, [FieldPoint(T0, fields)])
    assert await store.read_points(series, T0, END) == [FieldPoint(T0, fields)]


@pytest_twisted.ensureDeferred
async def test_ping(store: ReadingStore) -> None:
    await store.ping()
    await store.ping()
