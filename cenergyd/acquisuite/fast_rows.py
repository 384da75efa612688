"""A fast path for regular rows, all with the same columns: they are parsed column by column, in half the time.

Text with any irregularity is left to :mod:`cenergyd.acquisuite.log_file` entirely. Both give exactly the same result; a property test
compares them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise, repeat
from operator import itemgetter
from typing import Final, NamedTuple

import msgspec

from cenergyd.acquisuite.layouts import Layout
from cenergyd.acquisuite.times import YEAR_2000, quoted_time
from cenergyd.readings.model import CHANNELS, MAX_VALUE, VALUES, Reading, new_reading

_HEADER: Final = b"time("
_POWER_FACTOR: Final = VALUES.index("L1_PF")
_time_of: Final = itemgetter(0)
_NUMBERS: Final = msgspec.json.Decoder(list[float])


class UniformRows(NamedTuple):
    """Complete lines with the same number of columns, without a header row."""

    lines: list[bytes]
    commas: int
    """In each line."""


def uniform_rows(text: bytes) -> UniformRows | None:
    """The rows of complete lines; None unless all have the same number of columns, and nothing in them looks damaged.

    Also None if there is a ``_``, which Python's float() accepts between digits.
    """
    if b"\0" in text or b"_" in text:
        return None
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
        if b"\r" in text:  # CR alone ends a line
            return None
    if text[:5].lower() == _HEADER:
        text = text[text.find(b"\n") + 1 :]
    lines = text.split(b"\n")
    if lines.pop() or not lines or text.count(b"'") != 2 * len(lines):
        return None
    commas = lines[0].count(b",")
    return UniformRows(lines, commas) if len({line.count(b",") for line in lines}) == 1 else None


class UniformReadings(NamedTuple):
    """What regular rows give."""

    readings: list[Reading]
    """Ascending in time, one for each row."""
    missing_values: int
    """Values of the layout whose columns are empty."""


def read_uniform_rows(text: bytes, layout: Layout, latest: int, earliest: int = YEAR_2000) -> UniformReadings | None:
    """Readings of complete lines in ascending order; None unless all are valid, with the same number of columns and different times.

    :param latest: UTC seconds; a row later than this, or before ``earliest``, is irregular.
    """
    rows = uniform_rows(text)
    return None if rows is None else uniform_readings(rows, layout, latest, earliest)


def uniform_readings(
    rows: UniformRows, layout: Layout, latest: int, earliest: int = YEAR_2000
) -> UniformReadings | None:
    """As :func:`read_uniform_rows`, for lines that are already split."""
    lines, width = rows
    if not layout.columns or layout.last_column > width or not width:
        return None
    left, right = _cuts(tuple(layout.columns.values()), width)
    cut = [line.split(b",", left + 1) for line in lines]
    if right <= width:
        for row in cut:
            row.extend(row.pop().rsplit(b",", width + 1 - right))
    columns = list(zip(*cut, strict=True))
    if columns[1].count(b"0") != len(lines):
        return None
    used = ((value, columns[at if at <= left else at - width - 1]) for value, at in layout.columns.items())
    # A meter may have no value for a column in any row. An empty field in a column that has values is irregular.
    texts = {value: column for value, column in used if any(column)}
    if not texts:
        return None
    try:
        times = list(map(quoted_time, columns[0]))
        values = [_values(texts.get(value), layout.scales.get(value, 1.0)) for value in VALUES]
    except ValueError:
        return None
    factors = values[_POWER_FACTOR]
    if len(set(times)) != len(lines) or min(times) < earliest or max(times) > latest:
        return None
    if isinstance(factors, list) and not (min(factors) >= -1.0 and max(factors) <= 1.0):
        return None
    channels, registers = values[: len(CHANNELS)], values[len(CHANNELS) :]
    readings = list(map(new_reading, zip(times, *channels, repeat(False), *registers)))
    readings.sort(key=_time_of)
    return UniformReadings(readings, (len(layout.columns) - len(texts)) * len(lines))


@lru_cache(256)
def _cuts(columns: tuple[int, ...], width: int) -> tuple[int, int]:
    """The columns before and after the longest run of unused ones, which need not be split."""
    used = sorted({1, *columns})
    return max(pairwise([*used, width + 1]), key=lambda pair: pair[1] - pair[0])


def _values(texts: tuple[bytes, ...] | None, scale: float) -> Iterable[float | None]:
    """One column as numbers; an endless series of None if the meter has no such value.

    :raises ValueError: some are not numbers, or implausibly large.
    """
    if texts is None:
        return repeat(None)
    try:
        values = _NUMBERS.decode(b"[%b]" % b",".join(texts))  # in a third of the time that float() takes
    except msgspec.DecodeError:
        values = list(map(float, texts))  # JSON has no .5 and no +5
    if len(values) != len(texts):
        raise ValueError("no number")  # JSON takes a single blank field for an empty list
    if scale != 1.0:
        values = [value * scale for value in values]
    if not sum(map(abs, values)) <= MAX_VALUE:
        raise ValueError("nan or too large")  # a large sum is rejected, too: the slow path then decides
    return values
