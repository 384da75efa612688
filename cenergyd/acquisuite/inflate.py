"""Decompresses a log as sent, gzip or plain, into chunks of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from isal import isal_zlib

from cenergyd.errors import UploadError

CHUNK: Final = 128 * 1024
_FEED: Final = 16 * 1024
"""zlib copies its unused input, so it is fed in small chunks to keep many tiny members cheap."""
_MAX_MEMBERS: Final = 1000
_GZIP_MAGIC: Final = b"\x1f\x8b"
_PADDING: Final = b"\0\xff\r\n"
"""Bytes allowed between members or after the last one: zero padding, erased flash, a line end."""
_GZIP: Final = 31  # wbits: gzip header and checksum


def is_gzip(content: bytes) -> bool:
    """Whether the first two bytes are gzip's. File names are unreliable: AcquiLites send plain text as .gz."""
    return content.startswith(_GZIP_MAGIC)


def inflated_chunks(content: bytes, max_bytes: int, what: str = "log") -> Iterator[bytes]:
    """The decompressed content in chunks of at most 128 KiB.

    :param what: what the content is, for messages.
    :raises UploadError: larger than ``max_bytes`` when inflated, cut short, or not valid gzip.
    """
    total = 0
    for chunk in _inflate(content) if is_gzip(content) else _slices(content, CHUNK):
        total += len(chunk)
        if total > max_bytes:
            raise UploadError(f"the {what} has more than {max_bytes} bytes when inflated")
        yield chunk


def unpacked_if_short(content: bytes, max_bytes: int) -> bytes:
    """The decompressed content if it is a single chunk, so that it can be read twice; otherwise the content as sent.

    :raises UploadError: as :func:`inflated_chunks`, if the first one or two chunks are already damaged.
    """
    if not is_gzip(content):
        return content
    at_once = _inflated_at_once(content) if len(content) <= _FEED else None
    if at_once is not None and len(at_once) <= max_bytes and not is_gzip(at_once):
        return at_once
    chunks = inflated_chunks(content, max_bytes)
    first = next(chunks, b"")
    return first if next(chunks, None) is None and not is_gzip(first) else content


def _inflated_at_once(content: bytes) -> bytes | None:
    """The content of a gzip file of one member that is a single chunk; None for any other file."""
    member = isal_zlib.decompressobj(_GZIP)
    try:
        chunk: bytes = member.decompress(content, CHUNK)
    except isal_zlib.error:  # type: ignore[misc]  # the stub gives a value for a class
        return None
    return chunk if member.eof and not member.unused_data else None


def _slices(content: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def _inflate(content: bytes) -> Iterator[bytes]:
    """The members one after another. Anything after the last complete member is ignored, as gzip does: erased flash, line ends."""
    member: isal_zlib.Decompress | None = None
    members = 0
    rest = b""
    try:
        for feed in _slices(content, _FEED):
            data, rest = rest + feed, b""
            while data:
                if member is None:
                    data = data.lstrip(_PADDING) if members else data
                    if len(data) < len(_GZIP_MAGIC):
                        rest = data  # too short to show whether a member begins
                        break
                    if not is_gzip(data):
                        return
                    members += 1
                    if members > _MAX_MEMBERS:
                        raise UploadError(f"the gzip file has more than {_MAX_MEMBERS} members")
                    member = isal_zlib.decompressobj(_GZIP)
                chunk = member.decompress(data, CHUNK)
                if chunk:
                    yield chunk
                if member.eof:
                    data, member = member.unused_data, None
                else:
                    data = member.unconsumed_tail
    except isal_zlib.error as error:  # type: ignore[misc]  # the stub gives a value for a class
        raise UploadError(f"the gzip file is damaged: {error}") from error
    if member is not None:
        raise UploadError("the gzip file is cut short")
