"""How long readings and what is computed from them are kept. Pure.

Data kept for D days is really kept for :data:`MARGIN_DAYS` more. So there are two limits: nothing before ``now - D days`` is recomputed,
and only data a further margin before that is deleted. Whatever is recomputed therefore still has all its inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DAY: Final = 86400
MARGIN_DAYS: Final = 33
"""Registers bridge a gap of up to 31 days; hour and day windows need a little more."""


def computed_since(keep_days: Mapping[str, int], now: int) -> int | None:
    """The time before which nothing is recomputed, because the readings may be deleted; None if they are kept for ever."""
    days = keep_days.get("raw")
    return None if days is None else now - days * DAY


def freed_before(days: int, now: int) -> int:
    """The time before which rows that are kept for this many days are deleted."""
    return now - (days + MARGIN_DAYS) * DAY
