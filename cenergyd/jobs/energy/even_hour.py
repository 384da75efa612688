"""The energy of an hour with evenly spaced readings, without making lines: nearly every hour that is computed for a reader. Pure.

The numbers are those of :mod:`cenergyd.jobs.energy.hours`, in half of its time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from math import fsum

from cenergyd.customers.meter_history import RoleSegment, role_segments, uses_sums
from cenergyd.customers.model import ROLES, Customer, Role, TimeRange
from cenergyd.jobs.energy.energy import Energy, energy
from cenergyd.jobs.energy.gap_bridging import Line, are_plausible, measured_lines, power_at
from cenergyd.jobs.energy.role_power import SEGMENTS_AROUND, SUMMANDS, of_segment
from cenergyd.readings.model import Reading
from cenergyd.readings.pauses import is_even

_Powers = tuple[list[int], list[float]]
"""Times, and the power at each, kW."""


def even_hour(
    customer: Customer, rows: Mapping[str, Sequence[Reading]], hour: TimeRange, longest: int
) -> dict[str, Energy] | None:
    """The energy of each series with a role; None if its readings are not even, or a meter has not had its role for long.

    :param longest: a longer pause is always a gap, s.
    """
    segments = _unchanged(customer, hour)
    if segments is None:
        return None
    known: dict[Role, _Powers] = {}
    for role in sorted(segments, key=lambda role: segments[role].computed):
        segment = segments[role]
        found = _computed(role, known) if segment.computed else _measured(segment, rows, longest)
        if found is None:
            return None
        known[role] = found
    return {segment.series: _energy(*known[role], hour) for role, segment in segments.items()}


def _unchanged(customer: Customer, hour: TimeRange) -> dict[Role, RoleSegment] | None:
    """The segment of each role; None if any changes near the hour, or is a sum of meters."""
    if uses_sums(customer):
        return None
    near = (hour.start - SEGMENTS_AROUND, hour.end + SEGMENTS_AROUND)
    found: dict[Role, RoleSegment] = {}
    for role in ROLES:
        segments = role_segments(customer, role, *near)
        if not segments:
            continue
        if segments[0][:2] != near:
            return None
        found[role] = segments[0]
    return found


def _measured(segment: RoleSegment, rows: Mapping[str, Sequence[Reading]], longest: int) -> _Powers | None:
    own = of_segment(segment, rows.get(segment.series, ()))
    times, powers = [reading[0] for reading in own], [reading[1] for reading in own]
    return (times, powers) if is_even(times, longest) and are_plausible(powers) else None


def _computed(role: Role, known: Mapping[Role, _Powers]) -> _Powers | None:
    one, other, sign = SUMMANDS[role]
    if one not in known or other not in known or known[one][0] != known[other][0]:
        return None
    return known[one][0], [mine + sign * theirs for mine, theirs in zip(known[one][1], known[other][1], strict=True)]


def _energy(times: list[int], powers: list[float], hour: TimeRange) -> Energy:
    start, end = hour
    # The readings from the last one until the hour's start to the first one from its end on.
    near = slice(max(0, bisect_right(times, start) - 1), bisect_left(times, end) + 1)
    times, powers = times[near], powers[near]
    if len(times) < 2:
        return Energy(0.0, 0.0, 0)
    low, high = min(powers), max(powers)
    if low < 0 < high:
        return energy(measured_lines(times, powers), start, end)
    earliest, latest = (
        Line(times[0], times[1], powers[0], powers[1]),
        Line(times[-2], times[-1], powers[-2], powers[-1]),
    )
    if times[0] < start:
        times[0], powers[0] = start, power_at(earliest, start)
    if times[-1] > end:
        times[-1], powers[-1] = end, power_at(latest, end)
    areas = [
        (first + last) / 2 * (stop - begin)
        for begin, stop, first, last in zip(times, times[1:], powers, powers[1:], strict=False)
    ]
    total, seconds = fsum(areas) / 3600, times[-1] - times[0]
    return Energy(total, 0.0, seconds) if low >= 0 else Energy(0.0, 0.0 - total, seconds)
