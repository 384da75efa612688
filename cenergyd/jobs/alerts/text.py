"""The texts of alerts: subject and body, with times in the customer's zone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cenergyd.acquisuite.error_codes import error_meaning
from cenergyd.customers.model import MISSING_METER, SUM, Customer, Role
from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.jobs.alerts.rules import (
    NOT_UNDERSTOOD,
    AlertSettings,
    NetLoadRule,
    PowerFactorRule,
    SilentLoggerRule,
    StuckMeterRule,
    VoltageRule,
)
from cenergyd.jobs.alerts.state import AlertEvent
from cenergyd.jobs.messages.site_name import site_name

ROLE_WORDS: Mapping[Role, str] = {"utility": "utility (grid)", "load": "load", "solar": "solar"}
_TITLES: Mapping[str, str] = {
    "net_load": "net load is high",
    "power_factor": "power factor is low",
    "voltage": "voltage is out of range",
    "silent_logger": "the logger is silent",
    "stuck_meter": "a meter is stuck",
    "implausible": "readings are implausible",
    "missed_upload": "the logger is silent",
    "stopped_meter": "a meter has stopped",
    "solar_zero": "no solar power by day",
    "not_computed": "a meter is not computed",
    "meter_not_understood": "a meter's columns are unknown",
}


_SITE_WORDS: Mapping[str, str] = {
    "missed_upload": "The logger {serial} has missed the time at which it usually uploads. Check its power and network.",
    "stopped_meter": "The {role} meter gives no readings though its logger uploads. Check its power, Modbus wiring and address.",
    "solar_zero": "Solar gives no power although the sun is up, unlike on previous days. Check inverter, breaker and fuses.",
    "meter_not_understood": "Logs of the {role} meter are kept unread because its columns are not known. Choose them on the Meters page.",
    "not_computed": "Both other meters have readings, but {role} is not computed. See the Check page.",
}


class PluginAlertText(NamedTuple):
    """A plugin's texts for its own alert."""

    title: str
    """What the alert is called, for the subject."""
    what: str
    """The problem, as a sentence."""


class Message(NamedTuple):
    """Subject and text of a notification."""

    subject: str
    text: str


def local_time_text(time: int, zone: ZoneInfo) -> str:
    """A time as people at the site read it: ``Tue 24 Nov 2026, 14:05 PST``."""
    local = datetime.fromtimestamp(time, UTC).astimezone(zone)
    return f"{local:%a} {local.day} {local:%b %Y, %H:%M %Z}"


def plain(value: float, digits: int = 2) -> str:
    """A number for display: at most this many digits after the point, without exponent."""
    text = f"{value:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def write_message(
    customer: Customer,
    settings: AlertSettings,
    kind: str,
    series: str,
    event: AlertEvent,
    *,
    words: PluginAlertText | None = None,
) -> Message:
    """The message for an event of an alert; ``words`` are the texts of a plugin's alert."""
    zone = zone_or_utc(customer.time_zone)
    site = site_name(customer)
    begin, end = local_time_text(event.since, zone), local_time_text(event.until, zone)
    what = words.what if words is not None else _what(customer, settings, kind, series, event)
    title = words.title if words is not None else _TITLES.get(kind, kind)
    if event.transition == "resolved":
        subject, first = f"Alert over: {title} at {site}", f"This is over. It lasted from {begin} to {end}."
    elif event.transition == "passed":
        subject, first = f"Alert: {title} at {site} (already over)", f"It lasted from {begin} to {end} and is over."
    elif event.transition == "reminder":
        subject, first = f"Alert continues: {title} at {site}", f"It has lasted since {begin}."
    else:
        subject, first = f"Alert: {title} at {site}", f"It began on {begin}."
    again = settings.frequency_seconds(kind) // 60
    last = f"You get at most one message about this in {again} minutes, and one when it is over."
    return Message(subject, f"{what}\n{first}\n\nSite: {site}\n{device_words(customer, series)}\n\n{last}\n")


def _what(customer: Customer, settings: AlertSettings, kind: str, series: str, event: AlertEvent) -> str:
    rule = settings.rule(kind)
    value = 0.0 if event.value is None else event.value
    role = role_words(customer, series)
    if isinstance(rule, NetLoadRule):
        return (
            f"The net load rose to {plain(value)} kW (1-minute mean); the threshold is {plain(rule.threshold_kw)} kW."
        )
    if isinstance(rule, PowerFactorRule):
        return f"The power factor of the {role} meter fell to {value:.3f}; the threshold is {rule.below:g}."
    if isinstance(rule, VoltageRule):
        low, high = (rule.nominal_voltage * (1 + sign * rule.percent / 100) for sign in (-1, 1))
        return f"The voltage of the {role} meter was {plain(value)} V; it should be between {plain(low, 1)} and {plain(high, 1)} V."
    if isinstance(rule, SilentLoggerRule):
        return (
            f"The logger {customer.logger_serial_number} has sent nothing for {rule.after_minutes} minutes or more. "
            "Check its power and network."
        )
    if isinstance(rule, StuckMeterRule):
        return (
            f"The {role} meter has repeated exactly the same values ({plain(value)} kW) for {rule.after_minutes} minutes or more. "
            "Check the meter and its Modbus wiring."
        )
    if kind == NOT_UNDERSTOOD and customer.role_of(series) is None:
        return (
            f"Logs of meter {series.partition('_')[2]}, which has no role, are kept unread because its columns are not known. "
            "Choose them on the Meters page, or say there that it is not a power meter."
        )
    if kind in _SITE_WORDS:
        error = f" Its log has error {event.value:.0f} ({error_meaning(int(event.value))})." if event.value else ""
        return _SITE_WORDS[kind].format(role=role, serial=customer.logger_serial_number) + error
    return (
        f"The {role} meter shows {plain(value)} kW, which is impossible. "
        "Probably two meters are swapped or a CT is reversed; see the Check page."
    )


def role_words(customer: Customer, series: str) -> str:
    """What a series measures, in words."""
    role = customer.role_of(series)
    return ROLE_WORDS[role] if role else "unassigned"


def device_words(customer: Customer, series: str) -> str:
    """The logger or meter that an alert is about, as a person knows it: ``Meter: 2, solar``."""
    serial, _, name = series.partition("_")
    if not name:
        return f"Logger: {serial}"
    role = customer.role_of(series)
    what = f", {ROLE_WORDS[role]}" if role else ""
    if name == MISSING_METER:
        name = "computed"
    elif role and name == f"{role}_{SUM}":
        name = f"the sum {customer.current.meter_of(role)}"
    return f"Meter: {name}{what}" + (f" of logger {serial}" if serial != customer.logger_serial_number else "")
