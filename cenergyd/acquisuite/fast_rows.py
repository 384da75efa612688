"""A fast path for regular rows, all with the same columns: they are parsed column by column, in half the time.

Text with any irregularity is left to :mod:`cenergyd.acquisuite.log_file` entirely. Both give exactly the same result; a property test
compares them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise, repeat
from typing import Final

from cenergyd.acquisuite.layouts import Layout
from cenergyd.acquisuite.times import YEAR_2000, quoted_time
from cenergyd.readings.model import CHANNELS, MAX_VALUE, VALUES, Reading, new_reading

_HEADER: Final = b"time("
_POWER_FACTOR: Final = VALUES.index("L1_PF")


def read_uniform_rows(text: bytes, layout: Layout, latest: int, earliest: int = YEAR_2000) -> list[Reading] | None:
    """Readings of complete lines in the file's order; None unless all are valid, with the same number of columns and different times.

    :param text: without ``_``, which Python's float() accepts between digits.
    :param latest: UTC seconds; a row later than this, or before ``earliest``, is irregular.
    """
    if b"\0" in text or not layout.columns:
        return None
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
        if b"\r" in text:  # a line end of its own
            return None
    if text[:5].lower() == _HEADER:
        text = text[text.find(b"\n") + 1 :]
    *lines, rest = text.split(b"\n")
    width = lines[0].count(b",") if lines else 0
    if rest or not width or text.count(b"'") != 2 * len(lines):
        return None
    if layout.last_column > width or [line.count(b",") for line in lines].count(width) != len(lines):
        return None
    left, right = _cuts(tuple(layout.columns.values()), width)
    rows = [line.split(b",", left + 1) for line in lines]
    if right <= width:
        for row in rows:
            row.extend(row.pop().rsplit(b",", width + 1 - right))
    if [row[1] for row in rows].count(b"0") != len(rows):
        return None
    try:
        times = [quoted_time(row[0]) for row in rows]
        places = {value: column if column <= left else column - width - 1 for value, column in layout.columns.items()}
        values = [_values(rows, places.get(value), layout.scales.get(value, 1.0)) for value in VALUES]
    except ValueError:
        return None
    factors = values[_POWER_FACTOR]
    if len(set(times)) != len(rows) or min(times) < earliest or max(times) > latest:
        return None
    if isinstance(factors, list) and not (min(factors) >= -1.0 and max(factors) <= 1.0):
        return None
    channels, registers = values[: len(CHANNELS)], values[len(CHANNELS) :]
    return list(map(new_reading, zip(times, *channels, repeat(False), *registers)))


@lru_cache(256)
def _cuts(columns: tuple[int, ...], width: int) -> tuple[int, int]:
    """The columns beside the longest run of unused ones, which need not be split: the one before it and the one after it."""
    used = sorted({1, *columns})
    return max(pairwise([*used, width + 1]), key=lambda pair: pair[1] - pair[0])


def _values(rows: list[list[bytes]], place: int | None, scale: float) -> Iterable[float | None]:
    """One column as numbers; an endless series of None if the meter has no such value.

    :raises ValueError: some are not numbers, or implausibly large.
    """
    if place is None:
        return repeat(None)
    values = [float(row[place]) for row in rows]
    if scale != 1.0:
        values = [value * scale for value in values]
    if not sum(map(abs, values)) <= MAX_VALUE:
        raise ValueError("nan or too large")  # a large sum is rejected, too: the slow path then decides
    return values
