"""InfluxDB's formats: line protocol, InfluxQL statements, rows of results. Pure functions, no I/O.

A measurement is a series. Its fields are the channels and registers, as floats, and ``estimated``, which is only written if true.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from cenergyd.errors import StoreRejected
from cenergyd.readings.checks import LATEST
from cenergyd.readings.model import VALUES, FieldPoint, Reading, new_reading
from cenergyd.readings.store import Summary

FIELDS = ", ".join(f'"{name}"' for name in (*VALUES, "estimated"))
_JSON = msgspec.json.Encoder()
_COLON = bytes.maketrans(b":", b"=")
_NO_VALUES = (None,) * len(VALUES)
AnswerRows = Sequence[Sequence[Any]]
MAX_QUERY_CHARS = 4000
"""Statements are sent in the URL, which must be short enough for a proxy that allows 8 KiB of headers."""


class _Line(msgspec.Struct, gc=False, omit_defaults=True):
    """A reading in the order of its line; what is missing is left out."""

    P: float | None = None
    L1_PF: float | None = None
    L1_V: float | None = None
    Q: float | None = None
    E_net: float | None = None
    E_import: float | None = None
    E_export: float | None = None
    estimated: bool = False
    time: int | None = None
    """Always given."""


def reading_lines(series: str, readings: Iterable[Reading]) -> Iterator[str]:
    """Line protocol of readings, times in seconds. A reading without values gives no line, and -0.0 is written as 0.0.

    Made from msgspec's JSON, an object for each line, which has only names, numbers and ``true``: in half the time of formatting each value.

    :raises StoreRejected: a value is not finite.
    """
    lines = [
        _Line(p, pf, v, q, net, imported, exported, estimated, time)
        for time, p, pf, v, q, estimated, net, imported, exported in readings
        if (p, pf, v, q, net, imported, exported) != _NO_VALUES
    ]
    text = _JSON.encode_lines(lines).translate(_COLON, b'{}"').replace(b",time=", b" ").decode()
    if "null" in text:
        raise StoreRejected(f"a reading of {series} has a value that is not finite")
    if "=-0.0" in text:
        text = text.replace("=-0.0,", "=0.0,").replace("=-0.0 ", "=0.0 ")
    return (f"{series} {line}" for line in text.splitlines())


def point_lines(series: str, points: Iterable[FieldPoint]) -> Iterator[str]:
    """Line protocol of checked field points (:func:`~cenergyd.readings.checks.storable_points`)."""
    for point in points:
        fields = ",".join(
            [f"{n}={v!r}" if type(v) is float else f"{n}={_field_text(v)}" for n, v in point.fields.items()]
        )
        yield f"{series} {fields} {point.time}"


def _field_text(value: float | str | bool) -> str:
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(float(value))


def nanoseconds(time: int) -> int:
    """A time in nanoseconds for a comparison, limited to InfluxDB's range."""
    return max(-LATEST, min(LATEST, time)) * 1_000_000_000


def time_range(start: int, end: int) -> str:
    """The condition for a half-open range."""
    return f"time >= {nanoseconds(start)} AND time < {nanoseconds(end)}"


def select(fields: str, series: Iterable[str], retention_policy: str, tail: str) -> str:
    """A SELECT from several series. Names must have been checked: InfluxQL has no parameters for them."""
    prefix = f'"{retention_policy}".' if retention_policy else ""
    source = ",".join(f'{prefix}"{name}"' for name in series)
    return f"SELECT {fields} FROM {source} {tail}"  # noqa: S608


def delete(series: str, first: int, last: int) -> str:
    """A DELETE of the times from ``first`` to ``last``, both included. It deletes from all retention policies; InfluxQL allows none here."""
    return f'DELETE FROM "{series}" WHERE time >= {nanoseconds(first)} AND time <= {nanoseconds(last)}'  # noqa: S608


def batched(texts: Sequence[str], max_chars: int, max_texts: int) -> Iterator[Sequence[str]]:
    """The texts in order, in lists of at most ``max_texts`` texts and ``max_chars`` characters (but at least one text)."""
    begin = size = 0
    for position, text in enumerate(texts):
        size += len(text)
        if position > begin and (size > max_chars or position - begin == max_texts):
            yield texts[begin:position]
            begin, size = position, len(text)
    if texts:
        yield texts[begin:]


def readings_of(_columns: Sequence[str], rows: AnswerRows) -> list[Reading]:
    """The readings in rows of ``SELECT {FIELDS}``. A row with only ``estimated`` is no reading."""
    return [
        new_reading((time, p, pf, v, q, estimated is True, net, imported, exported))
        for time, p, pf, v, q, net, imported, exported, estimated in rows
        if not (p is None and pf is None and v is None and q is None)
        or not (net is None and imported is None and exported is None)
    ]


def points_of(columns: Sequence[str], rows: AnswerRows) -> list[FieldPoint]:
    """The points in rows of ``SELECT *``."""
    names = columns[1:]
    return [
        FieldPoint(row[0], {name: value for name, value in zip(names, row[1:], strict=True) if value is not None})
        for row in rows
    ]


def summary_fields(channels: Sequence[str]) -> str:
    """The aggregates of a summary. Only the first channel is counted, because counting is slow."""
    triples = (f'MIN("{c}") AS "{c}_min", MEAN("{c}") AS "{c}_mean", MAX("{c}") AS "{c}_max"' for c in channels)
    return f'COUNT("{channels[0]}") AS "n", COUNT("estimated") AS "e", {", ".join(triples)}'


def count_fields(channels: Sequence[str]) -> str:
    """The counts of the other channels, for windows without the first channel."""
    return ", ".join(f'COUNT("{c}") AS "{c}_n"' for c in channels)


def summaries_of(channels: Sequence[str], _columns: Sequence[str], rows: AnswerRows) -> list[Summary]:
    """The summaries in rows of :func:`summary_fields`. A window without the first channel has 0 readings and must be counted separately."""
    found: list[Summary] = []
    for time, number, estimated, *values in rows:
        triples = ((c, values[3 * k : 3 * k + 3]) for k, c in enumerate(channels))
        present = {c: (low, mean, high) for c, (low, mean, high) in triples if low is not None}
        if present:
            found.append(Summary(time, number or 0, present, bool(estimated)))
    return found


def counts_of(_columns: Sequence[str], rows: AnswerRows) -> list[tuple[int, int]]:
    """Rows of :func:`count_fields`: time and the count of the first channel that the window has."""
    return [(time, next(filter(None, numbers), 0)) for time, *numbers in rows]


class Changes(NamedTuple):
    """The changes that turn the stored points into the wanted ones."""

    delete: tuple[int, int] | None
    """First and last time (both included) of the one range to delete, before writing."""
    write: list[int]
    """Times of the points to write, ascending."""


def changes(old: Mapping[int, Mapping[str, object]], new: Mapping[int, Mapping[str, object]]) -> Changes:
    """The cheapest changes that turn ``old`` into ``new`` (fields by time).

    InfluxDB merges the fields written at one time, so a time or a field can only be removed by a DELETE, which costs about a hundred
    times as much as a write. So there is at most one DELETE, and none if nothing is to be removed; points in its range that should stay
    are written again.
    """
    gone = [time for time, fields in old.items() if not fields.keys() <= new.get(time, {}).keys()]
    delete = (min(gone), max(gone)) if gone else None
    low, high = delete or (0, -1)
    write = [time for time, fields in new.items() if low <= time <= high or old.get(time) != fields]
    return Changes(delete, sorted(write))


def fields_of(reading: Reading) -> dict[str, float | bool]:
    """The fields of a stored reading."""
    fields: dict[str, float | bool] = {
        name: value for name, value in zip(VALUES, reading.values, strict=True) if value is not None
    }
    if reading.estimated:
        fields["estimated"] = True
    return fields
