"""Windows: no overlap, no hole, days of 23, 25 and 23.5 hours."""

from __future__ import annotations

import itertools
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cenergyd.customers.model import TimeRange
from cenergyd.jobs.windows import RESOLUTIONS, local_date, widen, window_at, windows

ZONES = [
    "UTC",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Havana",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Pacific/Apia",
    "Pacific/Chatham",
]
times = st.integers(946684800, 2208988800)  # 2000 to 2040


def at(text: str, zone: str = "UTC", fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp())


@given(times, st.sampled_from(ZONES), st.sampled_from(list(RESOLUTIONS)))
@example(at("2011-12-30T10:00"), "Pacific/Apia", "24h")
@example(at("2011-12-30T09:59:59"), "Pacific/Apia", "24h")
@example(at("2010-11-07T02:31"), "America/St_Johns", "24h")  # midnight came twice then
@example(at("2010-11-07T02:29"), "America/St_Johns", "24h")
@example(at("2018-11-04T03:00"), "America/Sao_Paulo", "24h")  # midnight was skipped
def test_windows_neither_overlap_nor_leave_a_hole(time: int, name: str, resolution: str) -> None:
    zone = ZoneInfo(name)
    window = window_at(time, resolution, zone)
    assert window.start <= time < window.end
    assert window_at(window.start, resolution, zone) == window
    assert window_at(window.end - 1, resolution, zone) == window
    assert window_at(window.end, resolution, zone).start == window.end
    assert window_at(window.start - 1, resolution, zone).end == window.start


@given(times, st.sampled_from(ZONES))
def test_every_window_is_made_of_whole_finer_ones(time: int, name: str) -> None:
    zone = ZoneInfo(name)
    names = list(RESOLUTIONS)
    for finer, coarser in itertools.pairwise(names):
        window = window_at(time, coarser, zone)
        parts = list(windows(*window, finer, zone))
        assert (parts[0].start, parts[-1].end) == window


@given(times, st.integers(1, 400_000), st.sampled_from(ZONES), st.sampled_from(["15m", "1h", "24h"]))
def test_windows_over_a_range_touch_it_and_follow_each_other(
    start: int, length: int, name: str, resolution: str
) -> None:
    zone = ZoneInfo(name)
    found = list(windows(start, start + length, resolution, zone))
    assert found[0].start <= start < found[0].end
    assert found[-1].start < start + length <= found[-1].end
    assert all(one.end == other.start for one, other in itertools.pairwise(found))
    assert widen(start, start + length, resolution, zone) == TimeRange(found[0].start, found[-1].end)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("America/New_York", "2026-07-04", 24),
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("UTC", "2026-03-08", 24),
    ],
)
def test_a_day_goes_from_midnight_to_midnight(zone: str, day: str, hours: float) -> None:
    noon = at(f"{day}T12:00", zone)
    window = window_at(noon, "24h", ZoneInfo(zone))
    assert window.start == at(f"{day}T00:00", zone)
    assert window.end - window.start == hours * 3600
    assert local_date(noon, ZoneInfo(zone)).isoformat() == day


def test_hours_are_the_local_clocks_where_the_offset_is_no_whole_hour() -> None:
    assert window_at(at("2026-06-01T12:10"), "1h", ZoneInfo("Asia/Kolkata")).start == at("2026-06-01T11:30")
    assert window_at(at("2026-06-01T12:10"), "30m", ZoneInfo("Asia/Kathmandu")).start == at("2026-06-01T11:45")
    assert window_at(at("2026-06-01T12:10"), "15m", ZoneInfo("Asia/Kathmandu")).start == at("2026-06-01T12:00")


def test_a_half_hour_change_of_the_clock_cuts_its_hour() -> None:
    zone = ZoneInfo("Australia/Lord_Howe")
    start = at("2026-04-05T00:00", "Australia/Lord_Howe")
    lengths = [window.end - window.start for window in windows(start, start + 6 * 3600, "1h", zone)]
    assert lengths == [3600, 3600, 1800, 3600, 3600, 3600, 3600]
