"""Reads the values of one row, in the units of a reading."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final

from cenergyd.acquisuite.layouts import Layout
from cenergyd.readings.model import CHANNELS, MAX_VALUE, VALUES, Reading, new_reading

_PF_OVERSHOOT: Final = 1.001
"""A power factor above 1 up to this is a rounding error."""
_CHANNELS: Final = len(CHANNELS)

RowReader = Callable[[int, list[bytes]], "tuple[Reading | None, int]"]
"""Takes a row's time (UTC seconds) and columns; returns its reading (None if it has no value) and the number of missing values."""


def row_reader(layout: Layout) -> RowReader:
    """The function that reads the rows of a layout."""
    places = [(VALUES.index(value), column, layout.scales.get(value, 1.0)) for value, column in layout.columns.items()]
    factor_column = layout.columns.get("L1_PF")
    columns = [column for _, column, _ in places]
    # For each value of a reading its position in the list that is read from a row; -1 is the None at the end of that list.
    order = [list(layout.columns).index(value) if value in layout.columns else -1 for value in VALUES]
    in_order = itemgetter(*order)
    factor_at = order[VALUES.index("L1_PF")]

    def slow_path(time: int, fields: list[bytes]) -> tuple[Reading | None, int]:
        values: list[float | None] = [None] * len(VALUES)
        given = 0
        for position, column, scale in places:
            value = column_number(fields[column]) if column < len(fields) else None
            value = plausible(value * scale) if value is not None else None
            value = valid_power_factor(value) if column == factor_column and position == 1 else value
            given += value is not None
            values[position] = value
        return (_reading(time, values) if given else None), len(places) - given

    def fast_path(time: int, fields: list[bytes]) -> tuple[Reading | None, int]:
        try:
            found: list[float | None] = [float(fields[column]) for column in columns]
        except (ValueError, IndexError):
            return slow_path(time, fields)
        factor = 0.0 if factor_at < 0 else found[factor_at]
        if not (-1.0 <= factor <= 1.0 and sum(map(abs, found)) <= MAX_VALUE):  # type: ignore[operator, arg-type]  # false for nan, too
            return slow_path(time, fields)
        found.append(None)
        p, pf, v, q, net, imported, exported = in_order(found)
        return new_reading((time, p, pf, v, q, False, net, imported, exported)), 0

    return fast_path if places and not layout.scales else slow_path


def _reading(time: int, values: Sequence[float | None]) -> Reading:
    return new_reading((time, *values[:_CHANNELS], False, *values[_CHANNELS:]))


def column_number(text: bytes) -> float | None:
    """A value column as a number, possibly nan or infinite; None if it is empty, NULL or no number."""
    try:
        return float(text.strip(b" \t'\""))
    except ValueError:
        return None


def plausible(value: float) -> float | None:
    """The value, or None if it is nan, infinite or implausibly large."""
    return value if abs(value) <= MAX_VALUE else None


def valid_power_factor(value: float | None) -> float | None:
    """A power factor within -1..1, or None."""
    if value is None or not -_PF_OVERSHOOT <= value <= _PF_OVERSHOOT:
        return None
    return min(1.0, max(-1.0, value))
