"""The meter id: a device's Modbus address, from a log file's name and MODBUSDEVICE."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from cenergyd.errors import UploadError

_NAME: Final = re.compile(r"mb-(\d+)", re.ASCII | re.IGNORECASE)


def meter_id(filename: str, modbus_device: str | None = None) -> str:
    """The meter id (``1`` to ``255``, no leading zeros) of ``modbus/mb-001.4AB87D4F_1.log.gz``.

    If the name has no ``mb-NNN``, MODBUSDEVICE is used.

    :param modbus_device: the form variable; None or blank if it was not sent.
    :raises UploadError: not a valid address, the two differ, or neither has one.
    """
    base = filename.replace("\\", "/").rpartition("/")[2]
    match = _NAME.match(base)
    named = _address(match.group(1), "the log's file name") if match else None
    said = _address(modbus_device, "MODBUSDEVICE") if modbus_device and modbus_device.strip() else None
    if named and said and named != said:
        raise UploadError(f"the log's file name says Modbus device {named}, but MODBUSDEVICE is {said}")
    address = named or said
    if address is None:
        raise UploadError("the log's file name does not begin with mb- and the Modbus address, as in mb-001.log")
    return address


@lru_cache(1024)
def _address(text: str, where: str) -> str:
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 5) or not 1 <= int(text) <= 255:
        raise UploadError(f"{where} is not a Modbus address from 1 to 255")
    return str(int(text))
