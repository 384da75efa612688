"""MongoDB documents of customers, read in every shape they have had. Pure functions.

The collection belongs to the existing front end too. Ours are the top-level fields ``facility``, ``load``, ``solar``,
``logger_serial_number``, ``logger_password``, ``pending_since``, ``pending_until`` and the subdocument ``cenergyd``; the
older shape has lists of ``{id, api_key}`` in ``facility`` and ``solar``. Anything may be missing, None or a number.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import bson
from bson import CodecOptions, ObjectId
from bson.binary import UuidRepresentation
from bson.errors import BSONError

from cenergyd.customers.model import Customer, Window
from cenergyd.customers.validation import is_time_zone

OWN = "cenergyd"
METER_FIELDS = ("facility", "load", "solar")
PATHS: Mapping[str, str] = {
    "name": f"{OWN}.name",
    "time_zone": f"{OWN}.time_zone",
    "facility": "facility",
    "load": "load",
    "solar": "solar",
    "logger_serial_number": "logger_serial_number",
    "logger_password": "logger_password",
}
"""Field of Customer -> path in the document."""
EXTENSIONS = f"{OWN}.extensions"
MIGRATED = f"{OWN}.migrated"
"""What ours replaced (older shapes with their api keys), by field."""
PROJECTION = [
    "name", "time_zone", *METER_FIELDS, "logger_serial_number", "logger_password",
    "pending_since", "pending_until", f"{OWN}.name", f"{OWN}.time_zone", EXTENSIONS,
]  # fmt: skip
"""What :func:`customer_of` needs."""
DEFAULT_TIME_ZONE = "UTC"
_CODEC: CodecOptions[dict[str, Any]] = CodecOptions(uuid_representation=UuidRepresentation.STANDARD)


def id_text(value: Any) -> str:
    """A document's ``_id`` as the text that names the customer; :func:`id_value` finds the way back."""
    if isinstance(value, ObjectId):
        return str(value)
    if isinstance(value, str):
        return f"~s{value}" if ObjectId.is_valid(value) or value.startswith("~") or not value else value
    return "~b" + urlsafe_b64encode(bson.encode({"": value}, codec_options=_CODEC)).decode().rstrip("=")


def id_value(text: str) -> Any:
    """The ``_id`` that :func:`id_text` made a text of; a text that it never made is its own."""
    if text.startswith("~s"):
        return text[2:]
    if text.startswith("~b"):
        try:
            return bson.decode(urlsafe_b64decode(text[2:] + "=" * (-len(text[2:]) % 4)), _CODEC)[""]
        except (BSONError, ValueError, KeyError):
            return text
    return ObjectId(text) if len(text) == 24 and ObjectId.is_valid(text) else text


def text_of(value: Any) -> str:
    """A text field that may hold a number or nothing."""
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() if isinstance(value, str | int | float) else ""


def password_of(value: Any) -> str:
    """A password field: like a text field, but blanks count."""
    return value if isinstance(value, str) else text_of(value)


def meter_of(value: Any) -> str:
    """A meter id from any shape: text, number, ``{id, api_key}``, or a list of those, of which the first counts."""
    if isinstance(value, list | tuple):
        found = [meter for meter in map(meter_of, value) if meter]
        return found[0] if found else ""
    if isinstance(value, Mapping):
        return meter_of(value.get("id"))
    text = text_of(value)
    return (text.lstrip("0") or "0") if text.isdecimal() else text


def time_of(value: Any) -> int | None:
    """A time field, UTC seconds, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value)


def end_of(stored_until: Any) -> int | None:
    """The exclusive end of a stored window, or None. Windows are stored as ever: ``since`` and ``until``, both inclusive."""
    until = time_of(stored_until)
    return None if until is None else until + 1


def json_of(value: Any) -> Any:
    """A stored value as JSON: what JSON lacks becomes text."""
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


def customer_of(document: Mapping[str, Any]) -> Customer:
    """The customer in a document of any shape."""
    own = _mapping(document.get(OWN))
    extensions = _mapping(own.get("extensions"))
    return Customer(
        id=id_text(document["_id"]),
        name=text_of(own.get("name")) or text_of(document.get("name")),
        time_zone=text_of(own.get("time_zone")) or _foreign_zone(document) or DEFAULT_TIME_ZONE,
        facility=meter_of(document.get("facility")),
        load=meter_of(document.get("load")),
        solar=meter_of(document.get("solar")),
        logger_serial_number=text_of(document.get("logger_serial_number")).upper(),
        logger_password=password_of(document.get("logger_password")),
        extensions={str(key): json_of(value) for key, value in extensions.items() if value is not None},
        pending_start=time_of(document.get("pending_since")),
        pending_end=end_of(document.get("pending_until")),
    )


def document_of(customer: Customer) -> dict[str, Any]:
    """A new document of a customer, without ``_id``."""
    own = {"name": customer.name, "time_zone": customer.time_zone, "extensions": dict(customer.extensions)}
    fields = {field: getattr(customer, field) for field, path in PATHS.items() if "." not in path}
    return {**fields, OWN: own}


def value_at(document: Mapping[str, Any], path: str) -> Any:
    """What is at a dotted path, None where nothing is."""
    value: Any = document
    for key in path.split("."):
        value = _mapping(value).get(key)
    return value


def observed(document: Mapping[str, Any]) -> dict[str, Any]:
    """A filter that matches the document only while our settings in it are as they were read."""
    paths = (*PATHS.values(), "name", "time_zone", EXTENSIONS)
    return {"_id": document["_id"], **{path: _exactly(value_at(document, path)) for path in paths}}


def widened(document: Mapping[str, Any], pending: Window) -> tuple[dict[str, Any], dict[str, Any]]:
    """What widens the pending window of derivation as it is in the document: an addition to the filter, and to ``$set``.

    By comparing and not by ``$min`` and ``$max``, which keep a null that a front end has written.
    """
    since, until = time_of(document.get("pending_since")), time_of(document.get("pending_until"))
    query = {path: _exactly(document.get(path)) for path in ("pending_since", "pending_until")}
    return query, {
        "pending_since": pending.start if since is None else min(since, pending.start),
        "pending_until": pending.end - 1 if until is None else max(until, pending.end - 1),
    }


def _exactly(value: Any) -> Any:
    # A mapping by itself could be read as operators.
    return {"$eq": value} if isinstance(value, Mapping) else value


def update_of(document: Mapping[str, Any], checked: Mapping[str, Any]) -> dict[str, Any]:
    """MongoDB's update for checked changes. An older shape that is replaced is kept aside."""
    sets: dict[str, Any] = {}
    unsets: dict[str, Any] = {}
    for field, value in checked.items():
        if field == "extensions":
            for key, extension in value.items():
                if extension is None:
                    unsets[f"{EXTENSIONS}.{key}"] = ""
                else:
                    sets[f"{EXTENSIONS}.{key}"] = extension
            continue
        sets[PATHS[field]] = value
        old = document.get(field)
        if field in METER_FIELDS and isinstance(old, list | Mapping) and old:
            sets[f"{MIGRATED}.{field}"] = old
    return {operator: fields for operator, fields in (("$set", sets), ("$unset", unsets)) if fields}


def _foreign_zone(document: Mapping[str, Any]) -> str:
    zone = text_of(document.get("time_zone"))
    return zone if is_time_zone(zone) else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
