"""Converts tariffs from and to JSON. The structure is that of :mod:`cenergyd.jobs.tariff.schema`; the meaning is checked here.

Any error raises InvalidField, whose ``field`` is the path of the entry: ``tariff.schedules[2].from``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import NoReturn, cast

from msgspec import UNSET

from cenergyd.customers.model import Customer
from cenergyd.documents.json_types import JsonObject
from cenergyd.errors import InvalidField
from cenergyd.jobs.front_end_settings import tariff_json
from cenergyd.jobs.tariff import schema
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
from cenergyd.jobs.tariff.schema import ALL, MAX_NAME, TariffJson
from cenergyd.runtime.structs import read, to_json

LARGEST_PRICE = Decimal(1_000_000)

_LEAP_YEAR = 2024


def tariff_of(customer: Customer) -> Tariff | None:
    """A customer's tariff, otherwise that of an existing front end; None if there is none. Raises InvalidField if it is invalid."""
    stored = tariff_json(customer)
    try:
        return _cached(json.dumps(stored, sort_keys=True)) if stored is not None else None
    except InvalidField:
        if customer.extensions.get("tariff") is None:
            return None  # the front end's tariff, whose errors are in the setup report
        raise


@lru_cache(maxsize=512)
def _cached(text: str) -> Tariff:
    return tariff_from_json(json.loads(text))


def tariff_from_json(value: object, path: str = "tariff") -> Tariff:
    """Read and check a tariff.

    :param path: the path of the tariff in errors.
    :raises InvalidField: the first error.
    """
    body = read(value, TariffJson, path)
    seasons = _seasons(body.seasons or (), f"{path}.seasons")
    names = [season.name for season in seasons]
    schedules = _schedules(body.schedules or (), f"{path}.schedules", names)
    holidays, rules = _holidays(body.holidays or (), f"{path}.holidays")
    known = {(schedule.season, schedule.period) for schedule in schedules}
    return Tariff(
        currency=body.currency,
        seasons=seasons,
        schedules=schedules,
        holidays=holidays,
        holiday_rules=rules,
        energy=_energy(body.energy or (), f"{path}.energy", known),
        demand=_demand(body.demand or (), f"{path}.demand", names),
        peak_demand=_peak_demand(body.peak_demand or (), f"{path}.peak_demand", known),
        fixed=_price(body.fixed, f"{path}.fixed"),
        billing=_billing(body.billing, f"{path}.billing"),
        energy_from=body.energy_from,
    )


def tariff_to_json(tariff: Tariff) -> JsonObject:
    """The tariff as JSON with every key, amounts as text; parsing it gives the same tariff."""
    found: JsonObject = to_json(described(tariff))
    return found


def described(tariff: Tariff) -> TariffJson:
    """The tariff as the classes of its JSON, with every key, amounts as text."""
    billing = tariff.billing
    return TariffJson(
        currency=tariff.currency,
        seasons=[schema.TariffSeason(name=s.name, first=_md(s.first), last=_md(s.last)) for s in tariff.seasons],
        schedules=[
            schema.TariffSchedule(
                season=s.season,
                period=s.period,
                days=cast(list[schema.Day], list(s.days)),
                start=_hm(s.start),
                end=_hm(s.end),
            )
            for s in tariff.schedules
        ],
        holidays=[*(day.isoformat() for day in tariff.holidays), *map(_described_rule, tariff.holiday_rules)],
        energy=[
            schema.TariffEnergyPrice(
                season=e.season,
                period=e.period,
                import_per_kwh=str(e.import_per_kwh),
                export_per_kwh=str(e.export_per_kwh),
            )
            for e in tariff.energy
        ],
        demand=[schema.TariffDemandPrice(season=d.season, per_kw=str(d.per_kw)) for d in tariff.demand],
        peak_demand=[
            schema.TariffPeakDemandPrice(season=d.season, period=d.period or ALL, per_kw=str(d.per_kw))
            for d in tariff.peak_demand
        ],
        fixed=str(tariff.fixed),
        energy_from=tariff.energy_from,
        billing=schema.TariffBilling(dates=[day.isoformat() for day in billing.dates])
        if billing.dates
        else schema.TariffBilling(day_of_month=billing.day_of_month),
    )


def _fail(path: str, message: str) -> NoReturn:
    raise InvalidField(path, message)


def _one_of(value: str, path: str, names: Sequence[str]) -> str:
    if value not in names:
        _fail(path, f"one of {', '.join(names)} is needed")
    return value


def _price(value: str | float, path: str) -> Decimal:
    """A price; a JSON number is read as the decimal that was written (0.1 is a tenth)."""
    wrong = schema.PRICE_NEEDED
    if isinstance(value, int) and not 0 <= value <= LARGEST_PRICE:
        _fail(path, wrong)  # without the value, which may have thousands of digits
    text = str(value)
    if len(text) > MAX_NAME:
        _fail(path, wrong)
    try:
        price = Decimal(text)
    except InvalidOperation:
        _fail(path, wrong)
    if not price.is_finite() or not 0 <= price <= LARGEST_PRICE:
        _fail(path, wrong)
    return price


def _seasons(entries: Sequence[schema.TariffSeason], path: str) -> tuple[Season, ...]:
    if not entries:
        return (Season(ALL, (1, 1), (12, 31)),)
    seasons: list[Season] = []
    for index, entry in enumerate(entries):
        where = f"{path}[{index}]"
        if any(season.name == entry.name for season in seasons):
            _fail(f"{where}.name", f"there is already a season {entry.name}")
        first = _month_day(entry.first, f"{where}.from")
        seasons.append(Season(entry.name, first, _month_day(entry.last, f"{where}.to")))
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


def _month_day(text: str, path: str) -> tuple[int, int]:
    try:
        day = date(_LEAP_YEAR, int(text[:2]), int(text[3:]))
    except ValueError:
        _fail(path, "a day of the year is needed as MM-DD, such as 06-01")
    return day.month, day.day


def _schedules(entries: Sequence[schema.TariffSchedule], path: str, seasons: Sequence[str]) -> tuple[Schedule, ...]:
    if not entries:
        return tuple(Schedule(season, ALL, DAYS[:7], 0, 1440) for season in seasons)
    schedules = [_schedule(entry, f"{path}[{index}]", seasons) for index, entry in enumerate(entries)]
    for season in seasons:
        mine = [(index, schedule) for index, schedule in enumerate(schedules) if schedule.season == season]
        for day in DAYS:
            ranges = sorted((s.start, s.end, index) for index, s in mine if day in s.days)
            if ranges or day != "holiday":  # without schedules, holidays are treated as Sundays
                _check_day(ranges, path, f"{season}, {day}")
    return tuple(schedules)


def _schedule(entry: schema.TariffSchedule, where: str, seasons: Sequence[str]) -> Schedule:
    season = _one_of(entry.season, f"{where}.season", seasons)
    if not entry.days:
        _fail(f"{where}.days", f"some of {', '.join(DAYS)} are needed")
    start, end = _clock(entry.start, f"{where}.from"), _clock(entry.end, f"{where}.to")
    if end <= start:
        _fail(f"{where}.to", "it must be after 'from'; a time over midnight needs two entries")
    return Schedule(season, entry.period, tuple(day for day in DAYS if day in entry.days), start, end)


def _check_day(ranges: Sequence[tuple[int, int, int]], path: str, what: str) -> None:
    reached = 0
    for start, end, index in ranges:
        if start > reached:
            _fail(path, f"{what}: no period covers {_hm(reached)} to {_hm(start)}")
        if start < reached:
            _fail(f"{path}[{index}]", f"{what}: another period already covers {_hm(start)}")
        reached = end
    if reached < 1440:
        _fail(path, f"{what}: no period covers {_hm(reached)} to 24:00")


def _clock(text: str, path: str) -> int:
    minutes = int(text[:2]) * 60 + int(text[3:])
    if minutes > 1440:
        _fail(path, "a time of day is needed as HH:MM, from 00:00 to 24:00")
    if minutes % 15:
        _fail(path, "a full quarter of an hour is needed, as demand is measured over those")
    return minutes


def _holidays(
    entries: Sequence[str | schema.TariffHoliday], path: str
) -> tuple[tuple[date, ...], tuple[HolidayRule, ...]]:
    dates: set[date] = set()
    rules: list[HolidayRule] = []
    for index, entry in enumerate(entries):
        where = f"{path}[{index}]"
        if isinstance(entry, str):
            dates.add(_date(entry, where))
        else:
            rules.append(_rule(entry, where))
    return tuple(sorted(dates)), tuple(rules)


def _rule(entry: schema.TariffHoliday, where: str) -> HolidayRule:
    if entry.day is not UNSET:
        if entry.weekday is not UNSET or entry.nth is not UNSET:
            _fail(where, "either day, or weekday and nth are needed")
        _month_day(f"{entry.month:02d}-{entry.day:02d}", f"{where}.day")
        return HolidayRule(entry.month, day=entry.day, observed=entry.observed is True)
    if entry.observed is not UNSET:
        _fail(f"{where}.observed", "it needs a day")
    if entry.weekday is UNSET:
        _fail(f"{where}.weekday", f"one of {', '.join(DAYS[:7])} is needed")
    if entry.nth is UNSET or entry.nth == 0:
        _fail(f"{where}.nth", "1 to 5, or -1 to -5 from the end of the month is needed")
    return HolidayRule(entry.month, weekday=DAYS.index(entry.weekday), nth=entry.nth)


def _described_rule(rule: HolidayRule) -> schema.TariffHoliday:
    if rule.nth:
        return schema.TariffHoliday(month=rule.month, weekday=cast(schema.Weekday, DAYS[rule.weekday]), nth=rule.nth)
    return schema.TariffHoliday(month=rule.month, day=rule.day, observed=rule.observed)


def _date(text: str, path: str) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        pass
    else:
        if 1971 <= found.year <= 2200:
            return found
    _fail(path, "a date is needed as YYYY-MM-DD")


def _energy(
    entries: Sequence[schema.TariffEnergyPrice], path: str, known: set[tuple[str, str]]
) -> tuple[EnergyPrice, ...]:
    prices: dict[tuple[str, str], EnergyPrice] = {}
    for index, entry in enumerate(entries):
        where = f"{path}[{index}]"
        key = _season_period(entry, where, known)
        if key in prices:
            _fail(where, f"there is already a price for {key[0]}, {key[1]}")
        prices[key] = EnergyPrice(
            *key,
            _price(entry.import_per_kwh, f"{where}.import_per_kwh"),
            _price(entry.export_per_kwh, f"{where}.export_per_kwh"),
        )
    missing = sorted(known - prices.keys())
    if prices and missing:
        _fail(path, f"there is no price for {missing[0][0]}, {missing[0][1]}")
    return tuple(prices.values())


def _season_period(
    entry: schema.TariffEnergyPrice | schema.TariffPeakDemandPrice, where: str, known: set[tuple[str, str]]
) -> tuple[str, str]:
    season = _one_of(entry.season, f"{where}.season", sorted({key[0] for key in known}))
    periods = sorted(key[1] for key in known if key[0] == season)
    return season, _one_of(entry.period, f"{where}.period", periods)


def _demand(entries: Sequence[schema.TariffDemandPrice], path: str, seasons: Sequence[str]) -> tuple[DemandPrice, ...]:
    prices: dict[str, DemandPrice] = {}
    for index, entry in enumerate(entries):
        where = f"{path}[{index}]"
        season = _one_of(entry.season, f"{where}.season", seasons)
        if season in prices:
            _fail(where, f"there is already a demand price for {season}")
        prices[season] = DemandPrice(season, None, _price(entry.per_kw, f"{where}.per_kw"))
    return tuple(prices.values())


def _peak_demand(
    entries: Sequence[schema.TariffPeakDemandPrice], path: str, known: set[tuple[str, str]]
) -> tuple[DemandPrice, ...]:
    prices: dict[tuple[str, str], DemandPrice] = {}
    for index, entry in enumerate(entries):
        where = f"{path}[{index}]"
        key = _season_period(entry, where, known)
        if key in prices:
            _fail(where, f"there is already a peak demand price for {key[0]}, {key[1]}")
        prices[key] = DemandPrice(*key, _price(entry.per_kw, f"{where}.per_kw"))
    return tuple(prices.values())


def _billing(given: schema.TariffBilling | None, path: str) -> Billing:
    if given is None:
        return Billing()
    if given.dates is UNSET:
        if given.day_of_month is UNSET:
            _fail(f"{path}.day_of_month", "a whole number from 1 to 31 is needed")
        return Billing(day_of_month=given.day_of_month)
    if given.day_of_month is not UNSET:
        _fail(path, "either day_of_month or dates is needed")
    dates = [_date(entry, f"{path}.dates[{i}]") for i, entry in enumerate(given.dates)]
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
