"""The replies to a device. It deletes its log if SUCCESS is alone on a line of the body, so only one function writes that."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from xml.sax.saxutils import escape

MAX_LINE: Final = 400
"""Maximum characters in a line of a reply; devices display it on a small page."""


def printable_line(text: str, limit: int = MAX_LINE) -> str:
    """Text as one printable line of limited length; control characters and line ends become blanks."""
    if len(text) <= limit and text.isprintable() and "  " not in text:
        return text.strip()  # the space is the only printable blank
    text = text[: 4 * limit]
    if not text.isprintable():
        text = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(text.split())[:limit]


def success(trace: Iterable[str] = ()) -> bytes:
    """The body after which the device deletes the file, preceded by lines for a person (SENDDATATRACE)."""
    return _body(["SUCCESS", *_trace_lines(trace)])


def failure(reason: str, trace: Iterable[str] = ()) -> bytes:
    """The body after which the device keeps the file: ``FAILURE: reason`` in one line, then lines for a person."""
    return _body([f"FAILURE: {printable_line(reason)}", *_trace_lines(trace)])


def _trace_lines(trace: Iterable[str]) -> list[str]:
    """Lines for a person, none of which looks like the reply itself, even if it quotes a device's text."""
    return [f"# {line}" for line in map(printable_line, trace) if line]


def _body(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def xml_success(notes: Iterable[str] = ()) -> bytes:
    """The reply to AcquiSuite-XML after which the device deletes its records."""
    return _xml("SUCCESS", notes)


def xml_failure(reason: str, notes: Iterable[str] = ()) -> bytes:
    """The reply to AcquiSuite-XML after which the device keeps its records."""
    return _xml(f"FAILURE: {printable_line(reason)}", notes)


def _xml(result: str, notes: Iterable[str]) -> bytes:
    lines = "".join(f"<note>{escape(line)}</note>" for line in map(printable_line, notes) if line)
    tail = f"<notes>{lines}</notes>" if lines else ""
    text = f'<?xml version="1.0"?>\n<DAS><result>{escape(result)}</result>{tail}</DAS>\n'
    return text.encode("ascii", "xmlcharrefreplace")
