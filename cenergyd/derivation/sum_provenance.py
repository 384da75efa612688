"""Explains of which meters' readings a sum is computed, and which one is missing if there is no sum. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from cenergyd.derivation.provenance import Explanation, SourceTime, Why, minutes_of
from cenergyd.derivation.sum_plan import SumSegment, meter_readings
from cenergyd.derivation.sums import FORMULA, matched
from cenergyd.readings.model import Reading


def explain_sum(
    segment: SumSegment,
    stored: Mapping[str, Sequence[Reading]],
    *,
    tolerance: int,
    reached: Mapping[str, int] | None = None,
) -> list[Explanation]:
    """Explain a sum: an entry for each of its points, and one for each minute that has none.

    :param stored: readings by series, ascending: the meters' over the segment's reading range, the sums over the segment.
    :param reached: the latest known time of each meter's series, besides ``stored``.
    """
    readings = meter_readings(segment, stored)
    together = {min(each.time for each in group): group for group in matched(readings, tolerance)}
    times = sorted(together)
    there = [reading.time for reading in stored[segment.target]]
    estimated = {reading.time for reading in stored[segment.target] if reading.estimated}
    own_times = [[reading.time for reading in each] for each in readings]
    found: list[Explanation] = []
    for start, end in minutes_of(segment.start, segment.end):
        points = _within(there, start, end)
        if points:
            found.extend(_point(segment, time, together.get(time), time in estimated) for time in points)
        elif inside := _within(times, start, end):
            found.append(_not_made(segment, start, together[inside[0]]))
        else:
            found.append(_gap(segment, start, end, own_times, reached or {}))
    return found


def _point(segment: SumSegment, time: int, group: Sequence[Reading] | None, estimated: bool) -> Explanation:
    text = f"{segment.role} is the sum {segment.text} of meters"
    if estimated:
        return _explanation(segment, time, "estimated", group, f"{text}; reactive power is estimated from P and PF")
    return _explanation(segment, time, "computed", group, text)


def _not_made(segment: SumSegment, start: int, group: Sequence[Reading]) -> Explanation:
    for term, reading in zip(segment.terms, group, strict=True):
        if reading.P is None:
            return _explanation(segment, start, "no_power", group, f"{_meter(term.series)} gave no real power")
    return _explanation(segment, start, "pending", group, f"the sum {segment.text} is not computed yet")


def _gap(
    segment: SumSegment, start: int, end: int, own_times: Sequence[Sequence[int]], reached: Mapping[str, int]
) -> Explanation:
    there = [_within(each, start, end) for each in own_times]
    lacking = [term.series for term, times in zip(segment.terms, there, strict=True) if not times]
    sources = tuple(
        SourceTime(segment.role, term.series, times[0] if times else None, term.factor)
        for term, times in zip(segment.terms, there, strict=True)
    )
    why: Why = "missing"
    if len(lacking) == len(segment.terms):
        why, text = "no_readings", "no meter of the sum gave a reading"
    elif not lacking:
        why, text = "not_aligned", "the meters' readings are too far apart in time"
    else:
        names = " and ".join(_meter(series) for series in lacking)
        latest = {
            term.series: max(reached.get(term.series, 0), each[-1] if each else 0)
            for term, each in zip(segment.terms, own_times, strict=True)
        }
        if all(latest[series] < start for series in lacking):
            why, text = "waiting", f"{names} of the sum {segment.text} has not uploaded this time yet"
        else:
            text = f"{names} of the sum {segment.text} gave no reading"
    return Explanation(start, why, segment.role, segment.target, sources, FORMULA, text)


def _explanation(segment: SumSegment, time: int, why: Why, group: Sequence[Reading] | None, text: str) -> Explanation:
    times = [reading.time for reading in group] if group else [None] * len(segment.terms)
    sources = tuple(
        SourceTime(segment.role, term.series, own, term.factor) for term, own in zip(segment.terms, times, strict=True)
    )
    return Explanation(time, why, segment.role, segment.target, sources, FORMULA, text)


def _meter(series: str) -> str:
    return f"meter {series.rpartition('_')[2]}"


def _within(times: Sequence[int], start: int, end: int) -> Sequence[int]:
    return times[bisect_left(times, start) : bisect_left(times, end)]
