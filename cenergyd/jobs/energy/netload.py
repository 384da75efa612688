"""The customer's net load: the mean power drawn from the grid (load less solar) per 15 minutes, on which demand is charged.

It is the utility meter's P, measured or computed, stored as ``<serial>_net_load_15m`` whichever meter it was at the time. The quarter
hours are written together once the hour has ended, and again when late data affect them; until then :class:`NetLoadReader` computes them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from functools import partial
from zoneinfo import ZoneInfo

from cenergyd.customers.meter_history import role_segments, setup_periods
from cenergyd.customers.model import Customer, TimeRange
from cenergyd.customers.time_zones import zone_of
from cenergyd.hookspecs import JobContext
from cenergyd.jobs.backlog_walk import READ_AROUND, BacklogPart, Replacement, around_hours, walk
from cenergyd.jobs.energy.even_rows import rows_near
from cenergyd.jobs.energy.role_power import AROUND_SECONDS
from cenergyd.jobs.neighbour_readings import NeighbourReader, ReadRows
from cenergyd.jobs.open_hour import HoursReader, OpenHour, newest_of, newest_reading, stays_open, without
from cenergyd.jobs.rollups.aggregate import LARGEST, PartialRollup, stat_of
from cenergyd.jobs.rollups.completeness import LONGEST_PAUSE, expected_by_validity
from cenergyd.jobs.rollups.points import window_fields
from cenergyd.jobs.windows import widen, window_at, windows_of_hours
from cenergyd.readings.model import FieldPoint, series_name
from cenergyd.readings.pauses import valid_seconds
from cenergyd.readings.store import ReadingStore

RESOLUTION = "15m"
DAY = 86400
FIELDS = ("P_mean", "P_min", "P_max", "P_count", "expected", "complete")


def net_load_series(serial: str) -> str:
    """The series that holds a logger's net load."""
    return series_name(serial, f"net_load_{RESOLUTION}")


async def update_net_load(customer: Customer, start: int, end: int, context: JobContext) -> None:
    """Bring the net load up to date with the readings of ``start <= time < end``.

    :raises InvalidField: the customer's time zone is unknown.
    """
    window, zone = TimeRange(start, end), zone_of(customer.time_zone)
    if not await stays_open(customer, window, context.readings, context.now, zone):
        await _NetLoad(customer, context, zone).run(window)


class _NetLoad:
    """One run of :func:`update_net_load`."""

    def __init__(self, customer: Customer, context: JobContext, zone: ZoneInfo) -> None:
        self._customer = customer
        self._context = context
        self._zone = zone
        self._segments = partial(role_segments, customer, "utility")
        self._open = OpenHour(self._segments, context.readings, zone, context.now)
        self._neighbours = _neighbours(context.readings, context.now)

    async def run(self, window: TimeRange, *, goes_on: bool = False) -> None:
        """Go over a window.

        :param goes_on: readings are known to continue after it.
        """
        names = _names(self._customer, window)
        first = not goes_on
        async for chunk, readings in walk(self._context.readings, names, window, zone=self._zone, around=self._around):
            if chunk.skipped:
                nothing = _by_logger(self._customer, TimeRange(chunk.start, chunk.end), [])
                await self._context.readings.replace_points_many(nothing, "P_mean")
                continue
            await self._chunk(chunk, readings, first=first, goes_on=goes_on)
            first = False
            if not chunk.last:
                await self._context.pause()

    def _around(self, chunk: BacklogPart) -> TimeRange:
        return around_hours(chunk, self._zone)  # enough for most loggers; more is read if needed

    async def _chunk(self, chunk: BacklogPart, readings: ReadRows, *, first: bool, goes_on: bool) -> None:
        read, fresh = self._around(chunk), TimeRange(chunk.start, chunk.end)
        rows = await self._neighbours.completed(readings, read, fresh)
        reach = widen(*await self._neighbours.reach(rows, fresh), "1h", self._zone)
        earlier = newest_of(self._segments(read.start, chunk.start), rows) if first else None
        if first and (earlier is None or window_at(earlier, "1h", self._zone).end <= reach.start):
            await self._open.close_before(chunk.start, reach.start, partial(self.run, goes_on=True))
        open_hour = None if goes_on else await self._open.hour(rows, read)
        for hours in without(reach, open_hour):
            points = _points(self._customer, hours, await self._neighbours.completed(rows, read, hours), self._zone)
            items = _by_logger(self._customer, hours, points)
            await self._context.readings.replace_points_many(items, "P_mean")


class NetLoadReader:
    """Reads the net load of one customer: the stored hours, and hours that are not stored yet from readings.

    :param now: UTC seconds.
    :raises InvalidField: the customer's time zone is unknown.
    """

    def __init__(self, customer: Customer, readings: ReadingStore, now: int) -> None:
        self._customer = customer
        zone = zone_of(customer.time_zone)
        # What computes the hours does not know this reader, so that it is freed without the garbage collector.
        compute = partial(_hour, customer, readings, _neighbours(readings, now), zone)
        newest = partial(newest_reading, partial(role_segments, customer, "utility"), readings)
        self._reader = HoursReader(readings, zone, now, newest, compute)

    async def points(self, start: int, end: int, slice_seconds: int) -> AsyncIterator[list[FieldPoint]]:
        """The quarter hours that begin in a range, ascending, a bounded number at a time."""
        for span in setup_periods(self._customer, start, end):
            for since in range(span.start, span.end, slice_seconds) if span.serial else ():
                until = min(span.end, since + slice_seconds)
                yield await self._reader.points(net_load_series(span.serial), since, until)


async def _hour(
    customer: Customer, readings: ReadingStore, neighbours: NeighbourReader, zone: ZoneInfo, hour: TimeRange
) -> dict[str, list[FieldPoint]]:
    """The quarter hours of an hour, by series."""
    names = _names(customer, hour)
    read = TimeRange(hour.start - AROUND_SECONDS, hour.end + AROUND_SECONDS)
    rows = await readings.read(names, *read) if names else {}
    rows = await neighbours.completed(rows, read, hour)
    found: dict[str, list[FieldPoint]] = {}
    for series, _, _, points in _by_logger(customer, hour, _points(customer, hour, rows, zone)):
        found.setdefault(series, []).extend(points)
    return found


def _neighbours(readings: ReadingStore, now: int) -> NeighbourReader:
    return NeighbourReader(store=readings, longest=LONGEST_PAUSE, farthest=LONGEST_PAUSE, now=now)


def _names(customer: Customer, window: TimeRange) -> list[str]:
    """The series of the utility meter near a window."""
    segments = role_segments(customer, "utility", window.start - 2 * READ_AROUND, window.end + 2 * READ_AROUND)
    return sorted({segment.series for segment in segments})


def _points(customer: Customer, reach: TimeRange, rows: ReadRows, zone: ZoneInfo) -> list[FieldPoint]:
    times, powers = _grid_power(
        customer, TimeRange(reach.start - DAY, reach.end + DAY), rows_near(rows, reach, LONGEST_PAUSE)
    )
    valid = valid_seconds(times, LONGEST_PAUSE)
    points = []
    for window in windows_of_hours(reach, RESOLUTION, zone):
        first, last = bisect_left(times, window.start), bisect_left(times, window.end)
        inside = [power for power in powers[first:last] if -LARGEST <= power <= LARGEST]
        if inside:
            part = PartialRollup(len(inside), False, {"P": stat_of(inside)}, 0.0, 0.0, None)
            fields = window_fields(window, part, expected_by_validity(window, valid[first:last]))
            points.append(FieldPoint(window.start, {name: fields[name] for name in FIELDS if name in fields}))
    return points


def _grid_power(customer: Customer, window: TimeRange, rows: ReadRows) -> tuple[list[int], list[float]]:
    """The times, ascending, and values of P at the grid, import positive, from the series that held the role at each time."""
    times: list[int] = []
    powers: list[float] = []
    for place in role_segments(customer, "utility", *window):
        readings = rows.get(place.series, [])
        own = readings[bisect_left(readings, (place.start,)) : bisect_left(readings, (place.end,))]
        known = [(each[0], each[1]) for each in own if each[1] is not None]
        times += [time for time, _ in known]
        powers += [0.0 - power if place.reversed else power for _, power in known]  # 0.0, not -0.0
    return times, powers


def _by_logger(customer: Customer, reach: TimeRange, points: Sequence[FieldPoint]) -> list[Replacement]:
    """The points, each in the series of the logger that the customer had at the start of the window."""
    items: list[Replacement] = []
    for span in setup_periods(customer, *reach):
        if not span.serial:
            continue
        start = span.start if span.start == reach.start else window_at(span.start - 1, RESOLUTION, _UTC).end
        end = span.end if span.end == reach.end else window_at(span.end - 1, RESOLUTION, _UTC).end
        inside = [point for point in points if start <= point.time < end]
        if start < end:
            items.append((net_load_series(span.serial), start, end, inside))
    return items


_UTC = zone_of("UTC")
