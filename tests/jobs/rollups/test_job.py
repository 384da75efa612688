"""Rollups kept up to date: whatever comes in whatever order, they are as if computed at the end from everything."""

from __future__ import annotations

from datetime import datetime
from itertools import accumulate
from unittest.mock import patch
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenergyd.customers.model import TimeRange
from cenergyd.errors import StoreUnavailable
from cenergyd.jobs import backlog_walk
from cenergyd.jobs.rollups import points as rollup_points
from cenergyd.jobs.rollups.aggregate import ReadingColumns
from cenergyd.jobs.rollups.job import roll_up
from cenergyd.jobs.rollups.read import read_rollup
from cenergyd.jobs.windows import RESOLUTIONS, window_at
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from tests.jobs.site import (
    HORIZON,
    LOAD,
    SOLAR,
    UTILITY,
    all_points,
    all_shown,
    context_on,
    customer_in,
    run,
    same,
    shown,
    store_with,
)
from tests.near import all_near

# Days around which the clock changes: New York 8 March and 1 November, Lord Howe 5 April and 4 October 2026.
STARTS = {
    "America/New_York": ["2026-03-07T20:00", "2026-10-31T20:00"],
    "Australia/Lord_Howe": ["2026-04-04T20:00", "2026-10-03T20:00"],
    "Europe/Berlin": ["2026-03-28T20:00", "2026-10-24T20:00"],
    "UTC": ["2026-06-01T20:00"],
}


def local(text: str, zone: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


@st.composite
def logs(draw: st.DrawFn) -> tuple[str, list[list[Reading]]]:
    """A zone, and uploads of one meter over some twelve hours around a change of its clock, in any order."""
    zone = draw(st.sampled_from(sorted(STARTS)))
    start = local(draw(st.sampled_from(STARTS[zone])), zone)
    uploads = []
    for _ in range(draw(st.integers(1, 6))):
        interval = draw(st.sampled_from([60, 60, 300, 900, 3600]))
        first = start + draw(st.integers(0, 12 * 3600 // 300)) * 300
        count = draw(st.integers(1, 30))
        kept = draw(st.lists(st.integers(0, count - 1), min_size=1, unique=True)) if draw(st.booleans()) else []
        numbers = sorted(kept) or range(count)
        seed = draw(st.integers(-50, 50))
        uploads.append([
            Reading(first + k * interval, P=seed + k / 7, L1_PF=0.9, L1_V=230 + k / 3, Q=(k % 5) / 3 if k % 3 else None)
            for k in numbers
        ])  # fmt: skip
    return zone, uploads


def window_of(readings: list[Reading]) -> tuple[int, int]:
    times = [reading.time for reading in readings]
    return min(times), max(times) + 1


def times_of(uploads: list[list[Reading]], in_time: bool) -> list[int]:
    """When each upload is processed: just after the newest reading until then, or long after all."""
    newest = accumulate((max(reading.time for reading in upload) for upload in uploads), max)
    return [time + 30 if in_time else HORIZON for time in newest]


@settings(max_examples=40, deadline=None)
@given(logs(), st.sampled_from([1, 2, 6, 24]), st.booleans())
def test_incremental_is_from_scratch(log: tuple[str, list[list[Reading]]], hours: int, in_time: bool) -> None:
    zone, uploads = log
    customer = customer_in(zone)
    store = MemoryReadingStore()
    for upload, now in zip(uploads, times_of(uploads, in_time), strict=True):
        run(store.write([SeriesReadings(UTILITY, upload)]))
        with patch.object(backlog_walk, "CHUNK_HOURS", hours):
            run(roll_up(customer, *window_of(upload), context_on(store, now=now)))
    whole = MemoryReadingStore()
    for upload in uploads:
        run(whole.write([SeriesReadings(UTILITY, upload)]))
    run(roll_up(customer, *window_of([reading for upload in uploads for reading in upload]), context_on(whole)))
    assert same(all_shown(store, zone), all_shown(whole, zone))


class Failing(MemoryReadingStore):
    """Fails once, at its nth write of points."""

    def __init__(self, fail_at: int) -> None:
        super().__init__()
        self.left = fail_at

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise StoreUnavailable("gone for a moment")

    async def replace_points_many(self, items, field=""):  # type: ignore[no-untyped-def]
        self._count()
        await super().replace_points_many(items, field)

    async def merge_points_many(self, items):  # type: ignore[no-untyped-def]
        self._count()
        await super().merge_points_many(items)


@settings(max_examples=30, deadline=None)
@given(logs(), st.integers(1, 12))
def test_a_run_that_broke_off_is_repaired_by_the_next(log: tuple[str, list[list[Reading]]], fail_at: int) -> None:
    zone, uploads = log
    customer = customer_in(zone)
    store = Failing(fail_at)
    for upload in uploads:
        run(store.write([SeriesReadings(UTILITY, upload)]))
        try:
            run(roll_up(customer, *window_of(upload), context_on(store)))
        except StoreUnavailable:
            run(roll_up(customer, *window_of(upload), context_on(store)))
    whole = MemoryReadingStore()
    for upload in uploads:
        run(whole.write([SeriesReadings(UTILITY, upload)]))
    run(roll_up(customer, *window_of([r for upload in uploads for r in upload]), context_on(whole)))
    assert same(all_shown(store, zone), all_shown(whole, zone))


def test_a_change_of_the_interval_survives_a_crash() -> None:
    """The other windows of the hour expect more readings now; a crash must not hide that they still say otherwise."""
    slow = [Reading(k * 300, P=1.0) for k in range(6)]
    fast = [Reading(2000 + k * 60, P=1.0) for k in range(20)]
    store = store_with(utility=slow)
    run(roll_up(customer_in("UTC"), *window_of(slow), context_on(store)))
    failing = Failing(1)
    failing._readings, failing._points = store._readings, store._points
    run(failing.write([SeriesReadings(UTILITY, fast)]))
    with pytest.raises(StoreUnavailable):
        run(roll_up(customer_in("UTC"), *window_of(fast), context_on(failing)))
    run(roll_up(customer_in("UTC"), *window_of(fast), context_on(failing)))
    whole = store_with(utility=[*slow, *fast])
    run(roll_up(customer_in("UTC"), *window_of([*slow, *fast]), context_on(whole)))
    assert same(all_shown(failing), all_shown(whole))


@settings(max_examples=40, deadline=None)
@given(logs())
def test_every_window_is_right(log: tuple[str, list[list[Reading]]]) -> None:
    name, uploads = log
    zone = ZoneInfo(name)
    store = MemoryReadingStore()
    for upload in uploads:
        run(store.write([SeriesReadings(UTILITY, upload)]))
    start, end = window_of([reading for upload in uploads for reading in upload])
    run(roll_up(customer_in(name), start, end, context_on(store)))
    readings = run(store.read([UTILITY], 0, 1 << 33))[UTILITY]
    columns = ReadingColumns(readings)
    for resolution in RESOLUTIONS:
        stored = {point.time: point.fields for point in shown(store, UTILITY, resolution, name)}
        wanted = {window_at(reading.time, resolution, zone) for reading in readings}
        assert set(stored) == {window.start for window in wanted}
        for window in wanted:
            part = columns.part(*window)
            assert part is not None
            got = stored[window.start]
            expected = got.get("expected")  # tests/reference tells how many
            want = rollup_points.window_fields(window, part, None if expected is None else int(expected))
            if resolution == "24h":
                assert got["readings"] == want["readings"]
                assert got["P_mean"] == pytest.approx(want["P_mean"], rel=1e-12, abs=1e-12)
                assert (got["P_min"], got["P_max"]) == (want["P_min"], want["P_max"])
                assert got.get("PF") == pytest.approx(want["PF"]) if "PF" in want else "PF" not in got
            else:
                assert all_near({key: got.get(key) for key in want}, want, rel=1e-12, abs=1e-12), (got, want)


@pytest.mark.parametrize(
    ("zone", "day", "readings"),
    [
        ("America/New_York", "2026-03-08", 23 * 4),
        ("America/New_York", "2026-11-01", 25 * 4),
        ("Europe/Berlin", "2026-03-29", 23 * 4),
        ("Europe/Berlin", "2026-10-25", 25 * 4),
        ("Australia/Lord_Howe", "2026-10-04", 23 * 4 + 2),
        ("Australia/Lord_Howe", "2026-04-05", 24 * 4 + 2),
    ],
)
def test_a_day_on_which_the_clock_changes_is_complete_with_its_own_hours(zone: str, day: str, readings: int) -> None:
    start = local(f"{day}T00:00", zone)
    log = [Reading(start + k * 900, P=1.0) for k in range(-96, 200)]
    store = store_with(utility=log)
    run(roll_up(customer_in(zone), *window_of(log), context_on(store)))
    found = {point.time: point.fields for point in shown(store, UTILITY, "24h", zone)}
    assert (found[start]["readings"], found[start]["expected"], found[start]["complete"]) == (readings, readings, 1)
    next_day = window_at(start, "24h", ZoneInfo(zone)).end
    assert next_day in found
    assert next_day - start == readings * 900


def test_a_backlog_of_two_weeks_leaves_every_rollup_as_if_it_had_come_in_time() -> None:
    start = local("2026-03-02T00:00", "America/New_York")  # the clock is set on 8 March
    customer = customer_in("America/New_York")
    log = [
        Reading(start + k * 300, P=(k * 37 % 101) / 10 - 3, L1_V=120 + k % 7 / 10, Q=(k * 17 % 31) / 10)
        for k in range(13 * 288 - 12)  # 13 days, of which one has 23 hours
        if not (1100 < k < 1700 or k % 97 == 0)  # two days off and a reading lost now and then
    ]
    in_time = MemoryReadingStore()
    for first in range(0, len(log), 48):
        upload = log[first : first + 48]
        run(in_time.write([SeriesReadings(UTILITY, upload)]))
        run(roll_up(customer, *window_of(upload), context_on(in_time)))
    late = store_with(utility=log)
    run(roll_up(customer, *window_of(log), context_on(late)))
    assert same(all_shown(late, "America/New_York"), all_shown(in_time, "America/New_York"))
    assert len(shown(late, UTILITY, "24h", "America/New_York")) == 12  # one day has nothing at all
    other_way = MemoryReadingStore()
    for first in reversed(range(0, len(log), 480)):
        upload = log[first : first + 480]
        run(other_way.write([SeriesReadings(UTILITY, upload)]))
        run(roll_up(customer, *window_of(upload), context_on(other_way)))
    assert same(all_shown(other_way, "America/New_York"), all_shown(in_time, "America/New_York"))


def test_measured_and_computed_meters_alike() -> None:
    log = [Reading(k * 60, P=1.0) for k in range(60)]
    store = store_with(utility=log, load=log, solar=log)
    run(roll_up(customer_in("UTC"), 0, 3600, context_on(store)))
    for series in (UTILITY, LOAD, SOLAR):
        assert [len(shown(store, series, name)) for name in RESOLUTIONS] == [60, 12, 4, 2, 1, 1]


def test_readings_that_are_gone_leave_no_rollup_behind() -> None:
    log = [Reading(k * 60, P=1.0) for k in range(180)]
    store = store_with(solar=log)
    run(roll_up(customer_in("UTC"), 0, 10800, context_on(store)))
    run(store.replace(SOLAR, 3600, 7200, []))
    run(roll_up(customer_in("UTC"), 3600, 7200, context_on(store)))
    fresh = store_with(solar=log[:60] + log[120:])
    run(roll_up(customer_in("UTC"), 0, 10800, context_on(fresh)))
    assert same(all_shown(store), all_shown(fresh))
    run(store.replace(SOLAR, 0, 10800, []))
    run(roll_up(customer_in("UTC"), 0, 10800, context_on(store)))
    assert all_points(store) == {}


def test_years_without_readings_cost_nothing() -> None:
    class Counting(MemoryReadingStore):
        reads = 0

        async def read(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            self.reads += 1
            return await super().read(*args, **kwargs)

    store = Counting()
    ends = [Reading(1_000_000_000, P=1.0), Reading(1_700_000_000, P=2.0)]
    run(store.write([SeriesReadings(UTILITY, ends)]))
    stale = MemoryReadingStore()
    run(stale.write([SeriesReadings(UTILITY, [Reading(1_300_000_000, P=5.0)])]))
    run(roll_up(customer_in("UTC"), 1_300_000_000, 1_300_000_001, context_on(stale)))
    store._points.update(stale._points)
    run(roll_up(customer_in("UTC"), *window_of(ends), context_on(store)))
    assert store.reads < 30
    for resolution in RESOLUTIONS:
        assert [point.fields["P_mean"] for point in shown(store, UTILITY, resolution)] == [1.0, 2.0]


def test_only_the_chosen_resolutions_are_kept() -> None:
    store = store_with(utility=[Reading(k * 60, P=1.0) for k in range(61)])
    run(roll_up(customer_in("UTC"), 0, 3601, context_on(store, rollups__resolutions="15m 24h")))
    assert set(all_points(store)) == {f"{UTILITY}_{name}" for name in ("15m", "1h")}  # the day is not over


def test_windows_of_five_minutes_are_stored_only_where_they_outlive_the_readings() -> None:
    log = [Reading(k * 60, P=k % 13 - 4.0, Q=k % 5 / 3, L1_V=120.0) for k in range(400) if k % 17]
    keep = {"raw": 800, "longer": 3650}
    for setting, is_stored in (
        ("raw=800 longer=3650", True),
        ("raw=800", True),
        ("raw=800 longer=800", False),
        ("", False),
    ):
        store = store_with(utility=log)
        run(roll_up(customer_in("UTC"), 0, 24000, context_on(store, readings__keep_days=setting)))
        assert (f"{UTILITY}_5m" in all_points(store)) == is_stored, setting
        if is_stored:
            kept = run(read_rollup(store, UTILITY, "5m", TimeRange(0, 1 << 33), ZoneInfo("UTC"), keep_days=keep))
            assert len(kept) == 80
            assert same({"5m": kept}, {"5m": shown(store, UTILITY, "5m")})


def test_a_meter_that_lost_its_role_has_the_hour_written() -> None:
    """It continues to log, so its newest reading is not of that hour, and nothing else recomputes it."""
    log = [Reading(k * 60, P=k / 7) for k in range(180)]
    history = [{"until": 5000, "facility": "2", "load": "1", "solar": ""}]
    store = store_with(utility=log, load=log)
    stopped = attrs.evolve(customer_in("UTC", extensions={"history": history}), load="")
    run(roll_up(stopped, 5000, 10800, context_on(store)))
    assert set(store._points[f"{LOAD}_15m"]) == {3600, 4500, 5400, 6300}
    assert shown(store, LOAD, "15m")[4:8] == shown(store, UTILITY, "15m")[4:8]


def test_a_window_is_written_once_it_is_over() -> None:
    log = [Reading(1_700_000_000 // 86400 * 86400 + k * 60, P=1.0, L1_V=120.0, Q=0.5) for k in range(1445)]
    store = store_with(utility=log[:705])
    customer = customer_in("UTC")
    run(roll_up(customer, log[0].time, log[704].time + 1, context_on(store)))
    written: list[str] = []
    merge = store.merge_points_many

    async def note(items):  # type: ignore[no-untyped-def]
        written.extend(series.rpartition("_")[2] for series, points in items for _ in points)
        await merge(items)

    store.merge_points_many = note  # type: ignore[method-assign]
    for end, wanted in (
        (706, []),  # in the middle of every window
        (720, []),  # the next upload tells that the hour is over
        (721, ["15m"] * 4 + ["30m"] * 2 + ["1h"]),
        (735, []),
        (1440, [*["15m"] * 44, *["30m"] * 22, *["1h"] * 11]),
        (1445, ["15m"] * 4 + ["30m"] * 2 + ["1h", "24h"]),
    ):
        new = log[len(run(store.read([UTILITY], 0, 1 << 33))[UTILITY]) : end]
        run(store.write([SeriesReadings(UTILITY, new)]))
        written.clear()
        run(roll_up(customer, *window_of(new), context_on(store)))
        assert sorted(written) == sorted(wanted)
        whole = store_with(utility=log[:end])
        run(roll_up(customer, *window_of(log[:end]), context_on(whole)))
        assert same(all_shown(store), all_shown(whole))


def test_a_pause_closes_what_it_interrupted() -> None:
    """The first readings after any pause have the windows written that were left open before it."""
    start = 1_700_000_000 // 86400 * 86400
    for pause in (5, 90, 300, 3000):
        before = [Reading(start + 36000 + k * 60, P=k / 7) for k in range(23)]
        after = [Reading(before[-1].time + (pause + k) * 60, P=k / 3) for k in range(60)]
        store = store_with(utility=before)
        run(roll_up(customer_in("UTC"), *window_of(before), context_on(store)))
        run(store.write([SeriesReadings(UTILITY, after)]))
        run(roll_up(customer_in("UTC"), *window_of(after), context_on(store)))
        for resolution in ("15m", "30m", "1h"):
            window = window_at(before[-1].time, resolution, ZoneInfo("UTC"))
            assert window.start in set(store._points[f"{UTILITY}_{resolution}"])
        whole = store_with(utility=[*before, *after])
        run(roll_up(customer_in("UTC"), before[0].time, after[-1].time + 1, context_on(whole)))
        assert same(all_shown(store), all_shown(whole))


def test_points_of_the_first_version_are_shown_as_they_were() -> None:
    """A store written by the last version gives the same answers, and goes on from where it is."""
    start = 1_700_000_000 // 86400 * 86400
    log = [Reading(start + k * 60, P=k % 23 - 7.5, L1_V=120 + k % 3, Q=k % 5 * 0.1) for k in range(1500)]
    whole = store_with(utility=log)
    run(roll_up(customer_in("UTC"), *window_of(log), context_on(whole)))
    old = store_with(utility=log[:1480])
    for resolution in RESOLUTIONS:  # it stored the fields as they are shown, of every window, open ones too
        run(old.write_points(f"{UTILITY}_{resolution}", shown(store_with(utility=log[:1480]), UTILITY, resolution)))
        over = [point for point in shown(whole, UTILITY, resolution) if point.time < log[1479].time // 1800 * 1800]
        run(old.write_points(f"{UTILITY}_{resolution}", over if resolution != "24h" else over[:1]))
    run(old.write([SeriesReadings(UTILITY, log[1480:])]))
    run(roll_up(customer_in("UTC"), *window_of(log[1480:]), context_on(old)))
    assert same(all_shown(old), all_shown(whole))


def test_a_long_backlog_pauses() -> None:
    log = [Reading(k * 10, P=1.0) for k in range(8640)]
    context = context_on(store_with(utility=log))
    with patch.object(backlog_walk, "CHUNK_HOURS", 24):
        run(roll_up(customer_in("UTC"), *window_of(log), context))
    assert context.pauses > 15
