"""What every reading store rejects or does not store; defined in one place so that all stores agree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from math import copysign, isfinite
from typing import TypeGuard

from cenergyd.errors import StoreRejected
from cenergyd.readings.model import FieldPoint, Reading, is_series_name

LATEST = 9223372036
"""Seconds before or after 1970 that fit into InfluxDB's 64-bit nanoseconds (until the year 2262)."""
MAX_TEXT_BYTES = 32768
"""Largest text in a field point; InfluxDB's own limit is 64 KiB."""
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")


def check_series(*names: str) -> None:
    """Raise StoreRejected for anything that is not a series name, and so could inject into a query."""
    for name in names:
        if not is_series_name(name):
            raise StoreRejected(f"{name!r} is not a series name: <serial>_<meter id>, letters and digits only")


def check_fields(names: Sequence[str]) -> None:
    """Raise StoreRejected for anything that is not a field's name, and so could inject into a query."""
    for name in names:
        if not _is_field_name(name):
            raise StoreRejected(f"{name!r} is not a field name (letters, digits and _)")


def only_fields(points: list[FieldPoint], names: Sequence[str]) -> list[FieldPoint]:
    """The points with only these fields, without those that have none of them; all if no names are given."""
    if not names:
        return points
    found = ((point.time, {name: point.fields[name] for name in names if name in point.fields}) for point in points)
    return [FieldPoint(time, fields) for time, fields in found if fields]


def storable(readings: Iterable[Reading]) -> list[Reading]:
    """The readings that have a channel or a register: one without any is a gap, and a gap is not stored. -0.0 becomes 0.0.

    Raises StoreRejected for a value that is not finite or a time out of range.
    """
    kept: list[Reading] = []
    for reading in readings:
        time, p, pf, v, q, _, net, imported, exported = reading
        # A fast path for nearly all readings: those with all channels, and all registers or none. Zeros are frequent: the power of solar
        # at night, the register of export of a load.
        if (
            (p or _is_zero(p))
            and (pf or _is_zero(pf))
            and (v or _is_zero(v))
            and (q or _is_zero(q))
            and isfinite(p + pf + v + q)
            and -LATEST <= time < LATEST
        ):
            if net is None and imported is None and exported is None:
                kept.append(reading)
                continue
            if (
                (net or _is_zero(net))
                and (imported or _is_zero(imported))
                and (exported or _is_zero(exported))
                and isfinite(net + imported + exported)
            ):
                kept.append(reading)
                continue
        checked = _checked(reading)
        if checked is not None:
            kept.append(checked)
    return kept


def _is_zero(value: float | None) -> TypeGuard[float]:
    """Whether a value that is 0 or missing is 0 and not -0.0."""
    return value is not None and copysign(1.0, value) > 0


def _checked(reading: Reading) -> Reading | None:
    some = zero = False
    for value in reading.values:
        if value is not None:
            some = True
            if not value:
                zero = True
            elif not isfinite(value):
                raise StoreRejected(f"a reading at {reading.time} has a value that is not finite")
    if not some:
        return None
    _check_time(reading.time)
    return _without_negative_zero(reading) if zero else reading


def _without_negative_zero(reading: Reading) -> Reading:
    values = [None if value is None else value + 0.0 for value in reading.values]
    return Reading.of_values(reading.time, values, reading.estimated)


def readings_to_keep(readings: Iterable[Reading], start: int, end: int) -> dict[int, Reading]:
    """The readings in the range after ``replace``: storable readings by time; of two at one time the one given last."""
    return {reading.time: reading for reading in storable(_within(readings, start, end))}


def storable_points(points: Iterable[FieldPoint]) -> dict[int, FieldPoint]:
    """Field points by time, numbers as floats; of two at one time the one given last.

    All numbers become floats because InfluxDB fixes a field's type with its first value: a plugin that writes
    ``{"kwh": 0}`` once could never write ``{"kwh": 1.5}``. Raises StoreRejected for a point that some store cannot keep.
    """
    checked: dict[int, FieldPoint] = {}
    for point in points:
        _check_time(point.time)
        if not point.fields:
            raise StoreRejected(f"the field point at {point.time} has no fields")
        checked[point.time] = FieldPoint(point.time, _fields(point.fields, point.time))
    return checked


def points_to_keep(points: Iterable[FieldPoint], start: int, end: int) -> dict[int, FieldPoint]:
    """The points in the range after ``replace_points``, by time."""
    checked = storable_points(points)
    for time in checked:
        if not start <= time < end:
            raise StoreRejected(f"a field point at {time} is outside the range {start}..{end} that is to be replaced")
    return checked


def window_start(time: int, resolution: int, offset: int = 0) -> int:
    """Start of the window that contains a time: a multiple of the resolution, plus an offset."""
    return time - (time - offset) % resolution


def slices(start: int, end: int, resolution: int, max_seconds: int, offset: int = 0) -> Iterator[tuple[int, int]]:
    """A range cut into slices of about ``max_seconds`` that start and end at window boundaries of the resolution."""
    step = window_start(max_seconds, resolution) or resolution
    while start < end:
        until = min(end, window_start(start, resolution, offset) + step)
        yield start, until
        start = until


def check_summary_request(resolution: int, channels: Sequence[str], known: Sequence[str]) -> None:
    """Raise StoreRejected for a resolution below one second and for unknown or no channels."""
    if resolution < 1:
        raise StoreRejected(f"the resolution is {resolution} s: at least 1 s is needed")
    if not channels or not set(channels) <= set(known):
        raise StoreRejected(f"channels must be some of {', '.join(known)}")


def _within(readings: Iterable[Reading], start: int, end: int) -> Iterable[Reading]:
    for reading in readings:
        if not start <= reading.time < end:
            raise StoreRejected(f"a reading at {reading.time} is outside the range {start}..{end} to be replaced")
        yield reading


def _check_time(time: int) -> None:
    if not -LATEST <= time < LATEST:
        raise StoreRejected(f"the time {time} is not within the years 1677 to 2262")


def _fields(fields: Mapping[str, object], time: int) -> dict[str, float | str | bool]:
    _check_field_names(tuple(fields), time)
    # Nearly all values are finite numbers: their difference from themselves is 0. Adding 0.0 makes floats of them, and 0.0 of -0.0.
    return {
        name: value + 0.0
        if (type(value) is float or type(value) is int) and value - value == 0.0
        else _field(name, value, time)
        for name, value in fields.items()
    }


def _check_field_names(names: tuple[str, ...], time: int) -> None:
    if not _are_field_names(names):
        wrong = next(name for name in names if not _is_field_name(name))
        raise StoreRejected(f"the field point at {time}: {wrong!r} is not a field name (letters, digits and _)")


@lru_cache(maxsize=256)
def _are_field_names(names: tuple[str, ...]) -> bool:
    return all(map(_is_field_name, names))


@lru_cache(maxsize=1024)
def _is_field_name(name: str) -> bool:
    # A field called time would hide the point's own.
    return bool(_FIELD.match(name)) and name != "time"


def _field(name: str, value: object, time: int) -> float | str | bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        number = float(value)
        if not isfinite(number):
            raise StoreRejected(f"the field point at {time}: {name} is not finite")
        return number + 0.0  # -0.0 becomes 0.0
    if isinstance(value, str):
        return _text(name, value, time)
    raise StoreRejected(f"the field point at {time}: {name} is neither a number, a text nor true or false")


def _text(name: str, value: str, time: int) -> str:
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise StoreRejected(f"the field point at {time}: {name} is not valid text") from None
    if size > MAX_TEXT_BYTES:
        raise StoreRejected(f"the field point at {time}: {name} has {size} bytes, more than {MAX_TEXT_BYTES}")
    return value
