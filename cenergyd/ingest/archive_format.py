"""The format of archived uploads: records, and how to read a file of them. Pure apart from reading the file.

A file is a sequence of records; each begins with a line of text, followed by a head (JSON) and the upload's content:

    CENERGYD1 <bytes of the head> <bytes of the content> <CRC-32 of both, hexadecimal>
    {"serial": "001EC6001433", "customer": ..., "received": 1700000000, "format": "log", "fields": {...}, ...}<content>

A record that was cut short by a kill or a full disk is the last of its file, because every daemon appends to files of its own. Damage within a file is skipped up to
the next record's line.
"""

from __future__ import annotations

import gzip
import json
import mmap
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple
from zlib import crc32

import attrs

from cenergyd.acquisuite.inflate import is_gzip
from cenergyd.documents.json_types import ReadOnlyJson
from cenergyd.errors import CenergydError

MAGIC: Final = b"CENERGYD1 "
_LINE: Final = re.compile(rb"CENERGYD1 (\d{1,7}) (\d{1,9}) ([0-9a-f]{8})\n")
_NAME: Final = re.compile(r"(\d{4}-\d{2}-\d{2})\.[0-9A-Za-z_-]{1,80}\.uploads\Z")
_LINE_BYTES: Final = 48
SECRET: Final = "PASSWORD"  # noqa: S105 - part of the names of form variables
UploadFormat = Literal["log", "xml"]


class DamagedRecord(CenergydError):
    """A record whose checksum is wrong."""


@attrs.frozen(slots=True, kw_only=True)
class ArchivedUpload:
    """An accepted upload as received, without its password. Texts are untrusted."""

    serial: str
    customer_id: str
    received: int
    """UTC seconds."""
    format: UploadFormat
    """``log``: a form with a log file; ``xml``: an AcquiSuite-XML message."""
    content: bytes = attrs.field(repr=False)
    """The log file or message as sent, gzip or plain."""
    fields: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """The form's variables, by UPPER-CASE name."""
    filename: str = ""


class ArchiveEntry(NamedTuple):
    """A record in a file, its content not yet read."""

    path: Path
    head: ReadOnlyJson
    head_at: int
    """Byte at which the head begins."""
    head_bytes: int
    content_bytes: int
    crc: int

    @property
    def received(self) -> int:
        """UTC seconds."""
        return int(self.head["received"])


class Damage(NamedTuple):
    """Bytes of a file that are no record."""

    path: Path
    at: int
    """Byte at which they begin."""
    is_end: bool
    """Whether they end the file: a record was cut short."""


def without_passwords(fields: Mapping[str, str]) -> dict[str, str]:
    """Form variables without those that may hold a password."""
    return {name: value for name, value in fields.items() if SECRET not in name.upper()}


def encoded(upload: ArchivedUpload) -> bytes:
    """The record of an upload. Content that is not gzip is compressed; it is restored when read."""
    packed = not is_gzip(upload.content)
    content = gzip.compress(upload.content, 6, mtime=0) if packed else upload.content
    head = json.dumps(
        {
            "serial": upload.serial, "customer": upload.customer_id, "received": upload.received, "format": upload.format,
            "filename": upload.filename, "packed": packed, "fields": without_passwords(upload.fields),
        },
        separators=(",", ":"),
    ).encode()  # fmt: skip
    return b"%s%d %d %08x\n%s%s\n" % (MAGIC, len(head), len(content), crc32(content, crc32(head)), head, content)


def archived_entries(path: Path, serial: str) -> Iterator[ArchiveEntry | Damage]:
    """The records of a logger in a file, in the order they were written, and damaged ranges. Raises OSError."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            yield from _entries(path, view, json.dumps(serial).encode())


def _entries(path: Path, view: mmap.mmap, wanted: bytes) -> Iterator[ArchiveEntry | Damage]:
    at, size = 0, len(view)
    while at < size:
        line = _LINE.match(view[at : at + _LINE_BYTES])
        head_at = at + line.end() if line else 0
        end = head_at + int(line[1]) + int(line[2]) + 1 if line else 0
        if line is None or end > size or view[end - 1 : end] != b"\n":
            following = view.find(b"\n" + MAGIC, at + 1)
            yield Damage(path, at, following < 0)
            if following < 0:
                return
            at = following + 1
            continue
        head = view[head_at : head_at + int(line[1])]
        at = end
        if wanted not in head:
            continue  # most records in a fleet's file are other loggers'
        known = _head(head)
        if known is None:
            yield Damage(path, head_at, False)
        elif json.dumps(known["serial"]).encode() == wanted:
            yield ArchiveEntry(path, known, head_at, int(line[1]), int(line[2]), int(line[3], 16))


def _head(text: bytes) -> ReadOnlyJson | None:
    try:
        head = json.loads(text)
    except ValueError:
        return None
    is_one = isinstance(head, dict) and isinstance(head.get("received"), int) and isinstance(head.get("fields"), dict)
    return head if is_one and isinstance(head.get("serial"), str) else None


def read_upload(entry: ArchiveEntry) -> ArchivedUpload:
    """The upload of a record. Raises DamagedRecord, OSError."""
    with entry.path.open("rb") as file:
        file.seek(entry.head_at)
        head, content = file.read(entry.head_bytes), file.read(entry.content_bytes)
    if crc32(content, crc32(head)) != entry.crc:
        raise DamagedRecord(f"the record at byte {entry.head_at} of {entry.path.name} is damaged")
    known = entry.head
    return ArchivedUpload(
        serial=known["serial"],
        customer_id=str(known.get("customer") or ""),
        received=known["received"],
        format="xml" if known.get("format") == "xml" else "log",
        content=gzip.decompress(content) if known.get("packed") else content,
        fields={str(name): str(value) for name, value in known["fields"].items()},
        filename=str(known.get("filename") or ""),
    )


def day_of(time: int) -> str:
    """The UTC day of a time, as file names begin: ``2026-01-31``."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d")


def file_day(name: str) -> str | None:
    """The day of an archive file from its name; None for other files."""
    match = _NAME.match(name)
    return match[1] if match else None
