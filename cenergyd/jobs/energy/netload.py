"""The customer's net load: the mean power drawn from the grid (load less solar) per 15 minutes, on which demand is charged.

It is the utility meter's P, measured or computed, stored as ``<serial>_net_load_15m`` whichever meter it was at the time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from cenergyd.customers.meter_history import role_segments, setup_periods
from cenergyd.customers.model import Customer, Window
from cenergyd.customers.time_zones import zone_of
from cenergyd.hookspecs import JobContext
from cenergyd.jobs.backlog_walk import READ_AROUND, BacklogPart, Replacement, around_hours, walk
from cenergyd.jobs.neighbours import NeighbourReader
from cenergyd.jobs.rollups.aggregate import ReadingColumns
from cenergyd.jobs.rollups.points import told
from cenergyd.jobs.rollups.usual_interval import LONGEST_PAUSE, expected_by_spans
from cenergyd.jobs.windows import widen, window_at, windows
from cenergyd.readings.model import FieldPoint, Reading, series_name
from cenergyd.readings.pauses import spans
from cenergyd.readings.signs import negated

RESOLUTION = "15m"
DAY = 86400
FIELDS = ("P_mean", "P_min", "P_max", "P_count", "expected", "complete")


def net_load_series(serial: str) -> str:
    """The series that holds a logger's net load."""
    return series_name(serial, f"net_load_{RESOLUTION}")


async def update_net_load(customer: Customer, start: int, end: int, context: JobContext) -> None:
    """Bring the net load up to date with the readings of ``start <= time < end``.

    :raises InvalidField: the customer's time zone is none.
    """
    zone = zone_of(customer.time_zone)
    neighbours = NeighbourReader(store=context.readings, longest=LONGEST_PAUSE, farthest=LONGEST_PAUSE, now=context.now)

    def around(chunk: BacklogPart) -> Window:
        return around_hours(chunk, zone)  # enough for most loggers; more is read if needed

    segments = role_segments(customer, "utility", start - 2 * READ_AROUND, end + 2 * READ_AROUND)
    names = sorted({segment.series for segment in segments})
    async for chunk, readings in walk(context.readings, names, Window(start, end), zone=zone, around=around):
        fresh = Window(chunk.start, chunk.end)
        if chunk.skipped:
            await context.readings.replace_points_many(_by_logger(customer, fresh, []))
            continue
        rows = await neighbours.completed(readings, around(chunk), fresh)
        reach = widen(*neighbours.reach(rows, fresh), "1h", zone)
        rows = await neighbours.completed(rows, around(chunk), reach)
        points = _points(customer, reach, rows, zone)
        await context.readings.replace_points_many(_by_logger(customer, reach, points))
        await context.pause()


def utility_readings(customer: Customer, window: Window, readings: dict[str, list[Reading]]) -> list[Reading]:
    """P at the grid over a window, import positive, from the series that held the role at each time; without other channels."""
    return [
        Reading(reading.time, negated(reading.P) if place.reversed else reading.P, estimated=reading.estimated)
        for place in role_segments(customer, "utility", *window)
        for reading in readings.get(place.series, ())
        if place.start <= reading.time < place.end and reading.P is not None
    ]


def _points(customer: Customer, reach: Window, rows: dict[str, list[Reading]], zone: ZoneInfo) -> list[FieldPoint]:
    places = role_segments(customer, "utility", reach.start - DAY, reach.end + DAY)
    times = [
        reading.time
        for place in places
        for reading in rows.get(place.series, ())
        if place.start <= reading.time < place.end and reading.P is not None
    ]
    columns = ReadingColumns(utility_readings(customer, reach, rows))
    known = spans(times, LONGEST_PAUSE)
    points = []
    for window in windows(*reach, RESOLUTION, zone):
        part = columns.part(*window)
        if part is not None:
            inside = known[bisect_left(times, window.start) : bisect_left(times, window.end)]
            fields = told(window, part, expected_by_spans(window, inside))
            points.append(FieldPoint(window.start, {name: fields[name] for name in FIELDS if name in fields}))
    return points


def _by_logger(customer: Customer, reach: Window, points: Sequence[FieldPoint]) -> list[Replacement]:
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
