"""A fast path for regular rows, all with the same columns: they are parsed column by column, in half the time.

Text with any irregularity is left to :mod:`cenergyd.acquisuite.logfile` entirely. Both give exactly the same result; a property test
compares them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
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
    rows, width = text.count(b"\n"), text.count(b",", 0, text.find(b"\n"))  # the last column is not counted
    fields = text.split(b",")
    if (
        not (rows and width)
        or len(fields) != rows * width + 1
        or text.count(b"'") != 2 * rows
        or fields[1::width].count(b"0") != rows
    ):
        return None
    # At the end of a row, the last column, the line end and the next row's time are one field. If there are as many line ends as rows,
    # and two quotes for each time, there are none elsewhere, so all rows have the same width.
    joints = fields[width:-1:width]
    try:
        times = [quoted_time(fields[0]), *[quoted_time(joint[joint.index(b"\n") + 1 :]) for joint in joints]]
        fields[width::width] = [joint[: joint.index(b"\n")] for joint in fields[width::width]]
        values = [_values(fields, width, layout.columns.get(value), layout.scales.get(value, 1.0)) for value in VALUES]
    except (ValueError, IndexError):
        return None
    factors = values[_POWER_FACTOR]
    if len(set(times)) != rows or min(times) < earliest or max(times) > latest:
        return None
    if isinstance(factors, list) and not (min(factors) >= -1.0 and max(factors) <= 1.0):
        return None
    channels, registers = values[: len(CHANNELS)], values[len(CHANNELS) :]
    return list(map(new_reading, zip(times, *channels, repeat(False), *registers)))


def _values(fields: list[bytes], width: int, column: int | None, scale: float) -> Iterable[float | None]:
    """One column as numbers; an endless series of None if the meter has no such value.

    :raises ValueError: some are not numbers, or implausibly large.
    :raises IndexError: the rows have no such column.
    """
    if column is None:
        return repeat(None)
    if column > width:
        raise IndexError(column)
    values = list(map(float, fields[column::width]))
    if scale != 1.0:
        values = [value * scale for value in values]
    if not sum(map(abs, values)) <= MAX_VALUE:
        raise ValueError("nan or too large")  # a large sum is rejected, too: the slow path then decides
    return values
