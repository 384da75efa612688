"""Converts days and times of day between what people write and a tariff's JSON. Pure.

``6/1`` is the first of June in one country and the sixth of January in another: so the month must be named, or the order be year, month,
day.
"""

from __future__ import annotations

import re
from datetime import date

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
YEAR_DAY = "A day of the year is needed with the month's name, such as 1 June."
DATE = "A date is needed with the month's name, such as 24 December 2026."
_NUMBERED = re.compile(r"([0-9]{1,2})-([0-9]{1,2})")
_DAY_FIRST = re.compile(r"([0-9]{1,2})(?:st|nd|rd|th)?\.?\s*([a-z]{3,9})\.?(?:,?\s+([0-9]{4}))?", re.IGNORECASE)
_MONTH_FIRST = re.compile(r"([a-z]{3,9})\.?\s*([0-9]{1,2})(?:st|nd|rd|th)?(?:,?\s+([0-9]{4}))?", re.IGNORECASE)
_CLOCK = re.compile(r"([0-9]{1,2})(?:[:.]([0-9]{2}))?\s*([ap]\.?m\.?)?", re.IGNORECASE)


def month_day(text: str) -> str:
    """``1 June``, ``Jun 1`` and ``6-1`` as ``06-01``; other text is returned as it is, for the check to refuse."""
    text = text.strip()
    if match := _NUMBERED.fullmatch(text):
        return f"{int(match[1]):02d}-{int(match[2]):02d}"
    month, day, year = _named(text)
    return f"{month:02d}-{day:02d}" if month and not year else text


def full_date(text: str) -> str:
    """``24 December 2026`` and ``Dec 24, 2026`` as ``2026-12-24``; other text is returned as it is."""
    text = text.strip()
    month, day, year = _named(text)
    return f"{year}-{month:02d}-{day:02d}" if month and year else text


def shown_month_day(text: str) -> str:
    """``06-01`` as ``1 Jun``."""
    match = _NUMBERED.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= 12:
        return text
    return f"{int(match[2])} {MONTHS[int(match[1]) - 1][:3]}"


def shown_date(text: str) -> str:
    """``2026-12-24`` as ``24 Dec 2026``."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return text
    return f"{found.day} {MONTHS[found.month - 1][:3]} {found.year}"


def time_of_day(text: str) -> str:
    """``8``, ``8:00``, ``8 am`` and ``8.00`` as ``08:00``; other text is returned as it is."""
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        return text.strip()
    hours = int(match[1])
    if match[3] and 1 <= hours <= 12:
        hours = hours % 12 + (12 if match[3][0] in "pP" else 0)
    elif match[3]:
        return text.strip()
    return f"{hours:02d}:{match[2] or '00'}"


def _named(text: str) -> tuple[int, int, int]:
    """Month, day and year (0: none) of a text with the month's name; month 0 if it is not a date."""
    for pattern, order in ((_DAY_FIRST, (2, 1)), (_MONTH_FIRST, (1, 2))):
        if match := pattern.fullmatch(text):
            name = match[order[0]].lower()
            found = [number for number, month in enumerate(MONTHS, 1) if month.lower().startswith(name)]
            return (found[0] if len(found) == 1 else 0), int(match[order[1]]), int(match[3] or 0)
    return 0, 0, 0
