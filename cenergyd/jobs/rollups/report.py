"""Reads the results of the jobs for the API and pages, as plain JSON values.

Power in kW, energy in kWh, voltage in V, times in UTC seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum

from cenergyd.customers.meter_history import RoleSegment, role_segments
from cenergyd.customers.model import ROLES, Customer, Role, TimeRange
from cenergyd.customers.time_zones import zone_of
from cenergyd.documents.json_types import JsonObject
from cenergyd.errors import InvalidField
from cenergyd.jobs.energy.netload import NetLoadReader
from cenergyd.jobs.energy.read import LONGEST_GAP, EnergyReader
from cenergyd.jobs.rollups.aggregate import ReadingColumns, combine
from cenergyd.jobs.rollups.completeness import Pauses
from cenergyd.jobs.rollups.points import window_fields
from cenergyd.jobs.rollups.read import MAX_POINTS, read_rollup
from cenergyd.jobs.windows import RESOLUTIONS, local_date, widen, window_at
from cenergyd.readings.model import FieldPoint, Reading
from cenergyd.readings.signs import sign_corrected
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.yielding import Cooperate, without_yielding

SLICE = 7 * 86400
"""Seconds of points to process at once: some milliseconds of work."""

_POINTS_AT_ONCE = 500
"""Windows processed between two yields to the reactor: about a millisecond of work."""
_ENERGY_FIELDS = ("import_kwh", "export_kwh", "covered_seconds")


async def role_rollup(
    customer: Customer,
    readings: ReadingStore,
    role: Role,
    resolution: str,
    within: TimeRange,
    *,
    keep_days: Mapping[str, int] = {},
    cooperate: Cooperate = without_yielding,
) -> list[JsonObject]:
    """The windows of a role that start in a range, ascending, at most MAX_POINTS: ``series``, ``time`` and the fields (docs/rollups.md).

    Import is positive even if the meter's CT is reversed. A window in which the meter, its CT or the role changed is computed from the
    readings of each part with its own settings, and has the name of the last series. Windows of an earlier time zone are left out.

    :param cooperate: awaited every few milliseconds of computation.
    :raises InvalidField: no such resolution.
    """
    if resolution not in RESOLUTIONS:
        raise InvalidField("resolution", f"one of {', '.join(RESOLUTIONS)} is needed")
    zone = zone_of(customer.time_zone)
    found: dict[int, JsonObject] = {}
    for segment in role_segments(customer, role, *within):
        place = TimeRange(segment.start, segment.end)
        points = await read_rollup(
            readings, segment.series, resolution, place, zone,
            is_reversed=segment.reversed, keep_days=keep_days, cooperate=cooperate,
        )  # fmt: skip
        for number, point in enumerate(points):
            found[point.time] = {"series": segment.series, "time": point.time, **point.fields}
            if number % _POINTS_AT_ONCE == 0:
                await cooperate()
    for cut in _cut_windows(customer, role, resolution, within):
        found.pop(cut.start, None)
        if (whole := await _in_parts(customer, readings, role, cut)) is not None:
            found[cut.start] = whole
    return [found[time] for time in sorted(found)][:MAX_POINTS]


def _cut_windows(customer: Customer, role: Role, resolution: str, within: TimeRange) -> list[TimeRange]:
    """The windows that start in a range and within which the role's series or its meaning changes."""
    zone = zone_of(customer.time_zone)
    whole = widen(*within, resolution, zone)
    edges = {edge for segment in role_segments(customer, role, *whole) for edge in segment[:2]} - set(whole)
    cut = {window_at(edge, resolution, zone) for edge in edges}
    return sorted(w for w in cut if w.start not in edges and within.start <= w.start < within.end)


async def _in_parts(customer: Customer, readings: ReadingStore, role: Role, window: TimeRange) -> JsonObject | None:
    parts, expected, series = [], 0, ""
    for start, end, name, _, is_reversed, _ in role_segments(customer, role, *window):
        rows = (await readings.read([name], start, end))[name]
        columns = ReadingColumns([sign_corrected(row) for row in rows] if is_reversed else rows, series=name)
        part = columns.part(start, end)
        if part is not None:
            parts.append(part)
            expected += Pauses(columns.times).expected(TimeRange(start, end)) or part.readings
            series = name
    if not parts:
        return None
    return {"series": series, "time": window.start, **window_fields(window, combine(parts), expected)}


async def energy_between(
    customer: Customer,
    readings: ReadingStore,
    window: TimeRange,
    now: int,
    *,
    max_gap: int = LONGEST_GAP,
    last: Mapping[str, Reading | None] = {},
    recent: ReadingStore | None = None,
    keep: bool = True,
) -> JsonObject:
    """Energy per role over a range of at most some days that begins and ends at full local hours.

    ``{"utility": {"series", "import_kwh", "export_kwh", "covered_seconds"}, ...}``; a role without a meter is None. ``series``
    is the latest one that held the role.

    :param last: see :func:`~cenergyd.jobs.open_hour.newest_reading`.
    :param recent: see :class:`~cenergyd.jobs.energy.read.EnergyReader`.
    :param keep: see there.
    """
    reader = EnergyReader(customer, readings, now, max_gap, registers=False, last=last, recent=recent, keep=keep)
    places = {role: role_segments(customer, role, *window) for role in ROLES}
    found = iter(await reader.points_at_once([each for role in ROLES for each in places[role]], _ENERGY_FIELDS))
    return {role: _summed(places[role], [next(found) for _ in places[role]]) for role in ROLES}


async def energy_today(
    customer: Customer,
    readings: ReadingStore,
    now: int,
    *,
    max_gap: int = LONGEST_GAP,
    last: Mapping[str, Reading | None] = {},
    recent: ReadingStore | None = None,
    keep: bool = True,
) -> JsonObject:
    """Energy per role since the customer's midnight: ``{"date", "start", "end", "energy": ...}``, see :func:`energy_between`."""
    zone = zone_of(customer.time_zone)
    day = window_at(now, "24h", zone)
    return {
        "date": local_date(now, zone).isoformat(),
        "start": day.start,
        "end": day.end,
        "energy": await energy_between(
            customer, readings, day, now, max_gap=max_gap, last=last, recent=recent, keep=keep
        ),
    }


async def net_load(customer: Customer, readings: ReadingStore, start: int, end: int, now: int) -> list[JsonObject]:
    """The net load per 15 minutes, ascending, at most MAX_POINTS: ``time``, ``P_mean`` and the other fields."""
    found: list[JsonObject] = []
    async for points in NetLoadReader(customer, readings, now).points(start, end, SLICE):
        found += [{"time": point.time, **point.fields} for point in points]
        if len(found) >= MAX_POINTS:
            break
    return found[:MAX_POINTS]


def _summed(places: Sequence[RoleSegment], points: Sequence[Sequence[FieldPoint]]) -> JsonObject | None:
    """The energy of a role, from the points of each of its segments."""
    if not places:
        return None
    sums = {name: fsum([float(point.fields[name]) for some in points for point in some]) for name in _ENERGY_FIELDS}
    return {"series": places[-1].series, **sums}
