"""Energy per role by hour, day, month or year of the customer's calendar, from its hours.

Unknown energy is not estimated: each sum states how much of its time is known, and how much of that is computed from the other two meters.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise
from math import fsum
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from cenergyd.customers.model import ROLES, Customer, Role, TimeRange
from cenergyd.customers.time_zones import zone_of
from cenergyd.errors import InvalidField
from cenergyd.jobs.energy.read import LONGEST_GAP, EnergyReader
from cenergyd.jobs.windows import day_start, windows
from cenergyd.readings.model import FieldPoint
from cenergyd.readings.store import ReadingStore

PeriodStep = Literal["hour", "day", "month", "year"]
STEPS: tuple[PeriodStep, ...] = ("hour", "day", "month", "year")
MAX_WINDOWS = 1000
MAX_DAYS = 3700
"""Maximum days in one request: ten years of hours, 88,000 per role, which are read in slices."""


class RoleEnergy(NamedTuple):
    """A role's energy over a window."""

    import_kwh: float
    """Energy from the grid, used, or generated, kWh."""
    export_kwh: float
    """Energy to the grid, kWh."""
    covered_seconds: float
    """Seconds for which the energy is known."""
    computed_seconds: float
    """Seconds of these for which it is computed from the other two meters."""
    bridged_import_kwh: float = 0.0
    """The part of the import that is known from differences of registers over gaps."""
    bridged_export_kwh: float = 0.0
    """The same of the export."""
    bridged_seconds: float = 0.0
    """Seconds of such gaps."""
    interpolated_import_kwh: float = 0.0
    """The part of the import that is interpolated over lost rows."""
    interpolated_export_kwh: float = 0.0
    """The same of the export."""
    interpolated_seconds: float = 0.0
    """Seconds that are interpolated."""


class EnergyWindow(NamedTuple):
    """One hour, day, month or year."""

    start: int
    """UTC seconds."""
    end: int
    due_seconds: float
    """Seconds of it that have passed."""
    roles: dict[Role, RoleEnergy]
    """The roles for which anything is known."""

    def complete(self, role: Role) -> float:
        """The share of the elapsed time that is known, 0 to 1."""
        if role not in self.roles or not self.due_seconds:
            return 0.0
        return min(1.0, self.roles[role].covered_seconds / self.due_seconds)


def calendar_windows(first: date, after: date, step: PeriodStep, zone: ZoneInfo) -> list[TimeRange]:
    """The windows of ``first <= day < after``; months and years are cut at the ends of the range. Raises InvalidField for too many."""
    if not first < after:
        raise InvalidField("end", "must be later than start")
    if (after - first).days > MAX_DAYS:
        raise InvalidField("end", f"at most {MAX_DAYS} days after start")
    start, end = day_start(first, zone), day_start(after, zone)
    if step == "hour":
        found = [window for window in windows(start, end, "1h", zone) if window.start < window.end]
    else:
        days = [first]
        while days[-1] < after:
            days.append(min(_next_day(days[-1], step), after))
        edges = [day_start(day, zone) for day in days]
        found = [TimeRange(*pair) for pair in pairwise(edges) if pair[0] < pair[1]]
    if len(found) > MAX_WINDOWS:
        raise InvalidField("step", f"too fine for this range: at most {MAX_WINDOWS} windows")
    return found


async def energy_windows(
    customer: Customer,
    readings: ReadingStore,
    days: tuple[date, date],
    step: PeriodStep,
    now: int,
    *,
    max_gap: int = LONGEST_GAP,
) -> list[EnergyWindow]:
    """The energy of each window, ascending.

    :param days: the first one and the one after the last, in the customer's zone.
    :param max_gap: the ini's ``[rollups] max_gap_seconds``.
    :raises InvalidField: the stored zone is unknown, or the range or step is not possible.
    """
    spans = calendar_windows(*days, step, zone_of(customer.time_zone))
    starts = [window.start for window in spans]
    sums: list[dict[Role, list[RoleEnergy]]] = [{} for _ in spans]
    reader = EnergyReader(customer, readings, now, max_gap, registers=False)
    for role in ROLES:
        async for place, points in reader.points(role, spans[0].start, spans[-1].end):
            for point in points:
                part = energy_of_point(point, computed=place.computed)
                sums[bisect_right(starts, point.time) - 1].setdefault(role, []).append(part)
    return [
        EnergyWindow(
            window.start,
            window.end,
            float(max(0, min(window.end, now) - window.start)),
            {role: RoleEnergy(*(fsum(column) for column in zip(*parts, strict=True))) for role, parts in found.items()},
        )
        for window, found in zip(spans, sums, strict=True)
    ]


def energy_of_point(point: FieldPoint, *, computed: bool) -> RoleEnergy:
    """The energy of an hour, or of a part of one, from its point."""
    fields = point.fields
    covered = float(fields["covered_seconds"])
    kinds = [
        float(fields.get(f"{kind}_{name}", 0.0))
        for kind in ("bridged", "interpolated")
        for name in ("import_kwh", "export_kwh", "seconds")
    ]
    known = (float(fields["import_kwh"]), float(fields["export_kwh"]), covered)
    return RoleEnergy(*known, covered if computed else 0.0, *kinds)


def total_of(windows: Sequence[EnergyWindow]) -> EnergyWindow | None:
    """The total of all windows; None if there are none."""
    if not windows:
        return None
    roles: dict[Role, RoleEnergy] = {}
    for role in ROLES:
        mine = [window.roles[role] for window in windows if role in window.roles]
        if mine:
            roles[role] = RoleEnergy(*(fsum(column) for column in zip(*mine, strict=True)))
    return EnergyWindow(windows[0].start, windows[-1].end, fsum(window.due_seconds for window in windows), roles)


def _next_day(day: date, step: PeriodStep) -> date:
    if step == "day":
        return day + timedelta(days=1)
    if step == "year":
        return date(day.year + 1, 1, 1)
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)
