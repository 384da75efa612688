"""Validates a stored customer's settings, whichever program wrote them. Pure functions."""

from __future__ import annotations

from cenergyd.customers.fields import clean_settings, clean_time_zone
from cenergyd.customers.meter_sum import fault_of
from cenergyd.customers.model import FIELD_OF_ROLE, Customer
from cenergyd.customers.passwords import is_hash
from cenergyd.errors import InvalidField


def faults_of(customer: Customer) -> list[InvalidField]:
    """Errors for all stored values that would not be accepted as input."""
    given = {
        "name": customer.name,
        "time_zone": customer.time_zone,
        "logger_serial_number": customer.logger_serial_number,
        "logger_password": "" if is_hash(customer.logger_password) else customer.logger_password,
    }
    cleaned, faults = clean_settings(given)
    faults.extend(
        InvalidField(field, "has surrounding blanks or lower-case letters")
        for field, value in cleaned.items()
        if value != given[field] and given[field]
    )
    for field in FIELD_OF_ROLE.values():
        if fault := fault_of(getattr(customer, field)):
            faults.append(InvalidField(field, fault))
    return faults


def is_time_zone(zone: str) -> bool:
    """Whether a text is an IANA time zone that this machine knows."""
    try:
        return bool(zone) and clean_time_zone(zone) == zone
    except InvalidField:
        return False
