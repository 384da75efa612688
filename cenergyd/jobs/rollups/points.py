"""Rollup points: what is stored of a window, and what is shown of it. Pure.

Stored (field: meaning, kW, kvar, V):

- ``P``, ``Q``, ``L1_V``: means, each over the readings that have the channel; ``P_min``, ``P_max`` and so on; ``L1_PF``: power factor of the
  sums.
- ``readings``: how many the window has.
- ``flags``: 1: the power factor is based on an estimated Q. 2: the counts, or the sums from which the power factor is computed, do not follow from the other
  fields and are stored too: ``P_count`` and so on, ``PF_P_sum``, ``PF_Q_sum``, and ``PF_Q_estimated``, the part of it that is estimated, where some
  readings have a Q of their own. 4: there is no power factor (no power at all).
- ``interval``: 1h windows only; the usual interval that the hour's own readings show, s; 0 if they do not
  (:mod:`cenergyd.jobs.rollups.completeness`). ``expected``: 24h windows only; how many readings a whole day has; likewise.

A window replaces the stored one field by field, so a value that no longer exists is marked by ``flags`` or 0. Points without ``flags`` are of the first version, which stored the fields as they are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from cenergyd.customers.model import TimeRange
from cenergyd.jobs.rollups.aggregate import CHANNELS, PartialRollup, Stat, combine
from cenergyd.jobs.rollups.completeness import Pauses, doubtful_hours, expected_readings, usual_intervals_of_hours
from cenergyd.readings.model import FieldPoint
from cenergyd.readings.signs import SIGNED

Fields = dict[str, float | int | str | bool]
ESTIMATED = 1
UNEVEN = 2
NO_FACTOR = 4
_LIMITS = {channel: (f"{channel}_min", f"{channel}_max") for channel in CHANNELS}
"""The names of the fields of each channel's least and greatest value."""


def window_point(start: int, part: PartialRollup) -> FieldPoint:
    """The point of a window shorter than an hour."""
    fields: Fields = {"readings": part.readings}
    for channel, stat in part.stats.items():
        low, high = _LIMITS[channel]
        fields[channel], fields[low], fields[high] = stat.mean, stat.low, stat.high
    flags = ESTIMATED if part.estimated else 0
    if part.factor is None:
        flags += NO_FACTOR
    else:
        fields["L1_PF"] = part.factor
    if not _is_even(part):
        flags += UNEVEN
        fields.update((f"{channel}_count", stat.number) for channel, stat in part.stats.items())
        fields["PF_P_sum"], fields["PF_Q_sum"] = part.pf_P, part.pf_Q
        if "Q" in part.stats:  # if no reading has a Q, all of it is estimated
            fields["PF_Q_estimated"] = part.pf_Q_estimated
    fields["flags"] = flags
    return FieldPoint(start, fields)


def stored_hour(start: int, part: PartialRollup, interval: int) -> FieldPoint:
    """The point of a 1h window.

    :param interval: the usual interval that its own readings show, s; 0 if they show none.
    """
    point = window_point(start, part)
    point.fields["interval"] = interval
    return point


def stored_day(
    day: TimeRange, hours: Sequence[TimeRange], points: Mapping[int, FieldPoint], pauses: Pauses | None = None
) -> FieldPoint | None:
    """The point of a 24h window from the points of the hours in it (by start); None where there is none.

    :param pauses: the pauses between the readings of the hours of :func:`doubtful_of`.
    """
    present = [points[hour.start] for hour in hours if hour.start in points]
    if not present:
        return None
    point = window_point(day.start, combine([rollup_of_point(each) for each in present]))
    point.fields["expected"] = _expected_of_day(hours, points, pauses) or 0
    return point


def _expected_of_day(hours: Sequence[TimeRange], points: Mapping[int, FieldPoint], pauses: Pauses | None) -> int | None:
    known = intervals_of(points)
    intervals = Counter(known[hour.start] for hour in hours if hour.start in known)
    if not intervals:
        return None
    usual = min(intervals, key=lambda interval: (-intervals[interval], interval))
    doubtful = frozenset(doubtful_of(points) if pauses else ())
    return sum(
        (pauses.expected(hour) if pauses and hour.start in doubtful else None)
        or expected_readings(hour, known.get(hour.start, usual))
        for hour in hours
    )


def intervals_of(hours: Mapping[int, FieldPoint]) -> dict[int, int]:
    """The usual interval of hours, s, from their stored points, both by start; those whose interval is unknown are left out."""
    return usual_intervals_of_hours(
        {start: (int(hour.fields["readings"]), int(hour.fields.get("interval") or 0)) for start, hour in hours.items()}
    )


def doubtful_of(hours: Mapping[int, FieldPoint]) -> list[int]:
    """The starts of the hours whose expected number of readings only follows from their single readings, from the stored points by start."""
    return doubtful_hours({start: int(hour.fields["readings"]) for start, hour in hours.items()}, intervals_of(hours))


def rollup_of_point(point: FieldPoint) -> PartialRollup:
    """The aggregates in a stored point of an hour or less, of any version."""
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
    estimated = 0.0
    if flags & UNEVEN:
        pf_P, pf_Q = float(fields["PF_P_sum"]), float(fields["PF_Q_sum"])
        estimated = float(fields.get("PF_Q_estimated", 0.0)) if "Q" in stats else pf_Q
    else:
        pf_P, pf_Q = _even_sums(stats)
    factor = None if flags & NO_FACTOR else float(fields["L1_PF"])
    return PartialRollup(readings, bool(flags & ESTIMATED), stats, pf_P, pf_Q, factor, estimated)


def window_fields(window: TimeRange, part: PartialRollup, expected: int | None) -> Fields:
    """The fields shown of a window: mean, minimum, maximum and count per channel, ``PF``, ``readings``, ``estimated``.

    ``expected`` readings, ``P_complete`` and so on (0..1) and ``complete``, which is that of P, are left out where the usual interval is not known.
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
        fields |= _completeness(fields, expected)
    return fields


def hour_fields(window: TimeRange, part: PartialRollup, expected: int | None, interval: int | None) -> Fields:
    """As :func:`window_fields`, and the sums and the usual interval."""
    fields = window_fields(window, part, expected)
    for channel, stat in part.stats.items():
        fields[f"{channel}_sum"] = stat.total
    fields["PF_P_sum"], fields["PF_Q_sum"] = part.pf_P, part.pf_Q
    if interval is not None:
        fields["interval"] = interval
    return fields


def fields_of_first_version(fields: Fields, expected: int | None, *, is_reversed: bool) -> Fields:
    """The fields shown of a point of the first version, by the number of readings that is expected today.

    :param is_reversed: change the sign of what has a direction; its power factor stays, even if it is based on an estimated Q.
    """
    found = fields if expected is None else {**fields, **_completeness(fields, expected)}
    if not is_reversed:
        return found
    shown = dict(found)
    for channel in SIGNED:
        if f"{channel}_count" in found:
            low, high = float(found[f"{channel}_min"]), float(found[f"{channel}_max"])
            shown[f"{channel}_min"], shown[f"{channel}_max"] = 0 - high, 0 - low
    for name in ("P_mean", "P_sum", "Q_mean", "Q_sum", "PF_P_sum", "PF_Q_sum"):
        if name in found:
            shown[name] = 0 - float(found[name])  # 0 and not -0.0
    return shown


def _completeness(fields: Mapping[str, float | int | str | bool], expected: int) -> Fields:
    """The completeness of each channel; ``complete`` is that of P, from which energy and demand are computed, or of all readings if none has P."""

    def share(number: float | int | str | bool) -> float:
        return round(min(1.0, int(number) / expected), 4)

    found: Fields = {"expected": expected, "complete": share(fields.get("P_count", fields["readings"]))}
    for channel in CHANNELS:
        if f"{channel}_count" in fields:
            found[f"{channel}_complete"] = share(fields[f"{channel}_count"])
    return found


def _is_even(part: PartialRollup) -> bool:
    for stat in part.stats.values():
        if stat.number != part.readings:
            return False
    return _even_sums(part.stats) == (part.pf_P, part.pf_Q)


def _even_sums(stats: Mapping[str, Stat]) -> tuple[float, float]:
    """The sums from which the power factor is computed, if every reading has its own Q or none has P."""
    if "P" in stats and "Q" in stats:
        return stats["P"].total, stats["Q"].total
    return 0.0, 0.0


def _part_of_first_version(fields: Mapping[str, float | int | str | bool]) -> PartialRollup:
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
    return PartialRollup(
        int(fields["readings"]),
        bool(fields["estimated"]),
        stats,
        float(fields["PF_P_sum"]),
        float(fields["PF_Q_sum"]),
        None if factor is None else float(factor),
        0.0 if "Q" in stats else float(fields["PF_Q_sum"]),
    )
