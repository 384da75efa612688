"""The existing front end's documents of customers, read in every format they have had. Pure functions.

The front end owns them. cenergyd writes only :data:`AGREED_FIELDS`, and only when somebody changes them through cenergyd. Any field
may be missing, None, or a number instead of text; earlier, ``facility`` and ``solar`` were lists of ``{id, api_key}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cenergyd.customers.meter_sum import InvalidSum, is_sum, normal_sum
from cenergyd.customers.validation import is_time_zone

METER_FIELDS = ("facility", "load", "solar")
SERIAL, PASSWORD = "logger_serial_number", "logger_password"
AGREED_FIELDS = (*METER_FIELDS, SERIAL, PASSWORD)
"""The fields that the front end and cenergyd both write."""
SETTINGS = (*AGREED_FIELDS, "name", "time_zone")
"""Fields of Customer that are read from a shared document."""
_NAMES = ("facility_name", "name", "username")
_ZONES = ("timezone", "time_zone")
ALERT_FIELDS = (
    "one_minute_netload_avg_threshold", "power_factor_threshold", "voltage_threshold",
    "alerts_emails", "alerts_phones", "alert_frequency_in_minutes",
)  # fmt: skip
TARIFF_FIELDS = ("seasons", "holidays", "read_cycle")
MAX_EXISTING_BYTES = 65536
"""Maximum size, as JSON, of one customer's alerts and tariff in the front end's format; larger ones are not read."""
PREVIOUS_OWN = "cenergyd"
PREVIOUS_FIELDS = (PREVIOUS_OWN, "pending_since", "pending_until")
"""Where earlier versions of cenergyd kept their own state in these documents."""
PROJECTION = [*AGREED_FIELDS, *_NAMES, *_ZONES, *ALERT_FIELDS, *TARIFF_FIELDS, *PREVIOUS_FIELDS]
"""The fields that are read from a document."""
DEFAULT_TIME_ZONE = "UTC"


def settings_of(document: Mapping[str, object]) -> dict[str, str]:
    """The document's :data:`SETTINGS` in the present format."""
    names = (text_of(document.get(field)) for field in _NAMES)
    zones = (text_of(document.get(field)) for field in _ZONES)
    return {
        **{field: meter_of(document.get(field)) for field in METER_FIELDS},
        SERIAL: text_of(document.get(SERIAL)).upper(),
        PASSWORD: password_of(document.get(PASSWORD)),
        "name": next(filter(None, names), ""),
        "time_zone": next(filter(is_time_zone, zones), DEFAULT_TIME_ZONE),
    }


def existing_of(document: Mapping[str, object]) -> dict[str, object]:
    """The alerts and tariff that the front end keeps, as JSON in its own format; empty if there are none."""
    found = {field: json_of(document.get(field)) for field in (*ALERT_FIELDS, *TARIFF_FIELDS)}
    found = {field: value for field, value in found.items() if value not in (None, "", [], {})}
    if set(found) <= {"alert_frequency_in_minutes"}:
        return {}  # the front end's default value, which has no meaning on its own
    return found if len(json.dumps(found)) <= MAX_EXISTING_BYTES else {"too_large": True}


def observed(document: Mapping[str, object]) -> dict[str, object]:
    """A filter that matches the document only while its agreed fields are as they were read."""
    return {"_id": document["_id"], **{field: _exactly(document.get(field)) for field in AGREED_FIELDS}}


def agreed_update(document: Mapping[str, object], changes: Mapping[str, str]) -> dict[str, object]:
    """MongoDB's update of a shared document for changes of agreed fields.

    A field that is absent stays absent if that means the same. A serial number that is cleared is removed, because two empty ones
    could violate a unique index of the front end.
    """
    sets: dict[str, object] = {}
    unsets: dict[str, object] = {}
    for field, value in changes.items():
        if field == SERIAL and not value:
            if field in document:
                unsets[field] = ""
        elif value or document.get(field) not in (None, ""):
            sets[field] = value
    return {operator: fields for operator, fields in (("$set", sets), ("$unset", unsets)) if fields}


def text_of(value: object) -> str:
    """A text field that may hold a number or nothing."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | float) else ""


def password_of(value: object) -> str:
    """A password field: like a text field, but blanks are kept."""
    return value if isinstance(value, str) else text_of(value)


def meter_of(value: object) -> str:
    """A meter id, or a sum of meters, from any format: text, number, ``{id, api_key}``, or a list of those, of which the first is used."""
    if isinstance(value, list | tuple):
        found = [meter for meter in map(meter_of, value) if meter]
        return found[0] if found else ""
    if isinstance(value, Mapping):
        return meter_of(value.get("id"))
    text = text_of(value)
    if is_sum(text):
        try:
            return normal_sum(text)
        except InvalidSum:
            return text  # the error is reported with the customer's settings
    return (text.lstrip("0") or "0") if text.isdecimal() else text


def json_of(value: object) -> Any:
    """A stored value as JSON; types that JSON lacks become text."""
    if isinstance(value, Mapping):
        return {str(key): json_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_of(item) for item in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value.isoformat() if isinstance(value, datetime) else str(value)


def json_text(value: object) -> str:
    """A stored value as JSON text."""
    return json.dumps(json_of(value))


def mapping_of(value: object) -> Mapping[str, object]:
    """A subdocument; empty if there is none."""
    return value if isinstance(value, Mapping) else {}


def _exactly(value: object) -> object:
    # Without $eq, the keys of a mapping could be taken for operators.
    return {"$eq": value} if isinstance(value, Mapping) else value
