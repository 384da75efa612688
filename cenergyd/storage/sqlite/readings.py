"""Readings in an embedded SQLite file.

Long reads are split into slices, each a short call in a reading thread, so that a request for a year does not block the requests of
others. Writes have a thread of their own and never wait for reads (write-ahead log).
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from cenergyd.documents.json_text import decoded
from cenergyd.readings.checks import (
    LATEST,
    check_fields,
    check_series,
    check_summary_request,
    only_fields,
    points_to_keep,
    readings_to_keep,
    slices,
    storable,
    storable_points,
)
from cenergyd.readings.model import CHANNELS, MISSING_METER, FieldPoint, Reading, SeriesReadings, new_reading
from cenergyd.readings.store import Summary
from cenergyd.runtime.clock import Reactor
from cenergyd.runtime.gather import gather_limited
from cenergyd.storage.sqlite.database import EmbeddedDatabase
from cenergyd.storage.sqlite.old_rows import OldRows

SLICE_READINGS = 20_000
"""Readings fetched in one call in a reading thread."""
SLICE_SECONDS = 100 * 86400
"""Seconds of range summarised in one call in a reading thread."""
SLICES_AT_ONCE = 16

_CHANNEL_COLUMNS = "time, P, L1_PF, L1_V, Q, estimated"
_COLUMNS = f"{_CHANNEL_COLUMNS}, E_net, E_import, E_export"
_MERGE_CHANNELS = f"""
    INSERT INTO reading (series_id, {_CHANNEL_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
        P = COALESCE(excluded.P, P), L1_PF = COALESCE(excluded.L1_PF, L1_PF), L1_V = COALESCE(excluded.L1_V, L1_V),
        Q = COALESCE(excluded.Q, Q), estimated = MAX(excluded.estimated, estimated)
"""  # noqa: S608
_MERGE = f"""
    {_MERGE_CHANNELS.replace(_CHANNEL_COLUMNS, _COLUMNS).replace("?)", "?, ?, ?, ?)")},
        E_net = COALESCE(excluded.E_net, E_net), E_import = COALESCE(excluded.E_import, E_import),
        E_export = COALESCE(excluded.E_export, E_export)
"""
_NO_REGISTERS = (None, None, None)
_RANGE = "series_id = (SELECT id FROM series WHERE name = ?) AND time >= ? AND time < ?"


class _Asked(NamedTuple):
    """The rest of a read of one series."""

    series: str
    start: int
    remaining: int


class SqliteReadingStore:
    """A :class:`~cenergyd.readings.store.ReadingStore` in one SQLite file.

    :param path: the file; its folder must exist.
    """

    def __init__(self, reactor: Reactor, path: Path) -> None:
        self._database = EmbeddedDatabase(
            reactor, path, files("cenergyd.storage.sqlite") / "schema" / "readings", "readings"
        )
        self.old_rows = OldRows(self._database)

    async def open(self) -> None:
        """Create or upgrade the tables."""
        await self._database.open()

    async def close(self) -> None:
        """Finish running calls and close the file."""
        await self._database.close()

    async def ping(self) -> None:
        """Make a small write, which fails on a full disk or a read-only file."""
        await self._database.write(_check)

    async def write(self, batches: Sequence[SeriesReadings]) -> None:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(*(batch.series for batch in batches))
        await self._database.write(partial(_write, batches))

    async def replace(self, series: str, start: int, end: int, readings: Sequence[Reading]) -> None:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        await self.replace_many([(series, start, end, readings)])

    async def replace_many(self, items: Sequence[tuple[str, int, int, Sequence[Reading]]]) -> None:
        """One transaction: readers see all changes or none. See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(*(item[0] for item in items))
        await self._database.write(partial(_replace, items))

    async def read(
        self, series: Sequence[str], start: int, end: int, limit: int | None = None
    ) -> dict[str, list[Reading]]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(*series)
        start, end = _clamped(start), _clamped(end)
        found: dict[str, list[Reading]] = {name: [] for name in series}
        wanted = 2 * LATEST if limit is None else limit
        asked = [_Asked(name, start, wanted) for name in found]
        while asked:
            slices, asked = await self._database.read(partial(_read_slice, asked, end))
            for name, readings in slices:
                found[name] += readings
        return found

    async def last(self, series: Sequence[str], before: int | None = None) -> dict[str, Reading]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        end = LATEST if before is None else _clamped(before)
        return await self._edge(series, -LATEST, end, "DESC")

    async def first(self, series: Sequence[str], since: int = 0) -> dict[str, Reading]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        return await self._edge(series, _clamped(since), LATEST, "ASC")

    async def summarise(
        self,
        series: Sequence[str],
        start: int,
        end: int,
        resolution: int,
        channels: Sequence[str] = CHANNELS,
        *,
        offset: int = 0,
    ) -> dict[str, list[Summary]]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(*series)
        check_summary_request(resolution, channels, CHANNELS)
        start, end = _clamped(start), _clamped(end)
        extents = await self._database.read(partial(_extents, series, start, end))
        parts = [
            (name, since, until)
            for name, (low, high) in extents.items()
            for since, until in slices(max(start, low), min(end, high + 1), resolution, SLICE_SECONDS, offset)
        ]
        found: dict[str, list[Summary]] = {name: [] for name in series}
        work = [self._database.read(partial(_summarise, part, (resolution, offset), channels)) for part in parts]
        # Both reading threads share the work; SQLite releases the GIL while it computes.
        for (name, _, _), summaries in zip(parts, await gather_limited(work, SLICES_AT_ONCE), strict=True):
            found[name] += summaries
        return found

    async def series_of(self, serial: str) -> list[str]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        return await self._database.read(partial(_series_of, serial))

    async def write_points(self, series: str, points: Sequence[FieldPoint]) -> None:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(series)
        await self._database.write(partial(_write_points, series, list(storable_points(points).values())))

    async def replace_points(self, series: str, start: int, end: int, points: Sequence[FieldPoint]) -> None:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        await self.replace_points_many([(series, start, end, points)])

    async def replace_points_many(
        self, items: Sequence[tuple[str, int, int, Sequence[FieldPoint]]], field: str = ""
    ) -> None:
        """One transaction. See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(*(item[0] for item in items))
        await self._database.write(partial(_replace_points, items))

    async def merge_points_many(self, items: Sequence[tuple[str, Sequence[FieldPoint]]]) -> None:
        """One transaction. See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(*(series for series, _ in items))
        new = [(series, list(storable_points(points).values())) for series, points in items]
        if any(points for _, points in new):
            await self._database.write(partial(_merge_points, new))

    async def read_points(self, series: str, start: int, end: int, limit: int | None = None) -> list[FieldPoint]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(series)
        return await self._database.read(partial(_read_points, series, _clamped(start), _clamped(end), limit))

    async def read_points_many(
        self, ranges: Sequence[tuple[str, int, int]], fields: Sequence[str] = ()
    ) -> list[list[FieldPoint]]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(*(series for series, *_ in ranges))
        check_fields(fields)
        asked = [(series, _clamped(start), _clamped(end)) for series, start, end in ranges]
        return await self._database.read(
            lambda connection: [only_fields(_read_points(*each, None, connection), fields) for each in asked]
        )

    async def _edge(self, series: Sequence[str], start: int, end: int, order: str) -> dict[str, Reading]:
        check_series(*series)
        query = f"SELECT {_COLUMNS} FROM reading WHERE {_RANGE} ORDER BY time {order} LIMIT 1"  # noqa: S608

        def find(connection: sqlite3.Connection) -> dict[str, Reading]:
            rows = ((name, connection.execute(query, (name, start, end)).fetchone()) for name in series)
            return {name: _reading(row) for name, row in rows if row is not None}

        return await self._database.read(find)


def _clamped(time: int) -> int:
    return max(-LATEST, min(LATEST, time))


def _reading(row: Sequence[Any]) -> Reading:
    time, p, pf, v, q, estimated, net, imported, exported = row
    return new_reading((time, p, pf, v, q, estimated == 1, net, imported, exported))


def _check(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE reading_check SET checks = checks + 1")


def _series_id(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT id FROM series WHERE name = ?", (name,)).fetchone()
    if row is None:
        row = connection.execute("INSERT INTO series (name) VALUES (?) RETURNING id", (name,)).fetchone()
    number: int = row[0]
    return number


def _write(batches: Sequence[SeriesReadings], connection: sqlite3.Connection) -> None:
    for series, readings in batches:
        _merge(connection, series, storable(readings))


def _merge(connection: sqlite3.Connection, series: str, readings: Collection[Reading]) -> None:
    number = _series_id(connection, series)
    if any(reading[6:] != _NO_REGISTERS for reading in readings):
        connection.executemany(_MERGE, [(number, *reading) for reading in readings])
    else:
        connection.executemany(_MERGE_CHANNELS, [(number, *reading[:6]) for reading in readings])


def _replace(items: Sequence[tuple[str, int, int, Sequence[Reading]]], connection: sqlite3.Connection) -> None:
    for series, start, end, readings in items:
        kept = readings_to_keep(readings, start, end)
        connection.execute(f"DELETE FROM reading WHERE {_RANGE}", (series, _clamped(start), _clamped(end)))  # noqa: S608
        _merge(connection, series, kept.values())


def _read_slice(
    asked: Sequence[_Asked], end: int, connection: sqlite3.Connection
) -> tuple[list[tuple[str, list[Reading]]], list[_Asked]]:
    """Up to SLICE_READINGS readings of as many series as fit, and the rest of the read."""
    query = f"SELECT {_COLUMNS} FROM reading WHERE {_RANGE} ORDER BY time LIMIT ?"  # noqa: S608
    room = SLICE_READINGS
    found: list[tuple[str, list[Reading]]] = []
    for position, (series, start, remaining) in enumerate(asked):
        wanted = min(room, remaining)
        rows = connection.execute(query, (series, start, end, wanted)).fetchall()
        found.append((series, list(map(_reading, rows))))
        room -= len(rows)
        if room == 0:
            rest = list(asked[position + 1 :])
            if remaining > wanted:
                rest.insert(0, _Asked(series, rows[-1][0] + 1, remaining - wanted))
            return found, rest
    return found, []


def _extents(series: Sequence[str], start: int, end: int, connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    """The first and last time of each series within the range, where it has one."""
    edge = f"(SELECT time FROM reading WHERE {_RANGE} ORDER BY time {{}} LIMIT 1)"  # noqa: S608
    query = f"SELECT {edge.format('ASC')}, {edge.format('DESC')}"
    found = {name: connection.execute(query, (name, start, end) * 2).fetchone() for name in series}
    return {name: extent for name, extent in found.items() if extent[0] is not None}


def _summarise(
    part: tuple[str, int, int], windows: tuple[int, int], channels: Sequence[str], connection: sqlite3.Connection
) -> list[Summary]:
    kept = [channel for channel in CHANNELS if channel in channels]
    values = ", ".join(f"MIN({c}), AVG({c}), MAX({c})" for c in kept)
    count = f"COALESCE({', '.join(f'NULLIF(COUNT({c}), 0)' for c in kept)}, 0)"
    resolution, offset = windows
    # SQLite's % has the sign of the dividend; this keeps windows correct before 1970.
    window = f"time - ((time - {offset:d}) % {resolution:d} + {resolution:d}) % {resolution:d}"
    query = (
        f"SELECT {window} AS window, {count}, MAX(estimated), {values} "  # noqa: S608
        f"FROM reading WHERE {_RANGE} GROUP BY window ORDER BY window"
    )
    return [
        Summary(time, number, _channels(kept, rest), estimated == 1)
        for time, number, estimated, *rest in connection.execute(query, part)
        if number
    ]


def _channels(names: Sequence[str], values: Sequence[Any]) -> dict[str, tuple[float, float, float]]:
    triples = ((name, tuple(values[3 * k : 3 * k + 3])) for k, name in enumerate(names))
    return {name: (low, mean, high) for name, (low, mean, high) in triples if low is not None}


def _series_of(serial: str, connection: sqlite3.Connection) -> list[str]:
    # '`' follows '_' in ASCII, so this range of the unique index holds every name that begins with the serial and '_'.
    rows = connection.execute(
        "SELECT name FROM series WHERE name >= ? AND name < ? "
        "AND EXISTS (SELECT 1 FROM reading WHERE series_id = series.id) ORDER BY name",
        (f"{serial}_", f"{serial}`"),
    )
    kind = re.compile(rf"{re.escape(serial)}_(?:[0-9]+|{MISSING_METER})\Z")
    return [name for (name,) in rows if kind.match(name)]


def _write_points(series: str, points: Iterable[FieldPoint], connection: sqlite3.Connection) -> None:
    number = _series_id(connection, series)
    connection.executemany(
        "INSERT INTO point VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET fields = excluded.fields",
        [(number, point.time, json.dumps(point.fields, separators=(",", ":"))) for point in points],
    )


def _merge_points(items: Sequence[tuple[str, Sequence[FieldPoint]]], connection: sqlite3.Connection) -> None:
    for series, points in items:
        if points:
            number = _series_id(connection, series)
            connection.executemany(
                "INSERT INTO point VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET fields = json_patch(fields, excluded.fields)",
                [(number, point.time, json.dumps(point.fields, separators=(",", ":"))) for point in points],
            )


def _replace_points(
    items: Sequence[tuple[str, int, int, Sequence[FieldPoint]]], connection: sqlite3.Connection
) -> None:
    for series, start, end, points in items:
        new = points_to_keep(points, start, end)
        connection.execute(f"DELETE FROM point WHERE {_RANGE}", (series, _clamped(start), _clamped(end)))  # noqa: S608
        _write_points(series, new.values(), connection)


def _read_points(
    series: str, start: int, end: int, limit: int | None, connection: sqlite3.Connection
) -> list[FieldPoint]:
    query = f"SELECT time, fields FROM point WHERE {_RANGE} ORDER BY time LIMIT ?"  # noqa: S608
    rows = connection.execute(query, (series, start, end, -1 if limit is None else limit))
    return [FieldPoint(time, decoded(fields)) for time, fields in rows]
