"""Backup and restore of the embedded store: consistent while daemons run, verified, and never over a database in use.

A backup is a folder with one SQLite file per database and ``backup.json``, which is written last: without it the backup is incomplete.

Both databases are copied as of one point in time. An upload is first written to the readings and then marked on its customer. So the
readings are locked first; during a pause, uploads already written get their marks; then a snapshot of both databases begins. Everything
acknowledged before the lock is in the copy, readings and mark; later uploads wait for the lock and are not in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import attrs

from cenergyd.documents.json_types import JsonObject
from cenergyd.errors import CenergydError

MANIFEST: Final = "backup.json"
SETTLE_SECONDS: Final = 2.0
"""Seconds for which writers of readings are blocked so that outstanding marks are written; a mark takes milliseconds."""
_FORMAT: Final = 1
_BUSY_SECONDS: Final = 30.0
_PAGES: Final = 2000
_UNSURE: Final = "the store was restored from a backup; this may have been sent since"

ReportCopied = Callable[[int, int], None]
"""Called with the number of pages (or bytes) done, and the total."""


class BackupError(CenergydError):
    """A backup or restore failed; the message says why. The existing data are unchanged."""


@attrs.frozen
class Database:
    """One database of the embedded store."""

    name: str
    """``customers`` (with all small documents) or ``readings``."""
    path: Path

    @property
    def file_name(self) -> str:
        """Its file name in a backup."""
        return f"{self.name}.sqlite"


def back_up(
    databases: Sequence[Database],
    folder: Path,
    now: int,
    progress: ReportCopied,
    settle_seconds: float = SETTLE_SECONDS,
) -> None:
    """Copy databases into ``folder``, which must be empty or not exist. Daemons may run and accept uploads.

    :param databases: ``customers`` before ``readings``, if both are embedded.
    :param now: UTC seconds, for the manifest.
    :raises BackupError: the backup failed; the incomplete backup has been removed.
    """
    for database in databases:
        if not database.path.is_file():
            raise BackupError(f"{database.path}: no such database")
    if len({database.path.absolute() for database in databases}) < len(databases):
        raise BackupError(f"{databases[0].path} holds both customers and readings: this command needs a file for each")
    _make_empty_folder(folder)
    try:
        _back_up(databases, folder, now, progress, settle_seconds)
    except BaseException as error:
        for database in databases:
            (folder / database.file_name).unlink(missing_ok=True)
        if isinstance(error, sqlite3.Error):
            raise BackupError(f"the store cannot be copied: {error}") from error
        if isinstance(error, OSError):
            raise BackupError(f"{folder}: {error.strerror or error}") from error
        raise


def _back_up(
    databases: Sequence[Database], folder: Path, now: int, progress: ReportCopied, settle_seconds: float
) -> None:
    with _one_snapshot(databases, settle_seconds) as sources:
        total = sum(source.execute("PRAGMA page_count").fetchone()[0] for source in sources)
        done = 0
        for database, source in zip(databases, sources, strict=True):
            done += _copy(source, folder / database.file_name, _counter(progress, done, total))
    files = [_described(folder / database.file_name, database.name) for database in databases]
    _write_durably(folder / MANIFEST, json.dumps({"format": _FORMAT, "time": now, "files": files}, indent=1) + "\n")


def restore(
    databases: Sequence[Database], folder: Path, progress: ReportCopied, *, force: bool, now: int
) -> list[Path]:
    """Replace the databases by a backup. Returns the replaced files, which are kept under another name.

    Messages that were queued at the time of the backup are not sent: they may have been sent since, and nothing is sent twice.

    :param force: whether existing databases may be replaced. A database that is in use is never replaced.
    :raises BackupError: the backup is damaged or lacks a database, or a database exists or is in use; nothing was changed.
    """
    manifest = _read_manifest(folder)
    kept = {entry["holds"]: entry for entry in manifest["files"]}
    for database in databases:
        if database.name not in kept:
            raise BackupError(f"{folder} has no {database.name}: that store was not embedded when the backup was made")
        if database.path.exists() and not force:
            raise BackupError(
                f"{database.path} exists; --force replaces it by the backup and keeps the old one under another name"
            )
    total = sum(entry["bytes"] for entry in kept.values())
    done = 0
    restored: list[tuple[Database, Path]] = []
    try:
        for database in databases:
            arriving = database.path.with_name(f"{database.path.name}.restoring")
            restored.append((database, arriving))
            _copy_verified(folder / database.file_name, arriving, kept[database.name], _counter(progress, done, total))
            done += kept[database.name]["bytes"]
            _check(arriving)
            if database.name == "customers":
                _end_claims(arriving)
        return _swap_in(restored, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now)))
    except sqlite3.Error as error:
        raise BackupError(f"the backup cannot be restored: {error}") from error
    except OSError as error:
        raise BackupError(f"{error.filename or folder}: {error.strerror or error}") from error
    finally:
        for _, arriving in restored:
            arriving.unlink(missing_ok=True)


def _make_empty_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(folder.iterdir()):
            raise BackupError(f"{folder} is not empty; each backup needs a folder of its own")
    except OSError as error:
        raise BackupError(f"{folder}: {error.strerror or error}") from error


@contextmanager
def _one_snapshot(databases: Sequence[Database], settle_seconds: float) -> Iterator[list[sqlite3.Connection]]:
    """Connections that see all databases as of one point in time, within the context."""
    with ExitStack() as opened:
        sources = [opened.enter_context(closing(_connect(database.path))) for database in databases]
        with ExitStack() as locked:
            # Readings first, while marks are still being written.
            for database in reversed(databases):
                lock = locked.enter_context(closing(_connect(database.path)))
                lock.execute("BEGIN IMMEDIATE")
                if database.name == "readings" and len(databases) > 1:
                    time.sleep(settle_seconds)
            for source in sources:
                source.execute("BEGIN")
                # A transaction's snapshot is taken by its first read.
                source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield sources


def _connect(path: Path) -> sqlite3.Connection:
    # By URI with mode=rw, so that a missing database is not created.
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


def _copy(source: sqlite3.Connection, target: Path, report: Callable[[int], None]) -> int:
    """Copy, check and sync; returns the number of pages."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    pages = 0

    def step(status: int, remaining: int, total: int) -> None:
        nonlocal pages
        pages = total
        report(total - remaining)

    with closing(_connect(target)) as copy:
        source.backup(copy, pages=_PAGES, progress=step)
        # Leaves one file, without a write-ahead log beside it.
        copy.execute("PRAGMA journal_mode = DELETE")
    _check(target)
    _sync(target)
    return pages


def _check(path: Path) -> None:
    with closing(_connect(path)) as database:
        (verdict,) = database.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise BackupError(f"{path} is damaged: {verdict}")


def _described(path: Path, holds: str) -> dict[str, object]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"holds": holds, "name": path.name, "bytes": path.stat().st_size, "sha256": digest}


def _read_manifest(folder: Path) -> JsonObject:
    try:
        manifest: JsonObject = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        known = manifest["format"] == _FORMAT and all(
            isinstance(entry["holds"], str) and isinstance(entry["bytes"], int) and isinstance(entry["sha256"], str)
            for entry in manifest["files"]
        )
    except FileNotFoundError:
        raise BackupError(f"{folder} is not a complete backup: it has no {MANIFEST}") from None
    except OSError as error:
        raise BackupError(f"{folder}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise BackupError(f"{folder / MANIFEST} has a format that this version does not know")
    return manifest


def _copy_verified(source: Path, target: Path, entry: dict[str, object], report: Callable[[int], None]) -> None:
    """Copy a file of the backup and compare its checksum with the manifest's."""
    digest, done = hashlib.sha256(), 0
    target.unlink(missing_ok=True)
    with (
        source.open("rb") as read,
        os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as made,
    ):
        while block := read.read(1 << 20):
            digest.update(block)
            made.write(block)
            done += len(block)
            report(done)
        made.flush()
        os.fsync(made.fileno())
    if digest.hexdigest() != entry["sha256"]:
        raise BackupError(f"{source} is damaged: its checksum differs from the manifest's")


def _end_claims(path: Path) -> None:
    """End the claims that daemons held at the time, and mark messages that may have been sent since as unsure."""
    with closing(_connect(path)) as database:
        database.execute("BEGIN IMMEDIATE")
        for queue in ("pending", "jobs"):
            database.execute(f"UPDATE customer SET {queue}_claim = NULL, {queue}_claim_until = NULL")  # noqa: S608
        for key, text in database.execute("SELECT key, body FROM document WHERE kind = 'outbox'").fetchall():
            body = json.loads(text)
            if body["state"] in ("queued", "sending"):
                body |= {"state": "unsure", "unsure": True, "error": _UNSURE}
                database.execute(
                    "UPDATE document SET body = ?, version = version + 1 WHERE kind = 'outbox' AND key = ?",
                    (json.dumps(body), key),
                )
        database.execute("COMMIT")
    _sync(path)


def _swap_in(restored: Sequence[tuple[Database, Path]], stamp: str) -> list[Path]:
    """Rename all files into place while nobody can open the existing databases."""
    aside: list[Path] = []
    with ExitStack() as held:
        for database, _ in restored:
            if database.path.exists():
                _lock_out_others(held, database.path)
        # Readings first: a daemon must not see customers without their readings.
        for database, arriving in reversed(restored):
            aside += _put_aside(database.path, stamp)
            _give_to_owner(arriving, database.path.parent)
            arriving.rename(database.path)
            _sync(database.path.parent)
    return aside


def _put_aside(path: Path, stamp: str) -> list[Path]:
    """Rename a database and its logs; SQLite would apply a remaining log to the restored file."""
    aside: list[Path] = []
    for suffix in ("", "-wal", "-shm", "-journal"):
        old = path.with_name(path.name + suffix)
        if suffix and old.exists() and not old.stat().st_size:
            old.unlink()
        elif old.exists():
            kept = path.with_name(f"{path.name}.replaced-{stamp}{suffix}")
            old.rename(kept)
            aside.append(kept)
    return aside


def _give_to_owner(file: Path, folder: Path) -> None:
    if os.geteuid() == 0:
        # Restored by root, but used by the daemon's user, who owns the folder.
        owner = folder.stat()
        os.chown(file, owner.st_uid, owner.st_gid)


def _lock_out_others(held: ExitStack, path: Path) -> None:
    """Lock a database exclusively and merge its log into it, so that the one file holds everything."""
    database = held.enter_context(closing(sqlite3.connect(path, timeout=0, isolation_level=None)))
    try:
        # This fails if any other process has it open.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_size_limit = 0")
        database.execute("BEGIN EXCLUSIVE")
        database.execute("COMMIT")
        database.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.OperationalError as error:
        raise BackupError(f"{path} is in use: stop the daemon first ({error})") from error
    except sqlite3.DatabaseError:
        pass  # damaged, perhaps the reason for the restore; it is still kept under another name


def _counter(progress: ReportCopied, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(before + done, total)


def _write_durably(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
