"""Checks changes of a customer and applies them. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from cenergyd.customers.model import Customer
from cenergyd.errors import InvalidField

TEXT_FIELDS = ("name", "time_zone", "facility", "load", "solar", "logger_serial_number", "logger_password")


def normal_serial(serial: str) -> str:
    """A serial number as it is stored and compared."""
    return serial.strip().upper()


def is_storable(text: str) -> bool:
    """Whether a text can be encoded as UTF-8, as every store does."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_changes(changes: Mapping[str, object]) -> dict[str, Any]:
    """Changes as the stores need them: known fields only, each with its type, the serial number in upper case.

    Raises InvalidField. :mod:`cenergyd.customers.validation` says which values are acceptable beyond that.
    """
    checked: dict[str, object] = {}
    for field, value in changes.items():
        if field in TEXT_FIELDS:
            if not isinstance(value, str):
                raise InvalidField(field, "text is needed")
            if not is_storable(value):
                raise InvalidField(field, "text with a lone surrogate cannot be stored")
            checked[field] = normal_serial(value) if field == "logger_serial_number" else value
        elif field == "extensions":
            checked[field] = checked_extensions(value)
        else:
            raise InvalidField(field, "no such setting")
    return checked


def checked_extensions(changes: object) -> dict[str, object]:
    """Changes of extensions by key (None removes one), or InvalidField."""
    if not isinstance(changes, Mapping):
        raise InvalidField("extensions", "an object is needed")
    for key in changes:
        if not isinstance(key, str) or not key or key.startswith("$") or "." in key or "\0" in key:
            raise InvalidField("extensions", "a key must not be empty, begin with '$', or contain '.' or NUL")
    try:
        # Converting to JSON and back refuses NaN and leaves no tuples and no keys other than text.
        copy: dict[str, object] = json.loads(json.dumps(dict(changes), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidField("extensions", f"not JSON: {error}") from None
    return copy


MAX_EXTENSIONS_BYTES = 262_144
"""Maximum size of all extensions of a customer (history, tariff, alerts, ...), as JSON."""


def merged_extensions(extensions: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Extensions after checked changes. Raises InvalidField if their total size is too large."""
    both = {**extensions, **changes}
    result = {key: value for key, value in both.items() if value is not None}
    # Stored extensions may already be larger; then changes may only make them smaller.
    if _size(result) > max(MAX_EXTENSIONS_BYTES, _size(extensions)):
        raise InvalidField(
            "extensions", f"settings and history of a customer are limited to {MAX_EXTENSIONS_BYTES} bytes"
        )
    return result


def _size(extensions: Mapping[str, object]) -> int:
    return len(json.dumps(dict(extensions), separators=(",", ":")))


def changed(customer: Customer, checked: Mapping[str, Any]) -> Customer:
    """The customer after checked changes."""
    values = dict(checked)
    if "extensions" in values:
        values["extensions"] = merged_extensions(customer.extensions, values["extensions"])
    return attrs.evolve(customer, **values)


def normalised(customer: Customer) -> Customer:
    """A new customer as stored. Raises InvalidField."""
    values = {field: getattr(customer, field) for field in TEXT_FIELDS}
    checked = checked_changes({**values, "extensions": customer.extensions})
    return attrs.evolve(customer, **{**checked, "extensions": merged_extensions({}, checked["extensions"])})
