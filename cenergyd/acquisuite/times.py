"""Times as devices write them."""

from __future__ import annotations

import re
from calendar import timegm
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

YEAR_2000: Final = 946684800
"""UTC seconds. The clock of a logger that has lost its time starts here or earlier."""
_TIME: Final = re.compile(
    rb"""\s*["']?(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)["']?\s*\Z""",
)
_QUOTED_TIME: Final = re.compile(rb"'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d'")


@lru_cache(16384)
def quoted_time(text: bytes) -> int:
    """UTC seconds of a time in exactly the form ``'2002-01-31 18:30:00'``, quotes included.

    Cached, because all loggers of a fleet upload the same minutes; the size is enough for a backlog of ten days.

    :raises ValueError: anything else.
    """
    time = parse_time(text) if _QUOTED_TIME.fullmatch(text) else None
    if time is None:
        raise ValueError("no time")
    return time


def parse_time(text: bytes) -> int | None:
    """UTC seconds of ``2002-01-31 18:30:00``, quoted or not; 0 for a year before 1970, None if it is no time."""
    match = _TIME.match(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    if not (1 <= month <= 12 and 1 <= day <= _days_in(year, month) and hour < 24 and minute < 60 and second < 60):
        return None
    return timegm((year, month, day, hour, minute, second)) if year >= 1970 else 0


def device_time(time: int) -> str:
    """``2002-01-31 18:30:00``, as devices write times."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _days_in(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31
