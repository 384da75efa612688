"""Reads the power of a customer's roles (utility, load, solar) over a time, as lines of :mod:`cenergyd.jobs.energy.gap_bridging`, and what their registers counted.

A computed role's lines are the sum or difference of the other two's where both are known, by the same intervals. So its energy is what the
site equation makes of theirs, also where one of them is bridged.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from cenergyd.customers.meter_history import RoleSegment, role_segments
from cenergyd.customers.model import ROLES, Customer, Role, Window
from cenergyd.jobs.energy.gap_bridging import (
    MAX_BRIDGE_SECONDS,
    Gap,
    Line,
    bridge,
    gaps_between,
    power_lines,
    sum_lines,
)
from cenergyd.jobs.energy.registers import Step, known_steps, step_by_highest_power, steps_between
from cenergyd.jobs.neighbours import NeighbourReader, Rows
from cenergyd.readings.corrected import scaled_ranges
from cenergyd.readings.model import Reading
from cenergyd.readings.signs import sign_corrected
from cenergyd.readings.store import ReadingStore

DAY = 86400
SUMMANDS: Mapping[Role, tuple[Role, Role, float]] = {
    "load": ("utility", "solar", 1.0),
    "utility": ("load", "solar", -1.0),
    "solar": ("load", "utility", -1.0),
}
"""Computed role -> the two that it is made of, and the sign of the second: load = utility + solar."""


class RolePowerReader:
    """Reads the power lines and register steps of one customer's roles.

    :param longest: no pause of more than this is anything but a gap, s.
    :param now: UTC seconds; what is later is not looked for.
    """

    def __init__(self, customer: Customer, store: ReadingStore, longest: int, now: int) -> None:
        self._customer = customer
        self._store = store
        self._longest = longest
        self.neighbours = NeighbourReader(store=store, longest=longest, farthest=MAX_BRIDGE_SECONDS, now=now)

    def names(self, window: Window) -> list[str]:
        """The series of every meter that plays a role at any time near the window, sorted."""
        margin = MAX_BRIDGE_SECONDS
        near = (window.start - margin, window.end + margin)
        found = {each.series for role in ROLES for each in role_segments(self._customer, role, *near)}
        computed = {
            each.series for role in ROLES for each in role_segments(self._customer, role, *near) if each.computed
        }
        return sorted(found - computed)

    async def rows_over(self, window: Window) -> Rows:
        """The readings that decide what is known of a window."""
        names = self.names(window)
        read = Window(window.start - 2 * self._longest, window.end + 2 * self._longest)
        rows = await self._store.read(names, *read) if names else {}
        return await self.neighbours.completed(rows, read, window)

    async def lines(self, rows: Mapping[str, Sequence[Reading]], window: Window) -> dict[Role, list[Line]]:
        """The lines of each role, ascending. Never across a change of meter, CT or role."""
        margin = MAX_BRIDGE_SECONDS + DAY
        near = (window.start - margin, window.end + margin)
        segments = {role: role_segments(self._customer, role, *near) for role in ROLES}
        found: dict[Role, list[Line]] = {role: [] for role in ROLES}
        for role in ROLES:
            for segment in segments[role]:
                if not segment.computed:
                    found[role] += await self._measured(segment, rows.get(segment.series, ()), window)
        for role in ROLES:
            for segment in segments[role]:
                if segment.computed:
                    one, other, sign = SUMMANDS[role]
                    found[role] += _within(sum_lines(found[one], found[other], sign), segment)
            found[role].sort()
        return found

    async def steps(
        self, role: Role, rows: Mapping[str, Sequence[Reading]], lines: Sequence[Line], window: Window
    ) -> list[Step]:
        """What the registers of a role's own meters count over the times that its lines tell, ascending.

        Nothing of a computed role: of two meters' registers nobody knows what they were at the same moment.
        """
        margin = MAX_BRIDGE_SECONDS + DAY
        found: list[Step] = []
        for segment in role_segments(self._customer, role, window.start - margin, window.end + margin):
            if segment.computed:
                continue
            own = _of_segment(segment, rows.get(segment.series, ()))
            scaled = await scaled_ranges(self._store, segment.series, own[0].time, own[-1].time) if own else []
            counts, doubtful = steps_between(own, self._longest, scaled)
            near = [pair for pair in doubtful if pair[0].time < window.end and pair[1].time > window.start]
            if near:
                extremes = await self._extremes(segment, [Gap(*pair) for pair in near])
                late = (step_by_highest_power(pair, highest) for pair, (highest, _) in zip(near, extremes, strict=True))
                counts = sorted([*counts, *(step for step in late if step is not None)])
            found += counts
        return known_steps(found, lines)

    async def _measured(self, segment: RoleSegment, readings: Sequence[Reading], window: Window) -> list[Line]:
        own = _of_segment(segment, readings)
        lines = power_lines(own, self._longest)
        gaps = [
            gap for gap in gaps_between(own, lines) if gap.before.time < window.end and gap.after.time > window.start
        ]
        if gaps:
            lines += await self._bridges(segment, gaps)
            lines.sort()
        return lines

    async def _bridges(self, segment: RoleSegment, gaps: Sequence[Gap]) -> list[Line]:
        """The gaps that registers tell of. What is plausible follows from the month before and after."""
        extremes = await self._extremes(segment, gaps)
        bridges = (bridge(gap, *each) for gap, each in zip(gaps, extremes, strict=True))
        return [line for line in bridges if line is not None]

    async def _extremes(self, segment: RoleSegment, gaps: Sequence[Gap]) -> list[tuple[float, float]]:
        """For each gap the meter's highest |P| and its lowest P, kW, of the days from a month before it to a month after; 0 where none is known."""
        ranges = [(gap.before.time - MAX_BRIDGE_SECONDS, gap.after.time + MAX_BRIDGE_SECONDS) for gap in gaps]
        ranges = [(start // DAY * DAY, -(-end // DAY) * DAY) for start, end in ranges]
        start, end = max(ranges[0][0], segment.start), min(ranges[-1][1], segment.end)
        days = (await self._store.summarise([segment.series], start, end, DAY, ["P"]))[segment.series]
        sign = -1.0 if segment.reversed else 1.0
        found = []
        for since, until in ranges:
            values = [
                sign * value
                for day in days
                if since <= day.time < until and "P" in day.channels
                for value in (day.channels["P"][0], day.channels["P"][2])
            ]
            found.append((max(map(abs, values), default=0.0), min(values, default=0.0)))
        return found


def _of_segment(segment: RoleSegment, readings: Sequence[Reading]) -> Sequence[Reading]:
    """The readings of a segment's time, sign-corrected."""
    own = readings[bisect_left(readings, (segment.start,)) : bisect_left(readings, (segment.end,))]
    return [sign_corrected(reading) for reading in own] if segment.reversed else own


def _within(lines: Sequence[Line], segment: RoleSegment) -> list[Line]:
    """The lines of a segment of time, cut at its ends."""
    return sum_lines(lines, [Line(segment.start, segment.end, 0.0, 0.0)], 1.0)
