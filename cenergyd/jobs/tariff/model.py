"""A customer's tariff: which prices apply when, and when bills are made.

Stored as JSON in ``customer.extensions["tariff"]``::

    {"currency": "USD",
     "seasons": [{"name": "summer", "from": "06-01", "to": "09-30"}, {"name": "winter", "from": "10-01", "to": "05-31"}],
     "schedules": [{"season": "summer", "period": "peak", "days": ["mon", "tue", "wed", "thu", "fri"], "from": "12:00", "to": "18:00"}, ...],
     "holidays": ["2026-12-24", {"month": 7, "day": 4, "observed": true}, {"month": 11, "weekday": "thu", "nth": 4}],
     "energy": [{"season": "summer", "period": "peak", "import_per_kwh": "0.30", "export_per_kwh": "0.05"}, ...],
     "demand": [{"season": "summer", "per_kw": "12.00"}],
     "peak_demand": [{"season": "summer", "period": "peak", "per_kw": "8.00"}],
     "fixed": "25.00",
     "energy_from": "power",
     "billing": {"day_of_month": 15}}

Every key may be left out. Without seasons there is one, ``all``; without schedules there is one period, ``all``. The seasons must cover every day
of the year once, and the schedules of a season every quarter hour of every weekday once. ``"holiday"`` is allowed as a day; a season without it
treats holidays as Sundays. A negative ``nth`` counts from the end of the month; ``observed`` moves a holiday on a Saturday to Friday and one on a
Sunday to Monday. A billing period starts at local midnight of a day of each month (the last day of a shorter month), or of each date of
``{"dates": ["2026-01-14", ...]}``; outside the list it starts on the day of the month of the nearest date.
``energy_from``: ``power`` (the default) or ``registers``
(:mod:`cenergyd.jobs.tariff.register_energy`).
"""

from __future__ import annotations

from bisect import bisect_right
from calendar import monthrange
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

import attrs

from cenergyd.customers.model import TimeRange
from cenergyd.jobs.windows import day_start, local_date

EnergyFrom = Literal["power", "registers"]
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday")
QUARTER = 900
"""Schedules change on quarter hours, because demand is measured over them."""
_QUARTERS = 96
_SUNDAY = 6
_HOLIDAY = 7


class Period(NamedTuple):
    """The season and period that apply at a time."""

    season: str
    period: str


class LabelledRange(NamedTuple):
    """A range of times in which one season and period apply, UTC seconds, end exclusive."""

    start: int
    end: int
    label: Period


@attrs.frozen(slots=True)
class Season:
    """A part of the year, both days included; it may extend over New Year."""

    name: str
    first: tuple[int, int]
    """Month and day."""
    last: tuple[int, int]

    def holds(self, month: int, day: int) -> bool:
        """Whether a day of the year belongs to it."""
        if self.first <= self.last:
            return self.first <= (month, day) <= self.last
        return (month, day) >= self.first or (month, day) <= self.last


@attrs.frozen(slots=True)
class Schedule:
    """Times of a week at which a period applies in a season."""

    season: str
    period: str
    days: tuple[str, ...]
    """A value of DAYS."""
    start: int
    """Minutes of local wall clock, a multiple of 15."""
    end: int
    """Exclusive, at most 1440."""


@attrs.frozen(slots=True)
class HolidayRule:
    """A holiday of every year: a fixed day, or the nth weekday of a month."""

    month: int
    day: int = 0
    """0 if ``nth`` is used."""
    observed: bool = False
    weekday: int = 0
    """0 Monday .. 6 Sunday."""
    nth: int = 0
    """1..5, or -1..-5 from the end."""

    def on(self, year: int) -> date | None:
        """Its date in a year; None if there is none (a fifth Monday)."""
        length = monthrange(year, self.month)[1]
        if self.nth:
            days = [d for d in range(1, length + 1) if date(year, self.month, d).weekday() == self.weekday]
            position = self.nth - 1 if self.nth > 0 else self.nth
            return date(year, self.month, days[position]) if -len(days) <= position < len(days) else None
        if self.day > length:
            return None
        found = date(year, self.month, self.day)
        if self.observed:
            found += timedelta(days={5: -1, 6: 1}.get(found.weekday(), 0))
        return found


@attrs.frozen(slots=True)
class EnergyPrice:
    """The price of a kWh in a season and period."""

    season: str
    period: str
    import_per_kwh: Decimal
    export_per_kwh: Decimal
    """Paid to the customer."""


@attrs.frozen(slots=True)
class DemandPrice:
    """The price of a kW of the highest net load in a season, or in one period of it."""

    season: str
    period: str | None
    per_kw: Decimal


@attrs.frozen(slots=True)
class Billing:
    """When billing periods start."""

    day_of_month: int = 1
    dates: tuple[date, ...] = ()
    """Ascending; if given, they are used instead of the day of the month."""


@attrs.frozen(eq=False)
class Tariff:
    """One tariff. Make it with :func:`cenergyd.jobs.tariff.parsing.tariff_from_json`, which checks it."""

    currency: str
    seasons: tuple[Season, ...]
    schedules: tuple[Schedule, ...]
    holidays: tuple[date, ...]
    holiday_rules: tuple[HolidayRule, ...]
    energy: tuple[EnergyPrice, ...]
    demand: tuple[DemandPrice, ...]
    """Prices of the highest net load in a season's part of a billing period."""
    peak_demand: tuple[DemandPrice, ...]
    """Prices of the highest net load in one period."""
    fixed: Decimal
    """Per billing period."""
    billing: Billing
    energy_from: EnergyFrom
    """Whether a period's energy is the integral of power, or the advance of the meter's registers."""
    _weeks: dict[str, tuple[tuple[str, ...], ...]] = attrs.field(init=False, repr=False)
    """Season -> day of DAYS -> quarter hour -> period."""
    _holidays: dict[int, frozenset[date]] = attrs.field(init=False, repr=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        weeks = {season.name: _week(self.schedules, season.name) for season in self.seasons}
        object.__setattr__(self, "_weeks", weeks)

    def season_of(self, day: date) -> str:
        """The season of a calendar day."""
        return next(season.name for season in self.seasons if season.holds(day.month, day.day))

    def is_holiday(self, day: date) -> bool:
        """Whether a calendar day is a holiday."""
        if day.year not in self._holidays:
            years = (day.year - 1, day.year, day.year + 1)  # an observed New Year's Day lies in the year before
            ruled = {found for rule in self.holiday_rules for year in years if (found := rule.on(year))}
            self._holidays[day.year] = frozenset(ruled.union(self.holidays))
        return day in self._holidays[day.year]

    def period_at(self, time: int, zone: ZoneInfo) -> Period:
        """The season and period at a time, by local time in the zone."""
        local = datetime.fromtimestamp(time, zone)
        day = local.date()
        season = self.season_of(day)
        kind = _HOLIDAY if self.is_holiday(day) else day.weekday()
        return Period(season, self._weeks[season][kind][local.hour * 4 + local.minute // 15])

    def labelled(self, time_range: TimeRange, zone: ZoneInfo) -> Iterator[LabelledRange]:
        """The range (UTC seconds), cut wherever another season or period begins."""
        start, end = time_range
        label = self.period_at(start, zone)
        cut = start - start % QUARTER + QUARTER
        while cut < end:
            following = self.period_at(cut, zone)
            if following != label:
                yield LabelledRange(start, cut, label)
                start, label = cut, following
            cut += QUARTER
        yield LabelledRange(start, end, label)

    def billing_period_at(self, time: int, zone: ZoneInfo) -> TimeRange:
        """The billing period that contains a time."""
        first = self._start_at_or_before(local_date(time, zone))
        return TimeRange(day_start(first, zone), day_start(self._start_after(first), zone))

    def billing_periods(self, start: int, end: int, zone: ZoneInfo) -> Iterator[TimeRange]:
        """Every billing period that contains any time of ``start <= time < end``, ascending."""
        while start < end:
            time_range = self.billing_period_at(start, zone)
            yield time_range
            start = time_range.end

    def _start_at_or_before(self, day: date) -> date:
        dates = self.billing.dates
        if dates and dates[0] <= day:
            listed = dates[bisect_right(dates, day) - 1]
            return listed if listed != dates[-1] else max(listed, _monthly(day, listed.day))
        return _monthly(day, dates[0].day if dates else self.billing.day_of_month)

    def _start_after(self, start: date) -> date:
        dates = self.billing.dates
        anchor = self.billing.day_of_month
        if dates:
            position = bisect_right(dates, start)
            if 0 < position < len(dates):
                return dates[position]
            anchor = dates[0 if position == 0 else -1].day
        following = _in_month(start.year, start.month + 1, anchor)
        if dates and start < dates[0]:
            return min(following, dates[0])
        return following


def _week(schedules: Sequence[Schedule], season: str) -> tuple[tuple[str, ...], ...]:
    days: list[list[str]] = [[""] * _QUARTERS for _ in DAYS]
    for schedule in schedules:
        if schedule.season == season:
            for day in schedule.days:
                for quarter in range(schedule.start // 15, schedule.end // 15):
                    days[DAYS.index(day)][quarter] = schedule.period
    if not any(days[_HOLIDAY]):
        days[_HOLIDAY] = days[_SUNDAY]
    return tuple(tuple(day) for day in days)


def _in_month(year: int, month: int, day: int) -> date:
    """A day of a month (month may be 0 or 13); the last day if the month is shorter."""
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    return date(year, month, min(day, monthrange(year, month)[1]))


def _monthly(day: date, anchor: int) -> date:
    """The latest start by a day of the month, at or before a day."""
    this = _in_month(day.year, day.month, anchor)
    return this if this <= day else _in_month(day.year, day.month - 1, anchor)
