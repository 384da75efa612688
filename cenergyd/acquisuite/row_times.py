"""The times of a log's rows, independent of its columns. Pure."""

from __future__ import annotations

import re
from typing import Final

from cenergyd.acquisuite.error_codes import parse_error
from cenergyd.acquisuite.inflate import inflated_chunks
from cenergyd.acquisuite.times import parse_time

_LINE_END: Final = re.compile(rb"[\r\n]+")
_MAX_LINE: Final = 65536
"""The longest line that can be a row."""


def row_times(content: bytes, max_bytes: int) -> set[int]:
    """UTC seconds of all rows with a time and without error: the rows that may give a reading.

    :param content: a log as sent, gzip or plain.
    :raises UploadError: damaged gzip, or larger than ``max_bytes`` when decompressed.
    """
    found: set[int] = set()
    rest = b""
    for chunk in inflated_chunks(content, max_bytes):
        *lines, rest = _LINE_END.split(rest + chunk)
        rest = rest[:_MAX_LINE]
        for line in lines:
            _add(line, found)
    _add(rest, found)
    return found


def _add(line: bytes, found: set[int]) -> None:
    first, _, after = line.partition(b",")
    time = parse_time(first)
    if time and parse_error(after.partition(b",")[0]) == 0:
        found.add(time)
