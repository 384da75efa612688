"""The checks of alerts: turn summaries of readings into verdicts on windows. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cenergyd.customers.model import Role
from cenergyd.hookspecs import Verdict, WindowVerdict
from cenergyd.jobs.alerts.rules import (
    ImplausibleRule,
    NetLoadRule,
    PowerFactorRule,
    StuckMeterRule,
    VoltageRule,
)
from cenergyd.readings.store import Summary

MINUTE = 60
QUARTER = 900
DAYLIGHT_HOURS = range(10, 15)
"""Local hours in which the sun is up at any likely site; the site's location need not be known."""
MIN_STUCK_READINGS = 5


def closed(windows: Iterable[Summary], resolution: int, now: int) -> list[Summary]:
    """Windows that are over: the mean of a part of a minute is not a 1-minute mean."""
    return [window for window in windows if window.time + resolution <= now]


def check_net_load(utility: Iterable[Summary], rule: NetLoadRule) -> list[WindowVerdict]:
    """Verdicts on minutes of the grid meter, measured or computed (load - solar)."""
    return [
        _above(w.time, p, rule.threshold_kw, rule.hysteresis_kw) for w in utility if (p := _mean(w, "P")) is not None
    ]


def check_power_factor(windows: Iterable[Summary], rule: PowerFactorRule) -> list[WindowVerdict]:
    """The power factor is computed from P and Q of the minute if the meter gives Q, otherwise it is the meter's own."""
    found = []
    for window in windows:
        factor = _power_factor(window)
        power = _mean(window, "P")
        if factor is not None and power is not None and abs(power) >= rule.min_kw:
            evaluated = _above(window.time, -factor, -rule.below, rule.hysteresis)
            found.append(evaluated._replace(value=factor))
    return found


def check_voltage(windows: Iterable[Summary], rule: VoltageRule) -> list[WindowVerdict]:
    """The voltage must not differ too much from nominal in either direction. A meter without voltage is not evaluated."""
    found = []
    for window in windows:
        volts = _mean(window, "L1_V")
        if volts is not None:
            away = abs(volts - rule.nominal_voltage) / rule.nominal_voltage * 100
            found.append(_above(window.time, away, rule.percent, rule.hysteresis_percent)._replace(value=volts))
    return found


def check_implausible(
    minutes: Iterable[Summary], rule: ImplausibleRule, role: Role, zone: ZoneInfo, now: int
) -> list[WindowVerdict]:
    """Impossible quarter-hour means: negative load at any time, negative solar between 10:00 and 15:00.

    A quarter of an hour is used instead of a minute, because inverters draw some power and meters are read some seconds apart.
    """
    found = []
    for quarter in closed(merged_windows(minutes, QUARTER), QUARTER, now):
        power = _mean(quarter, "P")
        if power is None or (role == "solar" and local_hour(quarter.time, zone) not in DAYLIGHT_HOURS):
            continue
        found.append(_above(quarter.time, -power, rule.noise_kw, 0.0)._replace(value=power))
    return found


def stuck_resolution(rule: StuckMeterRule) -> int:
    """A resolution at which the rule's period has about a dozen windows."""
    return max(MINUTE, rule.after_minutes * 60 // 12 // MINUTE * MINUTE)


def check_stuck(windows: Sequence[Summary], rule: StuckMeterRule, last: int) -> list[WindowVerdict]:
    """Whether a meter repeats exactly the same values in the period that ends with the reading at ``last``.

    It is stuck if every channel that it gives has a single value in at least five readings that cover the whole period, and P is not zero
    (a solar meter at night is no fault). ``windows`` must have the resolution :func:`stuck_resolution`. There is no verdict unless the
    meter gave readings throughout the period.
    """
    resolution = stuck_resolution(rule)
    start = last - rule.after_minutes * 60
    period = [w for w in windows if w.time + resolution > start and w.time <= last]
    if not period or period[0].time > start + resolution or period[-1].time + 2 * resolution <= last:
        return []
    if sum(window.readings for window in period) < MIN_STUCK_READINGS:
        return []
    names = set().union(*(window.channels for window in period))
    values = {
        name: {v for w in period if name in w.channels for v in (w.channels[name][0], w.channels[name][2])}
        for name in names
    }
    if "P" not in values:
        return []
    power = next(iter(values["P"]))
    same = all(len(seen) == 1 for seen in values.values()) and power != 0
    return [WindowVerdict(last, "breach" if same else "clear", power if same else None, rule.after_minutes)]


def merged_windows(windows: Iterable[Summary], resolution: int) -> list[Summary]:
    """Windows merged into longer ones; means are weighted by readings."""
    groups: dict[int, list[Summary]] = {}
    for window in windows:
        groups.setdefault(window.time - window.time % resolution, []).append(window)
    return [_merged(time, group) for time, group in sorted(groups.items())]


def _merged(time: int, group: Sequence[Summary]) -> Summary:
    channels: dict[str, tuple[float, float, float]] = {}
    for name in set().union(*(window.channels for window in group)):
        parts = [(window.channels[name], max(1, window.readings)) for window in group if name in window.channels]
        weight = sum(count for _, count in parts)
        mean = sum(values[1] * count for values, count in parts) / weight
        channels[name] = (min(v[0] for v, _ in parts), mean, max(v[2] for v, _ in parts))
    return Summary(time, sum(w.readings for w in group), channels, any(w.estimated for w in group))


def local_hour(time: int, zone: ZoneInfo) -> int:
    """The hour of the day at the site."""
    return datetime.fromtimestamp(time, UTC).astimezone(zone).hour


def _mean(window: Summary, channel: str) -> float | None:
    values = window.channels.get(channel)
    return None if values is None or not math.isfinite(values[1]) else values[1]


def _power_factor(window: Summary) -> float | None:
    power, reactive = _mean(window, "P"), _mean(window, "Q")
    if power is not None and reactive is not None:
        apparent = math.hypot(power, reactive)
        return abs(power) / apparent if apparent else None
    factor = _mean(window, "L1_PF")
    return None if factor is None else abs(factor)


def _above(time: int, value: float, threshold: float, hysteresis: float) -> WindowVerdict:
    verdict: Verdict = "hold"
    if value > threshold:
        verdict = "breach"
    elif value <= threshold - hysteresis:
        verdict = "clear"
    return WindowVerdict(time, verdict, value, value - threshold)
