"""Links in the header and tabs of a customer. A new page is added here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

from cenergyd.customers.model import Customer
from cenergyd.jobs.site_state.model import IssueKind
from cenergyd.web.access.auth import Principal


class Link(NamedTuple):
    """One link."""

    key: str
    text: str
    path: str


MAIN = (
    Link("overview", "Customers", "/overview"),
    Link("rejected", "Rejected loggers", "/rejected"),
    Link("access", "Access", "/access"),
    Link("plugins", "Plugins", "/plugins"),
    Link("stores", "Stores", "/stores"),
)
"""For operators."""

TABS = (
    Link("power", "Power", "power"),
    Link("energy", "Energy", "energy"),
    Link("charges", "Charges", "charges"),
    Link("settings", "Settings", "settings"),
    Link("meters", "Meters", "meters"),
    Link("tariff", "Tariff", "tariff"),
    Link("alerts", "Alerts", "alerts"),
    Link("doctor", "Check", "doctor"),
)
"""Of a customer: paths below ``/customers/<id>/``."""

_TAB = {each.key: each for each in TABS}
ISSUE_TABS: Mapping[IssueKind, Link] = {
    "logger_silent": _TAB["settings"],
    "never_uploaded": _TAB["settings"],
    "settings_incomplete": _TAB["settings"],
    "waiting": _TAB["settings"],
    "meter_error": _TAB["doctor"],
    "meter_stopped": _TAB["doctor"],
    "solar_zero": _TAB["doctor"],
    "meter_not_understood": _TAB["meters"],
    "not_computed": _TAB["meters"],
    "computing": _TAB["meters"],
}
"""The tab that helps with an issue."""

OPERATOR_TABS = (Link("customer-access", "Access", "access"),)
"""For operators beside them."""


def main_links(caller: Principal | None) -> tuple[Link, ...]:
    """The header's links for a caller."""
    return MAIN if caller is not None and caller.is_operator else ()


def customer_tabs(customer: Customer, caller: Principal | None) -> tuple[Link, ...]:
    """The tabs of a customer's pages."""
    base = f"/customers/{quote(customer.id, safe='')}"
    shown = (*TABS, *OPERATOR_TABS) if caller is not None and caller.is_operator else TABS
    return tuple(Link(tab.key, tab.text, f"{base}/{tab.path}") for tab in shown)
