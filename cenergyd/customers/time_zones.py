"""A customer's time zone by its stored name. The collection is shared, so this system may not know the name."""

from __future__ import annotations

import functools
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cenergyd.errors import InvalidField

_UTC = ZoneInfo("UTC")


@functools.lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """The time zone of an IANA name. Raises InvalidField (``time_zone``) where there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidField("time_zone", f"{name!r} is not an IANA time zone name such as America/New_York") from error


def zone_or_utc(name: str) -> ZoneInfo:
    """The time zone for displaying times: UTC if the name is unknown."""
    try:
        return zone_of(name)
    except InvalidField:
        return _UTC


def midnight_before(time: int, name: str) -> int:
    """The start of the local day of a time, both in UTC seconds; of the UTC day if the zone's name is unknown."""
    local = datetime.fromtimestamp(time, zone_or_utc(name))
    return int(local.replace(hour=0, minute=0, second=0, fold=0).timestamp())
