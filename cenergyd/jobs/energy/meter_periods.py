"""Energy per meter by hour, day, month or year of the customer's calendar, such as of each inverter in a sum.

A meter's energy is given with the factor and the direction of its role. So the meters of a sum add up to the role's energy wherever all of
them are known; a gap of one meter does not affect the others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import fsum
from typing import NamedTuple

from cenergyd.customers.measured_meters import MeterSegment, meter_segments
from cenergyd.customers.meter_history import role_segments
from cenergyd.customers.model import ROLES, Customer, Role
from cenergyd.jobs.energy.periods import EnergyWindow, RoleEnergy, energy_of_point
from cenergyd.jobs.energy.read import LONGEST_GAP, EnergyReader
from cenergyd.readings.store import ReadingStore


class MeterWindow(NamedTuple):
    """A meter over one hour, day, month or year."""

    due_seconds: float
    """Elapsed seconds in which the meter measured the role."""
    energy: RoleEnergy | None
    """None if nothing is known."""

    @property
    def complete(self) -> float:
        """The share of the elapsed time that is known, 0 to 1."""
        if self.energy is None or not self.due_seconds:
            return 0.0
        return min(1.0, self.energy.covered_seconds / self.due_seconds)


class MeterEnergy(NamedTuple):
    """A meter and its energy over some windows."""

    role: Role
    serial: str
    """Its logger's serial number."""
    meter: str
    """The meter id."""
    factor: float
    """The latest factor of its energy; negative if it is subtracted."""
    windows: Sequence[MeterWindow]

    @property
    def series(self) -> str:
        """The series of its readings."""
        return f"{self.serial}_{self.meter}"

    @property
    def total(self) -> MeterWindow:
        """The total of all windows."""
        known = [window.energy for window in self.windows if window.energy is not None]
        return MeterWindow(fsum(window.due_seconds for window in self.windows), energy_sum(known))


async def meter_energies(
    customer: Customer,
    readings: ReadingStore,
    windows: Sequence[EnergyWindow],
    now: int,
    *,
    max_gap: int = LONGEST_GAP,
) -> list[MeterEnergy]:
    """Every meter that measured a role, or was a part of its sum, during the windows; by role.

        :param windows: the result of :func:`cenergyd.jobs.energy.periods.energy_windows` for the same customer, ascending, without gaps.
    :param max_gap: the ini's ``[rollups] max_gap_seconds``.
    """
    if not windows:
        return []
    start, end = windows[0].start, windows[-1].end
    by_meter: dict[tuple[Role, str, str], list[MeterSegment]] = {}
    for segment in meter_segments(customer, start, end):
        by_meter.setdefault((segment.role, segment.serial, segment.meter), []).append(segment)
    alone = _measured_by_one(customer, start, end)
    reader = EnergyReader(customer, readings, now, max_gap, registers=False)
    found = []
    for (role, serial, meter), segments in by_meter.items():
        if role in alone:  # its energy is the role's, which is already known
            energies = [window.roles.get(role) for window in windows]
        else:
            energies = await _energies(reader, segments, [window.start for window in windows])
        due = [_due(segments, window, now) for window in windows]
        each = [MeterWindow(*pair) for pair in zip(due, energies, strict=True)]
        found.append(MeterEnergy(role, serial, meter, segments[-1].factor, each))
    return found


def energy_sum(energies: Sequence[RoleEnergy]) -> RoleEnergy | None:
    """The sum of energies; None if there are none."""
    return RoleEnergy(*(fsum(column) for column in zip(*energies, strict=True))) if energies else None


def _measured_by_one(customer: Customer, start: int, end: int) -> set[Role]:
    """The roles that a single meter measured throughout."""
    found = set()
    for role in ROLES:
        series = {(each.series, each.computed, each.sum) for each in role_segments(customer, role, start, end)}
        if len(series) == 1 and not any(computed or text for _, computed, text in series):
            found.add(role)
    return found


async def _energies(
    reader: EnergyReader, segments: Sequence[MeterSegment], starts: Sequence[int]
) -> list[RoleEnergy | None]:
    parts: list[list[RoleEnergy]] = [[] for _ in starts]
    for segment in segments:
        async for points in reader.series_points(segment.series, segment.start, segment.end):
            for point in points:
                parts[bisect_right(starts, point.time) - 1].append(energy_of_point(point, computed=False))
    return [energy_sum(each) for each in parts]


def _due(segments: Sequence[MeterSegment], window: EnergyWindow, now: int) -> float:
    """Elapsed seconds of a window in the segments."""
    passed = min(window.end, now)
    return float(sum(max(0, min(each.end, passed) - max(each.start, window.start)) for each in segments))
