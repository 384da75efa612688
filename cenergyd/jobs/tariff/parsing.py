"""Tariffs from and to JSON; the shape is described in :mod:`cenergyd.jobs.tariff.model`.

Whatever is wrong raises InvalidField, whose ``field`` leads to the entry: ``tariff.schedules[2].from``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, NoReturn

from cenergyd.customers.model import Customer
from cenergyd.errors import InvalidField
from cenergyd.jobs.tariff.model import (
    DAYS,
    Billing,
    DemandPrice,
    EnergyPrice,
    HolidayRule,
    Schedule,
    Season,
    Tariff,
)

MAX_ENTRIES = 500
"""Entries in any list of a tariff."""
MAX_NAME = 40
ALL = "all"
"""The name of the one season, or period, where none are given."""
LARGEST_PRICE = Decimal(1_000_000)

_MONTH_DAY = re.compile(r"([0-9]{2})-([0-9]{2})\Z")
_CLOCK = re.compile(r"([0-9]{2}):([0-9]{2})\Z")
_NAME = re.compile(rf"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]{{0,{MAX_NAME - 2}}}[^\s\x00-\x1f\x7f])?\Z")
_LEAP_YEAR = 2024
_KEYS = (
    "currency", "seasons", "schedules", "holidays", "energy", "demand", "peak_demand", "fixed", "billing",
)  # fmt: skip


def tariff_of(customer: Customer) -> Tariff | None:
    """A customer's tariff, None where none is set; raises InvalidField where the stored one is not valid."""
    stored = customer.extensions.get("tariff")
    return _cached(json.dumps(stored, sort_keys=True)) if stored is not None else None


@lru_cache(maxsize=512)
def _cached(text: str) -> Tariff:
    return tariff_from_json(json.loads(text))


def tariff_from_json(value: Any, path: str = "tariff") -> Tariff:
    """Read and check a tariff.

    :param path: how the errors' fields begin.
    :raises InvalidField: the first thing that is wrong.
    """
    body = _object(value, path, _KEYS)
    seasons = _seasons(body.get("seasons"), f"{path}.seasons")
    names = [season.name for season in seasons]
    schedules = _schedules(body.get("schedules"), f"{path}.schedules", names)
    holidays, rules = _holidays(body.get("holidays"), f"{path}.holidays")
    known = {(schedule.season, schedule.period) for schedule in schedules}
    return Tariff(
        currency=_currency(body.get("currency", "USD"), f"{path}.currency"),
        seasons=seasons,
        schedules=schedules,
        holidays=holidays,
        holiday_rules=rules,
        energy=_energy(body.get("energy"), f"{path}.energy", known),
        demand=_demand(body.get("demand"), f"{path}.demand", names),
        peak_demand=_peak_demand(body.get("peak_demand"), f"{path}.peak_demand", known),
        fixed=_price(body.get("fixed", "0"), f"{path}.fixed"),
        billing=_billing(body.get("billing"), f"{path}.billing"),
    )


def tariff_to_json(tariff: Tariff) -> dict[str, Any]:
    """The tariff with every key, amounts as text; reading it gives the same tariff."""
    billing = tariff.billing
    return {
        "currency": tariff.currency,
        "seasons": [{"name": s.name, "from": _md(s.first), "to": _md(s.last)} for s in tariff.seasons],
        "schedules": [
            {"season": s.season, "period": s.period, "days": list(s.days), "from": _hm(s.start), "to": _hm(s.end)}
            for s in tariff.schedules
        ],
        "holidays": [
            *(day.isoformat() for day in tariff.holidays),
            *(_rule_to_json(rule) for rule in tariff.holiday_rules),
        ],
        "energy": [
            {
                "season": e.season,
                "period": e.period,
                "import_per_kwh": str(e.import_per_kwh),
                "export_per_kwh": str(e.export_per_kwh),
            }
            for e in tariff.energy
        ],
        "demand": [{"season": d.season, "per_kw": str(d.per_kw)} for d in tariff.demand],
        "peak_demand": [{"season": d.season, "period": d.period, "per_kw": str(d.per_kw)} for d in tariff.peak_demand],
        "fixed": str(tariff.fixed),
        "billing": {"dates": [day.isoformat() for day in billing.dates]}
        if billing.dates
        else {"day_of_month": billing.day_of_month},
    }


def _fail(path: str, message: str) -> NoReturn:
    raise InvalidField(path, message)


def _object(value: Any, path: str, keys: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        _fail(path, "an object is needed")
    for key in value:
        if key not in keys:
            _fail(f"{path}.{key}", f"there is no such key; there are {', '.join(keys)}")
    return value


def _list(value: Any, path: str) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        _fail(path, "a list is needed")
    if len(value) > MAX_ENTRIES:
        _fail(path, f"at most {MAX_ENTRIES} entries are allowed")
    return value


def _currency(value: Any, path: str) -> str:
    if not isinstance(value, str) or not re.match(r"[A-Z]{3}\Z", value):
        _fail(path, "a currency code of three capital letters is needed, such as USD")
    return value


def _name(value: Any, path: str) -> str:
    if not isinstance(value, str) or not _NAME.match(value):
        _fail(path, f"a name of 1 to {MAX_NAME} characters is needed")
    return value


def _one_of(value: Any, path: str, names: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in names:
        _fail(path, f"one of {', '.join(names)} is needed")
    return value


def _whole(value: Any, path: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        _fail(path, f"a whole number from {low} to {high} is needed")
    return value


def _price(value: Any, path: str) -> Decimal:
    """A price; a JSON number is taken as it is written (0.1 is a tenth)."""
    wrong = "a price is needed: a number from 0 to 1000000, such as 0.25"
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal) or len(str(value)) > MAX_NAME:
        _fail(path, wrong)
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        _fail(path, wrong)
    if not price.is_finite() or not 0 <= price <= LARGEST_PRICE:
        _fail(path, wrong)
    return price


def _seasons(value: Any, path: str) -> tuple[Season, ...]:
    entries = _list(value, path)
    if not entries:
        return (Season(ALL, (1, 1), (12, 31)),)
    seasons: list[Season] = []
    for index, entry in enumerate(entries):
        where = f"{path}[{index}]"
        body = _object(entry, where, ("name", "from", "to"))
        name = _name(body.get("name"), f"{where}.name")
        if any(season.name == name for season in seasons):
            _fail(f"{where}.name", f"there is a season {name} already")
        first = _month_day(body.get("from"), f"{where}.from")
        seasons.append(Season(name, first, _month_day(body.get("to"), f"{where}.to")))
    _check_year(seasons, path)
    return tuple(seasons)


def _check_year(seasons: Sequence[Season], path: str) -> None:
    day = date(_LEAP_YEAR, 1, 1)
    while day.year == _LEAP_YEAR:
        holding = [index for index, season in enumerate(seasons) if season.holds(day.month, day.day)]
        if not holding:
            _fail(path, f"{_md((day.month, day.day))} belongs to no season")
        if len(holding) > 1:
            names = " and to ".join(seasons[index].name for index in holding[:2])
            _fail(f"{path}[{holding[1]}]", f"{_md((day.month, day.day))} belongs to {names}")
        day += timedelta(days=1)


def _month_day(value: Any, path: str) -> tuple[int, int]:
    match = _MONTH_DAY.match(value) if isinstance(value, str) else None
    if match:
        try:
            day = date(_LEAP_YEAR, int(match[1]), int(match[2]))
        except ValueError:
            match = None
        else:
            return day.month, day.day
    _fail(path, "a day of the year is needed as MM-DD, such as 06-01")


def _schedules(value: Any, path: str, seasons: Sequence[str]) -> tuple[Schedule, ...]:
    entries = _list(value, path)
    if not entries:
        return tuple(Schedule(season, ALL, DAYS[:7], 0, 1440) for season in seasons)
    schedules = [_schedule(entry, f"{path}[{index}]", seasons) for index, entry in enumerate(entries)]
    for season in seasons:
        mine = [(index, schedule) for index, schedule in enumerate(schedules) if schedule.season == season]
        for day in DAYS:
            ranges = sorted((s.start, s.end, index) for index, s in mine if day in s.days)
            if ranges or day != "holiday":  # holidays follow Sundays where not named
                _check_day(ranges, path, f"{season}, {day}")
    return tuple(schedules)


def _schedule(entry: Any, where: str, seasons: Sequence[str]) -> Schedule:
    body = _object(entry, where, ("season", "period", "days", "from", "to"))
    season = _one_of(body.get("season"), f"{where}.season", seasons)
    period = _name(body.get("period"), f"{where}.period")
    days = _list(body.get("days"), f"{where}.days")
    if not days:
        _fail(f"{where}.days", f"some of {', '.join(DAYS)} are needed")
    for position, day in enumerate(days):
        _one_of(day, f"{where}.days[{position}]", DAYS)
    start = _clock(body.get("from", "00:00"), f"{where}.from")
    end = _clock(body.get("to", "24:00"), f"{where}.to")
    if end <= start:
        _fail(f"{where}.to", "it must be after 'from'; a time over midnight needs two entries")
    return Schedule(season, period, tuple(day for day in DAYS if day in days), start, end)


def _check_day(ranges: Sequence[tuple[int, int, int]], path: str, what: str) -> None:
    reached = 0
    for start, end, index in ranges:
        if start > reached:
            _fail(path, f"{what}: no period holds from {_hm(reached)} to {_hm(start)}")
        if start < reached:
            _fail(f"{path}[{index}]", f"{what}: another period holds already from {_hm(start)}")
        reached = end
    if reached < 1440:
        _fail(path, f"{what}: no period holds from {_hm(reached)} to 24:00")


def _clock(value: Any, path: str) -> int:
    match = _CLOCK.match(value) if isinstance(value, str) else None
    minutes = int(match[1]) * 60 + int(match[2]) if match and int(match[2]) < 60 else -1
    if not 0 <= minutes <= 1440:
        _fail(path, "a time of day is needed as HH:MM, from 00:00 to 24:00")
    if minutes % 15:
        _fail(path, "a full quarter of an hour is needed, as demand is measured over those")
    return minutes


def _holidays(value: Any, path: str) -> tuple[tuple[date, ...], tuple[HolidayRule, ...]]:
    dates: set[date] = set()
    rules: list[HolidayRule] = []
    for index, entry in enumerate(_list(value, path)):
        where = f"{path}[{index}]"
        if isinstance(entry, str):
            dates.add(_date(entry, where))
        else:
            rules.append(_rule(entry, where))
    return tuple(sorted(dates)), tuple(rules)


def _rule(entry: Any, where: str) -> HolidayRule:
    body = _object(entry, where, ("month", "day", "observed", "weekday", "nth"))
    month = _whole(body.get("month"), f"{where}.month", 1, 12)
    if "day" in body:
        if "weekday" in body or "nth" in body:
            _fail(where, "either day, or weekday and nth are needed")
        day = _whole(body["day"], f"{where}.day", 1, 31)
        _month_day(f"{month:02d}-{day:02d}", f"{where}.day")
        observed = body.get("observed", False)
        if not isinstance(observed, bool):
            _fail(f"{where}.observed", "true or false is needed")
        return HolidayRule(month, day=day, observed=observed)
    if "observed" in body:
        _fail(f"{where}.observed", "it needs a day")
    weekday = DAYS.index(_one_of(body.get("weekday"), f"{where}.weekday", DAYS[:7]))
    nth = _whole(body.get("nth"), f"{where}.nth", -5, 5)
    if nth == 0:
        _fail(f"{where}.nth", "1 to 5, or -1 to -5 from the end of the month is needed")
    return HolidayRule(month, weekday=weekday, nth=nth)


def _rule_to_json(rule: HolidayRule) -> dict[str, Any]:
    if rule.nth:
        return {"month": rule.month, "weekday": DAYS[rule.weekday], "nth": rule.nth}
    return {"month": rule.month, "day": rule.day, "observed": rule.observed}


def _date(value: Any, path: str) -> date:
    if isinstance(value, str) and re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", value):
        try:
            found = date.fromisoformat(value)
        except ValueError:
            pass
        else:
            if 1971 <= found.year <= 2200:
                return found
    _fail(path, "a date is needed as YYYY-MM-DD")


def _energy(value: Any, path: str, known: set[tuple[str, str]]) -> tuple[EnergyPrice, ...]:
    prices: dict[tuple[str, str], EnergyPrice] = {}
    for index, entry in enumerate(_list(value, path)):
        where = f"{path}[{index}]"
        body = _object(entry, where, ("season", "period", "import_per_kwh", "export_per_kwh"))
        key = _season_period(body, where, known)
        if key in prices:
            _fail(where, f"there is a price for {key[0]}, {key[1]} already")
        prices[key] = EnergyPrice(
            *key,
            _price(body.get("import_per_kwh"), f"{where}.import_per_kwh"),
            _price(body.get("export_per_kwh", "0"), f"{where}.export_per_kwh"),
        )
    missing = sorted(known - prices.keys())
    if prices and missing:
        _fail(path, f"there is no price for {missing[0][0]}, {missing[0][1]}")
    return tuple(prices.values())


def _season_period(body: Mapping[str, Any], where: str, known: set[tuple[str, str]]) -> tuple[str, str]:
    season = _one_of(body.get("season"), f"{where}.season", sorted({key[0] for key in known}))
    periods = sorted(key[1] for key in known if key[0] == season)
    return season, _one_of(body.get("period"), f"{where}.period", periods)


def _demand(value: Any, path: str, seasons: Sequence[str]) -> tuple[DemandPrice, ...]:
    prices: dict[str, DemandPrice] = {}
    for index, entry in enumerate(_list(value, path)):
        where = f"{path}[{index}]"
        body = _object(entry, where, ("season", "per_kw"))
        season = _one_of(body.get("season"), f"{where}.season", seasons)
        if season in prices:
            _fail(where, f"there is a demand price for {season} already")
        prices[season] = DemandPrice(season, None, _price(body.get("per_kw"), f"{where}.per_kw"))
    return tuple(prices.values())


def _peak_demand(value: Any, path: str, known: set[tuple[str, str]]) -> tuple[DemandPrice, ...]:
    prices: dict[tuple[str, str], DemandPrice] = {}
    for index, entry in enumerate(_list(value, path)):
        where = f"{path}[{index}]"
        body = _object(entry, where, ("season", "period", "per_kw"))
        key = _season_period(body, where, known)
        if key in prices:
            _fail(where, f"there is a peak demand price for {key[0]}, {key[1]} already")
        prices[key] = DemandPrice(*key, _price(body.get("per_kw"), f"{where}.per_kw"))
    return tuple(prices.values())


def _billing(value: Any, path: str) -> Billing:
    if value is None:
        return Billing()
    body = _object(value, path, ("day_of_month", "dates"))
    if "dates" not in body:
        return Billing(day_of_month=_whole(body.get("day_of_month"), f"{path}.day_of_month", 1, 31))
    if "day_of_month" in body:
        _fail(path, "either day_of_month or dates is needed")
    dates = [_date(entry, f"{path}.dates[{i}]") for i, entry in enumerate(_list(body["dates"], f"{path}.dates"))]
    if not dates:
        _fail(f"{path}.dates", "at least one date is needed")
    for index in range(1, len(dates)):
        if dates[index] <= dates[index - 1]:
            _fail(f"{path}.dates[{index}]", "dates must be ascending")
    return Billing(dates=tuple(dates))


def _md(day: tuple[int, int]) -> str:
    return f"{day[0]:02d}-{day[1]:02d}"


def _hm(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
