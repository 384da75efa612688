"""Archives accepted uploads as received (``[archive]``), so that they can be read again with another layout.

Off by default. Uploads do not wait for it: their readings are durable in the store without it. Records wait in memory, bounded, for one
thread that appends and syncs; a kill loses those of the last milliseconds. If the disk is full or fails, uploads are not archived, which is
counted and reported, but none is refused.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import Final

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from cenergyd.acquisuite.xml import parse_xml
from cenergyd.errors import CenergydError, UploadError
from cenergyd.ingest.archive_files import ArchiveFolder
from cenergyd.ingest.archive_format import ArchivedUpload, encoded
from cenergyd.runtime.clock import Reactor
from cenergyd.runtime.periodic import PeriodicService
from cenergyd.runtime.threads import BoundedPool

QUEUE_BYTES: Final = 16 << 20
"""Uploads that may wait for the disk; further ones are not archived."""
BATCH_BYTES: Final = 4 << 20
PRUNE_SECONDS: Final = 3600.0
_PASSWORD: Final = re.compile(rb"<\s*password\b[^>]*>.*?<\s*/\s*password\s*>", re.DOTALL | re.IGNORECASE)

log = Logger()


class UploadArchive(Service):
    """Appends accepted uploads to the archive, and deletes old ones.

    :param reactor: Timers and IReactorFromThreads.
    """

    name = "archive"

    def __init__(self, reactor: Reactor, folder: ArchiveFolder) -> None:
        self._reactor = reactor
        self._folder = folder
        self._pool = BoundedPool(reactor, "archive", 1, 4)
        self._waiting: deque[ArchivedUpload] = deque()
        self._waiting_bytes = 0
        self._writing: Deferred[None] | None = None
        self._failing = ""
        self._pruning = PeriodicService(
            reactor, self._prune, PRUNE_SECONDS, what="deleting old archived uploads", log=log
        )
        self.kept = 0
        """Uploads archived since the start."""
        self.left_out = 0
        """Uploads not archived: the disk was full, failed or too slow, or a password could not be removed."""

    @property
    def total_bytes(self) -> int:
        """Size of the archive's files."""
        return self._folder.total_bytes

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Begin."""
        super().startService()  # type: ignore[no-untyped-call]
        self._pruning.startService()

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Fires when all waiting records are written."""
        if not self.running:
            return succeed(None)  # the stores never opened
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._finish())

    def keep(self, upload: ArchivedUpload) -> None:
        """Queue an accepted upload for archiving. Neither waits nor raises."""
        if not self.running or self._waiting_bytes + len(upload.content) > QUEUE_BYTES:
            self._lost(1, "too many uploads are waiting for the disk")
            return
        self._waiting.append(upload)
        self._waiting_bytes += len(upload.content)
        if self._writing is None:
            self._writing = Deferred.fromCoroutine(self._write())

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch = self._next_batch()
                try:
                    kept = await self._pool.run(_append, self._folder, batch, int(self._reactor.seconds()))
                except (OSError, CenergydError) as error:
                    self._lost(len(batch), str(error))
                except Exception:
                    log.failure("uploads cannot be archived")
                    self.left_out += len(batch)
                else:
                    self._written(kept, len(batch))
        finally:
            self._writing = None

    def _next_batch(self) -> list[ArchivedUpload]:
        batch: list[ArchivedUpload] = []
        size = 0
        while self._waiting and size < BATCH_BYTES:
            upload = self._waiting.popleft()
            batch.append(upload)
            size += len(upload.content)
        self._waiting_bytes -= size
        return batch

    def _written(self, kept: int, of: int) -> None:
        self.kept += kept
        if kept < of:
            self._lost(of - kept, "a password could not be removed from an XML message")
        elif self._failing:
            self._failing = ""
            log.info("uploads are archived again")

    def _lost(self, uploads: int, reason: str) -> None:
        self.left_out += uploads
        if reason != self._failing:
            self._failing = reason
            log.warn("uploads are accepted, but not archived: {reason}", reason=reason)

    async def _prune(self) -> None:
        try:
            deleted = await self._pool.run(self._folder.prune, int(self._reactor.seconds()))
        except OSError as error:
            log.warn("old archived uploads cannot be deleted: {reason}", reason=str(error))
            return
        if deleted:
            log.info("{files} files of archived uploads were deleted", files=deleted)

    async def _finish(self) -> None:
        await self._pruning.stopService()
        if self._writing is not None:
            await self._writing
        await self._pool.run(self._folder.close)
        self._pool.stop()


def _append(folder: ArchiveFolder, uploads: Sequence[ArchivedUpload], now: int) -> int:
    """Runs in the archive's thread; returns how many were appended."""
    records = [encoded(kept) for upload in uploads if (kept := without_password(upload)) is not None]
    if records:
        folder.append(records, now)
    return len(records)


def without_password(upload: ArchivedUpload) -> ArchivedUpload | None:
    """An upload without the password that an XML message may hold; None if it cannot be removed."""
    if upload.format != "xml":
        return upload
    if b"\0" not in upload.content and b"password" not in upload.content.lower():
        return upload  # in every accepted encoding it is ASCII, possibly with zero bytes
    content = _PASSWORD.sub(b"", upload.content)
    try:
        left = "PASSWORD" in parse_xml(content, max_bytes=len(content)).fields
    except UploadError:
        return None
    return None if left else attrs.evolve(upload, content=content)
