"""Pending windows that an earlier version stored: their end was inclusive."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest_twisted
from twisted.internet import reactor

from cenergyd.customers.model import PendingMark
from cenergyd.storage.sqlite.customers import SqliteCustomerStore


@pytest_twisted.ensureDeferred
async def test_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "customers.sqlite"
    script = files("cenergyd.storage.sqlite") / "schema" / "customer" / "001-customer.sql"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script.read_text(encoding="utf-8"))
        connection.execute("CREATE TABLE schema_version (namespace TEXT PRIMARY KEY, version INTEGER NOT NULL)")
        connection.execute("INSERT INTO schema_version VALUES ('customers', 1)")
        connection.execute(
            "INSERT INTO customer (id, name, time_zone, facility, load, solar, logger_serial_number, logger_password,"
            " extensions, search, pending_since, pending_until, jobs_work_since, jobs_work_until, jobs_claim,"
            " jobs_claim_until) VALUES ('a', '', 'UTC', '1', '', '2', '00A', '', '{}', '', 100, 199, 10, 19, 'x', 50)"
        )
        connection.commit()
    store = SqliteCustomerStore(reactor, path)
    try:
        await store.open()
        customer = await store.get("a")
        assert customer is not None
        assert (customer.pending_start, customer.pending_end) == (100, 200)
        await store.derivation_queue.mark([PendingMark("a", 150, 250)])
        (work,) = await store.derivation_queue.claim("c", 1000, 60, 5)
        assert (work.start, work.end) == (100, 250)
        (job,) = await store.job_queue.claim("c", 1000, 60, 5)
        assert (job.start, job.end) == (10, 20)
    finally:
        await store.close()
