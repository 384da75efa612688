"""Finds rows that are older than their retention time, and deletes them, a limited number at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from cenergyd.storage.sqlite.database import EmbeddedDatabase

Key = tuple[int, int]
"""Series number and time of a row."""
SERIES_AT_ONCE = 500
"""Series checked in one call in a reading thread; each costs one index look-up."""


class OldRowPage(NamedTuple):
    """Some of the old rows."""

    keys: list[Key]
    next_series: int | None
    """Number of the series from which to continue; None after the last series."""


class OldRows:
    """Old rows of an embedded readings store. Kinds are ``raw``, ``1m`` and ``longer``, as in ``[readings] keep_days``. Raises StoreUnavailable."""

    def __init__(self, database: EmbeddedDatabase) -> None:
        self._database = database

    async def find(self, kind: str, before: int, first_series: int, limit: int) -> OldRowPage:
        """At most ``limit`` rows of a kind with ``time < before``, of the series from number ``first_series`` on."""
        return await self._database.read(partial(_find, kind, before, first_series, limit))

    async def delete(self, kind: str, keys: Sequence[Key]) -> None:
        """Delete rows, in one transaction. The file keeps its size; the free space is reused."""
        await self._database.write(partial(_delete, kind, keys))

    async def reusable_bytes(self) -> int:
        """Free space in the file, bytes."""
        return await self._database.read(_reusable_bytes)


def _table(kind: str) -> str:
    return "reading" if kind == "raw" else "point"


def _find(kind: str, before: int, first_series: int, limit: int, connection: sqlite3.Connection) -> OldRowPage:
    series = connection.execute(
        "SELECT id, name FROM series WHERE id >= ? ORDER BY id LIMIT ?", (first_series, SERIES_AT_ONCE)
    ).fetchall()
    query = f"SELECT time FROM {_table(kind)} WHERE series_id = ? AND time < ? ORDER BY time LIMIT ?"  # noqa: S608
    keys: list[Key] = []
    for number, name in series:
        if kind != "raw" and name.endswith("_1m") != (kind == "1m"):
            continue
        keys += [(number, time) for (time,) in connection.execute(query, (number, before, limit - len(keys)))]
        if len(keys) >= limit:
            return OldRowPage(keys, number)
    return OldRowPage(keys, series[-1][0] + 1 if len(series) == SERIES_AT_ONCE else None)


def _delete(kind: str, keys: Sequence[Key], connection: sqlite3.Connection) -> None:
    connection.executemany(f"DELETE FROM {_table(kind)} WHERE series_id = ? AND time = ?", keys)  # noqa: S608


def _reusable_bytes(connection: sqlite3.Connection) -> int:
    pages: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    size: int = connection.execute("PRAGMA page_size").fetchone()[0]
    return pages * size
