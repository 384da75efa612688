"""The error column of a log row: its number and meaning."""

from __future__ import annotations

import errno
import os
from typing import Final

_MODBUS: Final = {
    129: "illegal function",
    130: "illegal data address",
    131: "illegal data value",
    132: "device failure",
    133: "acknowledge",
    134: "device is busy",
    135: "negative acknowledge",
    136: "memory parity error",
    138: "gateway path unavailable",
    139: "gateway target did not respond",
}
# Linux error numbers as loggers report them. Not from this machine's errno, which may differ.
_LINUX: Final = {
    5: "input/output error",
    11: "try again",
    32: "broken pipe",
    101: "network is unreachable",
    104: "connection reset by peer",
    110: "connection timed out",
    111: "connection refused",
    113: "no route to host",
}


FIRST_EVENT: Final = 160
"""Numbers from here on are events of the logger (log started, clock set), not errors of the meter."""
_MAX_ERROR: Final = 0xFFFF
_NO_ERROR: Final = frozenset((b"0", b"", b"0x0", b"0x00"))


def parse_error(text: bytes) -> int | None:
    """The error column as a number: 0 if it is empty, None if it is unreadable."""
    text = text.strip(b" \t'\"")
    if text.lower() in _NO_ERROR:
        return 0
    try:
        value = int(text, 16 if text[:2].lower() == b"0x" else 10)
    except ValueError:
        return None
    return value if abs(value) <= _MAX_ERROR else None


def error_meaning(code: int) -> str:
    """The meaning of an error number, in a few words; never raises."""
    if code == 0:
        return "ok"
    if code in _MODBUS:
        return f"Modbus: {_MODBUS[code]}"
    if 1 <= code <= 128:
        if code in _LINUX:
            return f"logger: {_LINUX[code]}"
        return f"logger: {os.strerror(code).lower() if code in errno.errorcode else 'system error'}"
    if code >= FIRST_EVENT:
        return "logger event, such as the start of a log"
    return "unknown error"
