"""Parses AcquiSuite-XML, the alternative protocol with several meters and many records in one message.

A message is read as a stream, so memory is bounded by its content and not by its nesting. DTDs and entities are refused.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Final
from xml.etree.ElementTree import ParseError

import attrs
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import XMLParser

from cenergyd.acquisuite.error_codes import parse_error
from cenergyd.acquisuite.form import Form
from cenergyd.acquisuite.layouts import MAX_COLUMN, Layout
from cenergyd.acquisuite.log_file import ParsedLog, RowCollector
from cenergyd.acquisuite.meter_id import meter_id
from cenergyd.acquisuite.points import FIRST_POINT, Point
from cenergyd.acquisuite.resolve import MeterFacts
from cenergyd.acquisuite.times import YEAR_2000, parse_time
from cenergyd.acquisuite.upload import Mode, StatusReport, device_text, parse_mode, read_status
from cenergyd.errors import UploadError

_MAX_DEPTH: Final = 16
_MAX_TEXT: Final = 1024
_MAX_DEVICES: Final = 255
_MAX_FIELDS: Final = 64
_STEP: Final = 16 * 1024
_STEP_RECORDS: Final = 200
_MAX_SILENT_STEPS: Final = 8
_MAX_POINTS: Final = MAX_COLUMN - FIRST_POINT + 1
_VALUE_BYTES: Final = 200
_RECORD_BYTES: Final = 700
"""Approximate memory of a point's value, and of a record with its dictionary and later its reading, in bytes."""
_UTC: Final = ("", "UTC", "GMT", "Z")


@attrs.frozen(slots=True)
class XmlRecord:
    """One log interval of a device."""

    time: int | None
    """UTC seconds; None if it is unreadable or in another time zone."""
    error: int | None
    """Error number; None if unreadable."""
    values: Mapping[int, str]
    """Point number -> value as sent."""


@attrs.frozen(slots=True, kw_only=True)
class XmlDevice:
    """One meter of a message. Texts are untrusted."""

    meter: str
    """Meter id, ``1`` to ``255``."""
    name: str = ""
    device_type: str = ""
    device_class: str = ""
    points: tuple[Point, ...] = ()
    """The names of the points in the records."""
    records: tuple[XmlRecord, ...] = attrs.field(default=(), repr=False)

    numpoints: int | None = None
    """Number of points of the meter according to the message."""

    def facts(self) -> MeterFacts:
        """What the message says about the meter."""
        highest = max((number for record in self.records for number in record.values), default=None)
        points = self.numpoints if self.numpoints is not None or highest is None else highest + 1
        return MeterFacts(
            device_class=self.device_class, device_type=self.device_type, points=points, named=self.points
        )

    def parse(self, layout: Layout, *, earliest: int = YEAR_2000, latest: int) -> ParsedLog:
        """The readings, by the same rules as for a log file.

        :param layout: as for a log, with point n as column 4 + n.
        :param earliest: UTC seconds; earlier records are only counted. Later ones than ``latest`` are skipped.
        """
        steps = self.parse_steps(layout, earliest=earliest, latest=latest)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                parsed: ParsedLog = stop.value
                return parsed

    def parse_steps(self, layout: Layout, *, earliest: int = YEAR_2000, latest: int) -> Generator[int, None, ParsedLog]:
        """Parse in steps of one or two milliseconds; yields the approximate memory of the readings so far."""
        # The row holds only the columns of the layout: people choose column numbers, so these must not determine the size of a list.
        packed = {value: FIRST_POINT + place for place, value in enumerate(layout.columns)}
        collector = RowCollector(attrs.evolve(layout, columns=packed), latest, earliest)
        numbers = [column - FIRST_POINT for column in layout.columns.values()]
        for count, record in enumerate(self.records, 1):
            fields = [b""] * FIRST_POINT
            for number in numbers:
                value = record.values.get(number, "")
                fields.append(b"" if "_" in value else value.encode("ascii", "replace"))
            collector.row(record.time, record.error, fields)
            if count % _STEP_RECORDS == 0:
                yield collector.held_bytes
        return collector.collected()


@attrs.frozen(slots=True, kw_only=True)
class XmlMessage:
    """A complete message."""

    mode: Mode
    serial: str
    """As sent; it is checked by :func:`~cenergyd.acquisuite.form.credentials` of :meth:`as_form`."""
    name: str = ""
    """The logger's name (LOOPNAME). Untrusted."""
    devices: tuple[XmlDevice, ...] = ()
    """Devices with a Modbus address."""
    left_out: int = 0
    """Number of devices without an address, such as radio sensors, whose records are not read."""
    fields: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """The other elements directly under DAS, by upper-case name: the STATUS values."""

    def as_form(self) -> Form:
        """The message's variables as a form: SERIALNUMBER and, if the message has one, PASSWORD."""
        fields = {"SERIALNUMBER": self.serial}
        if "PASSWORD" in self.fields:
            fields["PASSWORD"] = self.fields["PASSWORD"]
        return Form({name: value for name, value in fields.items() if value})

    def status(self) -> StatusReport:
        """The message's STATUS report."""
        return read_status({"LOOPNAME": self.name, **self.fields})


@attrs.frozen(slots=True)
class XmlProgress:
    """How far a message has been read."""

    held_bytes: int
    """Approximate memory used so far, bytes."""
    head: XmlMessage | None
    """The part of the message before the first device; None until the first device begins."""


def parse_xml(body: bytes, *, max_bytes: int = 64 * 1024 * 1024, max_elements: int = 1_000_000) -> XmlMessage:
    """Parse a whole message at once, about 3 microseconds per element; use :func:`parse_xml_steps` for large messages.

    :raises UploadError: not well-formed XML, with a DTD or entity, not a DAS message, with a mode other than
        LOGFILEUPLOAD, STATUS and TEST, or beyond a limit.
    """
    steps = parse_xml_steps(body, max_bytes=max_bytes, max_elements=max_elements)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            message: XmlMessage = stop.value
            return message


def parse_xml_steps(
    body: bytes, *, max_bytes: int = 64 * 1024 * 1024, max_elements: int = 1_000_000
) -> Generator[XmlProgress, None, XmlMessage]:
    """Parse in steps of a few milliseconds: yields the progress after each 16 KiB, and returns the message."""
    if len(body) > max_bytes:
        raise UploadError(f"the message has {len(body)} bytes, more than the {max_bytes} allowed")
    reader = _XmlTarget(max_elements)
    try:
        parser = XMLParser(target=reader, forbid_dtd=True)
        silent = 0
        for start in range(0, len(body), _STEP):
            seen = reader.seen
            parser.feed(body[start : start + _STEP])
            # The parser scans an unfinished attribute or comment again at every step, so its time grows with the square of its size.
            silent = silent + 1 if reader.seen == seen else 0
            if silent > _MAX_SILENT_STEPS:
                raise UploadError("the XML message has an attribute or comment that is too long")
            yield XmlProgress(reader.held_bytes, reader.head)
        message: XmlMessage = parser.close()
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise UploadError(f"the XML message is not acceptable: {type(error).__name__}") from error
    return message


class _XmlTarget:
    """The target of an XML parser: tracks the path of elements and collects the message."""

    def __init__(self, max_elements: int) -> None:
        self.seen = 0
        """Elements and pieces of text seen so far."""
        self.held_bytes = 0
        self.head: XmlMessage | None = None
        self._path: list[str] = []
        self._text: list[str] = []
        self._length = 0
        self._fields: dict[str, str] = {}
        self._devices: list[XmlDevice] = []
        self._left_out = 0
        self._device: dict[str, str] = {}
        self._points: dict[int, Point] = {}
        self._records: list[XmlRecord] = []
        self._left = max_elements
        self._zone = ""
        self._time: int | None = None
        self._error: int | None = 0
        self._values: dict[int, str] = {}

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""
        self.seen += 1
        tag = tag.rpartition("}")[2].lower()
        self._path.append(tag)
        self._text, self._length = [], 0
        self._left -= 1
        if self._left < 0:
            raise UploadError("the XML message has too many elements")
        depth = len(self._path)
        if depth > _MAX_DEPTH:
            raise UploadError("the XML message is nested too deeply")
        if depth == 1 and tag != "das":
            raise UploadError("the XML message is not a DAS message")
        if tag == "point":
            self._start_point(attributes)
        elif tag == "record":
            self._time, self._error, self._values = None, 0, {}
        elif tag == "time":
            self._zone = attributes.get("zone", "").strip().upper()
        elif tag == "device":
            self._device, self._points, self._records = {}, {}, []
            if self.head is None:
                self.head = self._message(dict(self._fields))

    def data(self, text: str) -> None:
        """Text, possibly in pieces."""
        self.seen += 1
        if self._length < _MAX_TEXT:
            self._text.append(text[: _MAX_TEXT - self._length])
            self._length += len(text)

    def end(self, tag: str) -> None:
        """An element ends."""
        tag = self._path.pop()
        text = "".join(self._text).strip()
        self._text, self._length = [], 0
        parent = self._path[-1] if self._path else ""
        if parent == "record":
            self._end_in_record(tag, text)
        elif tag == "record":
            self._end_record()
        elif parent == "device":
            if tag in ("name", "address", "type", "class", "numpoints"):
                self._device.setdefault(tag, text)
        elif tag == "device":
            self._end_device()
        elif parent == "das" and len(self._fields) < _MAX_FIELDS:
            self._fields.setdefault(tag.upper()[:64], text)

    def close(self) -> XmlMessage:
        """The message."""
        message = self._message(self._fields)
        if message.mode is Mode.LOGFILEUPLOAD and not self._devices and not self._left_out:
            raise UploadError("the XML message has no device")
        return attrs.evolve(message, devices=tuple(self._devices), left_out=self._left_out)

    def _message(self, fields: dict[str, str]) -> XmlMessage:
        mode = parse_mode(fields.pop("MODE", ""))
        if mode not in (Mode.LOGFILEUPLOAD, Mode.STATUS, Mode.TEST):
            raise UploadError(f"mode {mode} is not supported in XML")
        serial = fields.pop("SERIAL", "") or fields.pop("SERIALNUMBER", "")
        name = device_text(fields.pop("NAME", ""))
        fields.pop("DEVICES", None)
        return XmlMessage(mode=mode, serial=serial, name=name, fields=fields)

    def _start_point(self, attributes: Mapping[str, str]) -> None:
        digits = attributes.get("number", "").strip()
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 6) or int(digits) >= _MAX_POINTS:
            return
        number = int(digits)
        self._values[number] = attributes.get("value", "")[:64]
        self.held_bytes += _VALUE_BYTES
        if number not in self._points:
            name, units = device_text(attributes.get("name")), device_text(attributes.get("units"), 32)
            self._points[number] = Point(number, name, units)

    def _end_in_record(self, tag: str, text: str) -> None:
        if tag == "time":
            self._time = parse_time(text.encode("ascii", "replace")) if self._zone in _UTC else None
        elif tag == "error":
            self._error = parse_error(text.encode("ascii", "replace").replace(b"_", b"?"))

    def _end_record(self) -> None:
        self._records.append(XmlRecord(self._time, self._error, self._values))
        self.held_bytes += _RECORD_BYTES

    def _end_device(self) -> None:
        if len(self._devices) + self._left_out >= _MAX_DEVICES:
            raise UploadError(f"the XML message has more than {_MAX_DEVICES} devices")
        given = self._device
        try:
            meter = meter_id("", given.get("address") or "0")
        except UploadError:
            self._left_out += 1  # a radio sensor has only a serial number
            return
        points = given.get("numpoints", "")
        self._devices.append(
            XmlDevice(
                meter=meter,
                name=device_text(given.get("name")),
                device_type=device_text(given.get("type")),
                device_class=device_text(given.get("class"), 16),
                points=tuple(self._points.values()),
                records=tuple(self._records),
                numpoints=int(points) if points.isascii() and points.isdigit() and len(points) <= 4 else None,
            )
        )
