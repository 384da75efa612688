"""The height of the sun at a site. Pure.

The place is the site's own (:mod:`cenergyd.customers.place`), or that of the city after which its time zone is named. The height is computed
by the low-precision formulas of the Astronomical Almanac, to a tenth of a degree. The city may be 20 degrees away from the site, so callers
should only use a sun that is well above the horizon.
"""

from __future__ import annotations

import functools
import math
import zoneinfo
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path

from cenergyd.customers.model import Customer
from cenergyd.customers.place import Place, own_place

_J2000 = 946728000
"""UTC seconds of 1 January 2000, 12:00."""


def sun_height(time: int, place: Place) -> float:
    """The sun's height above the horizon in degrees, negative below it; ``time`` in UTC seconds."""
    days = (time - _J2000) / 86400
    anomaly = math.radians((357.528 + 0.9856003 * days) % 360)
    mean = (280.460 + 0.9856474 * days) % 360
    ecliptic = math.radians(mean + 1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly))
    tilt = math.radians(23.439 - 0.0000004 * days)
    right_ascension = math.atan2(math.cos(tilt) * math.sin(ecliptic), math.cos(ecliptic))
    declination = math.asin(math.sin(tilt) * math.sin(ecliptic))
    sidereal = math.radians((280.46062 + 360.98564737 * days + place.longitude) % 360)
    hour_angle = sidereal - right_ascension
    latitude = math.radians(place.latitude)
    height = math.sin(latitude) * math.sin(declination)
    height += math.cos(latitude) * math.cos(declination) * math.cos(hour_angle)
    return math.degrees(math.asin(max(-1.0, min(1.0, height))))


def place_of(customer: Customer) -> Place | None:
    """The place of a site; None if neither its own nor its zone's is known, as for UTC."""
    return own_place(customer) or _zones().get(customer.time_zone)


def parse_places(lines: Iterable[str]) -> dict[str, Place]:
    """Zone name -> place, from the lines of ``zone.tab`` (ISO 6709 positions)."""
    found: dict[str, Place] = {}
    for line in lines:
        parts = line.rstrip("\n").split("\t")
        if line.startswith("#") or len(parts) < 3:
            continue
        position = parts[1]
        split = max(position.rfind("+"), position.rfind("-"))
        found[parts[2]] = Place(_degrees(position[:split], 2), _degrees(position[split:], 3))
    return found


def _degrees(text: str, digits: int) -> float:
    sign = -1.0 if text.startswith("-") else 1.0
    numbers = text[1:]
    rest = numbers[digits:]
    minutes, seconds = int(rest[:2] or 0), int(rest[2:] or 0)
    return sign * (int(numbers[:digits]) + minutes / 60 + seconds / 3600)


@functools.cache
def _zones() -> Mapping[str, Place]:
    for folder in zoneinfo.TZPATH:
        table = Path(folder) / "zone.tab"
        if table.is_file():
            return parse_places(table.read_text(encoding="utf-8").splitlines())
    try:
        return parse_places((resources.files("tzdata") / "zoneinfo" / "zone.tab").read_text().splitlines())
    except (ModuleNotFoundError, OSError):
        return {}
