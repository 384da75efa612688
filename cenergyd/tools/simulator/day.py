"""A plausible day at a solar site: pure functions of site and time, so that minutes can be computed in any order.

Power is in kW and kvar, energy in kWh, voltage in V; time is UTC seconds. Import from the grid is positive. The site
equation holds exactly for P and Q: load = solar + utility.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cenergyd.customers.model import Role
from cenergyd.tools.simulator.site import SimulatedPlace, SimulatedSite

_DAY = 86400
_INVERTER_STANDBY_KW = 0.004


class Power(NamedTuple):
    """The power at one meter at one time."""

    P: float
    """Real power, kW."""
    Q: float
    """Reactive power, kvar; lagging is positive."""

    @property
    def power_factor(self) -> float | None:
        """|P| / S, or None at zero apparent power."""
        apparent = math.hypot(self.P, self.Q)
        return abs(self.P) / apparent if apparent else None


class SiteMoment(NamedTuple):
    """The whole site at one time."""

    time: int
    utility: Power
    load: Power
    solar: Power
    volts: float
    """Phase to neutral, the same for all meters of the site."""

    def of(self, role: Role) -> Power:
        """The power at the meter of a role."""
        power: Power = getattr(self, role)
        return power


class RegisterTotals(NamedTuple):
    """A meter's energy registers."""

    imported: float
    """Integral of positive P, kWh."""
    exported: float
    """Integral of negative P, kWh, as a positive number."""


def sun_elevation_sine(place: SimulatedPlace, time: int) -> float:
    """Sine of the sun's height above the horizon (negative at night), by declination and hour angle."""
    day = (time % 31557600) / _DAY  # days into the (Julian) year, accurate enough for a simulation
    angle = 2 * math.pi * (day - 81) / 365.25
    declination = math.radians(23.44) * math.sin(angle)
    equation_of_time = 9.87 * math.sin(2 * angle) - 7.53 * math.cos(angle) - 1.5 * math.sin(angle)
    solar_hours = (time % _DAY) / 3600 + place.longitude / 15 + equation_of_time / 60
    hour_angle = math.pi * (solar_hours - 12) / 12
    latitude = math.radians(place.latitude)
    upright = math.sin(latitude) * math.sin(declination)
    height: float = upright + math.cos(latitude) * math.cos(declination) * math.cos(hour_angle)
    return height


def site_moment(site: SimulatedSite, time: int) -> SiteMoment:
    """The site at one time."""
    solar_kw = _solar_kw(site, time)
    load_kw = _load_kw(site, time)
    # The inverter runs near unity power factor and draws some reactive power.
    solar = Power(_rounded(solar_kw), _rounded(0.03 * max(solar_kw, 0.0) + 0.001))
    lag = math.tan(math.acos(site.load_power_factor)) * (1 + 0.15 * _noise(site.seed, 5, time, 300))
    load = Power(_rounded(load_kw), _rounded(load_kw * lag))
    utility = Power(_rounded(load.P - solar.P), _rounded(load.Q - solar.Q))
    # Import lowers the voltage, and export raises it.
    swing = 0.006 * utility.P / max(site.peak_solar_kw, site.mean_load_kw)
    volts = site.nominal_volts * (1.0 + 0.008 * _noise(site.seed, 6, time, 900) - swing)
    return SiteMoment(time, utility, load, solar, round(volts, 2))


def site_moments(site: SimulatedSite, start: int, end: int, interval: int) -> Iterator[SiteMoment]:
    """The site every ``interval`` seconds, ``start <= time < end``, at multiples of the interval."""
    return (site_moment(site, time) for time in range(-(-start // interval) * interval, end, interval))


def totals_after(energy: RegisterTotals, before: float, now: float, seconds: int) -> RegisterTotals:
    """A meter's energy registers after ``seconds`` in which its P went from ``before`` to ``now`` (trapezoid)."""
    kwh = (before + now) / 2 * seconds / 3600
    return RegisterTotals(energy.imported + max(kwh, 0.0), energy.exported + max(-kwh, 0.0))


def _solar_kw(site: SimulatedSite, time: int) -> float:
    height = sun_elevation_sine(site.place, time)
    if height <= 0:
        # At night an inverter draws standby power, a small import, as at real sites.
        return -_INVERTER_STANDBY_KW
    clear = math.pow(height, 1 + 0.15 / max(height, 0.05))  # at low sun, light passes through more air
    return site.peak_solar_kw * min(clear, 1.0) * _cloud(site, time)


def _cloud(site: SimulatedSite, time: int) -> float:
    """Share of sunlight that the clouds let through, 0.12 to 1: a slow part for the day's weather, a fast one for single clouds."""
    weather = 0.5 + 0.5 * _noise(site.seed, 1, time, 7 * 3600)
    passing = 0.5 + 0.5 * _noise(site.seed, 2, time, 240)
    cover: float = math.pow(weather, 1.5)
    return 1.0 - 0.88 * cover * (0.55 + 0.45 * passing)


def _load_kw(site: SimulatedSite, time: int) -> float:
    local = time + _utc_offset(site.place.zone, time // 900)
    hour = (local % _DAY) / 3600
    # 1 January 1970 was a Thursday.
    weekend = (local // _DAY + 3) % 7 >= 5
    morning = _bump(hour, 7.5 if not weekend else 9.5, 1.3)
    evening = _bump(hour, 19.0, 2.2)
    daytime = _bump(hour, 13.0, 4.0) * (0.9 if weekend else 0.5)
    shape = 0.45 + 0.8 * morning + 1.25 * evening + 0.45 * daytime
    slow = 1 + 0.18 * _noise(site.seed, 3, time, 3600)
    # Occasionally a large appliance runs for some minutes.
    appliance = max(0.0, _noise(site.seed, 4, time, 700) - 0.55) * 1.6
    return site.mean_load_kw * (shape * slow + appliance)


def _bump(hour: float, centre: float, width: float) -> float:
    """A bell curve around an hour of the day, also over midnight."""
    distance = abs(hour - centre)
    distance = min(distance, 24 - distance)
    return math.exp(-((distance / width) ** 2))


def _noise(seed: int, kind: int, time: int, period: int) -> float:
    """Smooth noise, -1..1: random values every ``period`` seconds with smooth transitions."""
    knot, rest = divmod(time, period)
    left = _knot(seed, kind, knot)
    right = _knot(seed, kind, knot + 1)
    part = rest / period
    eased = part * part * (3 - 2 * part)
    return left + (right - left) * eased


@lru_cache(maxsize=65536)
def _knot(seed: int, kind: int, index: int) -> float:
    """A pseudo-random value in -1..1 for each index, by a 64-bit mix (splitmix64), which is fast and platform-independent."""
    mask = (1 << 64) - 1
    value = (seed * 0x9E3779B97F4A7C15 + kind * 0xD1B54A32D192ED03 + index * 0x8CB92BA72F3D8DD7) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return ((value ^ (value >> 31)) / mask) * 2 - 1


@lru_cache(maxsize=4096)
def _utc_offset(zone: str, quarter_hour: int) -> int:
    """Offset of local time, s. Cached by quarter hours, on which zones change."""
    offset = datetime.fromtimestamp(quarter_hour * 900, UTC).astimezone(ZoneInfo(zone)).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def _rounded(value: float) -> float:
    # Meters give three decimals. Load and solar are rounded first, so that the site equation is exact in the logs.
    return round(value, 3) + 0.0
