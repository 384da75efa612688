"""A diagram of a season's week: the period of each quarter hour, gaps and overlaps. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cenergyd.jobs.tariff.model import DAYS
from cenergyd.web.pages.tariff_form import DAY_NAMES, TariffDraft, entries_of

_QUARTERS = 96
COLOURS = 6
"""Number of colours for periods in the style sheet."""
HOLE, OVERLAP = "hole", "overlap"


class QuarterRun(NamedTuple):
    """Neighbouring quarter hours of a day with the same period."""

    start: int
    length: int
    what: str
    """A period's name, HOLE or OVERLAP."""
    style: str
    """``p0`` ..., ``hole``, ``overlap``."""


class DayRow(NamedTuple):
    """One day of the week."""

    name: str
    runs: tuple[QuarterRun, ...]


class Week(NamedTuple):
    """The week of a season."""

    season: str
    days: tuple[DayRow, ...]
    faults: tuple[str, ...]
    """Gaps and overlaps as text."""

    @property
    def rows(self) -> list[DayRow]:
        """The days; consecutive equal days are joined."""
        return _alike(self.days)


def _alike(days: Sequence[DayRow]) -> list[DayRow]:
    """Consecutive days with the same periods joined into one row: ``Mon to Fri``."""
    found: list[DayRow] = []
    first = ""
    for day in days:
        if found and found[-1].runs == day.runs:
            found[-1] = found[-1]._replace(name=f"{first} to {day.name}")
        else:
            found.append(day)
            first = day.name
    return found


class Weeks(NamedTuple):
    """All seasons' weeks with one legend."""

    weeks: tuple[Week, ...]
    legend: tuple[tuple[str, str], ...]
    """Period and style."""


def weeks_of(draft: TariffDraft) -> Weeks:
    """The weeks of a form; rows that cannot be read are left out."""
    times = [time for entry in entries_of(draft).body["schedules"] if (time := _time(entry)) is not None]
    names = draft.season_names()
    periods = list(dict.fromkeys(time.period for time in times if time.season in names))
    styles = {period: f"p{index % COLOURS}" for index, period in enumerate(periods)}
    if not times:
        return Weeks((), ())
    weeks = tuple(_week(name, [time for time in times if time.season == name], styles) for name in names)
    return Weeks(weeks, tuple(styles.items()))


class _Time(NamedTuple):
    season: str
    period: str
    days: Sequence[str]
    start: int
    end: int


def _time(entry: dict[str, object]) -> _Time | None:
    start, end = _quarter(str(entry["from"])), _quarter(str(entry["to"]))
    days = entry["days"]
    if start is None or end is None or start >= end or not entry["period"] or not isinstance(days, list):
        return None
    return _Time(str(entry["season"]), str(entry["period"]), days, start, end)


def _quarter(text: str) -> int | None:
    hours, _, minutes = text.partition(":")
    if not (hours.isascii() and hours.isdigit() and minutes in ("00", "15", "30", "45")) or len(hours) > 2:
        return None
    quarter = int(hours) * 4 + int(minutes) // 15
    return quarter if quarter <= _QUARTERS else None


def _week(season: str, times: Sequence[_Time], styles: dict[str, str]) -> Week:
    rows: list[DayRow] = []
    faults: list[str] = []
    for day in DAYS:
        mine = [time for time in times if day in time.days]
        if day == "holiday" and not mine:
            continue  # holidays are like Sundays
        runs = _runs(mine, styles)
        rows.append(DayRow(DAY_NAMES[day], runs))
        for run in runs:
            if run.what in (HOLE, OVERLAP) and run.style == run.what:
                words = "no period" if run.what == HOLE else "more than one period"
                faults.append(
                    f"{DAY_NAMES[day]} {time_of_quarter(run.start)} to {time_of_quarter(run.start + run.length)}: {words}"
                )
    return Week(season, tuple(rows), tuple(faults))


def _runs(times: Sequence[_Time], styles: dict[str, str]) -> tuple[QuarterRun, ...]:
    found: list[QuarterRun] = []
    for quarter in range(_QUARTERS):
        holding = [time.period for time in times if time.start <= quarter < time.end]
        what = holding[0] if len(holding) == 1 else OVERLAP if holding else HOLE
        style = styles[what] if len(holding) == 1 else what
        if found and found[-1].what == what and found[-1].style == style:
            found[-1] = found[-1]._replace(length=found[-1].length + 1)
        else:
            found.append(QuarterRun(quarter, 1, what, style))
    return tuple(found)


def time_of_quarter(quarter: int) -> str:
    """``12:30``."""
    return f"{quarter // 4:02d}:{quarter % 4 * 15:02d}"
