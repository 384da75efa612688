"""Settings as people send them, by the API or a form: cleaned field by field, with every fault and not only the first."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from cenergyd.customers.validation import (
    MAX_NAME,
    MAX_PASSWORD,
    MAX_SERIAL,
    normal_meter,
    validate_meter,
    validate_name,
    validate_password,
    validate_serial,
    validate_time_zone,
)
from cenergyd.errors import InvalidField
from cenergyd.web.problems import FieldError

_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}\Z")
_LONGEST = 1000


def _name(value: str) -> str:
    validate_name(value.strip())
    return value.strip()


def _time_zone(value: str) -> str:
    zone = value.strip() or "UTC"
    validate_time_zone(zone)
    return zone


def _serial(value: str) -> str:
    serial = value.strip()
    if _MAC.match(serial):
        # The device's label shows its serial number as a MAC address.
        serial = serial.replace(":", "").replace("-", "")
    validate_serial(serial.upper())
    return serial.upper()


def _password(value: str) -> str:
    if len(value) > MAX_PASSWORD:
        raise InvalidField("logger_password", f"at most {MAX_PASSWORD} characters are possible")
    validate_password(value)
    return value


def _meter(field: str) -> Callable[[str], str]:
    def clean(value: str) -> str:
        meter = normal_meter(value)
        validate_meter(field, meter)
        return meter

    return clean


CLEANERS: Mapping[str, Callable[[str], str]] = {
    "facility": _meter("facility"),
    "load": _meter("load"),
    "solar": _meter("solar"),
    "logger_serial_number": _serial,
    "logger_password": _password,
    "name": _name,
    "time_zone": _time_zone,
}
"""Every setting that people change."""

_TEXT = r"[^\u0000-\u001f\u007f-\u009f\u2028\u2029\ud800-\udfff]"
_METER_PATTERN = r"^(0{0,8}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9][0-9]?))?$"
PATTERNS: Mapping[str, str] = {
    "facility": _METER_PATTERN,
    "load": _METER_PATTERN,
    "solar": _METER_PATTERN,
    "logger_serial_number": rf"^([0-9A-Za-z]{{0,{MAX_SERIAL}}}|[0-9A-Fa-f]{{2}}([:-][0-9A-Fa-f]{{2}}){{5}})$",
    "logger_password": rf"^{_TEXT}{{0,{MAX_PASSWORD}}}$",
    "name": rf"^{_TEXT}{{0,{MAX_NAME}}}$",
}
"""The same rules as regular expressions, for those who read the OpenAPI document (blanks around are taken off, too)."""


def clean_settings(given: Mapping[str, Any]) -> tuple[dict[str, str], list[FieldError]]:
    """Clean those settings that are given (None stands for '') and return them with everything that is wrong."""
    cleaned: dict[str, str] = {}
    faults: list[FieldError] = []
    for field, value in given.items():
        try:
            cleaned[field] = _cleaned(field, value)
        except InvalidField as fault:
            faults.append(FieldError(fault.field, str(fault)))
    return cleaned, faults


@cache
def time_zones() -> tuple[str, ...]:
    """Every time zone that a customer can have, sorted."""
    return tuple(sorted(zone for zone in available_timezones() if _possible(zone)))


def _cleaned(field: str, value: Any) -> str:
    cleaner = CLEANERS.get(field)
    if cleaner is None:
        shown = field[:100].encode("ascii", "backslashreplace").decode()
        raise InvalidField(shown, f"no such setting; there are {', '.join(CLEANERS)}")
    if not isinstance(value, str | None):
        raise InvalidField(field, "text is needed")
    if value is not None and len(value) > _LONGEST:
        raise InvalidField(field, "too long")
    return cleaner(value or "")


def _possible(zone: str) -> bool:
    try:
        validate_time_zone(zone)
    except InvalidField:
        return False
    return True
