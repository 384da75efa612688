"""Validates the variables of a form for each mode, and limits the length of a device's texts."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Final

import attrs
import msgspec

from cenergyd.acquisuite.error_codes import error_meaning
from cenergyd.acquisuite.form import FilePart, Form
from cenergyd.acquisuite.log_file import ParsedLog
from cenergyd.acquisuite.meter_id import meter_id
from cenergyd.acquisuite.replies import printable_line
from cenergyd.acquisuite.resolve import Resolution
from cenergyd.acquisuite.times import device_time, parse_time
from cenergyd.errors import UploadError

MAX_TEXT: Final = 128
"""Maximum characters of a name typed on a device; the rest is cut off."""


class Mode(StrEnum):
    """The MODE of a request."""

    LOGFILEUPLOAD = "LOGFILEUPLOAD"
    STATUS = "STATUS"
    TEST = "TEST"
    CONFIGFILEMANIFEST = "CONFIGFILEMANIFEST"
    CONFIGFILEUPLOAD = "CONFIGFILEUPLOAD"
    CONFIGFILEDOWNLOAD = "CONFIGFILEDOWNLOAD"


@lru_cache(64)
def parse_mode(text: str) -> Mode:
    """The mode of a form or message, any case; MODE_TEST is TEST.

    :raises UploadError: none, or one that is not supported.
    """
    name = text.strip().upper()
    try:
        return Mode(name.removeprefix("MODE_") if name == "MODE_TEST" else name)
    except ValueError:
        said = f"mode {printable_line(name, 32)} is not supported" if name else "MODE is missing: mode not supported"
        raise UploadError(said) from None


def read_mode(form: Form) -> Mode:
    """The form's MODE; raises UploadError as :func:`parse_mode`."""
    return parse_mode(form.fields.get("MODE", ""))


def device_text(text: str | None, limit: int = MAX_TEXT) -> str:
    """A text typed on a device as one line of limited length. Still untrusted: escape it where it is displayed."""
    return printable_line(text or "", limit)


def wants_trace(form: Form) -> bool:
    """Whether the device asks for a verbose answer (SENDDATATRACE=YES)."""
    return form.fields.get("SENDDATATRACE", "").strip().upper() in ("YES", "TRUE", "ON", "1")


@attrs.frozen(slots=True, kw_only=True)
class StatusReport:
    """A logger's STATUS report; missing values are None or ''."""

    uptime_seconds: int | None = None
    percent_blocks_in_use: float | None = None
    percent_inodes_in_use: float | None = None
    upload_attempt: str = ""
    acquisuite_version: str = ""
    usr_version: str = ""
    root_version: str = ""
    kernel_version: str = ""
    firmware_version: str = ""
    boot_count: int | None = None
    battery_good: str = ""
    gsm_signal: str = ""
    loop_name: str = ""

    def as_document(self) -> dict[str, object]:
        """JSON values."""
        return attrs.asdict(self)


def read_status(fields: Mapping[str, str]) -> StatusReport:
    """A STATUS report from the variables of a form or XML message, by upper-case name; unreadable numbers are None."""

    def text(name: str) -> str:
        return device_text(fields.get(name))

    return StatusReport(
        uptime_seconds=_whole(fields.get("UPTIME")),
        percent_blocks_in_use=_percent(fields.get("PERCENTBLOCKSINUSE")),
        # The form's variable, or the XML element.
        percent_inodes_in_use=_percent(fields.get("PERCENTINODESINUSE") or fields.get("PERCENTINODESUSED")),
        upload_attempt=text("UPLOADATTEMPT"),
        acquisuite_version=text("ACQUISUITEVERSION"),
        usr_version=text("USRVERSION"),
        root_version=text("ROOTVERSION"),
        kernel_version=text("KERNELVERSION"),
        firmware_version=text("FIRMWAREVERSION"),
        boot_count=_whole(fields.get("BOOTCOUNT")),
        battery_good=text("BATTERYGOOD"),
        gsm_signal=text("GSMSIGNAL"),
        loop_name=text("LOOPNAME"),
    )


def _whole(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


def _percent(text: str | None) -> float | None:
    text = (text or "").strip().rstrip("%").strip()
    if len(text) > 12 or not text.replace(".", "", 1).isdigit() or not text.isascii():
        return None
    value = float(text)
    return value if value <= 100 else None


class LogHeader(msgspec.Struct, frozen=True, kw_only=True):
    """A log file as sent, with the variables that describe it. Texts are untrusted."""

    meter: str
    """Meter id, ``1`` to ``255``."""
    filename: str
    content: bytes
    """As sent, gzip or plain. If a checksum was sent, it matches."""
    name: str = ""
    """Of the device."""
    device_type: str = ""
    device_class: str = ""
    trace: bool = False
    """Whether the device asks for a trace of how it was read."""

    def __repr__(self) -> str:
        """Without the content."""
        return f"LogHeader(meter={self.meter!r}, filename={self.filename!r})"


def read_log_header(form: Form, md5: str | None = None) -> LogHeader:
    """The LOGFILE of a form and its variables.

    FILESIZE is not checked, because some firmware sends the uncompressed size and the checksum is more reliable.

    :param md5: the file's checksum if it is already known (:func:`md5_steps`); None: it is computed.
    :raises UploadError: no file, no meter id (see :func:`meter_id`), or the checksum differs.
    """
    part = checked_file(form, "LOGFILE", md5)
    fields = form.fields
    return LogHeader(
        meter=meter_id(part.filename, fields.get("MODBUSDEVICE")),
        filename=device_text(part.filename),
        content=part.content,
        name=device_text(fields.get("MODBUSDEVICENAME")),
        device_type=device_text(fields.get("MODBUSDEVICETYPE")),
        device_class=device_text(fields.get("MODBUSDEVICECLASS"), 16),
        trace=wants_trace(form),
    )


def file_time(form: Form) -> int | None:
    """FILETIME as UTC seconds; None if it is missing or unreadable."""
    return parse_time(form.fields.get("FILETIME", "")[:64].encode("ascii", "replace")) or None


def md5_steps(content: bytes) -> Generator[None, None, str]:
    """The checksum of a file, in steps of about a millisecond."""
    digest = hashlib.md5(usedforsecurity=False)
    for first in range(0, len(content), _MD5_STEP_BYTES):
        digest.update(content[first : first + _MD5_STEP_BYTES])
        yield
    return digest.hexdigest()


def checked_file(form: Form, name: str, md5: str | None = None) -> FilePart:
    """A file of the form, after checking MD5CHECKSUM if it was sent.

    :param md5: the file's checksum if it is already known; None: it is computed.
    :raises UploadError: no such file, or the checksum differs.
    """
    part = form.files.get(name)
    if part is None:
        raise UploadError(f"the form has no file {name}")
    expected = form.fields.get("MD5CHECKSUM", "").strip().lower()
    if expected and (md5 or hashlib.md5(part.content, usedforsecurity=False).hexdigest()) != expected:
        raise UploadError(f"MD5CHECKSUM does not match the {len(part.content)} bytes of {name} that arrived")
    return part


_MD5_STEP_BYTES: Final = 512 * 1024
_REASONS: Final = {
    "bad_time": "row(s) without a readable time",
    "bad_row": "row(s) without a readable error column",
    "too_long": "row(s) that are too long",
    "future": "row(s) in the future: check the logger's clock",
    "before_2000": "row(s) from before 2000: check the logger's clock",
    "other_points": "row(s) with more or fewer points than the others: of another meter, or damaged",
    "no_values": "row(s) without any value: gaps",
}


def trace_lines(resolution: Resolution, log: ParsedLog, unread: int = 0) -> list[str]:
    """Lines for people: what was read of a log, what was skipped, and why.

    :param unread: number of rows that are kept unread because their columns are not known.
    """
    layout = resolution.layout
    if layout is None:
        lines = [f"columns not known: {resolution.reason}"]
    else:
        lines = [f"layout {layout.name}: " + ", ".join(f"{v} from column {c}" for v, c in layout.columns.items())]
    lines += resolution.doubts
    lines.append(f"{log.rows} row(s) read")
    if log.readings:
        first, last = log.readings[0].time, log.readings[-1].time
        lines.append(f"{len(log.readings)} reading(s) from {device_time(first)} to {device_time(last)} UTC")
    else:
        lines.append("0 readings")
    if unread:
        lines.append(f"{unread} row(s) kept unread until their columns are known")
    if log.duplicates:
        lines.append(f"{log.duplicates} row(s) with the same time as an earlier row")
    if log.missing_values:
        lines.append(f"{log.missing_values} value(s) missing: gaps")
    lines.extend(f"{count} {_REASONS.get(reason, reason)}, skipped" for reason, count in log.skipped.items())
    codes = sorted(log.error_codes.items())
    lines.extend(f"{count} row(s) with error {code}, {error_meaning(code)}: gaps" for code, count in codes[:20])
    return lines
