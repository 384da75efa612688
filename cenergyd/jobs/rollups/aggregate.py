"""Aggregates a window of readings: mean, minimum, maximum and count per channel, and the power factor of the sums. Pure.

Sums use :func:`math.fsum`, which rounds only once, so they do not depend on the order of readings. A power factor is never computed from
other power factors: it is ``|sum of P| / sqrt((sum of P)^2 + (sum of Q)^2)`` over the readings whose Q is known or can be estimated from their
own power factor.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import partial
from math import fsum, hypot
from operator import itemgetter
from typing import Final, NamedTuple

from cenergyd.derivation.formulas import power_factor, reactive_power
from cenergyd.readings.model import MISSING_METER, Reading
from cenergyd.readings.signs import SIGNED

CHANNELS = ("P", "Q", "L1_V")
"""Channels that are aggregated: kW, kvar, V."""
_COLUMNS = {channel: Reading._fields.index(channel) for channel in CHANNELS}
_ESTIMATED = itemgetter(Reading._fields.index("estimated"))

FACTOR_SLACK = 1e-6
"""How far a stored power factor may differ from that of its P and Q; it is rounded to 9 decimals."""
LARGEST = 1e30
"""A larger value is implausible and left out, so that every sum is finite."""


class Stat(NamedTuple):
    """One channel over a window."""

    number: int
    """Number of readings with a value."""
    total: float
    low: float
    high: float
    mean: float
    """The mean, clamped to low and high in spite of rounding errors."""


def stat(number: int, total: float, low: float, high: float) -> Stat:
    """A channel's values over a window from their number (at least one), sum, least and greatest."""
    mean = total / number
    return _new_stat((number, total, low, high, mean if low <= mean <= high else min(high, max(low, mean))))


def stat_of(values: Sequence[float]) -> Stat:
    """A channel's values over a window (at least one)."""
    return stat(len(values), fsum(values), min(values), max(values))


_new_stat: Final = partial(tuple.__new__, Stat)


class PartialRollup(NamedTuple):
    """The aggregates of a window that can be combined with those of other windows."""

    readings: int
    """Number of readings with any channel."""
    estimated: bool
    """Whether the power factor is based on an estimated Q."""
    stats: Mapping[str, Stat]
    pf_P: float
    """Sum of P, kW, over the readings whose Q is known or estimated."""
    pf_Q: float
    """Sum of their Q, kvar."""
    factor: float | None
    """Power factor of these sums; None where there is none."""
    pf_Q_estimated: float = 0.0
    """The part of ``pf_Q`` that is estimated, kvar."""


class ReadingColumns:
    """Readings of one series as columns, from which many windows can be aggregated.

    :param series: its name. A reading of the missing meter counts for the power factor only if its own follows from its P and Q: with the
        literal formula it is a sum of power factors, which is meaningless.
    """

    def __init__(self, readings: Sequence[Reading] = (), *, series: str = "") -> None:
        self._is_missing_meter = series.endswith(f"_{MISSING_METER}")
        self.times: list[int] = []
        """The times of all readings, ascending."""
        self._is_even = True
        """Whether the power factor follows from P and Q of all readings; otherwise the columns below say from which it does."""
        # Where every reading has a channel, its times are the list of all times.
        self._channels: dict[str, tuple[list[int], list[float]]] = {channel: (self.times, []) for channel in CHANNELS}
        self._estimates: list[int] = []
        self._pf_times: list[int] = []
        self._pf_P: list[float] = []
        self._pf_Q: list[float] = []
        self._pf_estimated: list[float] = []
        self.add(readings)

    def add(self, readings: Sequence[Reading]) -> None:
        """Add readings, ascending in time and later than those before."""
        if not readings:
            return
        before = len(self.times)
        new = [reading[0] for reading in readings]
        complete = {channel: self._add_channel(channel, new, readings) for channel in CHANNELS}
        self.times += new
        if complete["P"] and complete["Q"] and self._all_count(readings):
            if not self._is_even:
                self._pf_times += new
                self._pf_P += [reading[1] for reading in readings]  # type: ignore[misc]
                self._pf_Q += [reading[4] for reading in readings]  # type: ignore[misc]
                self._pf_estimated += [0.0] * len(new)
            return
        if self._is_even:
            self._is_even = False
            self._pf_times, self._pf_estimated = self.times[:before], [0.0] * before
            self._pf_P, self._pf_Q = (self._channels[channel][1][:before] for channel in ("P", "Q"))
        if all(
            reading[2] is None and reading[4] is None for reading in readings
        ):  # without L1_PF and Q nothing tells Q
            self._estimates += [reading[0] for reading in readings if reading[5]]
            return
        for reading in readings:
            self._add_power(reading)

    def _add_channel(self, channel: str, new: list[int], readings: Sequence[Reading]) -> bool:
        """Add a channel of readings at new times. Whether all of them have it."""
        times, values = self._channels[channel]
        column = [reading[_COLUMNS[channel]] for reading in readings]
        complete = None not in column and min(column) >= -LARGEST and max(column) <= LARGEST  # type: ignore[type-var, operator]
        if complete:
            values += column  # type: ignore[arg-type]
            if times is not self.times:
                times += new
            return True
        if times is self.times:
            times = list(times)
            self._channels[channel] = times, values
        known = [
            (time, value)
            for time, value in zip(new, column, strict=True)
            if value is not None and -LARGEST <= value <= LARGEST
        ]
        times += [time for time, _ in known]
        values += [value for _, value in known]
        return False

    def _all_count(self, readings: Sequence[Reading]) -> bool:
        """Whether all of some readings, which have P and Q, count for the power factor by these."""
        if any(map(_ESTIMATED, readings)):
            return False
        return not self._is_missing_meter or all(map(_has_physical_factor, readings))

    def _add_power(self, reading: Reading) -> None:
        time, P, estimated = reading[0], reading[1], reading[5]
        if P is not None and (not self._is_missing_meter or _has_physical_factor(reading)):
            Q, guessed = reactive_power(reading)
            if Q is not None and abs(Q) <= LARGEST and abs(P) <= LARGEST:
                estimated = estimated or guessed
                self._pf_times.append(time)
                self._pf_P.append(P)
                self._pf_Q.append(Q)
                self._pf_estimated.append(Q if guessed else 0.0)
        if estimated:
            self._estimates.append(time)

    def any(self, start: int, end: int) -> bool:
        """Whether there is any reading of ``start <= time < end``."""
        return bisect_left(self.times, end) > bisect_left(self.times, start)

    def times_within(self, start: int, end: int) -> list[int]:
        """The times of all readings of ``start <= time < end``."""
        return self.times[bisect_left(self.times, start) : bisect_left(self.times, end)]

    def part(self, start: int, end: int) -> PartialRollup | None:
        """The aggregates of the readings with ``start <= time < end``; None if there are none."""
        since, until = bisect_left(self.times, start), bisect_left(self.times, end)
        if since == until:
            return None
        stats = {}
        for channel, (times, values) in self._channels.items():
            if times is self.times:
                inside = values[since:until]
            else:
                inside = values[bisect_left(times, start) : bisect_left(times, end)]
            if inside:
                stats[channel] = stat_of(inside)
        if self._is_even:
            pf_P, pf_Q = stats["P"].total, stats["Q"].total
            return PartialRollup(until - since, False, stats, pf_P, pf_Q, power_factor(pf_P, pf_Q))
        first, last = bisect_left(self._pf_times, start), bisect_left(self._pf_times, end)
        pf_P, pf_Q = fsum(self._pf_P[first:last]), fsum(self._pf_Q[first:last])
        estimated = bisect_left(self._estimates, end) > bisect_left(self._estimates, start)
        return PartialRollup(
            until - since, estimated, stats, pf_P, pf_Q, power_factor(pf_P, pf_Q), fsum(self._pf_estimated[first:last])
        )


def combine(parts: Sequence[PartialRollup]) -> PartialRollup:
    """The aggregates of several windows (at least one) together."""
    stats = {}
    for channel in CHANNELS:
        found = [part.stats[channel] for part in parts if channel in part.stats]
        if found:
            stats[channel] = stat(
                sum(each.number for each in found),
                fsum(each.total for each in found),
                min(each.low for each in found),
                max(each.high for each in found),
            )
    pf_P, pf_Q = fsum(part.pf_P for part in parts), fsum(part.pf_Q for part in parts)
    return PartialRollup(
        sum(part.readings for part in parts),
        any(part.estimated for part in parts),
        stats,
        pf_P,
        pf_Q,
        power_factor(pf_P, pf_Q),
        fsum(part.pf_Q_estimated for part in parts),
    )


def sign_corrected_rollup(part: PartialRollup) -> PartialRollup:
    """The aggregates of a meter whose CTs are reversed, with the sign corrected.

    An estimated Q stays: as in the derivation it is assumed to be lagging, whatever the direction of P.
    """
    stats = dict(part.stats)
    for channel in SIGNED & stats.keys():
        each = stats[channel]
        stats[channel] = Stat(each.number, 0 - each.total, 0 - each.high, 0 - each.low, 0 - each.mean)  # 0, not -0.0
    pf_P, pf_Q = 0 - part.pf_P, 2 * part.pf_Q_estimated - part.pf_Q
    return PartialRollup(
        part.readings, part.estimated, stats, pf_P, pf_Q, power_factor(pf_P, pf_Q), part.pf_Q_estimated
    )


def _has_physical_factor(reading: Reading) -> bool:
    P, own, Q = reading[1], reading[2], reading[4]
    if P is None or Q is None:
        return False
    apparent = hypot(P, Q)
    if own is not None and apparent and abs(own - abs(P) / apparent) <= FACTOR_SLACK / 2:
        return True  # the usual case: whatever the rounding does, it is nearer than the slack
    factor = power_factor(P, Q)
    return own is None or (factor is not None and abs(own - factor) <= FACTOR_SLACK)
