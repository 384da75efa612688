"""Windows of readings, and how many each would have. Slow and plain; nothing of cenergyd is used here."""

from __future__ import annotations

import datetime
import statistics
import zoneinfo
from itertools import pairwise
from math import inf
from typing import Any

from tests.reference.derive import Row, power_factor, reactive
from tests.reference.energy import usual

LENGTHS = {"1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600}
HOUR = 3600
CLOCK = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 180, 240, 300, 360, 600, 720, 900, 1200, 1800, 3600)
Window = tuple[int, int]


def windows(rows: list[Row], resolution: str, zone: str) -> dict[int, Row]:
    """start -> what the rows of a window say."""
    grouped: dict[Window, list[Row]] = {}
    for row in rows:
        grouped.setdefault(window_of(row["time"], resolution, zone), []).append(row)
    expected = expected_of_all(rows, list(grouped), resolution, zone)
    return {window[0]: summary(mine, expected[window]) for window, mine in grouped.items()}


def window_of(time: int, resolution: str, zone: str) -> Window:
    """The window that holds a time."""
    local = datetime.datetime.fromtimestamp(time, zoneinfo.ZoneInfo(zone))
    if resolution == "24h":
        return _midnight(local.date(), zone), _midnight(local.date() + datetime.timedelta(days=1), zone)
    length = LENGTHS[resolution]
    if length <= 900:
        return time - time % length, time - time % length + length
    start = time - time % 900
    while not _begins(start, length, zone):
        start -= 900
    end = start + 900
    while not _begins(end, length, zone):
        end += 900
    return start, end


def _begins(time: int, length: int, zone: str) -> bool:
    """Whether a window of full local time begins, or the clock changes."""
    now = datetime.datetime.fromtimestamp(time, zoneinfo.ZoneInfo(zone))
    before = datetime.datetime.fromtimestamp(time - 1, zoneinfo.ZoneInfo(zone))
    return now.minute * 60 % length == 0 or now.utcoffset() != before.utcoffset()


def summary(rows: list[Row], expected: int | None) -> Row:
    """The fields of a window."""
    found: Row = {"readings": len(rows)}
    for channel in ("P", "Q", "L1_V"):
        values = [row[channel] for row in rows if row[channel] is not None]
        if values:
            found[f"{channel}_mean"] = sum(values) / len(values)
            found[f"{channel}_min"], found[f"{channel}_max"] = min(values), max(values)
            found[f"{channel}_count"] = len(values)
    known = [(row["P"], *reactive(row)) for row in rows if row["P"] is not None and reactive(row)[0] is not None]
    factor = power_factor(sum(each[0] for each in known), sum(each[1] for each in known))
    if factor is not None:
        found["PF"] = factor
    found["estimated"] = any(each[2] for each in known) or any(row.get("estimated") for row in rows)
    if expected is not None:
        found["expected"] = expected
        found["complete"] = min(1.0, found.get("P_count", len(rows)) / expected)
        for channel in ("P", "Q", "L1_V"):
            if f"{channel}_count" in found:
                found[f"{channel}_complete"] = min(1.0, found[f"{channel}_count"] / expected)
    return found


def of_role(parts: list[tuple[int, int, list[Row]]], resolution: str, zone: str) -> dict[int, Row]:
    """The windows of a role that is one series after the other: (start, end, all rows of the series), ascending.

    A window of one part expects what the series' own does; one that is cut, for each of its parts what the pauses in it say.
    """
    own = [windows(rows, resolution, zone) for _, _, rows in parts]
    grouped: dict[Window, list[tuple[int, Row]]] = {}
    for number, (start, end, rows) in enumerate(parts):
        for row in rows:
            if start <= row["time"] < end:
                grouped.setdefault(window_of(row["time"], resolution, zone), []).append((number, row))
    found = {}
    for window, mine in grouped.items():
        cut = [number for number, part in enumerate(parts) if part[0] < window[1] and window[0] < part[1]]
        if len(cut) == 1:
            found[window[0]] = own[cut[0]][window[0]]
            continue
        expected = 0
        for number in cut:
            within = max(window[0], parts[number][0]), min(window[1], parts[number][1])
            times = [row["time"] for each, row in mine if each == number]
            if times:
                expected += by_pauses(within, times, stand_for(times)) or len(times)
        found[window[0]] = summary([row for _, row in mine], expected)
    return found


def expected_of_all(rows: list[Row], wanted: list[Window], resolution: str, zone: str) -> dict[Window, int | None]:
    """How many readings each window would have."""
    times = [row["time"] for row in rows]
    hours: dict[Window, list[int]] = {}
    for time in times:
        hours.setdefault(window_of(time, "1h", zone), []).append(time)
    if resolution == "24h":
        return {day: _of_day(day, zone, {h: t for h, t in hours.items() if day[0] <= h[0] < day[1]}) for day in wanted}
    intervals = _intervals(hours)
    doubtful = _doubtful(hours, intervals)
    lasting = stand_for(times)
    found: dict[Window, int | None] = {}
    for window in wanted:
        hour = window_of(window[0], "1h", zone)
        own = [time for time in hours[hour] if window[0] <= time < window[1]]
        answer = by_pauses(window, own, lasting) if hour in doubtful else None
        if answer is None and hour in intervals:
            answer = max(1, round((window[1] - window[0]) / intervals[hour]))
        found[window] = answer
    return found


def by_pauses(window: Window, own: list[int], stand_for: dict[int, int]) -> int | None:
    """By how long each reading stands for: until the next, but no longer than is usual around it."""
    covered = sum(stand_for[time] for time in own)
    if not covered:
        return None
    return max(1, round(len(own) * max(1.0, (window[1] - window[0]) / covered)))


def stand_for(times: list[int]) -> dict[int, int]:
    """Seconds that each reading stands for, by its time."""
    pauses = [later - earlier for earlier, later in pairwise(times)]
    return {time: _stands_for(k, pauses) for k, time in enumerate(times)}


def _stands_for(k: int, pauses: list[int]) -> int:
    before = pauses[k - 1] if k else inf
    after = pauses[k] if k < len(pauses) else inf
    near = [usual(pauses, k - 1) if before <= 5400 else None, usual(pauses, k) if after <= 5400 else None]
    interval = max((each for each in near if each), default=0)
    return int(min(interval, after)) if after <= 5400 else interval


def _of_day(day: Window, zone: str, hours: dict[Window, list[int]]) -> int | None:
    intervals = _intervals(hours)
    if not intervals:
        return None
    values = list(intervals.values())
    most = min(set(values), key=lambda value: (-values.count(value), value))
    doubtful = _doubtful(hours, intervals)
    lasting = stand_for(sorted(time for own in hours.values() for time in own))
    total = 0
    start = day[0]
    while start < day[1]:
        hour = window_of(start, "1h", zone)
        answer = by_pauses(hour, hours[hour], lasting) if hour in doubtful else None
        total += answer or max(1, round((hour[1] - hour[0]) / intervals.get(hour, most)))
        start = hour[1]
    return total


def _intervals(hours: dict[Window, list[int]]) -> dict[Window, int]:
    own = {hour: _own_interval(times) for hour, times in hours.items()}
    seen = {hour: own[hour] or (HOUR if len(times) == 1 else 0) for hour, times in hours.items()}
    found = {}
    ordered = sorted(hours)
    for k, hour in enumerate(ordered):
        interval = own[hour]
        if len(hours[hour]) < 4:
            sides = [ordered[max(0, k - 2) : k], ordered[k + 1 : k + 3]]
            near = [
                [seen[each] for each in side if abs(each[0] - hour[0]) <= 3 * HOUR and seen[each]] for side in sides
            ]
            given = [min(side) for side in near if side]
            interval = max(given) if given else interval
        if interval:
            found[hour] = interval
    return found


def _own_interval(times: list[int]) -> int:
    pauses = [later - earlier for earlier, later in pairwise(times)]
    around = [each for k in range(len(pauses)) if (each := usual(pauses, k)) is not None]
    if len(times) >= 4 and around:
        return _clock(statistics.median_low(around))
    return _clock(min(pauses)) if pauses else 0


def _doubtful(hours: dict[Window, list[int]], intervals: dict[Window, int]) -> set[Window]:
    starts = {hour[0]: interval for hour, interval in intervals.items()}
    found = set()
    for hour, interval in intervals.items():
        lacking = len(hours[hour]) < max(1, round(HOUR / interval))
        near = [starts[start] for start in (hour[0] - HOUR, hour[0] + HOUR) if start in starts]
        if lacking and any(max(each, interval) > 1.5 * min(each, interval) for each in near):
            found.add(hour)
    return found


def _clock(step: int) -> int:
    near = min(CLOCK, key=lambda each: abs(each - step))
    return near if abs(near - step) <= near / 10 else step


def _midnight(day: Any, zone: str) -> int:
    return int(datetime.datetime(day.year, day.month, day.day, tzinfo=zoneinfo.ZoneInfo(zone)).timestamp())
