"""Reads energy: the stored hours, and hours that are not stored yet, computed from readings.

All pages, reports and sums read energy here, so that none leaves out the hour of the newest reading, which is stored once it has ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial

from cenergyd.customers.meter_history import RoleSegment, role_segments
from cenergyd.customers.model import Customer, Role, TimeRange
from cenergyd.customers.time_zones import zone_of
from cenergyd.jobs.energy.computed_hours import ComputedHours, CountingStore, HourInputs
from cenergyd.jobs.energy.hours import HourEnergy, energy_series
from cenergyd.jobs.neighbour_readings import ReadRows
from cenergyd.jobs.open_hour import HoursReader, measured_segments, newest_reading
from cenergyd.readings.model import FieldPoint, Reading
from cenergyd.readings.store import ReadingStore

SLICE = 31 * 86400
"""Seconds of points to process at once: some milliseconds of work."""
LONGEST_GAP = 5400
"""Default of ``[rollups] max_gap_seconds``."""
_COMPUTED = ComputedHours()


class EnergyReader:
    """Reads the energy of one customer. It keeps the computed hours, so use one object per answer.

    :param now: UTC seconds.
    :param max_gap: the ini's ``[rollups] max_gap_seconds``.
    :param registers: whether to include the counts of the meters' registers.
    :param last: see :func:`newest_reading`.
    :param keep: whether to use and keep hours that were computed before (:class:`ComputedHours`): for answers that are asked for again soon.
    :param recent: the store that readings are read from, such as a cache of the newest ones; None: ``readings``. Stored points are
        always read from ``readings``.
    :raises InvalidField: the customer's time zone is unknown.
    """

    def __init__(
        self,
        customer: Customer,
        readings: ReadingStore,
        now: int,
        max_gap: int = LONGEST_GAP,
        *,
        registers: bool = True,
        last: Mapping[str, Reading | None] = {},
        recent: ReadingStore | None = None,
        keep: bool = True,
    ) -> None:
        self._customer = customer
        used = readings if recent is None else recent
        computation = _HourComputation(customer, used, now, max_gap, registers=registers, keep=keep)
        newest = partial(newest_reading, partial(measured_segments, customer), readings, last=last)
        self._reader = HoursReader(readings, zone_of(customer.time_zone), now, newest, computation.points)

    async def points_at_once(self, places: Sequence[RoleSegment], fields: Sequence[str]) -> list[list[FieldPoint]]:
        """The points that begin in each of some short segments, ascending, with these fields at least; the stored ones are read by one call."""
        return await self._reader.points_at_once(
            [(energy_series(each.series), each.start, each.end) for each in places], fields
        )

    async def points(
        self, role: Role, start: int, end: int, slice_seconds: int = SLICE
    ) -> AsyncIterator[tuple[RoleSegment, list[FieldPoint]]]:
        """A role's points that begin in a range, ascending, a bounded number at a time, each with the segment of time that they are of."""
        for place in role_segments(self._customer, role, start, end):
            async for found in self.series_points(place.series, place.start, place.end, slice_seconds):
                yield place, found

    async def series_points(
        self, series: str, start: int, end: int, slice_seconds: int = SLICE
    ) -> AsyncIterator[list[FieldPoint]]:
        """The points of one meter, sum or computed meter that begin in a range, ascending, a bounded number at a time."""
        for since in range(start, end, slice_seconds):
            until = min(end, since + slice_seconds)
            yield await self._reader.points(energy_series(series), since, until)


class _HourComputation:
    """Computes the energy of hours for an :class:`EnergyReader`.

    It does not know the reader: if each held the other, what was read for every site would be left to the garbage collector, which
    stops the reactor for some 100 ms.
    """

    def __init__(
        self, customer: Customer, readings: ReadingStore, now: int, max_gap: int, *, registers: bool, keep: bool
    ) -> None:
        self._customer = customer
        self._counting = CountingStore(readings)
        self._hours = HourEnergy(customer, self._counting.store, max_gap, now)
        self._max_gap = max_gap
        self._registers = registers
        self._keep = keep

    async def points(self, hour: TimeRange) -> Mapping[str, Sequence[FieldPoint]]:
        rows = await self._hours.rows_over(hour)
        return await self._known(hour, rows) if self._keep else await self._computed(hour, rows)

    async def _known(self, hour: TimeRange, rows: ReadRows) -> Mapping[str, Sequence[FieldPoint]]:
        inputs = HourInputs.of(self._customer, hour, self._max_gap, self._registers, rows)
        if (known := _COMPUTED.get(inputs)) is not None:
            return known
        uses = self._counting.uses
        points = await self._computed(hour, rows)
        if self._counting.uses == uses:
            _COMPUTED.keep(inputs, points)
        return points

    async def _computed(self, hour: TimeRange, rows: ReadRows) -> Mapping[str, Sequence[FieldPoint]]:
        found = await self._hours.points(rows, hour, registers=self._registers)
        return {energy_series(name): points for name, points in found.items()}
