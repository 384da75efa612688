"""The customer's net load: the mean power drawn from the grid (load less solar) per 15 minutes, on which demand is charged.

It is the utility meter's P, measured or computed, kept as ``<serial>_net_load_15m`` whichever meter that was at the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from cenergyd.customers.meter_history import role_segments, setup_periods
from cenergyd.customers.model import Customer, Window
from cenergyd.customers.time_zones import zone_of
from cenergyd.hookspecs import JobContext
from cenergyd.jobs.backlog_walk import Chunk, Replacement, following_hours, walk
from cenergyd.jobs.rollups.aggregate import LOOK_BACK, Columns, interval_finder
from cenergyd.jobs.rollups.points import told_window
from cenergyd.jobs.windows import widen, window_at, windows
from cenergyd.readings.model import FieldPoint, Reading, series_name
from cenergyd.readings.signs import negated

RESOLUTION = "15m"
FIELDS = ("P_mean", "P_min", "P_max", "P_count", "expected", "complete")


def net_load_series(serial: str) -> str:
    """The series that holds a logger's net load."""
    return series_name(serial, f"net_load_{RESOLUTION}")


async def update_net_load(customer: Customer, start: int, end: int, context: JobContext) -> None:
    """Bring the net load up to date with the readings of ``start <= time < end``.

    :raises InvalidField: the customer's time zone is none.
    """
    zone = zone_of(customer.time_zone)

    def around(chunk: Chunk) -> Window:
        reach = _reach(chunk, zone)
        return Window(reach.start - LOOK_BACK, reach.end)

    places = role_segments(customer, "utility", start - 2 * LOOK_BACK, end + 3 * LOOK_BACK)
    names = sorted({place.series for place in places})
    window = Window(start, end)
    async for chunk, readings in walk(context.readings, names, window, zone=zone, around=around):
        reach = Window(chunk.start, chunk.end) if chunk.skipped else _reach(chunk, zone)
        points = [] if chunk.skipped else _points(reach, utility_readings(customer, around(chunk), readings), zone)
        await context.readings.replace_points_many(_by_logger(customer, reach, points))
        await context.pause()


def utility_readings(customer: Customer, window: Window, readings: dict[str, list[Reading]]) -> list[Reading]:
    """P at the grid over a window, import positive, from the series that held it at each time; other channels left out."""
    return [
        Reading(reading.time, negated(reading.P) if place.reversed else reading.P, estimated=reading.estimated)
        for place in role_segments(customer, "utility", *window)
        for reading in readings.get(place.series, ())
        if place.start <= reading.time < place.end and reading.P is not None
    ]


def _reach(chunk: Chunk, zone: ZoneInfo) -> Window:
    """The full hours that are written anew: how complete their windows are rests on all readings of the hour."""
    hours = widen(chunk.start, chunk.end, "1h", zone)
    return Window(hours.start, following_hours(hours.end, zone).end) if chunk.last else hours


def _points(reach: Window, readings: Sequence[Reading], zone: ZoneInfo) -> list[FieldPoint]:
    columns = Columns(readings)
    interval_of = interval_finder(columns.times)
    points = []
    for hour in windows(*reach, "1h", zone):
        interval = interval_of(hour) if columns.any(*hour) else None
        for window in windows(*hour, RESOLUTION, zone):
            part = columns.part(*window)
            if part is not None:
                fields = told_window(window, part, interval)
                points.append(FieldPoint(window.start, {name: fields[name] for name in FIELDS if name in fields}))
    return points


def _by_logger(customer: Customer, reach: Window, points: Sequence[FieldPoint]) -> list[Replacement]:
    """The points of each stretch of time under the logger that the customer had at the start of their windows."""
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
