"""The embedded store's schema over versions of the program."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor

from cenergyd.errors import StoreUnavailable
from cenergyd.storage.sqlite.readings import SqliteReadingStore


@pytest_twisted.ensureDeferred
async def test_a_store_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "readings.sqlite"
    store = SqliteReadingStore(reactor, path)
    await store.open()
    await store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE schema_version SET version = 999")
    newer = SqliteReadingStore(reactor, path)
    with pytest.raises(
        StoreUnavailable, match=r"was upgraded by a newer cenergyd \(to schema 999, this one knows \d+\)"
    ):
        await newer.open()
    await newer.close()
