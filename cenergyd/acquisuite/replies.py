"""The replies to a device. A body with SUCCESS alone on a line makes it delete its log, so only one function writes that."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from xml.sax.saxutils import escape

MAX_LINE: Final = 400
"""Characters of one line of a reply; devices show them on a small page."""


def one_line(text: str, limit: int = MAX_LINE) -> str:
    """Text as one printable line: control characters and line ends become blanks, the length is bounded."""
    text = text[: 4 * limit]
    if not text.isprintable():
        text = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(text.split())[:limit]


def success(trace: Iterable[str] = ()) -> bytes:
    """The body that lets the device delete the file, after lines for a person (SENDDATATRACE)."""
    return _body(["SUCCESS", *_trace_lines(trace)])


def failure(reason: str, trace: Iterable[str] = ()) -> bytes:
    """The body that makes the device keep the file: ``FAILURE: reason`` in one line, then lines for a person."""
    return _body([f"FAILURE: {one_line(reason)}", *_trace_lines(trace)])


def _trace_lines(trace: Iterable[str]) -> list[str]:
    """No line may look like the reply itself, whatever device text it quotes."""
    return [f"# {line}" for line in map(one_line, trace) if line]


def _body(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def xml_success(notes: Iterable[str] = ()) -> bytes:
    """The reply to AcquiSuite-XML that lets the device delete its records."""
    return _xml("SUCCESS", notes)


def xml_failure(reason: str, notes: Iterable[str] = ()) -> bytes:
    """The reply to AcquiSuite-XML that makes the device keep its records."""
    return _xml(f"FAILURE: {one_line(reason)}", notes)


def _xml(result: str, notes: Iterable[str]) -> bytes:
    lines = "".join(f"<note>{escape(line)}</note>" for line in map(one_line, notes) if line)
    tail = f"<notes>{lines}</notes>" if lines else ""
    text = f'<?xml version="1.0"?>\n<DAS><result>{escape(result)}</result>{tail}</DAS>\n'
    return text.encode("ascii", "xmlcharrefreplace")
