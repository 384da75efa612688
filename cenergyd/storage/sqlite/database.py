"""The embedded SQLite database: one thread that writes, two that read, and schema upgrades from .sql files.

``synchronous=FULL`` is used with a write-ahead log, so a transaction is on disk when it returns.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TypeVar

from cenergyd.errors import StoreUnavailable
from cenergyd.runtime.clock import FromThreads
from cenergyd.runtime.threads import BoundedPool

T = TypeVar("T")


def make_private(path: Path) -> None:
    """Make a database readable by its owner only: it holds addresses, hashes, and the secrets of webhooks and config files.

    SQLite gives the files beside it the same mode. Raises StoreUnavailable.
    """
    try:
        if not path.exists():
            # Never open an existing file here: closing it would release the locks of all connections of this process to it.
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            if file.exists() and file.stat().st_mode & 0o077:
                file.chmod(0o600)
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error


class EmbeddedDatabase:
    """One SQLite file, with a connection per thread.

    :param path: the file; its folder must exist and be writable.
    :param schema: a folder of ``NNN-name.sql`` files, applied in order, once each; ``PRAGMA user_version``
        of the file is the number of the last one applied.
    :param namespace: several stores may share a file; each has its own row in ``schema_version``.
    """

    def __init__(
        self, reactor: FromThreads, path: Path, schema: Traversable, namespace: str, max_waiting: int = 1000
    ) -> None:
        self._path = path
        self._schema = schema
        self._namespace = namespace
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._writer = BoundedPool(reactor, f"sqlite-write {path.name}", 1, max_waiting)
        self._readers = BoundedPool(reactor, f"sqlite-read {path.name}", 2, max_waiting)

    async def open(self) -> None:
        """Create or upgrade the schema. Raises StoreUnavailable with the path and reason."""
        await self.write(self._upgrade)

    async def close(self) -> None:
        """Finish running calls, then close every connection."""
        self._writer.stop()
        self._readers.stop()
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in one transaction in the writing thread; durable when this returns."""
        return await self._writer.run(self._in_transaction, work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` on a reading connection; each statement sees a consistent snapshot."""
        return await self._readers.run(self._guarded, work)

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            make_private(self._path)
            connection = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._local.connection = connection
            with self._lock:
                self._connections.append(connection)
        return connection

    def _guarded(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            result = work(self._connection())
            if isinstance(result, sqlite3.Cursor):
                # If it stayed open, the reactor's thread could reset its statement while this thread is using the statement again.
                result.close()
            return result
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error

    def _in_transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def transaction(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
                return result
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

        return self._guarded(transaction)

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_version (namespace TEXT PRIMARY KEY, version INTEGER NOT NULL)"
        )
        row = connection.execute(
            "SELECT version FROM schema_version WHERE namespace = ?", (self._namespace,)
        ).fetchone()
        applied = row[0] if row else 0
        scripts = sorted((s for s in self._schema.iterdir() if s.name.endswith(".sql")), key=lambda entry: entry.name)
        numbered = [(int(script.name.split("-", 1)[0]), script) for script in scripts]
        if applied > numbered[-1][0]:
            # Using an unknown schema could damage data unnoticed.
            raise StoreUnavailable(
                f"{self._path}: {self._namespace} was upgraded by a newer cenergyd (to schema {applied}, this one knows "
                f"{numbered[-1][0]}); run that version, or restore a backup made before the upgrade"
            )
        for number, script in numbered:
            if number > applied:
                self._apply(connection, script.read_text(encoding="utf-8"), number)

    def _apply(self, connection: sqlite3.Connection, script: str, number: int) -> None:
        # executescript() would commit first, so the statements are executed one by one in our transaction.
        statement = ""
        for line in script.splitlines(keepends=True):
            statement += line
            if sqlite3.complete_statement(statement):
                connection.execute(statement)
                statement = ""
        connection.execute(
            "INSERT INTO schema_version VALUES (?, ?) ON CONFLICT (namespace) DO UPDATE SET version = excluded.version",
            (self._namespace, number),
        )
