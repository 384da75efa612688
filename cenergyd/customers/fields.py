"""The valid values of a customer's settings: one cleaner per field, used by the API, the pages and the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from zoneinfo import available_timezones

from cenergyd.customers.meter_sum import SUM_PATTERN, InvalidSum, normal_sum
from cenergyd.errors import InvalidField

MAX_NAME = 200
MAX_SERIAL = 32
MAX_PASSWORD = 128

_TEXT = r"[^\u0000-\u001f\u007f-\u009f\u2028\u2029\ud800-\udfff]"
_METERS = rf"^({SUM_PATTERN})?$"
PATTERNS: Mapping[str, str] = {
    "facility": _METERS,
    "load": _METERS,
    "solar": _METERS,
    "logger_serial_number": rf"^([0-9A-Za-z]{{0,{MAX_SERIAL}}}|[0-9A-Fa-f]{{2}}([:-][0-9A-Fa-f]{{2}}){{5}})$",
    "logger_password": rf"^{_TEXT}{{0,{MAX_PASSWORD}}}$",
    "name": rf"^{_TEXT}{{0,{MAX_NAME}}}$",
}
"""Accepted values, as regular expressions that mean the same in Python and JavaScript. Surrounding blanks are removed first
(except from a password). No control characters, no lone surrogates."""


def clean_name(value: str) -> str:
    """The site's name for people: one line of at most 200 characters."""
    if not _fits("name", value.strip()):
        raise InvalidField("name", f"at most {MAX_NAME} characters, without control characters")
    return value.strip()


def clean_time_zone(value: str) -> str:
    """An IANA time zone; '' is UTC."""
    zone = value.strip() or "UTC"
    if zone not in _zones():
        raise InvalidField("time_zone", "an IANA time zone is needed, such as America/Los_Angeles")
    return zone


def clean_serial(value: str) -> str:
    """A logger's serial number in upper case; the colons of a MAC address are removed. '' means none."""
    serial = value.strip()
    if not _fits("logger_serial_number", serial):
        raise InvalidField(
            "logger_serial_number",
            f"at most {MAX_SERIAL} letters A-Z and digits, as on the AcquiSuite's label (001EC6001433)",
        )
    return serial.replace(":", "").replace("-", "").upper()


def clean_password(value: str) -> str:
    """A logger's password as typed on the device. '' means none."""
    if not _fits("logger_password", value):
        raise InvalidField("logger_password", f"at most {MAX_PASSWORD} characters, without control characters")
    return value


def clean_meter(field: str, value: str) -> str:
    """A meter id (the Modbus address, without the leading zeros of log file names) or a sum of meters; '' if none is fitted."""
    if not value.strip():
        return ""
    try:
        return normal_sum(value)
    except InvalidSum as error:
        raise InvalidField(field, str(error)) from None


CLEANERS: Mapping[str, Callable[[str], str]] = {
    "facility": lambda value: clean_meter("facility", value),
    "load": lambda value: clean_meter("load", value),
    "solar": lambda value: clean_meter("solar", value),
    "logger_serial_number": clean_serial,
    "logger_password": clean_password,
    "name": clean_name,
    "time_zone": clean_time_zone,
}
"""Every setting that users can change."""


def clean_settings(given: Mapping[str, object]) -> tuple[dict[str, str], list[InvalidField]]:
    """Clean the given settings (None means ''); returns the valid ones and the errors of the others."""
    cleaned: dict[str, str] = {}
    faults: list[InvalidField] = []
    for field, value in given.items():
        try:
            cleaned[field] = _cleaned(field, value)
        except InvalidField as fault:
            faults.append(fault)
    return cleaned, faults


@cache
def time_zones() -> tuple[str, ...]:
    """Every time zone that a customer can have, sorted."""
    return tuple(sorted(_zones()))


def _cleaned(field: str, value: object) -> str:
    cleaner = CLEANERS.get(field)
    if cleaner is None:
        shown = field[:100].encode("ascii", "backslashreplace").decode()
        raise InvalidField(shown, f"no such setting; the settings are {', '.join(CLEANERS)}")
    if not isinstance(value, str | None):
        raise InvalidField(field, "text is needed")
    return cleaner(value or "")


@cache
def _pattern(field: str) -> re.Pattern[str]:
    # \Z, because $ also matches before a final line end.
    return re.compile(PATTERNS[field].removesuffix("$") + r"\Z")


def _fits(field: str, value: str) -> bool:
    return _pattern(field).match(value) is not None


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"localtime", "posixrules"})
