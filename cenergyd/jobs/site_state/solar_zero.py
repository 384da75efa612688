"""Detects solar meters without power through hours of sun, by comparing with the hourly rollups of the last days."""

from __future__ import annotations

from collections.abc import Mapping

from cenergyd.customers.model import Customer
from cenergyd.customers.place import Place
from cenergyd.jobs.site_state.model import MeterStatus, SiteFacts, SumFacts
from cenergyd.jobs.site_state.sun import place_of, sun_height
from cenergyd.readings.store import ReadingStore

HIGH_SUN = 20.0
"""Minimum height of the sun, degrees: below this panels may give little, and a zone's city may be far from the site."""
HOURS = 3
"""Hours of high sun without power that clouds do not explain."""
DAYS = 7
DAYS_NEEDED = 2
"""Minimum number of the last days on which there was power in the same hours."""
NOTHING = 0.02
"""Share of its own highest hour below which power counts as none; clouds leave more."""
_HOUR, _DAY = 3600, 86400


def may_be_dark(facts: SiteFacts, now: int) -> bool:
    """Whether the last days need to be checked: the newest reading is near zero, and the sun has been high for hours."""
    solar = _solar(facts)
    if (
        solar is None
        or solar.last_time is None
        or solar.power is None
        or solar.power > 0.2
        or now - solar.last_time > 2 * _HOUR
    ):
        return False
    place = place_of(facts.customer)
    return place is not None and all(
        sun_height(solar.last_time - hour * _HOUR, place) >= HIGH_SUN for hour in range(HOURS + 1)
    )


def _solar(facts: SiteFacts) -> SumFacts | MeterStatus | None:
    roles: list[SumFacts | MeterStatus] = [*facts.sums, *facts.meters]
    return next((each for each in roles if each.role == "solar"), None)


def dark_since(highest: Mapping[int, float], last_hour: int, place: Place) -> int | None:
    """The time since which solar has given no power although the sun is high; None if that is not so, or not known.

    :param highest: start of an hour -> highest power in it, kW, over the last days.
    :param last_hour: start of the newest full hour.
    """
    most = max(highest.values(), default=0.0)
    if most <= 0:
        return None
    dark = []
    hour = last_hour if last_hour in highest else last_hour - _HOUR  # its rollup may still be to come
    while hour in highest and highest[hour] <= NOTHING * most and sun_height(hour, place) >= HIGH_SUN:
        dark.append(hour)
        hour -= _HOUR
    if len(dark) < HOURS:
        return None
    gave = 0
    for day in range(1, DAYS + 1):
        before = [highest.get(each - day * _DAY, 0.0) for each in dark[:HOURS]]
        gave += min(before) > NOTHING * most
    return dark[-1] if gave >= DAYS_NEEDED else None


async def solar_zero_since(customer: Customer, facts: SiteFacts, readings: ReadingStore, now: int) -> int | None:
    """Since when a site's solar meter has given nothing in high sun; None where that is not so."""
    place, series, solar = place_of(customer), customer.series_of("solar"), _solar(facts)
    if place is None or series is None or solar is None or solar.last_time is None or not may_be_dark(facts, now):
        return None
    # Hours before the meter's newest reading: at the start of an hour there are no readings of it yet, which does not mean power.
    last_hour = solar.last_time - solar.last_time % _HOUR - _HOUR
    points = await readings.read_points(f"{series}_1h", last_hour - DAYS * _DAY - _DAY // 2, last_hour + 1)
    reversed_sign = -1.0 if "solar" in customer.current.reversed_roles else 1.0
    highest = {
        point.time - point.time % _HOUR: max(
            reversed_sign * float(point.fields["P_max"]), reversed_sign * float(point.fields["P_min"])
        )
        for point in points
        if "P_max" in point.fields
    }
    # An hour is stored when the next one has a reading.
    return dark_since(highest, last_hour if last_hour in highest else last_hour - _HOUR, place)
