"""The archive's folder: one file per day and daemon, appended to, and deleted after its retention time. Blocking: called in a thread."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cenergyd.errors import CenergydError
from cenergyd.ingest.archive_format import day_of, file_day

DAY: Final = 86400
PRUNE_AGAIN: Final = 60
"""Seconds between two checks for room while there is none."""


class ArchiveFull(CenergydError):
    """There is no room for today's uploads."""


class ArchiveFolder:
    """Appends to files of its own; several daemons may share the folder. Not for two threads at once.

    :param folder: created if necessary, for its owner only.
    :param days: files are deleted after this many days.
    :param max_bytes: limit for all files together; beyond it the oldest days are deleted, and if only today is left nothing more is archived.
    """

    def __init__(self, folder: Path, days: int, max_bytes: int) -> None:
        self.folder = folder
        self.days = days
        self.max_bytes = max_bytes
        host = re.sub(r"[^0-9A-Za-z-]", "-", socket.gethostname())[:40] or "host"
        self._name = f"{host}-{secrets.token_hex(4)}"
        self._file: int | None = None
        self._day = ""
        self._total = 0
        self._pruned_at: float | None = None

    @property
    def total_bytes(self) -> int:
        """Size of the folder's files in bytes, as far as this daemon knows."""
        return self._total

    def append(self, records: Sequence[bytes], now: int) -> None:
        """Append records to today's file, durably: all of them or, as far as the disk allows, none. Raises ArchiveFull, OSError."""
        data = b"".join(records)
        if self._pruned_at is None:
            self.prune(now)
        if self._total + len(data) > self.max_bytes:
            if now - (self._pruned_at or 0) >= PRUNE_AGAIN:
                self.prune(now, len(data))
            if self._total + len(data) > self.max_bytes:
                raise ArchiveFull(f"the archive has {self._total} bytes, and all older days are deleted already")
        file = self._opened(day_of(now))
        before = os.fstat(file).st_size
        try:
            written = 0
            while written < len(data):
                written += os.write(file, memoryview(data)[written:])
            os.fdatasync(file)
        except OSError:
            os.ftruncate(file, before)  # half a record would do no harm, but is useless
            raise
        self._total += len(data)

    def prune(self, now: int, room: int = 0) -> int:
        """Delete files older than ``days``, and the oldest beyond the limit; returns how many. Raises OSError.

        :param room: bytes to keep free below the limit.
        """
        self._pruned_at = now
        oldest, today = day_of(max(0, now - self.days * DAY)), day_of(now)
        deleted = 0
        sizes: list[tuple[str, Path, int]] = []
        for path in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            day = file_day(path.name)
            if day is None:
                continue  # other files are not ours
            if day < oldest:
                path.unlink(missing_ok=True)
                deleted += 1
                continue
            try:
                sizes.append((day, path, path.lstat().st_size))
            except FileNotFoundError:
                continue  # another daemon was quicker
        total = sum(size for _, _, size in sizes)
        for day, path, size in sizes:
            if total + room <= self.max_bytes or day >= today:
                break
            path.unlink(missing_ok=True)
            deleted += 1
            total -= size
        self._total = total
        return deleted

    def close(self) -> None:
        """Close today's file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _opened(self, day: str) -> int:
        if self._file is not None and day == self._day and os.fstat(self._file).st_nlink:
            return self._file  # and nobody has deleted it
        self.close()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f"{day}.{self._name}.uploads"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file, self._day = os.open(path, flags, 0o600), day
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # its directory entry must survive a power failure, too
        finally:
            os.close(folder)
        return self._file
