"""For how long readings and what is computed from them are kept. Pure.

What is to be kept for D days is kept for :data:`MARGIN_DAYS` more. So there are two borders: nothing that lies before ``now - D days`` is
computed anew, and only what lies a margin before that is freed. Whatever is computed anew finds all that it is computed from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DAY: Final = 86400
MARGIN_DAYS: Final = 33
"""Registers bridge a gap of up to 31 days; a day's and an hour's windows look back a little more."""


def computed_since(keep_days: Mapping[str, int], now: int) -> int | None:
    """The time before which nothing is computed anew, as the readings of before may be gone; None where they are kept for ever."""
    days = keep_days.get("raw")
    return None if days is None else now - days * DAY


def freed_before(days: int, now: int) -> int:
    """The time before which rows that are kept for so many days are freed."""
    return now - (days + MARGIN_DAYS) * DAY
