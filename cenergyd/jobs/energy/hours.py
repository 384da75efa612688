"""Computes the energy of a customer's hours from readings, for the job that stores it and for readers of hours that are not stored yet.

Import and export have the signs of the customer's roles: if a meter's CT is reversed, its P is negated. An hour in which the tariff's season
or period, or the meter's role, changes has a point for each part, so that a sum over any of them is exact.

If a role is a sum of meters, each of them has energy of its own as well: its part of the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from twisted.logger import Logger

from cenergyd.customers.measured_meters import MeterSegment, meter_segments
from cenergyd.customers.meter_history import RoleSegment, role_segments, uses_sums
from cenergyd.customers.model import ROLES, Customer, TimeRange
from cenergyd.customers.time_zones import zone_of
from cenergyd.errors import InvalidField
from cenergyd.jobs.backlog_walk import STEP_ITEMS
from cenergyd.jobs.energy.energy import Energy, KindEnergy, energy
from cenergyd.jobs.energy.even_hour import even_hour
from cenergyd.jobs.energy.gap_bridging import Line
from cenergyd.jobs.energy.registers import Counted, Step, counted
from cenergyd.jobs.energy.role_power import AROUND_SECONDS, SEGMENTS_AROUND, RolePowerReader
from cenergyd.jobs.neighbour_readings import ReadRows
from cenergyd.jobs.tariff.model import LabelledRange, Tariff
from cenergyd.jobs.tariff.parsing import tariff_of
from cenergyd.jobs.windows import window_at, windows
from cenergyd.readings.model import FieldPoint
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.yielding import Cooperate, without_yielding

PAUSE_HOURS = 24
"""Hours processed between two yields to the reactor."""

log = Logger()


def energy_series(series: str) -> str:
    """The series that holds a series' energy."""
    return f"{series}_energy_1h"


class HourEnergy:
    """Computes the energy of one customer's hours.

    :param longest: a longer pause is always a gap, s.
    :param now: UTC seconds; later readings are not read.
    :param pause: lets the reactor run.
    :raises InvalidField: the customer's time zone is unknown.
    """

    def __init__(
        self, customer: Customer, readings: ReadingStore, longest: int, now: int, pause: Cooperate = without_yielding
    ) -> None:
        self._customer = customer
        self._readings = readings
        self._pause = pause
        self._longest = longest
        self.zone = zone_of(customer.time_zone)
        self.lines = RolePowerReader(customer, readings, longest, now)
        self._tariff = _valid_tariff(customer)

    def names(self, window: TimeRange) -> list[str]:
        """The series of every meter that measures a role, or belongs to a role's sum, at any time near the window, sorted."""
        summed = (segment.series for segment in self._summed(window, SEGMENTS_AROUND))
        return sorted({*self.lines.names(window), *summed})

    async def rows_over(self, window: TimeRange) -> ReadRows:
        """The readings that determine the power over a window."""
        names = self.names(window)
        read = TimeRange(window.start - AROUND_SECONDS, window.end + AROUND_SECONDS)
        rows = await self._readings.read(names, *read) if names else {}
        return await self.lines.neighbours.completed(rows, read, window)

    async def points(self, rows: ReadRows, hours: TimeRange, *, registers: bool = True) -> dict[str, list[FieldPoint]]:
        """The points of full hours by series, ascending; every series with a role in them is a key.

        :param rows: the readings that determine the power over the hours.
        :param registers: whether to include the counts of the meters' registers.
        """
        if not registers and self._tariff is None and window_at(hours.start, "1h", self.zone) == hours:
            even = even_hour(self._customer, rows, hours, self._longest)
            if even is not None:
                return {name: [_point(hours, each)] if each.covered_seconds else [] for name, each in even.items()}
        # The hours of many sites may come at once.
        await self._pause()
        pause = without_yielding if sum(map(len, rows.values())) <= STEP_ITEMS else self._pause
        lines = await self.lines.lines(rows, hours, pause)
        segments = {role: role_segments(self._customer, role, *hours) for role in ROLES}
        names = sorted({each.series for some in segments.values() for each in some})
        found: dict[str, list[FieldPoint]] = {name: [] for name in names}
        for role in ROLES:
            await pause()
            steps = await self.lines.steps(role, rows, lines[role], hours) if registers else []
            for segment in segments[role]:
                found[segment.series] += await self._points(segment, lines[role], steps)
        await self._add_summed(found, rows, hours)
        return {name: sorted(points, key=lambda point: point.time) for name, points in found.items()}

    def _summed(self, window: TimeRange, around: int = 0) -> list[MeterSegment]:
        """The meters of sums near a window."""
        if not uses_sums(self._customer):
            return []
        found = meter_segments(self._customer, window.start - around, window.end + around)
        return [segment for segment in found if segment.in_sum]

    async def _add_summed(self, points: dict[str, list[FieldPoint]], rows: ReadRows, reach: TimeRange) -> None:
        """Add the energy of each meter of a sum, as it counts for its role; if the meter has a role of its own, that takes precedence."""
        for segment in self._summed(reach, SEGMENTS_AROUND):
            start, end = max(segment.start, reach.start), min(segment.end, reach.end)
            if start >= end:
                continue
            await self._pause()
            lines = await self.lines.meter_lines(segment, rows, reach)
            mine = points.setdefault(segment.series, [])
            known = {point.time for point in mine}
            found = await self._points(segment._replace(start=start, end=end), lines, ())
            mine += [point for point in found if point.time not in known]

    async def _points(
        self, segment: RoleSegment | MeterSegment, lines: Sequence[Line], steps: Sequence[Step]
    ) -> list[FieldPoint]:
        points = []
        for number, hour in enumerate(windows(segment.start, segment.end, "1h", self.zone)):
            within = TimeRange(max(hour.start, segment.start), min(hour.end, segment.end))
            for part in labelled_windows(within, self._tariff, self.zone):
                point = energy_point(part, lines, steps)
                if point is not None:
                    points.append(point)
            if number % PAUSE_HOURS == PAUSE_HOURS - 1:
                await self._pause()
        return points


def labelled_windows(window: TimeRange, tariff: Tariff | None, zone: ZoneInfo) -> Sequence[LabelledRange | TimeRange]:
    """The window, cut where the tariff's season or period changes; the whole window if there is no tariff."""
    return [window] if tariff is None else list(tariff.labelled(window, zone))


def energy_point(part: LabelledRange | TimeRange, lines: Sequence[Line], steps: Sequence[Step]) -> FieldPoint | None:
    """The point with the energy of a part of an hour; None if nothing is known.

    The bridged and interpolated parts, and the counts of the meter's registers, have separate fields, if any.
    """
    found = energy(lines, part.start, part.end)
    if not found.covered_seconds:
        return None
    return _point(part, found, counted(steps, lines, TimeRange(part.start, part.end)))


def _point(part: LabelledRange | TimeRange, found: Energy, by_registers: Counted | None = None) -> FieldPoint:
    fields: dict[str, float | int | str | bool] = {
        "import_kwh": found.import_kwh,
        "export_kwh": found.export_kwh,
        "covered_seconds": found.covered_seconds,
        "seconds": part.end - part.start,
        **_kind_fields("bridged", found.bridged),
        **_kind_fields("interpolated", found.interpolated),
        **register_fields(by_registers),
    }
    if isinstance(part, LabelledRange):
        fields["season"] = part.label.season
        fields["period"] = part.label.period
    return FieldPoint(part.start, fields)


def _kind_fields(kind: str, part: KindEnergy) -> dict[str, float]:
    if not part.seconds:
        return {}
    return {
        f"{kind}_import_kwh": part.import_kwh,
        f"{kind}_export_kwh": part.export_kwh,
        f"{kind}_seconds": part.seconds,
    }


def register_fields(found: Counted | None) -> dict[str, float]:
    """The stored fields for the counts of registers; :func:`counted_of` is the inverse."""
    if found is None:
        return {}
    fields = {"register_seconds": float(found.seconds)}
    for name in ("import_kwh", "export_kwh", "net_kwh"):
        value = getattr(found, name)
        if value is not None:
            fields[f"register_{name}"] = value
    for name in ("import_kwh", "export_kwh"):
        if value := getattr(found, f"uncounted_{name}"):
            fields[f"uncounted_{name}"] = value
    return fields


def counted_of(point: FieldPoint) -> Counted | None:
    """The counts of registers in a stored point."""
    fields = point.fields
    if "register_seconds" not in fields:
        return None

    def value(name: str) -> float | None:
        found = fields.get(f"register_{name}")
        return None if found is None else float(found)

    return Counted(
        int(fields["register_seconds"]),
        value("import_kwh"),
        value("export_kwh"),
        value("net_kwh"),
        float(fields.get("uncounted_import_kwh", 0.0)),
        float(fields.get("uncounted_export_kwh", 0.0)),
    )


def _valid_tariff(customer: Customer) -> Tariff | None:
    try:
        return tariff_of(customer)
    except InvalidField as error:
        # Labels can be added later, but the energy is stored now.
        log.warn(
            "the tariff of customer {customer} is not valid: {field}: {error}",
            customer=customer.id,
            field=error.field,
            error=str(error),
        )
        return None
