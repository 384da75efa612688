"""The hour that has not ended: results per hour are stored once it has, and readers compute it until then.

It is the hour of the newest reading, not of the clock: the last hour of a logger that is late or silent stays open until its next
reading arrives. So a result is written once, not with every upload, and again only when late data affect it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import cast
from zoneinfo import ZoneInfo

import attrs

from cenergyd.customers.measured_meters import MeterSegment, meter_segments
from cenergyd.customers.meter_history import RoleSegment, role_segments, uses_sums
from cenergyd.customers.model import ROLES, Customer, TimeRange
from cenergyd.customers.ownership import FOREVER
from cenergyd.jobs.backlog_walk import READ_AROUND, series_between
from cenergyd.jobs.neighbour_readings import NEARBY
from cenergyd.jobs.windows import window_at
from cenergyd.readings.model import FieldPoint, Reading
from cenergyd.readings.store import ReadingStore

AHEAD_SECONDS = 3600
"""If the newest reading is further in the future than this, s, a logger's clock is wrong: then the newest one until now is used as well."""
SHORTEST_INTERVAL = 60
"""A logger logs at most once a minute, s."""

Segments = Callable[[int, int], Iterable[RoleSegment | MeterSegment]]
"""The role segments over a range whose readings a result is computed from."""
_ReadOfRange = Callable[[Sequence[str], int, int], Awaitable[dict[str, list[Reading]]]]


def measured_segments(customer: Customer, start: int, end: int) -> list[RoleSegment | MeterSegment]:
    """The segments of the customer's own meters in any role, the meters of sums as well."""
    found: list[RoleSegment | MeterSegment] = [
        each for role in ROLES for each in role_segments(customer, role, start, end) if not each.computed
    ]
    if uses_sums(customer):
        found += [each for each in meter_segments(customer, start, end) if each.in_sum]
    return found


def newest_of(segments: Iterable[RoleSegment | MeterSegment], rows: Mapping[str, Sequence[Reading]]) -> int | None:
    """The time of the newest reading within one of the segments."""
    own = [
        readings[at - 1].time
        for segment in segments
        if (readings := rows.get(segment.series, ()))
        and (at := bisect_left(readings, (segment.end,)))
        and readings[at - 1].time >= segment.start
    ]
    return max(own, default=None)


async def newest_reading(
    segments: Segments,
    readings: ReadingStore,
    before: int | None = None,
    *,
    last: Mapping[str, Reading | None] = {},
) -> int | None:
    """The time of the newest reading (before a time) within any of the segments; None if there is none.

    :param last: the newest reading of some series (None: it has none), if the caller has just read it.
    """
    starts = {(each.end, each.series): each.start for each in segments(0, FOREVER if before is None else before)}
    newest: int | None = None
    for end in sorted({end for end, _ in starts}, reverse=True):
        if newest is not None and newest >= end:
            break
        names = sorted(series for each, series in starts if each == end)
        found: Mapping[str, Reading | None] = last
        if end != FOREVER or not last.keys() >= set(names):
            found = await readings.last(names, None if end == FOREVER else end)
        own = [reading.time for name in names if (reading := found.get(name)) and reading.time >= starts[end, name]]
        newest = max([*own, *([] if newest is None else [newest])], default=None)
    return newest


@attrs.frozen(slots=True)
class OpenHour:
    """Finds, for a job that writes results per hour, the hour that it leaves open and the one that it left open before."""

    segments: Segments
    readings: ReadingStore
    zone: ZoneInfo
    now: int
    """UTC seconds."""

    async def hour(self, rows: Mapping[str, Sequence[Reading]], read: TimeRange) -> TimeRange | None:
        """The hour of the newest reading within any of the segments.

        :param rows: the readings of ``read``; the store is asked if it may have later ones.
        """
        if read.end <= self.now:
            newest = await newest_reading(self.segments, self.readings)
        else:
            newest = newest_of(self.segments(*read), rows)
        return None if newest is None else window_at(newest, "1h", self.zone)

    async def close_before(self, start: int, reached: int, write: Callable[[TimeRange], Awaitable[None]]) -> None:
        """Write the hour of the newest reading before a time, if it was left open and readings continue after a pause.

        :param reached: start of the hours that are written anyway.
        :param write: writes the hours of a range.
        """
        before = await newest_reading(self.segments, self.readings, start)
        if before is not None and window_at(before, "1h", self.zone).end <= reached:
            await write(TimeRange(before, before + 1))


def without(reach: TimeRange, hour: TimeRange | None) -> list[TimeRange]:
    """The parts of a range of hours that are not the open one."""
    if hour is None:
        return [reach]
    parts = TimeRange(reach.start, min(reach.end, hour.start)), TimeRange(max(reach.start, hour.end), reach.end)
    return [part for part in parts if part.start < part.end]


async def stays_open(
    customer: Customer, time_range: TimeRange, readings: ReadingStore, now: int, zone: ZoneInfo
) -> bool:
    """Whether a range of new readings affects only an hour that stays open: then there is no result to write.

    This is so if every series with a role has readings in the same hour before the range, enough to determine the pauses between
    others, and no reading is later than that hour. (The hour that was open before was written when the first of those readings came.)

    The jobs of a range ask the same: the store that they share (:mod:`cenergyd.jobs.shared_reads`) keeps the answer.
    """
    hour = window_at(time_range.start, "1h", zone)
    is_early = time_range.start - hour.start < NEARBY * SHORTEST_INTERVAL
    if is_early or time_range.end > hour.end or now > hour.end + READ_AROUND:
        return False
    known = cast(dict[TimeRange, bool], getattr(readings, "stay_open", {}))
    if time_range not in known:
        names = sorted(_series_of_hour(customer, hour.start, time_range.end))
        read = cast(_ReadOfRange, getattr(readings, "read_at_once", readings.read))
        found = await read(names, hour.start, max(hour.end, now) + READ_AROUND) if names else {}
        known[time_range] = all(
            bisect_left(rows, (time_range.start,)) >= NEARBY and rows[-1].time < hour.end for rows in found.values()
        )
    return known[time_range]


def _series_of_hour(customer: Customer, start: int, end: int) -> set[str]:
    """The series with a role, and those of the meters of sums."""
    found = set(series_between(customer, start, end))
    if uses_sums(customer):
        found |= {each.series for each in meter_segments(customer, start, end) if each.in_sum}
    return found


class HoursReader:
    """Reads points per hour: the stored ones, and those of hours that are not stored yet. It keeps the computed hours.

    :param newest: the time of the newest reading (before a time) that a result may be computed from.
    :param compute: the points of an hour, by series.
    """

    def __init__(
        self,
        readings: ReadingStore,
        zone: ZoneInfo,
        now: int,
        newest: Callable[[int | None], Awaitable[int | None]],
        compute: Callable[[TimeRange], Awaitable[Mapping[str, Sequence[FieldPoint]]]],
    ) -> None:
        self._readings = readings
        self._zone = zone
        self._now = now
        self._newest = newest
        self._compute = compute
        self._computed: dict[TimeRange, Mapping[str, Sequence[FieldPoint]]] = {}
        self._open: tuple[TimeRange, ...] | None = None
        self._neighbours: tuple[TimeRange, ...] = ()
        """The hour before each open one."""
        self._before: tuple[TimeRange, ...] | None = None

    async def points(self, series: str, start: int, end: int) -> list[FieldPoint]:
        """The points of a series that begin in a range, ascending."""
        return await self._complete(series, start, end, await self._readings.read_points(series, start, end))

    async def points_at_once(
        self, ranges: Sequence[tuple[str, int, int]], fields: Sequence[str]
    ) -> list[list[FieldPoint]]:
        """The points of each range (series, start, end), with these fields at least; the stored ones are read by one call."""
        stored = await self._readings.read_points_many(ranges, fields)
        return [await self._complete(*asked, points) for asked, points in zip(ranges, stored, strict=True)]

    async def _complete(self, series: str, start: int, end: int, stored: list[FieldPoint]) -> list[FieldPoint]:
        """The points of a range, of which these are stored."""
        found = stored
        for hour in await self._open_hours():
            if hour.start < end and start < hour.end:
                # A stored point is stale: the hour had ended before the readings after it were voided.
                before, after = found[: bisect_left(found, (hour.start,))], found[bisect_left(found, (hour.end,)) :]
                found = [*before, *await self._of_hour(series, hour, start, end), *after]
        for hour in await self._hours_before(stored, start):
            if hour.start < end and start < hour.end and not _has(stored, hour):
                found = [*found, *await self._of_hour(series, hour, start, end)]
        return found if found is stored else sorted(found, key=lambda point: point.time)

    async def _of_hour(self, series: str, hour: TimeRange, start: int, end: int) -> list[FieldPoint]:
        if hour not in self._computed:
            self._computed[hour] = await self._compute(hour)
        return [point for point in self._computed[hour].get(series, ()) if start <= point.time < end]

    async def _open_hours(self) -> tuple[TimeRange, ...]:
        if self._open is None:
            newest = [await self._newest(None)]
            if newest[0] is not None and newest[0] > self._now + AHEAD_SECONDS:
                newest.append(await self._newest(self._now + 1))
            self._open = self._hours_of(newest)
            self._neighbours = self._hours_of([hour.start - 1 for hour in self._open])
        return self._open

    async def _hours_before(self, stored: Sequence[FieldPoint], start: int) -> tuple[TimeRange, ...]:
        """The hours with readings before the open ones, which the jobs may not have reached yet; none if they certainly have."""
        if self._before is None:
            hours = await self._open_hours()
            if all(hour.start <= start for hour in hours) or all(_has(stored, hour) for hour in self._neighbours):
                return ()
            self._before = self._hours_of([await self._newest(hour.start) for hour in hours])
        return self._before

    def _hours_of(self, times: Iterable[int | None]) -> tuple[TimeRange, ...]:
        return tuple(sorted({window_at(time, "1h", self._zone) for time in times if time is not None}))


def _has(points: Sequence[FieldPoint], hour: TimeRange) -> bool:
    position = bisect_left(points, (hour.start,))
    return position < len(points) and points[position].time < hour.end
