"""What the settings of a customer may be: one cleaner a field, for the API, the pages and the command line alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from cenergyd.errors import InvalidField

NAME_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]{0,200}$"
"""No control characters, none that turn the direction of text, no half of a surrogate pair."""
METER_PATTERN = r"^ *[0-9A-Za-z]{0,48} *$"
SERIAL_PATTERN = r"^ *[0-9A-Za-z]{0,32} *$"
PASSWORD_PATTERN = r"^[^\u0000-\u001f\u007f\ud800-\udfff]{0,256}$"  # noqa: S105 - a pattern
MAX_PASSWORD = 256

_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}\Z")


def clean_name(value: str) -> str:
    """A name of the site for people: at most 200 characters."""
    if not re.match(NAME_PATTERN.replace("$", r"\Z"), value):
        raise InvalidField("name", "at most 200 characters, without control characters")
    return value.strip()


def clean_time_zone(value: str) -> str:
    """An IANA time zone; '' is UTC."""
    if value and value not in _zones():
        raise InvalidField("time_zone", "an IANA name is needed, such as America/Los_Angeles")
    return value or "UTC"


def clean_serial(value: str) -> str:
    """A logger's serial number in upper case; the colons of a MAC address are left out. '' is none."""
    serial = value.strip(" ")
    if _MAC.match(serial):
        serial = serial.replace(":", "").replace("-", "")
    if not re.match(SERIAL_PATTERN.replace("$", r"\Z"), serial):
        raise InvalidField("logger_serial_number", "letters and digits, at most 32, such as 001EC6001433")
    return serial.upper()


def clean_password(value: str) -> str:
    """A logger's password as typed on the device. '' is none."""
    if not re.match(PASSWORD_PATTERN.replace("$", r"\Z"), value):
        raise InvalidField("logger_password", f"at most {MAX_PASSWORD} characters, without control characters")
    return value


def clean_meter(field: str, value: str) -> str:
    """A meter id: the Modbus address, without leading zeros as in the names of log files. '' is not fitted."""
    meter = value.strip(" ")
    if not re.match(METER_PATTERN.replace("$", r"\Z"), meter):
        raise InvalidField(
            field, "the meter's Modbus address is needed, such as 1; empty where no such meter is fitted"
        )
    return (meter.lstrip("0") or "0") if meter.isdigit() else meter


CLEANERS: Mapping[str, Callable[[str], str]] = {
    "name": clean_name,
    "time_zone": clean_time_zone,
    "facility": lambda value: clean_meter("facility", value),
    "load": lambda value: clean_meter("load", value),
    "solar": lambda value: clean_meter("solar", value),
    "logger_serial_number": clean_serial,
    "logger_password": clean_password,
}
"""Every setting of ours that people change."""


def clean_settings(given: Mapping[str, Any]) -> tuple[dict[str, str], list[InvalidField]]:
    """Clean those settings that are given (None stands for '') and return them with everything that is wrong."""
    cleaned: dict[str, str] = {}
    faults: list[InvalidField] = []
    for field, value in given.items():
        cleaner = CLEANERS.get(field)
        try:
            if cleaner is None:
                raise InvalidField(field, f"no such setting; there are {', '.join(CLEANERS)}")
            if not isinstance(value, str | None):
                raise InvalidField(field, "text is needed")
            cleaned[field] = cleaner(value or "")
        except InvalidField as fault:
            faults.append(fault)
    return cleaned, faults


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
