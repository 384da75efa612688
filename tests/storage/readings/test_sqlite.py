"""Faults of the embedded store: a full disk, a file that is not a database, long reads beside writes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from cenergyd.errors import StoreUnavailable
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.storage.sqlite.readings import SqliteReadingStore

T0 = 1_577_836_800
DAYS = 100
END = T0 + DAYS * 86400


@pytest_twisted.async_yield_fixture
async def days(tmp_path: Path) -> AsyncIterator[SqliteReadingStore]:
    """A store with 100 days of minutes: 144,000 readings of series A_1."""
    store = SqliteReadingStore(reactor, tmp_path / "readings.sqlite")
    await store.open()
    for day in range(0, DAYS, 10):
        start = T0 + day * 86400
        readings = [Reading(t, (t % 97) / 8 - 5, 0.9, 120.0 + t % 7, 0.25) for t in range(start, start + 864_000, 60)]
        await store.write([SeriesReadings("A_1", readings)])
    yield store
    await store.close()


@pytest_twisted.ensureDeferred
async def test_100_days_of_minutes(days: SqliteReadingStore) -> None:
    store = days
    begun = time.process_time()
    found = (await store.summarise(["A_1"], T0, END, 86400))["A_1"]
    took = time.process_time() - begun  # of all threads, and whatever else the machine does
    assert [(s.time, s.readings) for s in found] == [(T0 + k * 86400, 1440) for k in range(DAYS)]
    assert found[0].channels["L1_V"][0] == 120.0
    assert took < 2, f"{took:.2f} s of processor time; about 0.13 s is usual"

    # A long read in both reading threads: small writes go on meanwhile, and small reads take turns with it.
    slow = [Deferred.fromCoroutine(store.read(["A_1"], 0, END)) for _ in range(2)]
    writes = 0
    while not all(read.called for read in slow):
        await store.write([SeriesReadings("B_1", [Reading(T0 + writes, 1.0)])])
        assert await store.last(["B_1"]) == {"B_1": Reading(T0 + writes, 1.0)}
        writes += 1
    assert writes > 1, "the first one did not wait for the reads"
    for read in slow:
        assert len((await read)["A_1"]) == DAYS * 1440


@pytest_twisted.ensureDeferred
async def test_a_full_disk(tmp_path: Path) -> None:
    store = SqliteReadingStore(reactor, tmp_path / "readings.sqlite")
    await store.open()
    try:
        await store.write([SeriesReadings("A_1", [Reading(T0, 1.0)])])

        def limit(pages: int) -> Any:
            return store._database.write(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchone())

        await limit(1)  # no page more than there are
        many = [SeriesReadings("A_1", [Reading(T0 + k, k / 3, 0.5, 120.0) for k in range(5000)])]
        with pytest.raises(StoreUnavailable, match="full"):
            await store.write(many)
        assert await store.read(["A_1"], 0, END) == {"A_1": [Reading(T0, 1.0)]}
        await limit(1_000_000)
        await store.write(many)
        assert len((await store.read(["A_1"], 0, END))["A_1"]) == 5000
    finally:
        await store.close()


@pytest_twisted.ensureDeferred
async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "readings.sqlite"
    path.write_text("this is a text, and no database, whatever its name may say" * 100)
    store = SqliteReadingStore(reactor, path)
    try:
        with pytest.raises(StoreUnavailable, match=r"readings\.sqlite: file is not a database"):
            await store.open()
    finally:
        await store.close()


@pytest_twisted.ensureDeferred
async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    store = SqliteReadingStore(reactor, tmp_path / "nowhere" / "readings.sqlite")
    try:
        with pytest.raises(StoreUnavailable, match="nowhere"):
            await store.open()
    finally:
        await store.close()


@pytest_twisted.ensureDeferred
async def test_reopened(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        store = SqliteReadingStore(reactor, tmp_path / "readings.sqlite")
        await store.open()
        await store.write([SeriesReadings("A_1", [Reading(T0 + int(value), value)])])
        found = await store.read(["A_1"], 0, END)
        await store.close()
    assert [reading.P for reading in found["A_1"]] == [1.0, 2.0]


@pytest_twisted.ensureDeferred
async def test_a_file_of_before_the_energy_registers_is_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "readings.sqlite"
    script = files("cenergyd.storage.sqlite") / "schema" / "readings" / "001-readings.sql"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script.read_text(encoding="utf-8"))
        connection.execute("CREATE TABLE schema_version (namespace TEXT PRIMARY KEY, version INTEGER NOT NULL)")
        connection.execute("INSERT INTO schema_version VALUES ('readings', 1)")
        connection.execute("INSERT INTO series VALUES (1, 'A_1')")
        connection.execute("INSERT INTO reading VALUES (1, ?, 1.5, 0.9, 120.0, NULL, 0)", (T0,))
        connection.commit()
    store = SqliteReadingStore(reactor, path)
    try:
        await store.open()
        assert (await store.read(["A_1"], T0, END))["A_1"] == [Reading(T0, 1.5, 0.9, 120.0)]
        await store.write([SeriesReadings("A_1", [Reading(T0, E_net=81432.5)])])
        assert await store.last(["A_1"]) == {"A_1": Reading(T0, 1.5, 0.9, 120.0, E_net=81432.5)}
    finally:
        await store.close()
