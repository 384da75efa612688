"""Reads the power of a customer's roles (utility, load, solar) as lines of :mod:`cenergyd.jobs.energy.gap_bridging`, and their registers.

A computed role's lines are the sum or difference of the other two roles' lines where both are known, over the same intervals. So its energy
follows from theirs by the site equation, even if one of them is bridged.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import TypeVar

from cenergyd.customers.measured_meters import MeterSegment
from cenergyd.customers.meter_history import RoleSegment, role_segments
from cenergyd.customers.model import ROLES, Customer, Role, TimeRange
from cenergyd.jobs.energy.gap_bridging import (
    MAX_BRIDGE_SECONDS,
    Advance,
    Gap,
    Line,
    added_advances,
    advance_over,
    bridge,
    gaps_between,
    lines_within,
    power_lines,
    sum_lines,
)
from cenergyd.jobs.energy.registers import (
    Pair,
    Step,
    added_steps,
    crosses,
    known_steps,
    register_pairs,
    step_by_highest_power,
    step_by_own_power,
    steps_between,
)
from cenergyd.jobs.energy.sum_parts import Part, parts_of, readings_at
from cenergyd.jobs.neighbour_readings import NeighbourReader, ReadRows
from cenergyd.readings.corrected import scaled_ranges
from cenergyd.readings.model import Reading
from cenergyd.readings.signs import sign_corrected
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.yielding import Cooperate, without_yielding

DAY = 86400
SEGMENTS_AROUND = 2 * (MAX_BRIDGE_SECONDS + DAY)
"""Seconds around a window for which a role's segments are determined: a gap that reaches into it, and a month around that gap."""
LEAST_POWER = float("-inf")
"""A meter's lowest power if unknown, kW: the meter may export."""
AROUND_SECONDS = 900
"""Readings so long before and after a window are read at once, s; more only if these are too few."""
NEAR_ROWS = 60
"""Readings on either side of a gap whose power is tried first, before the month around it is read."""
SUMMANDS: Mapping[Role, tuple[Role, Role, float]] = {
    "load": ("utility", "solar", 1.0),
    "utility": ("load", "solar", -1.0),
    "solar": ("load", "utility", -1.0),
}
"""Computed role -> the other two roles, and the sign of the second: load = utility + solar."""


PairT = TypeVar("PairT", Gap, Pair)


class RolePowerReader:
    """Reads the power lines and register steps of one customer's roles.

    :param longest: a longer pause is always a gap, s.
    :param now: UTC seconds; later readings are not read.
    """

    def __init__(self, customer: Customer, store: ReadingStore, longest: int, now: int) -> None:
        self._customer = customer
        self._store = store
        self._longest = longest
        self._days: dict[tuple[str, int, int], tuple[float, float]] = {}
        self.neighbours = NeighbourReader(store=store, longest=longest, farthest=MAX_BRIDGE_SECONDS, now=now)

    def names(self, window: TimeRange) -> list[str]:
        """The series of every meter that measures a role at any time near the window, sorted."""
        margin = MAX_BRIDGE_SECONDS
        near = (window.start - margin, window.end + margin)
        segments = [each for role in ROLES for each in role_segments(self._customer, role, *near)]
        return sorted({each.series for each in segments} - {each.series for each in segments if each.computed})

    async def rows_over(self, window: TimeRange) -> ReadRows:
        """The readings that determine the power over a window."""
        names = self.names(window)
        read = TimeRange(window.start - AROUND_SECONDS, window.end + AROUND_SECONDS)
        rows = await self._store.read(names, *read) if names else {}
        return await self.neighbours.completed(rows, read, window)

    async def lines(
        self, rows: Mapping[str, Sequence[Reading]], window: TimeRange, pause: Cooperate = without_yielding
    ) -> dict[Role, list[Line]]:
        """The lines of each role that reach into a window, ascending. No line crosses a change of meter, CT or role.

        The lines of a role with its own meter are computed as far as there are rows.

        :param pause: awaited between the roles' meters, each of which may take some ten milliseconds.
        """
        near = (window.start - SEGMENTS_AROUND, window.end + SEGMENTS_AROUND)
        segments = {role: role_segments(self._customer, role, *near) for role in ROLES}
        found: dict[Role, list[Line]] = {role: [] for role in ROLES}
        for role in ROLES:
            for segment in segments[role]:
                if not segment.computed:
                    found[role] += await self._measured(segment, rows, window)
                    await pause()
        for role in ROLES:
            for segment in segments[role]:
                if segment.computed:
                    one, other, sign = SUMMANDS[role]
                    part = TimeRange(max(segment.start, window.start), min(segment.end, window.end))
                    summands = lines_within(found[one], *part), lines_within(found[other], *part)
                    found[role] += _within(sum_lines(*summands, sign), segment)
            if len(segments[role]) > 1:  # computed ones come after the others
                found[role].sort()
        return found

    async def steps(
        self, role: Role, rows: Mapping[str, Sequence[Reading]], lines: Sequence[Line], window: TimeRange
    ) -> list[Step]:
        """The steps of the registers of a role's own meters over the times of its lines, ascending.

        Empty for a computed role, because the registers of two meters are not read at the same time.
        """
        found: list[Step] = []
        near_window = (window.start - SEGMENTS_AROUND, window.end + SEGMENTS_AROUND)
        for segment in role_segments(self._customer, role, *near_window):
            if segment.computed:
                continue
            if segment.sum:
                found += await self._sum_steps(segment, rows, window)
                continue
            own = of_segment(segment, rows.get(segment.series, ()))
            scaled = await self._scaled(segment, TimeRange(own[0].time, own[-1].time)) if own else []
            counts, doubtful = steps_between(own, self._longest, window, scaled)
            counts = sorted([*counts, *(await self._doubtful_steps(segment, doubtful)).values()])
            found += counts
        return known_steps(found, lines)

    async def meter_lines(
        self, segment: MeterSegment, rows: Mapping[str, Sequence[Reading]], window: TimeRange
    ) -> list[Line]:
        """The lines of one meter that reach into a window, ascending, as it counts for its role.

        :param segment: not cut to the window.
        """
        own = RoleSegment(segment.start, segment.end, segment.series, False, segment.counts_backwards)
        lines = await self._measured(own, rows, window)
        size = abs(segment.factor)
        return [
            line._replace(first=size * line.first, last=size * line.last, both_ways=size * line.both_ways)
            for line in lines
        ]

    async def _measured(
        self, segment: RoleSegment, rows: Mapping[str, Sequence[Reading]], window: TimeRange
    ) -> list[Line]:
        own = of_segment(segment, rows.get(segment.series, ()))
        lines = power_lines(own, self._longest)
        gaps = [
            gap for gap in gaps_between(own, lines) if gap.before.time < window.end and gap.after.time > window.start
        ]
        if gaps:
            scaled = await self._scaled(segment, TimeRange(gaps[0].before.time, gaps[-1].after.time))
            gaps = [gap for gap in gaps if not crosses(gap.before.time, gap.after.time, scaled)]
            advance = self._sum_advances if segment.sum else self._advances
            lines += [bridge(gap, found) for gap, found in (await advance(segment, gaps, rows)).items()]
            lines.sort()
        return lines

    async def _advances(
        self, segment: RoleSegment, gaps: Sequence[Gap], rows: Mapping[str, Sequence[Reading]]
    ) -> dict[Gap, Advance]:
        """The advance of a meter's registers over gaps.

        What is plausible depends on the power in the month before and after.
        """
        own = of_segment(segment, rows.get(segment.series, ()))
        found: dict[Gap, Advance | None] = {}
        for gap in gaps:
            # If an advance is plausible by the nearest readings, it is by the whole month, which is therefore only read if it is not.
            found[gap] = advance_over(gap, _highest_near(own, gap), LEAST_POWER)
        doubtful = [gap for gap, advance in found.items() if advance is None]
        if doubtful:
            extremes = await self._extremes(segment, doubtful)
            found |= {gap: advance_over(gap, *each) for gap, each in zip(doubtful, extremes, strict=True)}
        return {gap: advance for gap, advance in found.items() if advance is not None}

    async def _sum_advances(
        self, segment: RoleSegment, gaps: Sequence[Gap], rows: Mapping[str, Sequence[Reading]]
    ) -> dict[Gap, Advance]:
        """The advance of a sum's registers over gaps, if each of its meters' is known."""
        parts = parts_of(segment)
        advances: list[dict[Gap, Advance]] = []
        for part in parts:
            mine = {gap: Gap(*pair) for gap, pair in (await self._part_pairs(part, gaps, rows)).items()}
            known = await self._advances(part.segment, list(dict.fromkeys(mine.values())), rows)
            advances.append({gap: known[own] for gap, own in mine.items() if own in known})
        factors = [part.factor for part in parts]
        whole = [gap for gap in gaps if parts and all(gap in each for each in advances)]
        return {gap: added_advances(factors, [each[gap] for each in advances]) for gap in whole}

    async def _sum_steps(
        self, segment: RoleSegment, rows: Mapping[str, Sequence[Reading]], window: TimeRange
    ) -> list[Step]:
        """The steps of a sum's registers, where each of its meters' is known."""
        own, parts = of_segment(segment, rows.get(segment.series, ())), parts_of(segment)
        scaled = await self._scaled(segment, TimeRange(own[0].time, own[-1].time)) if own else []
        pairs = register_pairs(own, self._longest, window, scaled)
        steps: list[dict[Pair, Step]] = []
        for part in parts:
            mine = await self._part_pairs(part, pairs, rows)
            known = {pair: step for pair in mine.values() if (step := step_by_own_power(pair)) is not None}
            known |= await self._doubtful_steps(part.segment, [pair for pair in mine.values() if pair not in known])
            steps.append({pair: known[own_pair] for pair, own_pair in mine.items() if own_pair in known})
        factors = [part.factor for part in parts]
        whole = [pair for pair in pairs if parts and all(pair in each for each in steps)]
        added = (added_steps(pair, factors, [each[pair] for each in steps]) for pair in whole)
        return [step for step in added if step is not None]

    async def _scaled(self, segment: RoleSegment, window: TimeRange) -> list[tuple[int, int]]:
        """The ranges in which readings of a meter, or of any meter of a sum, are scaled by a correction."""
        names = [part.segment.series for part in parts_of(segment)] if segment.sum else [segment.series]
        return [each for name in names for each in await scaled_ranges(self._store, name, *window)]

    async def _part_pairs(
        self, part: Part, pairs: Sequence[PairT], rows: Mapping[str, Sequence[Reading]]
    ) -> dict[PairT, Pair]:
        """For each pair of a sum's readings the pair of a meter's readings that belongs to it, if the meter has both."""
        times = sorted({each.time for pair in pairs for each in pair})
        at = await readings_at(part, times, rows, self._store)
        return {
            pair: (at[pair[0].time], at[pair[1].time])
            for pair in pairs
            if pair[0].time in at and pair[1].time in at and at[pair[0].time].time < at[pair[1].time].time
        }

    async def _doubtful_steps(self, segment: RoleSegment, pairs: Sequence[Pair]) -> dict[Pair, Step]:
        """The steps that are plausible by the meter's highest power in the month before and after."""
        if not pairs:
            return {}
        extremes = await self._extremes(segment, [Gap(*pair) for pair in pairs])
        steps = {pair: step_by_highest_power(pair, highest) for pair, (highest, _) in zip(pairs, extremes, strict=True)}
        return {pair: step for pair, step in steps.items() if step is not None}

    async def _extremes(self, segment: RoleSegment, gaps: Sequence[Gap]) -> list[tuple[float, float]]:
        """For each gap the meter's highest |P| and lowest P, kW, from a month before it to a month after it; 0 if none is known.

        Each object reads a day at most once.
        """
        ranges = [_range_around(gap) for gap in gaps]
        wanted = {each: _days_of(segment, each) for each in dict.fromkeys(ranges)}
        missing = sorted({day for days in wanted.values() for day in days if (segment.series, *day) not in self._days})
        if missing:
            self._days |= await self._read_days(segment.series, missing)
        sign = -1.0 if segment.reversed else 1.0
        found = {}
        for each, days in wanted.items():
            values = [sign * value for day in days for value in self._days[(segment.series, *day)]]
            found[each] = (max(map(abs, values), default=0.0), min(values, default=0.0))
        return [found[each] for each in ranges]

    async def _read_days(
        self, series: str, days: Sequence[TimeRange]
    ) -> dict[tuple[str, int, int], tuple[float, float]]:
        """The lowest and highest measured P of each day; 0 for a day without readings."""
        summaries = (await self._store.summarise([series], days[0].start, days[-1].end, DAY, ["P"]))[series]
        known = {each.time: each.channels["P"] for each in summaries if "P" in each.channels}
        found = {}
        for day in days:
            low, _, high = known.get(day.start // DAY * DAY, (0.0, 0.0, 0.0))
            found[(series, *day)] = (low, high)
        return found


def _range_around(gap: Gap) -> TimeRange:
    """From a month before a gap to a month after it, in full days (UTC). Nearly all gaps of an hour have the same one."""
    first, last = gap.before.time - MAX_BRIDGE_SECONDS, gap.after.time + MAX_BRIDGE_SECONDS - 1
    return TimeRange(first // DAY * DAY, (last // DAY + 1) * DAY)


def _days_of(segment: RoleSegment, whole: TimeRange) -> list[TimeRange]:
    """The days (UTC) of a range of full days, cut to the segment."""
    days = (
        TimeRange(max(day, segment.start), min(day + DAY, segment.end)) for day in range(whole.start, whole.end, DAY)
    )
    return [day for day in days if day.start < day.end]


def _highest_near(own: Sequence[Reading], gap: Gap) -> float:
    """The highest |P| of the readings next to a gap, kW."""
    position = bisect_left(own, (gap.after.time,))
    near = own[max(0, position - NEAR_ROWS) : position + NEAR_ROWS]
    powers = (
        abs(each.P)
        for each in near
        if each.P is not None
        and gap.before.time - MAX_BRIDGE_SECONDS <= each.time < gap.after.time + MAX_BRIDGE_SECONDS
    )
    return max(powers, default=0.0)


def of_segment(segment: RoleSegment, readings: Sequence[Reading]) -> Sequence[Reading]:
    """The readings of a segment's time, sign-corrected."""
    own = readings[bisect_left(readings, (segment.start,)) : bisect_left(readings, (segment.end,))]
    return [sign_corrected(reading) for reading in own] if segment.reversed else own


def _within(lines: Sequence[Line], segment: RoleSegment) -> list[Line]:
    """The lines of a segment of time, cut at its ends."""
    inside = lines_within(lines, segment.start, segment.end)
    if not inside or (inside[0].start >= segment.start and inside[-1].end <= segment.end):
        return list(inside)
    return sum_lines(inside, [Line(segment.start, segment.end, 0.0, 0.0)], 1.0)
