"""A logger's config files: their names, the manifest, the meaning of ``mb-NNN.ini``, and their redacted text."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable
from typing import Final

import attrs

from cenergyd.acquisuite.form import Form, decoded
from cenergyd.acquisuite.inflate import inflated_chunks, is_gzip
from cenergyd.acquisuite.points import Point
from cenergyd.acquisuite.times import device_time, parse_time
from cenergyd.acquisuite.upload import checked_file, device_text, file_time
from cenergyd.errors import UploadError

LOGGER_CONFIG: Final = "loggerconfig.ini"
HIDDEN: Final = "(hidden)"
_METER_CONFIG: Final = re.compile(r"modbus/mb-(\d{3})\.ini\Z", re.ASCII)
_POINT: Final = re.compile(r"POINT(\d{1,3})(NAME|UNITS)\Z", re.ASCII)
_MD5: Final = re.compile(r"[0-9a-f]{32}\Z")
_SECRET: Final = re.compile(
    r"(?<!BY)PASS(?!IVE|THR)|PWD|PIN\Z|PSK|WPA|WEP|SECRET|PRIVATE|KEY|TOKEN|USER(?:NAME|ID)?\Z|LOGIN|CREDENTIAL|COMMUNITY|AUTH",
    re.IGNORECASE,
)
_SEPARATOR: Final = re.compile(r"[=:]")
_BLANKS: Final = re.compile(r"(\s+)")
_MAX_POINTS: Final = 1020
_MAX_NAME: Final = 128
_MAX_LINES: Final = 20000
_MAX_DIFF_LINES: Final = 4000


@attrs.frozen(slots=True, kw_only=True)
class ConfigFileUpload:
    """A config file that a device sends."""

    name: str
    """``loggerconfig.ini`` or ``modbus/mb-NNN.ini``, from MODBUSDEVICE; the device's own file name is not used."""
    content: bytes = attrs.field(repr=False)
    """Decompressed, if it was sent as gzip."""
    file_time: int | None = None
    """UTC seconds."""
    device_class: str = ""
    md5: str = attrs.field()
    """MD5 of the bytes as sent, by which the device identifies the file; by default, of the content."""

    @md5.default
    def _md5_of_content(self) -> str:
        return hashlib.md5(self.content, usedforsecurity=False).hexdigest()

    @property
    def meter(self) -> str | None:
        """The meter id that the file describes; None for loggerconfig.ini."""
        return meter_of_config(self.name)


@attrs.frozen(slots=True)
class ManifestEntry:
    """One line of a manifest. Blank checksum and time ask the device to send its file."""

    name: str
    md5: str = ""
    time: int | None = None
    """UTC seconds."""


def config_name(modbus_device: str | None) -> str:
    """The file of a MODBUSDEVICE: 0 (or blank) is ``loggerconfig.ini``, n is ``modbus/mb-NNN.ini``.

    :raises UploadError: not a number from 0 to 255.
    """
    text = (modbus_device or "").strip() or "0"
    if not (text.isascii() and text.isdigit() and len(text) <= 5) or int(text) > 255:
        raise UploadError("MODBUSDEVICE is not 0 or a Modbus address from 1 to 255")
    return f"modbus/mb-{int(text):03d}.ini" if int(text) else LOGGER_CONFIG


def meter_of_config(name: str) -> str | None:
    """The meter id of ``modbus/mb-NNN.ini``, None for any other name."""
    match = _METER_CONFIG.match(name)
    return str(int(match.group(1))) if match else None


def is_config_name(name: str) -> bool:
    """Whether this is the name of a config file."""
    return name == LOGGER_CONFIG or meter_of_config(name) is not None


def read_config_upload(form: Form, max_bytes: int = 262144) -> ConfigFileUpload:
    """A CONFIGFILEUPLOAD, plain or gzip.

    :raises UploadError: no file CONFIGFILE, too large, damaged gzip, a checksum that differs, or a wrong MODBUSDEVICE.
    """
    part = checked_file(form, "CONFIGFILE")
    return ConfigFileUpload(
        name=config_name(form.fields.get("MODBUSDEVICE")),
        content=inflated_config(part.content, max_bytes),
        md5=hashlib.md5(part.content, usedforsecurity=False).hexdigest(),
        file_time=file_time(form),
        device_class=device_text(form.fields.get("MODBUSDEVICECLASS"), 16),
    )


def inflated_config(content: bytes, max_bytes: int = 262144) -> bytes:
    """A config file's text, whether it was sent plain or as gzip.

    :raises UploadError: larger than ``max_bytes``, or damaged gzip.
    """
    if not is_gzip(content):
        if len(content) > max_bytes:
            raise UploadError(f"the config file has more than {max_bytes} bytes")
        return content
    return b"".join(inflated_chunks(content, max_bytes, "config file"))


def render_manifest(entries: Iterable[ManifestEntry]) -> bytes:
    """Lines ``CONFIGFILE,<name>,<md5>,<UTC time>``."""
    lines = (
        f"CONFIGFILE,{entry.name},{entry.md5},{'' if entry.time is None else device_time(entry.time)}\n"
        for entry in entries
    )
    return "".join(lines).encode("ascii", "replace")


def parse_manifest(body: bytes) -> list[ManifestEntry]:
    """The entries of a manifest; other lines are ignored.

    :raises UploadError: an entry of a wrong name, checksum or time.
    """
    entries = []
    for line in _lines(body):
        if not line.upper().startswith("CONFIGFILE,"):
            continue
        fields = [field.strip() for field in line.split(",")]
        name, md5, time_text = (*fields[1:4], "", "", "")[:3]
        time = parse_time(time_text.encode("ascii", "replace")) if time_text else None
        if not is_config_name(name) or (md5 and not _MD5.match(md5.lower())) or (time_text and time is None):
            raise UploadError("the manifest has a line that is not CONFIGFILE,name,md5,time")
        entries.append(ManifestEntry(name, md5.lower(), time))
    return entries


def _lines(content: bytes) -> list[str]:
    text = decoded(content).replace("\r\n", "\n").replace("\r", "\n")
    return text.split("\n", _MAX_LINES)[:_MAX_LINES]


@attrs.frozen(slots=True)
class MeterConfig:
    """The points of a meter according to its ``mb-NNN.ini``."""

    points: tuple[Point, ...]
    """Points with a name or a unit, by number; a name of ``-`` counts as none. Untrusted text, bounded."""
    count: int
    """Number of points in the meter's logs: one more than the highest number in the file."""


def parse_meter_config(content: bytes) -> MeterConfig:
    """The points of an ``mb-NNN.ini``. Never raises: other lines than POINTnnNAME and POINTnnUNITS are ignored."""
    names: dict[int, str] = {}
    units: dict[int, str] = {}
    for line in _lines(content):
        key, equals, value = line.partition("=")
        match = _POINT.match(key.strip().upper()) if equals else None
        if match and int(match.group(1)) < _MAX_POINTS:
            into = names if match.group(2) == "NAME" else units
            into[int(match.group(1))] = device_text(value.strip().strip("'\""), _MAX_NAME)
    numbers = sorted({*names, *units})
    points = (Point(number, names.get(number, ""), units.get(number, "")) for number in numbers)
    described = tuple(point for point in points if point.name.strip("-") or point.units.strip("-"))
    return MeterConfig(described, numbers[-1] + 1 if numbers else 0)


def redact(content: bytes) -> str:
    """A config file as text with every secret's value replaced by ``(hidden)``, also user names and URLs' credentials."""
    return "\n".join(map(_redact_line, _lines(content)))


def _redact_line(line: str) -> str:
    """Hide everything after the first ``=`` or ``:`` that follows a secret's name, wherever in the line it is."""
    start = 0
    for separator in _SEPARATOR.finditer(line):
        if _SECRET.search(line[start : separator.start()].strip()) and line[separator.end() :].strip():
            return _redact_urls(line[: separator.end()]) + HIDDEN
        start = separator.end()
    return _redact_urls(line)


def _redact_urls(text: str) -> str:
    """Hide ``user:password`` of URLs. No regular expression: a device may send one long line of them."""
    if "://" not in text:
        return text
    return "".join(map(_redact_url, _BLANKS.split(text)))


def _redact_url(word: str) -> str:
    start, at = word.find("://"), word.rfind("@")
    return f"{word[: start + 3]}{HIDDEN}{word[at:]}" if 0 <= start < at else word


def diff(old: bytes, new: bytes) -> str:
    """A unified diff of the redacted texts of two versions; a changed secret is not shown.

    Files with more lines than any logger's are only reported as different, because the time of a comparison grows with the square of their
    length.
    """
    before, after = redact(old).split("\n"), redact(new).split("\n")
    if max(len(before), len(after)) > _MAX_DIFF_LINES:
        return "" if before == after else "the files differ; they are too long to be compared line by line"
    return "\n".join(difflib.unified_diff(before, after, "before", "after", lineterm="", n=2))
