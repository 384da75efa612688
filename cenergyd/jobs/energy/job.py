"""Keeps the energy of every role's series up to date, per hour: ``<series>_energy_1h``.

An hour is written once it has ended, and again when late data affect it. The hour of the customer's newest reading is computed by the reader
(:mod:`cenergyd.jobs.energy.read`).
"""

from __future__ import annotations

from functools import partial

from cenergyd.customers.model import Customer, TimeRange
from cenergyd.customers.time_zones import zone_of
from cenergyd.hookspecs import JobContext
from cenergyd.jobs.backlog_walk import BacklogPart, Replacement, around_hours, replace_in_turn, walk
from cenergyd.jobs.energy.even_rows import rows_near
from cenergyd.jobs.energy.hours import HourEnergy, energy_series
from cenergyd.jobs.neighbour_readings import ReadRows
from cenergyd.jobs.open_hour import OpenHour, measured_segments, newest_of, stays_open, without
from cenergyd.jobs.windows import widen


async def update_energy(customer: Customer, start: int, end: int, context: JobContext) -> None:
    """Bring the energy of a customer's roles up to date with the readings of ``start <= time < end``.

    :raises InvalidField: the customer's time zone is unknown.
    """
    window, zone = TimeRange(start, end), zone_of(customer.time_zone)
    if not await stays_open(customer, window, context.readings, context.now, zone):
        await _Metering(customer, context).run(window)


class _Metering:
    """One run of :func:`update_energy`."""

    def __init__(self, customer: Customer, context: JobContext) -> None:
        self._customer = customer
        self._context = context
        self._longest = context.settings.rollups.max_gap_seconds
        self._hours = HourEnergy(customer, context.readings, self._longest, context.now, context.pause)
        self._zone = self._hours.zone
        self._segments = partial(measured_segments, customer)
        self._open = OpenHour(self._segments, context.readings, self._zone, context.now)

    async def run(self, window: TimeRange, *, goes_on: bool = False) -> None:
        """Go over a window.

        :param goes_on: readings are known to continue after it.
        """
        names = self._hours.names(window)
        first = not goes_on
        async for chunk, readings in walk(self._context.readings, names, window, zone=self._zone, around=self._around):
            await self._chunk(chunk, readings, first=first, goes_on=goes_on)
            first = False

    def _around(self, chunk: BacklogPart) -> TimeRange:
        return around_hours(chunk, self._zone)  # enough for most loggers; more is read if needed

    async def _chunk(self, chunk: BacklogPart, readings: ReadRows, *, first: bool, goes_on: bool) -> None:
        neighbours = self._hours.lines.neighbours
        read, fresh = self._around(chunk), TimeRange(chunk.start, chunk.end)
        rows = await neighbours.completed(readings, read, fresh)
        reach = widen(*await neighbours.reach(rows, fresh), "1h", self._zone)
        if first and newest_of(self._segments(read.start, chunk.start), rows) is None:
            await self._open.close_before(chunk.start, reach.start, partial(self.run, goes_on=True))
        open_hour = None if goes_on else await self._open.hour(rows, read)
        for hours in without(reach, open_hour):
            near = rows_near(await neighbours.completed(rows, read, hours), hours, self._longest)
            points = await self._hours.points(near, hours)
            items: list[Replacement] = [(energy_series(name), *hours, found) for name, found in points.items()]
            await replace_in_turn(self._context.readings, items, "covered_seconds")
