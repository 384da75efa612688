"""Rollup points: what is stored of a window, and what is told of it. Pure.

Stored (field: meaning, kW, kvar, V):

- ``P``, ``Q``, ``L1_V``: means, each over the readings that have the channel; ``P_min``, ``P_max`` and so on; ``L1_PF``: power factor of the
  sums.
- ``readings``: how many the window has.
- ``flags``: 1: the power factor rests on an estimated Q. 2: the counts or the sums that the power factor is of do not follow from the rest,
  so they are stored too: ``P_count`` and so on, ``PF_P_sum``, ``PF_Q_sum``. 4: there is no power factor (no power at all).
- ``interval``: 1h windows only; the meter's usual interval, s; 0 where it is not known. ``expected``: 24h windows only; likewise.

A window is written over the one before it field by field, so whatever may have to vanish is told by ``flags`` or 0. Points without
``flags`` are of the first version, which stored what is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from cenergyd.customers.model import Window
from cenergyd.jobs.rollups.aggregate import CHANNELS, Part, Stat, combine, expected_readings
from cenergyd.readings.model import FieldPoint

Fields = dict[str, float | int | str | bool]
ESTIMATED = 1
UNEVEN = 2
NO_FACTOR = 4


def stored_window(start: int, part: Part) -> FieldPoint:
    """The point of a window shorter than an hour."""
    fields: Fields = {"readings": part.readings}
    for channel, stat in part.stats.items():
        fields[channel], fields[f"{channel}_min"], fields[f"{channel}_max"] = stat.mean, stat.low, stat.high
    flags = ESTIMATED if part.estimated else 0
    if part.factor is None:
        flags += NO_FACTOR
    else:
        fields["L1_PF"] = part.factor
    if not _is_even(part):
        flags += UNEVEN
        fields.update((f"{channel}_count", stat.number) for channel, stat in part.stats.items())
        fields["PF_P_sum"], fields["PF_Q_sum"] = part.pf_P, part.pf_Q
    fields["flags"] = flags
    return FieldPoint(start, fields)


def stored_hour(start: int, part: Part, interval: int | None) -> FieldPoint:
    """The point of a 1h window."""
    point = stored_window(start, part)
    point.fields["interval"] = interval or 0
    return point


def stored_day(day: Window, hours: Sequence[Window], points: Mapping[int, FieldPoint]) -> FieldPoint | None:
    """The point of a 24h window from the points of the hours in it (by start); None where there is none."""
    present = [points[hour.start] for hour in hours if hour.start in points]
    if not present:
        return None
    point = stored_window(day.start, combine([part_of(each) for each in present]))
    point.fields["expected"] = _expected_of_day(hours, points) or 0
    return point


def _expected_of_day(hours: Sequence[Window], points: Mapping[int, FieldPoint]) -> int | None:
    known = {start: interval for start, point in points.items() if (interval := interval_of(point))}
    intervals = Counter(known[hour.start] for hour in hours if hour.start in known)
    if not intervals:
        return None
    usual = min(intervals, key=lambda interval: (-intervals[interval], interval))
    return sum(expected_readings(hour, known.get(hour.start, usual)) for hour in hours)


def interval_of(hour: FieldPoint) -> int | None:
    """The usual interval that the stored point of an hour tells."""
    return int(hour.fields.get("interval") or 0) or None


def part_of(point: FieldPoint) -> Part:
    """What a stored point of an hour or less adds up to, of whichever version."""
    fields = point.fields
    if "flags" not in fields:
        return _part_of_first_version(fields)
    flags, readings = int(fields["flags"]), int(fields["readings"])
    stats = {}
    for channel in CHANNELS:
        if channel in fields:
            number = int(fields[f"{channel}_count"]) if flags & UNEVEN else readings
            mean = float(fields[channel])
            low, high = float(fields[f"{channel}_min"]), float(fields[f"{channel}_max"])
            stats[channel] = Stat(number, mean * number, low, high, mean)
    if flags & UNEVEN:
        pf_P, pf_Q = float(fields["PF_P_sum"]), float(fields["PF_Q_sum"])
    else:
        pf_P, pf_Q = _even_sums(stats)
    factor = None if flags & NO_FACTOR else float(fields["L1_PF"])
    return Part(readings, bool(flags & ESTIMATED), stats, pf_P, pf_Q, factor)


def told(window: Window, part: Part, expected: int | None) -> Fields:
    """What is told of a window: mean, minimum, maximum and count per channel, ``PF``, ``readings``, ``estimated``.

    ``expected`` readings and ``complete`` (of P, 0..1) are left out where the usual interval is not known.
    """
    fields: Fields = {"readings": part.readings, "estimated": part.estimated}
    for channel, stat in part.stats.items():
        fields[f"{channel}_mean"] = stat.mean
        fields[f"{channel}_min"] = stat.low
        fields[f"{channel}_max"] = stat.high
        fields[f"{channel}_count"] = stat.number
    if part.factor is not None:
        fields["PF"] = part.factor
    if expected is not None:
        fields["expected"] = expected
        fields["complete"] = _complete(fields, expected)
    return fields


def told_window(window: Window, part: Part, interval: int | None) -> Fields:
    """As :func:`told`, by the usual interval of the window's hour."""
    return told(window, part, None if interval is None else expected_readings(window, interval))


def told_hour(window: Window, part: Part, interval: int | None) -> Fields:
    """As :func:`told_window`, and the sums and the interval."""
    fields = told_window(window, part, interval)
    for channel, stat in part.stats.items():
        fields[f"{channel}_sum"] = stat.total
    fields["PF_P_sum"], fields["PF_Q_sum"] = part.pf_P, part.pf_Q
    if interval is not None:
        fields["interval"] = interval
    return fields


def told_again(window: Window, fields: Fields, interval: int | None) -> Fields:
    """What a point of the first version tells, by the usual interval of its hour as it is known now."""
    if interval is None:
        return fields
    expected = expected_readings(window, interval)
    return {**fields, "expected": expected, "complete": _complete(fields, expected)}


def _complete(fields: Mapping[str, float | int | str | bool], expected: int) -> float:
    """Of P, which energy and demand are made of; of all readings where none has P."""
    return round(min(1.0, int(fields.get("P_count", fields["readings"])) / expected), 4)


def _is_even(part: Part) -> bool:
    counts = all(stat.number == part.readings for stat in part.stats.values())
    return counts and _even_sums(part.stats) == (part.pf_P, part.pf_Q)


def _even_sums(stats: Mapping[str, Stat]) -> tuple[float, float]:
    """The sums that the power factor is of, where every reading has its own Q, or none has P."""
    if "P" in stats and "Q" in stats:
        return stats["P"].total, stats["Q"].total
    return 0.0, 0.0


def _part_of_first_version(fields: Mapping[str, float | int | str | bool]) -> Part:
    stats = {
        channel: Stat(
            int(fields[f"{channel}_count"]),
            float(fields[f"{channel}_sum"]),
            float(fields[f"{channel}_min"]),
            float(fields[f"{channel}_max"]),
            float(fields[f"{channel}_mean"]),
        )
        for channel in CHANNELS
        if f"{channel}_count" in fields
    }
    factor = fields.get("PF")
    return Part(
        int(fields["readings"]),
        bool(fields["estimated"]),
        stats,
        float(fields["PF_P_sum"]),
        float(fields["PF_Q_sum"]),
        None if factor is None else float(factor),
    )
