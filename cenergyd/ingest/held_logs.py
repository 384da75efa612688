"""Logs that cannot be read yet, because their columns are not known: kept as received until they are, or until ``keep_days`` have passed.

Documents: kind ``held_log`` (key ``<series>/<time and number>``, in the order they arrived; owner series; due time of deletion) with the file as
base64, or in ``held_part`` if it is large; kind ``held_meter`` (key series, owner serial), one for each meter that has any.
"""

from __future__ import annotations

import base64
import gzip
import secrets
from collections.abc import Sequence
from typing import Final, Literal

import attrs

from cenergyd.acquisuite.inflate import is_gzip
from cenergyd.documents.kinds import HELD_LOG, HELD_PART
from cenergyd.documents.store import Document, DocumentStore, NewDocument
from cenergyd.errors import UploadError
from cenergyd.ingest.held_meters import HeldMeters, Room, Unread
from cenergyd.readings.batching import Batcher
from cenergyd.readings.model import series_name
from cenergyd.runtime.clock import Timers

_PART: Final = 1 << 20
"""Bytes of a file in one document; MongoDB takes up to 16 MB, of which base64 makes a third more."""
_INLINE: Final = 256 * 1024
"""A smaller file is kept in the log's own document."""
_OVERHEAD: Final = 600
"""Bytes of a document besides its file."""
_DAY: Final = 86400

HeldFormat = Literal["log", "xml"]


@attrs.frozen(slots=True, kw_only=True)
class HeldLog:
    """A log as received, and what its upload says about the meter. Texts are untrusted."""

    serial: str
    meter: str
    received: int
    """UTC seconds."""
    format: HeldFormat
    """``xml``: a whole AcquiSuite-XML message, of which only this meter's records count."""
    device_name: str = ""
    device_type: str = ""
    device_class: str = ""
    filename: str = ""
    key: str = ""
    """Of its document; '' before it is stored."""
    size: int = 0
    """Its size in the store, bytes."""
    parts: int = 0
    """Number of documents with parts of its file; 0: it is in the log's own document."""
    inline: str = attrs.field(default="", repr=False)
    """The file as base64, if it is in the log's own document."""

    @property
    def series(self) -> str:
        """The series that its readings belong to."""
        return series_name(self.serial, self.meter)


class HeldLogs:
    """Keeps held logs, durably and within limits.

    :param meters: which meters have held logs, and how much room there is.
    :param keep_days: a log is deleted after this many days.
    """

    def __init__(self, documents: DocumentStore, meters: HeldMeters, clock: Timers, keep_days: int) -> None:
        self._documents = documents
        self._clock = clock
        self._batcher: Batcher[NewDocument, None] = Batcher(self._put, clock)
        self._sequence = 0
        self.meters = meters
        self.keep_days = keep_days
        self.expired = 0
        """Logs deleted unread since the start."""
        self.refused = 0
        """Logs refused for lack of room since the start."""

    async def hold(self, log: HeldLog, content: bytes, why: Unread) -> None:
        """Keep a log; durable when this returns. The log of a device that measures no power is kept only while there is room.

        :param content: as sent; compressed here if it is not.
        :raises UploadError: there is no room for it.
        """
        packed = content if is_gzip(content) else gzip.compress(content, 6, mtime=0)
        text = base64.b64encode(packed).decode()
        size = len(text) + _OVERHEAD
        room = await self.meters.room_for(log.serial, size, why.resolution.state)
        if room is not Room.FREE:
            if why.resolution.state == "other":
                return
            self.refused += 1
            raise UploadError(_FULL[room])
        parts = [] if len(text) <= _INLINE else [text[at : at + _PART] for at in range(0, len(text), _PART)]
        stored = attrs.evolve(log, key=self._key(log), size=size, parts=len(parts), inline="" if parts else text)
        due = log.received + self.keep_days * _DAY
        for number, part in enumerate(parts):
            key = _part_key(stored, number)
            await self._documents.put(HELD_PART, key, {"content": part}, owner=stored.key, due=due + _DAY)
        # First the list, then the log: a log that is not listed would never be read.
        await self.meters.add(log, size, why)
        await self._batcher.submit(NewDocument(stored.key, _body(stored), stored.series, due))

    async def page(self, series: str, after: str | None = None, limit: int = 20) -> list[HeldLog]:
        """Logs of a series in the order they arrived, after a key."""
        found = await self._documents.find(HELD_LOG, owner=series, after_key=after, limit=limit)
        return [_from_document(document) for document in found]

    async def content(self, log: HeldLog) -> bytes:
        """The file, gzip. Empty if its parts are gone, which only damage can cause."""
        if not log.parts:
            return base64.b64decode(log.inline)
        keys = [_part_key(log, number) for number in range(log.parts)]
        found = [await self._documents.get(HELD_PART, key) for key in keys]
        if None in found:
            return b""
        return base64.b64decode("".join(str(part.body["content"]) for part in found if part is not None))

    async def drop(self, log: HeldLog) -> None:
        """Delete a log: it was read, or is too old."""
        await self._documents.delete(HELD_LOG, log.key)
        for number in range(log.parts):
            await self._documents.delete(HELD_PART, _part_key(log, number))

    async def expire(self, now: int, limit: int = 100) -> list[HeldLog]:
        """Delete logs that are too old, at most ``limit``; returns those deleted."""
        gone: list[HeldLog] = []
        while len(gone) < limit:
            due = await self._documents.find(HELD_LOG, due_before=now, limit=20)
            for document in due:
                log = _from_document(document)
                await self.drop(log)
                await self.meters.subtract(log.series, 1, log.size)
                gone.append(log)
            if not due:
                await self._documents.purge(HELD_PART, now)
                break
        self.expired += len(gone)
        return gone

    async def _put(self, documents: Sequence[NewDocument]) -> list[None]:
        await self._documents.put_many(HELD_LOG, documents)
        return [None] * len(documents)

    def _key(self, log: HeldLog) -> str:
        """Sorts in the order of arrival; the last part distinguishes two daemons' logs of the same second."""
        self._sequence = (self._sequence + 1) % 1_000_000
        return f"{log.series}/{log.received:012d}.{self._sequence:06d}.{secrets.token_hex(3)}"


_FULL: Final = {
    Room.LOGGER_FULL: "this meter's columns are not known and the room for its logger's unread logs is full; "
    "choose the columns on the Meters page",
    Room.ALL_FULL: "this meter's columns are not known and the room for unread logs is full; choose the columns on the Meters page",
}


def _part_key(log: HeldLog, number: int) -> str:
    return f"{log.key}/{number:04d}"


def _body(log: HeldLog) -> dict[str, object]:
    return attrs.asdict(log, filter=lambda attribute, _: attribute.name != "key")


def _from_document(document: Document) -> HeldLog:
    known = {name: document.body[name] for name in _FIELDS if name in document.body}
    return HeldLog(**known, key=document.key)


_FIELDS: Final = tuple(attribute.name for attribute in attrs.fields(HeldLog) if attribute.name != "key")
