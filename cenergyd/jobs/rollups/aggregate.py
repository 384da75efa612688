"""What a window of readings says: mean, minimum, maximum and count per channel, and the power factor of the sums.

Pure. Sums are :func:`math.fsum`, which is exact before its one rounding, so they do not depend on the order of readings. A power
factor never comes from other power factors: it is ``|sum of P| / sqrt((sum of P)^2 + (sum of Q)^2)`` over the readings whose Q is known
or can be estimated from their own power factor.

How complete a window is: its readings against those that the meter's usual interval makes one expect. The usual interval of an hour
comes from the readings of that hour and the two before, so it depends on nothing far away, and is kept in the hour's point.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import fsum
from typing import NamedTuple

import attrs

from cenergyd.customers.model import Window
from cenergyd.derivation.formulas import power_factor, reactive_power
from cenergyd.readings.interval import typical_interval
from cenergyd.readings.model import FieldPoint, Reading

CHANNELS = ("P", "Q", "L1_V")
"""Channels that are rolled up: kW, kvar, V."""

LOOK_BACK = 7200
"""Readings of so many seconds before an hour help to find its usual interval: two of a logger with the longest one (60 min)."""

LARGEST = 1e30
"""A value beyond this is no meter's; it is left out, so that every sum stays finite."""


class Stat(NamedTuple):
    """One channel over a window."""

    number: int
    """How many readings have it."""
    total: float
    low: float
    high: float


@attrs.frozen(slots=True)
class Part:
    """What adds up over windows."""

    readings: int
    """Readings with any channel."""
    estimated: bool
    """Whether the power factor rests on an estimated Q."""
    stats: Mapping[str, Stat]
    pf_P: float
    """Sum of P, kW, over the readings whose Q is known or estimated."""
    pf_Q: float
    """Sum of their Q, kvar."""


class Columns:
    """Readings of one series, ready for many windows."""

    def __init__(self, readings: Sequence[Reading] = ()) -> None:
        self.times: list[int] = []
        """Of all readings, ascending."""
        self._channels: dict[str, tuple[list[int], list[float]]] = {channel: ([], []) for channel in CHANNELS}
        self._estimates: list[int] = []
        self._pf_times: list[int] = []
        self._pf_P: list[float] = []
        self._pf_Q: list[float] = []
        self.add(readings)

    def add(self, readings: Sequence[Reading]) -> None:
        """Add readings, ascending in time and later than those before."""
        self.times += [reading.time for reading in readings]
        for channel, (times, values) in self._channels.items():
            for reading in readings:
                value = getattr(reading, channel)
                if value is not None and abs(value) <= LARGEST:
                    times.append(reading.time)
                    values.append(value)
        for reading in readings:
            self._add_power(reading)

    def _add_power(self, reading: Reading) -> None:
        estimated = reading.estimated
        if reading.P is not None:
            Q, guessed = reactive_power(reading)
            if Q is not None and abs(Q) <= LARGEST and abs(reading.P) <= LARGEST:
                estimated = estimated or guessed
                self._pf_times.append(reading.time)
                self._pf_P.append(reading.P)
                self._pf_Q.append(Q)
        if estimated:
            self._estimates.append(reading.time)

    def any(self, start: int, end: int) -> bool:
        """Whether there is any reading of ``start <= time < end``."""
        return bisect_left(self.times, end) > bisect_left(self.times, start)

    def part(self, start: int, end: int) -> Part | None:
        """What the readings of ``start <= time < end`` add up to; None where there are none."""
        count = bisect_left(self.times, end) - bisect_left(self.times, start)
        if not count:
            return None
        stats = {}
        for channel, (times, values) in self._channels.items():
            inside = values[bisect_left(times, start) : bisect_left(times, end)]
            if inside:
                stats[channel] = Stat(len(inside), fsum(inside), min(inside), max(inside))
        first, last = bisect_left(self._pf_times, start), bisect_left(self._pf_times, end)
        return Part(
            readings=count,
            estimated=bisect_left(self._estimates, end) > bisect_left(self._estimates, start),
            stats=stats,
            pf_P=fsum(self._pf_P[first:last]),
            pf_Q=fsum(self._pf_Q[first:last]),
        )


def combine(parts: Sequence[Part]) -> Part:
    """What several windows add up to; at least one is needed."""
    stats = {}
    for channel in CHANNELS:
        found = [part.stats[channel] for part in parts if channel in part.stats]
        if found:
            stats[channel] = Stat(
                sum(stat.number for stat in found),
                fsum(stat.total for stat in found),
                min(stat.low for stat in found),
                max(stat.high for stat in found),
            )
    return Part(
        readings=sum(part.readings for part in parts),
        estimated=any(part.estimated for part in parts),
        stats=stats,
        pf_P=fsum(part.pf_P for part in parts),
        pf_Q=fsum(part.pf_Q for part in parts),
    )


def window_point(window: Window, part: Part, interval: int | None) -> FieldPoint:
    """The stored point of a window: ``P_mean``, ``P_min``, ``P_max``, ``P_count`` and so on, ``PF``, ``readings``, ``estimated``.

    ``expected`` readings and ``complete`` (0..1) are left out where the usual interval is not known.
    """
    expected = None if interval is None else expected_readings(window, interval)
    return _point(window.start, part, expected)


def hour_point(window: Window, part: Part, interval: int | None) -> FieldPoint:
    """The point of a 1h window: also what longer windows are added up from (``P_sum``, ``PF_P_sum``, ..., ``interval``)."""
    point = window_point(window, part, interval)
    for channel, stat in part.stats.items():
        point.fields[f"{channel}_sum"] = stat.total
    point.fields["PF_P_sum"] = part.pf_P
    point.fields["PF_Q_sum"] = part.pf_Q
    if interval is not None:
        point.fields["interval"] = interval
    return point


def day_point(day: Window, hours: Sequence[Window], points: Mapping[int, FieldPoint]) -> FieldPoint | None:
    """The point of a longer window from the ``hour_point``s of the hours in it (by start); None where there is none."""
    present = [points[hour.start] for hour in hours if hour.start in points]
    if not present:
        return None
    part = combine([part_of(point) for point in present])
    intervals = Counter(int(point.fields["interval"]) for point in present if "interval" in point.fields)
    if not intervals:
        return _point(day.start, part, None)
    usual = min(intervals, key=lambda interval: (-intervals[interval], interval))
    expected = 0
    for hour in hours:
        point = points.get(hour.start)
        known = point.fields.get("interval") if point else None
        expected += expected_readings(hour, int(known) if known else usual)
    return _point(day.start, part, expected)


def part_of(point: FieldPoint) -> Part:
    """What the stored point of a 1h window adds up to."""
    fields = point.fields
    stats = {
        channel: Stat(
            int(fields[f"{channel}_count"]),
            float(fields[f"{channel}_sum"]),
            float(fields[f"{channel}_min"]),
            float(fields[f"{channel}_max"]),
        )
        for channel in CHANNELS
        if f"{channel}_count" in fields
    }
    return Part(
        readings=int(fields["readings"]),
        estimated=bool(fields["estimated"]),
        stats=stats,
        pf_P=float(fields["PF_P_sum"]),
        pf_Q=float(fields["PF_Q_sum"]),
    )


def expected_readings(window: Window, interval: int) -> int:
    """How many readings a full window has; one at least, as a window may be shorter than the interval."""
    return max(1, round((window.end - window.start) / interval))


def interval_finder(times: Sequence[int]) -> Callable[[Window], int | None]:
    """A function that tells an hour's usual interval; ``times`` (ascending) must begin LOOK_BACK before the first hour asked for."""

    def interval(hour: Window) -> int | None:
        return typical_interval(times[bisect_left(times, hour.start - LOOK_BACK) : bisect_left(times, hour.end)])

    return interval


def _point(start: int, part: Part, expected: int | None) -> FieldPoint:
    fields: dict[str, float | int | str | bool] = {"readings": part.readings, "estimated": part.estimated}
    for channel, stat in part.stats.items():
        fields[f"{channel}_mean"] = min(stat.high, max(stat.low, stat.total / stat.number))
        fields[f"{channel}_min"] = stat.low
        fields[f"{channel}_max"] = stat.high
        fields[f"{channel}_count"] = stat.number
    factor = power_factor(part.pf_P, part.pf_Q)
    if factor is not None:
        fields["PF"] = factor
    if expected is not None:
        fields["expected"] = expected
        fields["complete"] = round(min(1.0, part.readings / expected), 4)
    return FieldPoint(start, fields)
