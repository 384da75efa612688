"""Converts alerts and tariff that an existing front end keeps in its documents to cenergyd's format. Pure functions.

The front end's fields are in :attr:`cenergyd.customers.model.Customer.existing`. They apply if the customer has no alerts, or no tariff, in
cenergyd. Parts that cannot be converted are left out and listed in notes, for the setup report and for ``cenergyd migrate``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from cenergyd.customers.model import Customer
from cenergyd.documents.json_types import JsonObject, ReadOnlyJson
from cenergyd.errors import InvalidField

NOMINAL_VOLTAGE = 120.0
"""Nominal voltage from which the front end's voltage threshold is a distance, V."""
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Understood(NamedTuple):
    """Settings in cenergyd's format, and notes on parts that could not be converted."""

    value: dict[str, object] | None
    """The settings as JSON; None if there are none."""
    notes: tuple[str, ...]


def existing_alerts(customer: Customer) -> Understood:
    """The front end's thresholds and receivers."""
    return _alerts(json.dumps(dict(customer.existing), sort_keys=True)) if customer.existing else Understood(None, ())


def existing_tariff(customer: Customer) -> Understood:
    """The front end's seasons, prices, holidays and billing periods."""
    return _tariff(json.dumps(dict(customer.existing), sort_keys=True)) if customer.existing else Understood(None, ())


def alerts_json(customer: Customer) -> object:
    """The customer's own alerts, otherwise the front end's; None if there are none."""
    stored = customer.extensions.get("alerts")
    return stored if stored is not None else existing_alerts(customer).value


def tariff_json(customer: Customer) -> object:
    """The customer's own tariff, otherwise the front end's; None if there is none."""
    stored = customer.extensions.get("tariff")
    return stored if stored is not None else existing_tariff(customer).value


def is_existing(customer: Customer, name: str) -> bool:
    """Whether the ``alerts`` or the ``tariff`` of a customer are the front end's."""
    found = existing_alerts(customer) if name == "alerts" else existing_tariff(customer)
    return customer.extensions.get(name) is None and found.value is not None


@lru_cache(maxsize=1024)
def _alerts(text: str) -> Understood:
    existing = json.loads(text)
    notes: list[str] = []
    if existing.get("too_large"):
        return Understood(None, ("its alerts and tariff are too large to read",))
    found: dict[str, object] = {}
    threshold = _number(existing, "one_minute_netload_avg_threshold", 0, 1e6, notes)
    if threshold:
        found["net_load"] = {"enabled": True, "threshold_kw": threshold}
    below = _number(existing, "power_factor_threshold", 0, 1, notes)
    if below:
        found["power_factor"] = {"enabled": True, "below": below}
    volts = _number(existing, "voltage_threshold", 0.12, NOMINAL_VOLTAGE, notes)
    if volts:
        percent = round(100 * volts / NOMINAL_VOLTAGE, 6)
        found["voltage"] = {"enabled": True, "nominal_voltage": NOMINAL_VOLTAGE, "percent": percent}
    channels = _channels(existing, notes)
    if channels:
        found["channels"] = channels
    if not found:
        return Understood(None, tuple(notes))
    minutes = _number(existing, "alert_frequency_in_minutes", 1, 43200, notes)
    if minutes:
        found["alert_frequency_in_minutes"] = int(minutes)
    return Understood(found, tuple(notes))


def _channels(existing: Mapping[str, object], notes: list[str]) -> list[dict[str, str]]:
    channels: list[dict[str, str]] = []
    for field, kind in (("alerts_emails", "email"), ("alerts_phones", "sms")):
        given = existing.get(field) or ()
        for address in given if isinstance(given, list) else [given]:
            to = str(address).strip() if kind == "email" else _phone(str(address))
            valid = re.fullmatch(r"[^@\s]+@[A-Za-z0-9.-]+" if kind == "email" else r"\+[1-9][0-9]{6,14}", to or "")
            if valid and len(channels) < 10:
                channels.append({"type": kind, "to": str(to)})
            else:
                notes.append(f"{field}: {'no more than 10 receivers are possible' if valid else 'one cannot be used'}")
    return channels


def _phone(text: str) -> str | None:
    digits = re.sub(r"[\s().-]", "", text)
    if digits.startswith("+"):
        return digits
    # The front end's SMS provider accepts North American numbers without a country code.
    return f"+1{digits[-10:]}" if re.fullmatch(r"1?[2-9][0-9]{9}", digits) else None


def _number(existing: Mapping[str, object], field: str, low: float, high: float, notes: list[str]) -> float | None:
    value = existing.get(field)
    if value is None or value == 0:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        notes.append(f"{field}: a number from {low:g} to {high:g} was expected")
        return None
    return value


@lru_cache(maxsize=1024)
def _tariff(text: str) -> Understood:
    existing = json.loads(text)
    if not isinstance(existing.get("seasons"), list):
        return Understood(None, ("seasons: a list was expected",) if "seasons" in existing else ())
    try:
        found = _ExistingTariff(existing).value()
    except (InvalidField, ValueError, KeyError, TypeError, AttributeError) as error:
        return Understood(None, (f"the tariff cannot be converted: {error}",))
    return Understood(found, ())


class _ExistingTariff:
    """Converts a front end's tariff part by part."""

    def __init__(self, existing: ReadOnlyJson) -> None:
        self._existing = existing
        self._seasons = [season for season in existing["seasons"] if isinstance(season, Mapping)]

    def value(self) -> JsonObject:
        """The tariff as JSON."""
        found: dict[str, object] = {"seasons": self._season_dates(), "schedules": [], "energy": []}
        for season in self._seasons:
            self._add_prices(found, season)
        days = [_day(each) for each in self._existing.get("holidays") or ()]
        if days:
            found["holidays"] = sorted({day.isoformat() for day in days})
        cycle = self._existing.get("read_cycle")
        periods = (cycle.get("billing_periods") or ()) if isinstance(cycle, Mapping) else ()
        dates = {_day(period[end]) for period in periods for end in ("start", "end") if period.get(end)}
        if dates:
            found["billing"] = {"dates": [day.isoformat() for day in sorted(dates)]}
        return found

    def _season_dates(self) -> list[dict[str, str]]:
        starts = {_day(season["start"]) for season in self._seasons}
        found = []
        for season in self._seasons:
            last = _moment(season["end"])
            # If this season ends at midnight of the day on which the next one starts, the day belongs to the next one.
            shared = last.time() == datetime.min.time() and any(
                (start.month, start.day) == (last.month, last.day) for start in starts
            )
            day = last.date() - timedelta(days=1) if shared else last.date()
            found.append({"name": _name(season), "from": f"{_day(season['start']):%m-%d}", "to": f"{day:%m-%d}"})
        return found

    def _add_prices(self, found: JsonObject, season: ReadOnlyJson) -> None:
        name, periods = _name(season), season.get("peak_periods") or ()
        for period in periods:
            found["schedules"] += _schedules(name, period)
            found["energy"].append(
                {"season": name, "period": _name(period), "import_per_kwh": str(period.get("energy_charge") or 0)}
            )
        demand = {str(period.get("demand_charge") or 0) for period in periods}
        everywhere = demand.pop() if len(demand) == 1 else None
        if everywhere not in (None, "0"):
            found.setdefault("demand", []).append({"season": name, "per_kw": everywhere})
        for period in periods:
            price = float(period.get("peak_demand_charge") or 0)
            if everywhere is None:
                price += float(period.get("demand_charge") or 0)
            if price:
                entry = {"season": name, "period": _name(period), "per_kw": f"{price:.10g}"}
                found.setdefault("peak_demand", []).append(entry)


def _schedules(season: str, period: ReadOnlyJson) -> list[dict[str, object]]:
    """A period's schedules: days with the same times are joined, and times over midnight are two entries of the same day."""
    days: dict[tuple[str, str], set[int]] = {}
    for entry in period.get("schedule") or ():
        start, end = _clock(entry["start"], end=False), _clock(entry["end"], end=True)
        parts = [(start, end)] if start < end else [(start, "24:00"), ("00:00", end)]
        for part in parts:
            if part[0] != part[1]:
                days.setdefault(part, set()).add(int(entry["day_of_week"]))
    return [
        {
            "season": season,
            "period": _name(period),
            "days": [_DAYS[day] for day in sorted(which)],
            "from": start,
            "to": end,
        }
        for (start, end), which in sorted(days.items())
    ]


def _clock(text: object, *, end: bool) -> str:
    """A wall-clock time HH:MM. An end such as 17:59:59 becomes the full minute after it."""
    hours, minutes, *seconds = (int(float(part)) for part in str(text).split(":"))
    if not (0 <= hours <= 24 and 0 <= minutes < 60):
        raise ValueError(f"{text!r} is no time of day")
    total = 60 * hours + minutes + (1 if end and seconds and seconds[0] else 0)
    return f"{total // 60:02d}:{total % 60:02d}"


def _name(part: Mapping[str, object]) -> str:
    return str(part["name"]).strip()


def _moment(text: object) -> datetime:
    return datetime.fromisoformat(str(text)).replace(tzinfo=None)


def _day(text: object) -> date:
    return _moment(text).date()
