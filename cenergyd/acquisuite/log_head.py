"""The first rows of a log file: its header and its number of points, from which the meter's model is recognised."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from cenergyd.acquisuite.error_codes import parse_error
from cenergyd.acquisuite.fast_rows import UniformRows, uniform_rows
from cenergyd.acquisuite.inflate import inflated_chunks
from cenergyd.acquisuite.points import FIRST_POINT, Point, header_point
from cenergyd.acquisuite.times import parse_time, quoted_time

_ROWS: Final = 50
"""Valid rows to read."""
_LINES: Final = 500
_MAX_POINTS: Final = 1020
_MAX_NAME: Final = 128
_HEADER: Final = re.compile(rb"(?:\A(?:\xef\xbb\xbf)?|[\r\n])(['\" \t]*time\([^\r\n]*)", re.IGNORECASE)


class LogHead(NamedTuple):
    """The header and the number of points."""

    header: tuple[Point, ...] = ()
    """The points named in the header row; empty if there is none."""
    points: int | None = None
    """Columns after the alarms in the widest of the first complete rows without error; None if there are none."""
    rows: UniformRows | None = None
    """The whole log if it is short, plain and regular, so that it need not be split again; otherwise None."""


def read_head(content: bytes, max_bytes: int) -> LogHead:
    """Read the first rows of a log as sent, gzip or plain; at most 128 KiB of text are decompressed.

    :raises UploadError: damaged gzip.
    """
    text = next(inflated_chunks(content, max_bytes), b"")
    regular = _regular_head(text, is_whole=text is content)
    if regular is not None:
        return regular
    header: tuple[Point, ...] = ()
    widths: list[int] = []
    for line in _whole_lines(text):
        if line.lstrip(b"'\" \xef\xbb\xbf")[:5].lower() == b"time(":
            header = header or _header(line)
            continue
        fields = line.count(b",") + 1
        if fields > FIRST_POINT and _is_without_error(line):
            widths.append(fields - FIRST_POINT)
        if len(widths) == _ROWS:
            break
    return LogHead(header, min(max(widths), _MAX_POINTS) if widths else None)


def parts_by_header(text: bytes) -> list[bytes]:
    """A log's text, split where a header row names other columns than the previous one: the rows from there on are another meter's."""
    cuts: list[int] = []
    last: bytes | None = None
    for match in _HEADER.finditer(text):
        header = match[1].strip(b"'\" \t")
        if header != last and match.start(1) > 0:
            cuts.append(match.start(1))
        last = header
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def _regular_head(text: bytes, *, is_whole: bool) -> LogHead | None:
    """The head of a log whose rows all have the same number of columns, and no header row; None for any other."""
    if b"(" in text:
        return None  # there may be a header row
    rows = uniform_rows(text if is_whole else text[: text.rfind(b"\n") + 1])
    if rows is None or not _is_without_error(rows.lines[0]):
        return None
    points = rows.commas + 1 - FIRST_POINT
    return LogHead((), points, rows if is_whole else None) if 0 < points <= _MAX_POINTS else None


def _is_without_error(line: bytes) -> bool:
    """Whether a line has a time and no error."""
    first, _, rest = line.partition(b",")
    error = rest.partition(b",")[0]
    try:
        time: int | None = quoted_time(first)  # which is cached
    except ValueError:
        time = parse_time(first)
    return bool(time) and (error == b"0" or parse_error(error) == 0)


def first_rows(content: bytes, max_bytes: int, count: int) -> list[list[str]]:
    """The columns of the first rows without error, time first, to be displayed. Texts are untrusted, and bounded.

    :raises UploadError: damaged gzip.
    """
    found: list[list[str]] = []
    for line in _whole_lines(next(inflated_chunks(content, max_bytes), b"")):
        fields = line.split(b",", FIRST_POINT + _MAX_POINTS)
        if len(fields) > FIRST_POINT and parse_time(fields[0]) and parse_error(fields[1]) == 0:
            found.append([field[:24].decode("ascii", "replace").strip(" '\"") for field in fields])
        if len(found) == count:
            break
    return found


def _whole_lines(text: bytes) -> Iterator[bytes]:
    """The first complete lines; they end with CRLF, LF or CR."""
    lines = text.splitlines(keepends=True)[:_LINES]
    return (line.rstrip(b"\r\n") for line in lines if line.endswith((b"\n", b"\r")))


def _header(line: bytes) -> tuple[Point, ...]:
    """The names after the alarms; a comma inside quotes belongs to the name."""
    text = line.decode("utf-8", "replace").replace("\0", "")
    try:
        fields = next(csv.reader([text], quotechar="'"), [])
    except csv.Error:  # a field beyond csv's size limit
        return ()
    names = fields[FIRST_POINT : FIRST_POINT + _MAX_POINTS]
    return tuple(header_point(number, name[:_MAX_NAME]) for number, name in enumerate(names))
