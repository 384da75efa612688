"""The device's side of the protocol: logs, forms and XML messages as an AcquiSuite writes them."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from cenergyd.acquisuite.layouts import Layout
from cenergyd.acquisuite.points import FIRST_POINT
from cenergyd.acquisuite.times import device_time
from cenergyd.readings.model import Reading

DEFAULT_COLUMNS: Final = 76
"""Columns of a row of a Veris E51C2: 72 points."""
VERIS_CLASS: Final = "48"
VERIS_TYPE: Final = "Veris E51C2 Power Meter, Full Data Set"


def log_row(
    time: int, values: Mapping[int, float | None], columns: int = DEFAULT_COLUMNS, error: int = 0, filler: str = "0"
) -> str:
    """One row without its line end. ``values`` by column; None gives an empty column; columns that are not in it get ``filler``."""
    row = [filler] * columns
    row[:FIRST_POINT] = [f"'{device_time(time)}'", str(error), "0", "0"]
    for column, value in values.items():
        row[column] = "" if value is None else repr(value)
    return ",".join(row)


def error_row(time: int, error: int) -> str:
    """A row of a meter that did not answer: no values."""
    return f"'{device_time(time)}',{error},0,0"


def log_text(
    readings: Iterable[Reading], layout: Layout, columns: int = DEFAULT_COLUMNS, line_end: str = "\r\n"
) -> bytes:
    """Readings as a plain log file; channels that the layout lacks are not written."""
    lines = (log_row(reading.time, _values(reading, layout), columns) + line_end for reading in readings)
    return "".join(lines).encode("ascii")


def _values(reading: Reading, layout: Layout) -> dict[int, float | None]:
    """column -> value in the meter's own unit."""
    found: dict[int, float | None] = {}
    for channel, column in layout.columns.items():
        value: float | None = getattr(reading, channel)
        scale = layout.scales.get(channel, 1.0)
        found[column] = value if value is None or scale == 1.0 else value / scale
    return found


def gz(content: bytes) -> bytes:
    """gzip without a time stamp, so that the same log gives the same bytes."""
    return gzip.compress(content, compresslevel=6, mtime=0)


def log_filename(meter: str, sequence: int = 1, when: int = 0, compressed: bool = True) -> str:
    """A logger's file name, such as ``modbus/mb-001.4AB87D4F_1.log.gz``; ``when`` is the hex number (UTC seconds)."""
    return f"modbus/mb-{int(meter):03d}.{when:08X}_{sequence}.log{'.gz' if compressed else ''}"


def md5(content: bytes) -> str:
    """MD5CHECKSUM of the bytes as sent."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def multipart_form(
    fields: Mapping[str, str], filename: str | None = None, content: bytes = b"", file_field: str = "LOGFILE"
) -> tuple[str, bytes]:
    """Content-Type and body of a form with one file (none if ``filename`` is None)."""
    boundary = "-" * 20 + hashlib.sha256(repr(sorted(fields.items())).encode() + content).hexdigest()[:24]
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    if filename is not None:
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{file_field}"; filename="{_quoted(filename)}"\r\n'
        )
        parts.append(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + content + b"\r\n")
    parts.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)


def _quoted(text: str) -> str:
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


def log_fields(
    serial: str,
    password: str,
    meter: str,
    content: bytes,
    *,
    device_class: str = VERIS_CLASS,
    device_type: str | None = None,
    loop_name: str = "",
    **more: str,
) -> dict[str, str]:
    """The variables of a LOGFILEUPLOAD; ``content`` is the file as sent. ``more`` adds or replaces variables."""
    if device_type is None:
        device_type = VERIS_TYPE if device_class == VERIS_CLASS else ""
    fields = {
        "MODE": "LOGFILEUPLOAD", "SERIALNUMBER": serial, "PASSWORD": password, "LOOPNAME": loop_name,
        "MODBUSIP": "127.0.0.1", "MODBUSPORT": "502", "MODBUSDEVICE": meter, "MODBUSDEVICENAME": f"Meter {meter}",
        "MODBUSDEVICETYPE": device_type, "MODBUSDEVICETYPENUMBER": "0", "MODBUSDEVICECLASS": device_class,
        "MD5CHECKSUM": md5(content), "FILESIZE": str(len(content)), "FILETIME": "",
    }  # fmt: skip
    return {**fields, **more}


def xml_point(number: int, name: str, units: str, value: float | None) -> str:
    """One ``<point>`` of a record."""
    shown = "NULL" if value is None else repr(value)
    return f'<point number="{number}" name={quoteattr(name)} units={quoteattr(units)} value="{shown}"/>'


def xml_device(
    meter: str,
    readings: Iterable[Reading],
    layout: Layout,
    *,
    device_class: str = "",
    name: str = "",
    points: Mapping[str, tuple[str, str]] | None = None,
) -> str:
    """One ``<device>``; ``points`` gives channels their name and unit."""
    described = {**XML_POINTS, **(points or {})}
    records = []
    for reading in readings:
        values = _values(reading, layout)
        shown = "".join(
            xml_point(column - FIRST_POINT, *described[channel], values[column])
            for channel, column in sorted(layout.columns.items(), key=lambda item: item[1])
        )
        records.append(
            f'<record><time zone="UTC">{device_time(reading.time)}</time><error text="Ok">0</error>{shown}</record>'
        )
    return (
        f"<device><name>{escape(name)}</name><address>{meter}</address><type></type><class>{escape(device_class)}</class>"
        f"<numpoints>{len(layout.columns)}</numpoints><records>{''.join(records)}</records></device>"
    )


XML_POINTS: Final[Mapping[str, tuple[str, str]]] = {
    "P": ("Total Net Instantaneous Real Power", "kW"),
    "L1_PF": ("Total Power Factor", ""),
    "L1_V": ("Voltage, Phase A-N", "Volts"),
    "Q": ("Total Net Instantaneous Reactive Power", "kVAR"),
    "E_net": ("Accumulated Real Energy Net", "kWh"),
    "E_import": ("Real Energy Quadrants 1 & 4, Import", "kWh"),
    "E_export": ("Real Energy Quadrants 2 & 3, Export", "kWh"),
}
"""Value -> name and unit, as a Veris E51C2's config file has them."""


def xml_message(
    serial: str,
    devices: Sequence[str] = (),
    *,
    mode: str = "LOGFILEUPLOAD",
    name: str = "",
    status: Mapping[str, str] | None = None,
) -> bytes:
    """A whole AcquiSuite-XML message of devices made by :func:`xml_device`; ``status`` adds elements for mode STATUS."""
    extra = "".join(f"<{tag}>{escape(value)}</{tag}>" for tag, value in (status or {}).items())
    inner = f"<devices>{''.join(devices)}</devices>" if devices else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<DAS><mode>{escape(mode)}</mode><name>{escape(name)}</name>'
        f"<serial>{escape(serial)}</serial>{extra}{inner}</DAS>\n"
    ).encode()
