"""Checks whether an existing front end's alerts and tariff are valid in cenergyd's format, for the setup report and ``cenergyd migrate``."""

from __future__ import annotations

from collections.abc import Callable

from cenergyd.customers.model import Customer
from cenergyd.errors import InvalidField
from cenergyd.jobs.alerts.rules import parse_alerts
from cenergyd.jobs.front_end_settings import Understood, existing_alerts, existing_tariff
from cenergyd.jobs.tariff.parsing import tariff_from_json


def usable_settings(customer: Customer) -> dict[str, Understood]:
    """The front end's ``alerts`` and ``tariff`` if the customer has none of their own; without value if they are invalid."""
    found = {
        "alerts": _checked(existing_alerts(customer), parse_alerts),
        "tariff": _checked(existing_tariff(customer), tariff_from_json),
    }
    return {name: understood for name, understood in found.items() if customer.extensions.get(name) is None}


def problems_of(customer: Customer) -> list[str]:
    """Errors in the front end's settings: parts that cannot be converted or are invalid."""
    return [note for understood in usable_settings(customer).values() for note in understood.notes]


def _checked(understood: Understood, parse: Callable[[object], object]) -> Understood:
    if understood.value is None:
        return understood
    try:
        parse(understood.value)
    except InvalidField as error:
        return Understood(None, (*understood.notes, f"{error.field}: {error}"))
    return understood
