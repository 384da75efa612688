"""Documents in the embedded SQLite database."""

# ruff: noqa: S608 - only names of columns and numbers are put into statements; values are parameters
from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from cenergyd.documents.body import body_of, body_text
from cenergyd.documents.store import OWNED_AT_ONCE, Document, NewDocument
from cenergyd.errors import Conflict
from cenergyd.runtime.clock import Reactor
from cenergyd.storage.sqlite.database import EmbeddedDatabase

_COLUMNS = "kind, key, body, version, owner, due"
_PUT = """
    INSERT INTO document (kind, key, body, version, owner, due) VALUES (:kind, :key, :body, 1, :owner, :due)
    ON CONFLICT (kind, key) DO UPDATE
    SET body = excluded.body, version = version + 1, owner = excluded.owner, due = excluded.due
"""
_OWNED = f"SELECT {_COLUMNS} FROM document WHERE kind = ? AND owner = ? ORDER BY key LIMIT ?"
_KEYS_AT_ONCE = 500


class SqliteDocumentStore:
    """See :class:`cenergyd.documents.store.DocumentStore`.

    :param path: the file, which other stores may share; its folder must exist.
    """

    def __init__(self, reactor: Reactor, path: Path) -> None:
        self._database = EmbeddedDatabase(
            reactor, path, files("cenergyd.storage.sqlite") / "schema" / "document", "documents"
        )

    async def open(self) -> None:
        """Open the file, create or upgrade the tables."""
        await self._database.open()

    async def close(self) -> None:
        """Close the file."""
        await self._database.close()

    async def get(self, kind: str, key: str) -> Document | None:
        """One document or None."""
        return (await self.get_many(kind, [key])).get(key)

    async def get_many(self, kind: str, keys: Sequence[str]) -> dict[str, Document]:
        """The documents that exist among these keys."""
        return (await self.get_kinds({kind: keys}))[kind]

    async def get_kinds(
        self, wanted: Mapping[str, Sequence[str]], *, owned: Mapping[str, str] = {}
    ) -> dict[str, dict[str, Document]]:
        """The documents that exist among these keys of several kinds, and those of owners."""
        if not owned and not any(wanted.values()):
            return {kind: {} for kind in wanted}

        def work(db: sqlite3.Connection) -> dict[str, dict[str, Document]]:
            found = {kind: dict(_among(db, kind, keys)) for kind, keys in wanted.items()}
            for kind, owner in owned.items():
                rows = db.execute(_OWNED, (kind, owner, OWNED_AT_ONCE))
                found.setdefault(kind, {}).update((row[1], _document(row)) for row in rows)
            return found

        return await self._database.read(work)

    async def put(
        self,
        kind: str,
        key: str,
        body: Mapping[str, object],
        *,
        owner: str | None = None,
        due: int | None = None,
        expected_version: int | None = None,
    ) -> Document:
        """Create or replace, in one transaction."""
        values = {"kind": kind, "key": key, "body": body_text(body), "owner": owner, "due": due}

        def work(db: sqlite3.Connection) -> Document:
            _check_version(db, kind, key, expected_version)
            return _document(db.execute(f"{_PUT} RETURNING {_COLUMNS}", values).fetchone())

        return await self._database.write(work)

    async def put_many(self, kind: str, documents: Sequence[NewDocument]) -> None:
        """Create or replace many, in one transaction."""
        rows = [{**document._asdict(), "kind": kind, "body": body_text(document.body)} for document in documents]
        await self._database.write(lambda db: db.executemany(_PUT, rows))

    async def replace_many(self, kind: str, documents: Sequence[tuple[NewDocument, int]]) -> list[bool]:
        """Create or replace those with the version given, in one transaction."""
        rows = [
            ({**document._asdict(), "kind": kind, "body": body_text(document.body)}, version)
            for document, version in documents
        ]

        def work(db: sqlite3.Connection) -> list[bool]:
            replaced = []
            for row, version in rows:
                is_current = _version(db, kind, row["key"]) == version
                if is_current:
                    db.execute(_PUT, row)
                replaced.append(is_current)
            return replaced

        return await self._database.write(work)

    async def delete(self, kind: str, key: str, *, expected_version: int | None = None) -> bool:
        """Remove."""

        def work(db: sqlite3.Connection) -> bool:
            _check_version(db, kind, key, expected_version)
            return db.execute("DELETE FROM document WHERE kind = ? AND key = ?", (kind, key)).rowcount == 1

        return await self._database.write(work)

    async def find(
        self,
        kind: str,
        *,
        owner: str | None = None,
        due_before: int | None = None,
        after_key: str | None = None,
        limit: int = 100,
    ) -> list[Document]:
        """A page."""
        where = ["kind = :kind"]
        where += ["owner = :owner"] if owner is not None else []
        where += ["due < :due"] if due_before is not None else []
        where += ["key > :after"] if after_key is not None else []
        order = "due, key" if due_before is not None else "key"
        sql = f"SELECT {_COLUMNS} FROM document WHERE {' AND '.join(where)} ORDER BY {order} LIMIT :limit"
        values = {"kind": kind, "owner": owner, "due": due_before, "after": after_key, "limit": limit}
        return [_document(row) for row in await self._database.read(lambda db: db.execute(sql, values).fetchall())]

    async def count(self, kind: str, *, owner: str | None = None) -> int:
        """Number of documents."""
        sql = "SELECT count(*) FROM document WHERE kind = :kind" + (" AND owner = :owner" if owner is not None else "")
        values = {"kind": kind, "owner": owner}
        found = await self._database.read(lambda db: db.execute(sql, values).fetchone())
        return int(found[0])

    async def purge(self, kind: str, due_before: int) -> int:
        """Delete those that are due."""
        sql = "DELETE FROM document WHERE kind = ? AND due < ?"
        return await self._database.write(lambda db: db.execute(sql, (kind, due_before)).rowcount)


def _among(db: sqlite3.Connection, kind: str, keys: Sequence[str]) -> Iterator[tuple[str, Document]]:
    """The documents that exist among these keys, with their keys."""
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[start : start + _KEYS_AT_ONCE]
        sql = f"SELECT {_COLUMNS} FROM document WHERE kind = ? AND key IN ({','.join('?' * len(some))})"
        for row in db.execute(sql, (kind, *some)):
            yield row[1], _document(row)


def _document(row: Sequence[Any]) -> Document:
    kind, key, body, version, owner, due = row
    return Document(kind, key, body_of(body), version, owner, due)


def _check_version(db: sqlite3.Connection, kind: str, key: str, expected: int | None) -> None:
    if expected is not None and _version(db, kind, key) != expected:
        raise Conflict(f"{kind} {key} was changed meanwhile")


def _version(db: sqlite3.Connection, kind: str, key: str) -> int:
    """0 if there is no such document."""
    row = db.execute("SELECT version FROM document WHERE kind = ? AND key = ?", (kind, key)).fetchone()
    return int(row[0]) if row else 0
