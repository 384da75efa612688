"""Reading what is known of the power of a customer's roles over a time: :mod:`cenergyd.jobs.energy.lines` of every role.

A computed role's lines are the sum or difference of the other two's where both are known, by the same intervals. So its energy is what the
site equation makes of theirs, also where one of them is bridged.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from cenergyd.customers.meter_history import RoleSegment, role_segments
from cenergyd.customers.model import ROLES, Customer, Role, Window
from cenergyd.jobs.energy.lines import MAX_BRIDGE_SECONDS, Gap, Line, bridge, gaps_between, power_lines, sum_lines
from cenergyd.readings.model import Reading
from cenergyd.readings.pauses import NEIGHBOURS
from cenergyd.readings.signs import sign_corrected
from cenergyd.readings.store import ReadingStore

NEARBY = NEIGHBOURS + 1
"""Readings on either side that decide what the pause between two others is."""
DAY = 86400
SUMMANDS: Mapping[Role, tuple[Role, Role, float]] = {
    "load": ("utility", "solar", 1.0),
    "utility": ("load", "solar", -1.0),
    "solar": ("load", "utility", -1.0),
}
"""Computed role -> the two that it is made of, and the sign of the second: load = utility + solar."""

Rows = dict[str, list[Reading]]


class RoleLines:
    """Reads lines of one customer.

    :param longest: no pause of more than this is anything but a gap, s.
    :param now: UTC seconds; what is later is not looked for.
    """

    def __init__(self, customer: Customer, store: ReadingStore, longest: int, now: int) -> None:
        self._customer = customer
        self._store = store
        self._longest = longest
        self._now = now

    def names(self, window: Window) -> list[str]:
        """The series of every meter that plays a role at any time near the window, sorted."""
        margin = MAX_BRIDGE_SECONDS
        near = (window.start - margin, window.end + margin)
        found = {each.series for role in ROLES for each in role_segments(self._customer, role, *near)}
        computed = {
            each.series for role in ROLES for each in role_segments(self._customer, role, *near) if each.computed
        }
        return sorted(found - computed)

    async def over(self, window: Window) -> dict[Role, list[Line]]:
        """The lines of each role that reach into a window, and perhaps others near it."""
        names = self.names(window)
        read = Window(window.start - 2 * self._longest, window.end + 2 * self._longest)
        rows = await self._store.read(names, *read) if names else {}
        return await self.lines(await self.completed(rows, read, window), window)

    async def completed(self, rows: Rows, read: Window, window: Window) -> Rows:
        """``rows``, read over ``read``, and as many more as decide what the pauses that reach into ``window`` are."""
        found = dict(rows)
        for name in found:
            await self._complete_before(found, name, read.start, window.start)
            if read.end <= self._now:
                await self._complete_after(found, name, read.end, window.end)
        return found

    async def _complete_before(self, rows: Rows, name: str, start: int, time: int) -> None:
        while bisect_left(rows[name], (time,)) < NEARBY:
            start = min(start, rows[name][0].time) if rows[name] else start
            last = (await self._store.last([name], before=start)).get(name)
            if last is None or last.time < time - MAX_BRIDGE_SECONDS:
                return
            following = rows[name][0].time if rows[name] else time
            start = last.time - NEARBY * self._longest
            rows[name] = [*(await self._store.read([name], start, last.time + 1))[name], *rows[name]]
            if following - last.time > self._longest:
                return  # what is before a gap decides nothing beyond it

    async def _complete_after(self, rows: Rows, name: str, end: int, time: int) -> None:
        while len(rows[name]) - bisect_left(rows[name], (time,)) < NEARBY:
            end = max(end, rows[name][-1].time + 1) if rows[name] else end
            first = (await self._store.first([name], since=end)).get(name)
            if first is None or first.time > time + MAX_BRIDGE_SECONDS:
                return
            before = rows[name][-1].time if rows[name] else time
            end = first.time + NEARBY * self._longest + 1
            rows[name] = [*rows[name], *(await self._store.read([name], first.time, end))[name]]
            if first.time - before > self._longest:
                return

    def reach(self, rows: Rows, window: Window) -> Window:
        """The times whose energy may change with readings of a window."""
        start, end = window
        for readings in rows.values():
            k = bisect_left(readings, (window.start,))
            if k and readings[k - 1].time >= window.start - MAX_BRIDGE_SECONDS:
                earliest = readings[k - 1].time - NEIGHBOURS * self._longest
                start = min(start, max(readings[max(0, k - NEARBY)].time, earliest))
            m = bisect_left(readings, (window.end,))
            if m < len(readings) and readings[m].time <= window.end + MAX_BRIDGE_SECONDS:
                latest = readings[m].time + NEIGHBOURS * self._longest
                end = max(end, min(readings[min(len(readings), m + NEARBY) - 1].time, latest))
        return Window(start, end)

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

    async def _measured(self, segment: RoleSegment, readings: Sequence[Reading], window: Window) -> list[Line]:
        own = readings[bisect_left(readings, (segment.start,)) : bisect_left(readings, (segment.end,))]
        if segment.reversed:
            own = [sign_corrected(reading) for reading in own]
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
        start, end = gaps[0].before.time - MAX_BRIDGE_SECONDS, gaps[-1].after.time + MAX_BRIDGE_SECONDS
        start, end = max(start, segment.start), min(end, segment.end)
        days = (await self._store.summarise([segment.series], start, end, DAY, ["P"]))[segment.series]
        extremes = [value for day in days for value in (day.channels["P"][0], day.channels["P"][2])]
        if not extremes:
            return []
        sign = -1.0 if segment.reversed else 1.0
        highest, lowest = max(map(abs, extremes)), min(sign * value for value in extremes)
        bridges = (bridge(gap, highest, lowest) for gap in gaps)
        return [line for line in bridges if line is not None]


def _within(lines: Sequence[Line], segment: RoleSegment) -> list[Line]:
    """The lines of a segment of time, cut at its ends."""
    return sum_lines(lines, [Line(segment.start, segment.end, 0.0, 0.0)], 1.0)
