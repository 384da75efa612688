"""Customers in the embedded SQLite database."""

# ruff: noqa: S608 - only names of columns and numbers are put into statements; values are parameters
from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from secrets import token_hex
from typing import Any

import attrs

from cenergyd.customers.changes import changed, checked_changes, is_storable, normal_serial, normalised
from cenergyd.customers.front_end import FrontEnd
from cenergyd.customers.model import Customer, PendingMark, RecentClaims, TimeRange
from cenergyd.customers.ownership import owns_or_owned
from cenergyd.documents.json_text import decoded
from cenergyd.errors import Conflict, NotFound, SerialTaken
from cenergyd.runtime.clock import FromThreads
from cenergyd.storage.sqlite.database import EmbeddedDatabase
from cenergyd.storage.sqlite.pending_queue import SqlitePendingQueue

_SETTINGS = (
    "id", "name", "time_zone", "facility", "load", "solar", "logger_serial_number", "logger_password", "extensions",
)  # fmt: skip
_CLAIM_COLUMNS = ("pending_claim", "pending_done", "jobs_start", "jobs_claim", "jobs_done")
COLUMNS = ", ".join((*_SETTINGS, "pending_start", "pending_end", "derivation", "derivation_version", *_CLAIM_COLUMNS))
_IDS_AT_ONCE = 500


class SqliteCustomerStore:
    """See :class:`cenergyd.customers.store.CustomerStore`.

    :param path: the file, which other stores may share; its folder must exist.
    """

    front_end: FrontEnd | None = None
    hashes_passwords = True
    announces_changes = False

    def __init__(self, reactor: FromThreads, path: Path) -> None:
        self._database = EmbeddedDatabase(
            reactor, path, files("cenergyd.storage.sqlite") / "schema" / "customer", "customers"
        )
        self.job_queue = SqlitePendingQueue(self._database, "jobs", COLUMNS, customer_of)
        self.derivation_queue = SqlitePendingQueue(
            self._database, "pending", COLUMNS, customer_of, following=self.job_queue
        )

    async def open(self) -> None:
        """Open the file, create or upgrade the tables."""
        await self._database.open()

    async def close(self) -> None:
        """Close the file."""
        await self._database.close()

    async def ping(self) -> None:
        """Make a small write, which fails on a full disk or a read-only file."""
        await self._database.write(_touch)

    async def add(self, customer: Customer, *, pending: TimeRange | None = None) -> Customer:
        """Insert one, in one transaction."""
        customer = normalised(customer)
        if not customer.id:
            # Ids in the order of creation, like MongoDB's ObjectIds.
            customer = attrs.evolve(customer, id=f"{int(time.time()):08x}{token_hex(8)}")
        columns = (*_SETTINGS, "search")
        sql = f"INSERT INTO customer ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"

        def work(db: sqlite3.Connection) -> None:
            db.execute(sql, _row_of(customer))
            self._mark(db, customer.id, pending)

        try:
            await self._database.write(work)
        except sqlite3.IntegrityError as error:
            if "customer.id" in str(error):
                raise Conflict(f"there is a customer {customer.id} already") from None
            raise SerialTaken(customer.logger_serial_number) from None
        start, end = pending or (None, None)
        return attrs.evolve(customer, pending_start=start, pending_end=end)

    async def get(self, customer_id: str) -> Customer | None:
        """Find by id."""
        return await self._database.read(lambda db: _get(db, customer_id)) if is_storable(customer_id) else None

    async def get_many(self, customer_ids: Sequence[str]) -> dict[str, Customer]:
        """Find by ids."""
        ids = [each for each in dict.fromkeys(customer_ids) if is_storable(each)]

        def work(db: sqlite3.Connection) -> list[Customer]:
            found: list[Customer] = []
            for start in range(0, len(ids), _IDS_AT_ONCE):
                some = ids[start : start + _IDS_AT_ONCE]
                sql = f"SELECT {COLUMNS} FROM customer WHERE id IN ({','.join('?' * len(some))})"
                found += [customer_of(row) for row in db.execute(sql, some)]
            return found

        return {customer.id: customer for customer in await self._database.read(work)}

    async def by_serial(self, serial: str) -> Customer | None:
        """Find by serial number."""
        if not is_storable(serial):
            return None
        sql = f"SELECT {COLUMNS} FROM customer WHERE logger_serial_number = ? AND logger_serial_number <> ''"
        row = await self._database.read(lambda db: db.execute(sql, (normal_serial(serial),)).fetchone())
        return customer_of(row) if row else None

    async def holders(self, serial: str) -> list[Customer]:
        """Find customers by their lists of loggers held."""
        wanted = normal_serial(serial) if is_storable(serial) else ""
        sql = f"SELECT {COLUMNS} FROM customer WHERE instr(extensions, ?) OR logger_serial_number = ?"
        text = json.dumps(wanted)
        rows = await self._database.read(lambda db: db.execute(sql, (text, wanted)).fetchall()) if wanted else []
        found = [customer_of(row) for row in rows]
        return [each for each in found if owns_or_owned(each, wanted)]

    async def page(self, *, after: str | None = None, limit: int = 100, search: str | None = None) -> list[Customer]:
        """A page in the order of ids."""
        sql = (
            f"SELECT {COLUMNS} FROM customer WHERE (:after IS NULL OR id > :after)"
            " AND (:search = '' OR instr(search, :search)) ORDER BY id LIMIT :limit"
        )
        values = {"after": after, "limit": limit, "search": (search or "").casefold()}
        return [customer_of(row) for row in await self._database.read(lambda db: db.execute(sql, values).fetchall())]

    async def count(self) -> int:
        """Number of rows."""
        found = await self._database.read(lambda db: db.execute("SELECT count(*) FROM customer").fetchone())
        return int(found[0])

    async def update(
        self,
        customer_id: str,
        changes: Mapping[str, object],
        *,
        expected_etag: str | None = None,
        pending: TimeRange | None = None,
    ) -> Customer:
        """Set fields, in one transaction."""
        checked = checked_changes(changes)
        columns = ", ".join(f"{column} = ?" for column in (*_SETTINGS, "search"))

        def work(db: sqlite3.Connection) -> Customer:
            customer = changed(_expected(db, customer_id, expected_etag), checked)
            db.execute(f"UPDATE customer SET {columns} WHERE id = ?", (*_row_of(customer), customer_id))
            self._mark(db, customer_id, pending)
            return _expected(db, customer_id, None)

        try:
            return await self._database.write(work)
        except sqlite3.IntegrityError:
            raise SerialTaken(checked.get("logger_serial_number", "")) from None

    async def remove(self, customer_id: str, *, expected_etag: str | None = None) -> None:
        """Delete."""

        def work(db: sqlite3.Connection) -> None:
            _expected(db, customer_id, expected_etag)
            db.execute("DELETE FROM customer WHERE id = ?", (customer_id,))

        await self._database.write(work)

    async def set_password_hash(self, customer_id: str, old: str, new: str) -> bool:
        """Replace a password, compare-and-set."""
        sql = "UPDATE customer SET logger_password = ? WHERE id = ? AND logger_password = ?"
        return bool(await self._database.write(lambda db: db.execute(sql, (new, customer_id, old)).rowcount))

    def _mark(self, db: sqlite3.Connection, customer_id: str, pending: TimeRange | None) -> None:
        if pending is not None:
            self.derivation_queue.mark_within(db, [PendingMark(customer_id, *pending)])


def _touch(db: sqlite3.Connection) -> None:
    """Write a page without a lasting change. SQLite does not write a page that an UPDATE leaves unchanged, so it is changed and restored."""
    for _ in range(2):
        db.execute("UPDATE schema_version SET version = -version")


def customer_of(row: Sequence[Any]) -> Customer:
    """The customer of a row of COLUMNS."""
    identity, name, zone, facility, load, solar, serial, password, extensions, start, end, *results = row
    derivation, version, claim, done, jobs_start, jobs_claim, jobs_done = results
    return Customer(
        id=identity,
        name=name,
        time_zone=zone,
        facility=facility,
        load=load,
        solar=solar,
        logger_serial_number=serial,
        logger_password=password,
        extensions=decoded(extensions),
        pending_start=start,
        pending_end=end,
        derivation=derivation,
        derivation_version=version,
        claims=RecentClaims(
            done, jobs_done, claim, is_marked=start is not None, jobs_idle=jobs_start is None and jobs_claim is None
        ),
    )


def _row_of(customer: Customer) -> tuple[str, ...]:
    search = f"{customer.name}\n{customer.logger_serial_number}".casefold()
    values = {**{field: getattr(customer, field) for field in _SETTINGS}, "search": search}
    values["extensions"] = json.dumps(customer.extensions, separators=(",", ":"))
    return tuple(values.values())


def _get(db: sqlite3.Connection, customer_id: str) -> Customer | None:
    row = db.execute(f"SELECT {COLUMNS} FROM customer WHERE id = ?", (customer_id,)).fetchone()
    return customer_of(row) if row else None


def _expected(db: sqlite3.Connection, customer_id: str, etag: str | None) -> Customer:
    customer = _get(db, customer_id)
    if customer is None:
        raise NotFound(f"no customer {customer_id}")
    if etag is not None and customer.etag != etag:
        raise Conflict("somebody else changed this customer meanwhile")
    return customer
