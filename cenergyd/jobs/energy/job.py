"""Keeps the energy of every meter up to date, per hour: ``<series>_energy_1h``.

Import and export are meant as the customer's roles say: where a meter's CT is reversed, its P counts with the opposite sign. An hour in
which the tariff's season or period, or the meter's role, changes has a point for each part, so that a sum over any of them is exact.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from zoneinfo import ZoneInfo

from twisted.logger import Logger

from cenergyd.customers.meter_history import RoleSegment, role_segments
from cenergyd.customers.model import ROLES, Customer, Window
from cenergyd.customers.time_zones import zone_of
from cenergyd.errors import InvalidField
from cenergyd.hookspecs import JobContext
from cenergyd.jobs.backlog_walk import (
    PIECE,
    Chunk,
    Replacement,
    following_hours,
    series_between,
    walk,
)
from cenergyd.jobs.energy.energy import GAP_FACTOR, Segment, energy, segments, with_power
from cenergyd.jobs.rollups.aggregate import LOOK_BACK, interval_finder
from cenergyd.jobs.tariff.model import Labelled, Tariff
from cenergyd.jobs.tariff.parsing import tariff_of
from cenergyd.jobs.windows import widen, window_at, windows
from cenergyd.readings.model import FieldPoint, Reading

log = Logger()


def energy_series(series: str) -> str:
    """The series that holds a series' energy."""
    return f"{series}_energy_1h"


async def update_energy(customer: Customer, start: int, end: int, context: JobContext) -> None:
    """Bring the energy of a customer's meters up to date with the readings of ``start <= time < end``.

    :raises InvalidField: the customer's time zone is none.
    """
    await _Metering(customer, context).run(Window(start, end))


def longest_pauses(times: Sequence[int], window: Window, zone: ZoneInfo, limit: int) -> Callable[[int], float]:
    """For each time of a window, how long a pause before a reading at it may be that is no gap, s; 0 where nobody knows.

    :param times: of all readings, ascending, from LOOK_BACK before the window on.
    """
    hours = list(windows(*window, "1h", zone))
    starts = [hour.start for hour in hours]
    interval_of = interval_finder(times)
    known: dict[int, float] = {}

    def longest(time: int) -> float:
        position = bisect_right(starts, time) - 1
        if position < 0:
            return 0
        if position not in known:
            interval = interval_of(hours[position])
            known[position] = 0 if interval is None else min(limit, GAP_FACTOR * interval)
        return known[position]

    return longest


class _Metering:
    """One run of :func:`update_energy`."""

    def __init__(self, customer: Customer, context: JobContext) -> None:
        self._customer = customer
        self._context = context
        self._zone = zone_of(customer.time_zone)
        self._gap: int = context.settings.rollups.max_gap_seconds
        self._tariff = _valid_tariff(customer)

    async def run(self, window: Window) -> None:
        store = self._context.readings
        margin = 3 * LOOK_BACK
        names = series_between(self._customer, window.start - margin, window.end + margin)
        async for chunk, readings in walk(store, names, window, zone=self._zone, around=self._around):
            if chunk.skipped:
                await store.replace_points_many([(energy_series(n), chunk.start, chunk.end, ()) for n in names])
                continue
            items: list[Replacement] = []
            for name in names:
                items.append(await self._series(name, chunk, readings[name]))
            await store.replace_points_many(items)

    def _around(self, chunk: Chunk) -> Window:
        """The readings that a chunk needs; from LOOK_BACK after the start on, the ends of segments that count."""
        hours = widen(chunk.start, chunk.end, "1h", self._zone)
        end = following_hours(hours.end, self._zone).end if chunk.last else hours.end
        # A segment may reach in from before the hour before, and out of the last one.
        start = window_at(hours.start - self._gap, "1h", self._zone).start
        end = window_at(end + self._gap, "1h", self._zone).end
        return Window(start - LOOK_BACK, end)

    async def _series(self, name: str, chunk: Chunk, readings: Sequence[Reading]) -> Replacement:
        around = self._around(chunk)
        counted = Window(around.start + LOOK_BACK, around.end)
        longest = longest_pauses([reading.time for reading in readings], counted, self._zone, self._gap)
        known = with_power(readings)
        lines: list[Segment] = []
        for start in range(0, len(known), PIECE):
            lines += segments(known[start : start + PIECE + 1], longest)
            if start:
                await self._context.pause()
        reach = self._reach(chunk, [time for time, _ in known])
        points: dict[int, FieldPoint] = {}
        for role in ROLES:
            for segment in role_segments(self._customer, role, *reach):
                if segment.series == name:
                    points.update(await self._points(segment, lines))
        return energy_series(name), reach.start, reach.end, [points[time] for time in sorted(points)]

    def _reach(self, chunk: Chunk, times: Sequence[int]) -> Window:
        """The hours to be written anew."""
        hours = widen(chunk.start, chunk.end, "1h", self._zone)
        start = hours.start
        before = bisect_left(times, start)
        if before and times[before - 1] >= start - self._gap:
            # Whether the pause between that reading and the next is a gap rests on what is new.
            start = window_at(times[before - 1], "1h", self._zone).start
        return Window(start, following_hours(hours.end, self._zone).end if chunk.last else hours.end)

    async def _points(self, segment: RoleSegment, lines: Sequence[Segment]) -> dict[int, FieldPoint]:
        points = {}
        for number, hour in enumerate(windows(segment.start, segment.end, "1h", self._zone)):
            within = Window(max(hour.start, segment.start), min(hour.end, segment.end))
            for piece in label_pieces(within, self._tariff, self._zone):
                point = energy_point(piece, lines, segment.reversed)
                if point is not None:
                    points[point.time] = point
            if number % 24 == 23:
                await self._context.pause()
        return points


def label_pieces(window: Window, tariff: Tariff | None, zone: ZoneInfo) -> Sequence[Labelled | Window]:
    """The window cut where the tariff's season or period changes; whole where there is no tariff."""
    return [window] if tariff is None else list(tariff.pieces(window, zone))


def energy_point(piece: Labelled | Window, lines: Sequence[Segment], is_reversed: bool) -> FieldPoint | None:
    """The stored energy of a piece of an hour; None where nothing of it is known."""
    found = energy(lines, piece.start, piece.end)
    if not found.covered_seconds:
        return None
    fields: dict[str, float | int | str | bool] = {
        "import_kwh": found.export_kwh if is_reversed else found.import_kwh,
        "export_kwh": found.import_kwh if is_reversed else found.export_kwh,
        "covered_seconds": found.covered_seconds,
        "seconds": piece.end - piece.start,
    }
    if isinstance(piece, Labelled):
        fields["season"] = piece.label.season
        fields["period"] = piece.label.period
    return FieldPoint(piece.start, fields)


def _valid_tariff(customer: Customer) -> Tariff | None:
    try:
        return tariff_of(customer)
    except InvalidField as error:
        # Labels can be had later; what is measured is to be kept now.
        log.warn(
            "the tariff of customer {customer} is not valid: {field}: {error}",
            customer=customer.id,
            field=error.field,
            error=str(error),
        )
        return None
