"""The texts that InfluxDB reads and writes: line protocol, InfluxQL statements, rows. Pure functions, no I/O.

A measurement is a series. Its fields are the channels, as floats, and ``estimated``, which is there only where true.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from cenergyd.errors import ConfigError
from cenergyd.readings.checks import LATEST
from cenergyd.readings.model import CHANNELS, FieldPoint, Reading
from cenergyd.readings.store import Summary

FIELDS = ", ".join(f'"{name}"' for name in (*CHANNELS, "estimated"))
Rows = Sequence[Sequence[Any]]
MAX_QUERY_CHARS = 4000
"""Statements travel in the URL: no more than a proxy with 8 KiB for headers lets through."""


@attrs.frozen(slots=True, kw_only=True)
class InfluxAddress:
    """Where an InfluxDB is and how to sign in."""

    host: str
    port: int = 8086
    database: str
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    tls: bool = False
    ca_file: str | None = None
    """Certificates to trust instead of the public ones."""

    def __str__(self) -> str:
        return f"InfluxDB at {self.host}:{self.port}"


def parse_address(url: str) -> InfluxAddress:
    """Read ``influxdb://user:password@host:8086/database`` or ``https+influxdb://...?ca_file=/path``.

    Raises ConfigError, which never shows the password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 8086
    except ValueError:
        raise ConfigError("the InfluxDB URL cannot be read: influxdb://user:password@host:8086/database") from None
    if parts.scheme not in ("influxdb", "https+influxdb"):
        raise ConfigError(f"{parts.scheme}:// is not InfluxDB: influxdb:// or https+influxdb:// is needed")
    database = unquote(parts.path.strip("/"))
    if not parts.hostname or not database or any(char in database for char in '/"\\\n'):
        raise ConfigError("the InfluxDB URL needs a host and a database: influxdb://user:password@host:8086/database")
    options = dict(parse_qsl(parts.query))
    unknown = options.keys() - {"ca_file"}
    if unknown:
        raise ConfigError(f"the InfluxDB URL has the option {', '.join(sorted(unknown))}: there is only ca_file")
    return InfluxAddress(
        host=f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname,
        port=port,
        database=database,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password or "") if parts.username else None,
        tls=parts.scheme.startswith("https"),
        ca_file=options.get("ca_file"),
    )


def reading_lines(series: str, readings: Iterable[Reading]) -> Iterator[str]:
    """Line protocol of readings, times in seconds. A reading without any channel makes no line."""
    for time, p, pf, v, q, estimated in readings:
        # The two shapes that nearly all readings have, spelled out: a backlog formats millions.
        if p is not None and pf is not None and v is not None and not estimated:
            if q is not None:
                yield f"{series} P={p!r},L1_PF={pf!r},L1_V={v!r},Q={q!r} {time}"
            else:
                yield f"{series} P={p!r},L1_PF={pf!r},L1_V={v!r} {time}"
            continue
        fields = [f"{n}={x!r}" for n, x in zip(CHANNELS, (p, pf, v, q), strict=True) if x is not None]
        if fields:
            if estimated:
                fields.append("estimated=t")
            yield f"{series} {','.join(fields)} {time}"


def point_lines(series: str, points: Iterable[FieldPoint]) -> Iterator[str]:
    """Line protocol of checked field points (:func:`~cenergyd.readings.checks.storable_points`)."""
    for point in points:
        fields = ",".join(f"{name}={_field_text(value)}" for name, value in point.fields.items())
        yield f"{series} {fields} {point.time}"


def _field_text(value: float | str | bool) -> str:
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(float(value))


def nanoseconds(time: int) -> int:
    """A time as InfluxDB compares it, kept within what it can hold."""
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
    """A DELETE of the times from ``first`` to ``last``. It knows no retention policy and goes through all of them."""
    return f'DELETE FROM "{series}" WHERE time >= {nanoseconds(first)} AND time <= {nanoseconds(last)}'  # noqa: S608


def batched(texts: Sequence[str], longest: int, most: int) -> Iterator[Sequence[str]]:
    """The texts in order, in lists of at most ``most`` with at most ``longest`` characters (but one at least)."""
    begin = size = 0
    for position, text in enumerate(texts):
        size += len(text)
        if position > begin and (size > longest or position - begin == most):
            yield texts[begin:position]
            begin, size = position, len(text)
    if texts:
        yield texts[begin:]


def readings_of(_columns: Sequence[str], rows: Rows) -> list[Reading]:
    """Rows of ``SELECT {FIELDS}``. A row with only ``estimated`` is no reading."""
    return [
        Reading(time, p, pf, v, q, estimated is True)
        for time, p, pf, v, q, estimated in rows
        if not (p is None and pf is None and v is None and q is None)
    ]


def points_of(columns: Sequence[str], rows: Rows) -> list[FieldPoint]:
    """Rows of ``SELECT *``."""
    names = columns[1:]
    return [
        FieldPoint(row[0], {name: value for name, value in zip(names, row[1:], strict=True) if value is not None})
        for row in rows
    ]


def summary_fields(channels: Sequence[str]) -> str:
    """The aggregates of a summary; counting costs, so only the first channel is counted."""
    triples = (f'MIN("{c}") AS "{c}_min", MEAN("{c}") AS "{c}_mean", MAX("{c}") AS "{c}_max"' for c in channels)
    return f'COUNT("{channels[0]}") AS "n", COUNT("estimated") AS "e", {", ".join(triples)}'


def count_fields(channels: Sequence[str]) -> str:
    """The counts of the further channels, for windows without the first."""
    return ", ".join(f'COUNT("{c}") AS "{c}_n"' for c in channels)


def summaries_of(channels: Sequence[str], _columns: Sequence[str], rows: Rows) -> list[Summary]:
    """Rows of :func:`summary_fields`; a window without the first channel has 0 readings for now."""
    found: list[Summary] = []
    for time, number, estimated, *values in rows:
        triples = ((c, values[3 * k : 3 * k + 3]) for k, c in enumerate(channels))
        present = {c: (low, mean, high) for c, (low, mean, high) in triples if low is not None}
        if present:
            found.append(Summary(time, number or 0, present, bool(estimated)))
    return found


def counts_of(_columns: Sequence[str], rows: Rows) -> list[tuple[int, int]]:
    """Rows of :func:`count_fields`: time and the count of the first channel that the window has."""
    return [(time, next(filter(None, numbers), 0)) for time, *numbers in rows]


class Changes(NamedTuple):
    """How to get from what is stored to what should be."""

    delete: tuple[int, int] | None
    """First and last time (both included) of the one range to delete first."""
    write: list[int]
    """Times to write then, ascending."""


def changes(old: Mapping[int, Mapping[str, Any]], new: Mapping[int, Mapping[str, Any]]) -> Changes:
    """The cheapest way from ``old`` to ``new`` (fields by time).

    InfluxDB merges the fields of a time, so a time or a field that is to vanish must be deleted. A DELETE costs some
    hundred times a write, so there is none where nothing vanishes and otherwise one, whose survivors are written again.
    """
    gone = [time for time, fields in old.items() if not fields.keys() <= new.get(time, {}).keys()]
    delete = (min(gone), max(gone)) if gone else None
    low, high = delete or (0, -1)
    write = [time for time, fields in new.items() if low <= time <= high or old.get(time) != fields]
    return Changes(delete, sorted(write))


def fields_of(reading: Reading) -> dict[str, float | bool]:
    """The fields that a reading is stored with."""
    fields: dict[str, float | bool] = {
        name: value for name, value in zip(CHANNELS, reading[1:5], strict=True) if value is not None
    }
    if reading.estimated:
        fields["estimated"] = True
    return fields
