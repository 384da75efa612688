"""Explains where a computed point comes from, or why there is none. Pure; :mod:`cenergyd.derivation.explain` reads the data."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from cenergyd.customers.model import Role
from cenergyd.derivation.align import align, unmatched
from cenergyd.derivation.formulas import VERSIONS
from cenergyd.derivation.plan import DerivationSegment, role_readings
from cenergyd.hookspecs import AlignedReading, Formula
from cenergyd.readings.model import Reading

MINUTE = 60

Why = Literal["computed", "estimated", "pending", "no_power", "not_aligned", "waiting", "missing", "no_readings"]
"""``computed``, ``estimated``: there is a point. The others say why there is none. ``pending``: both meters have readings, but the point is
not derived yet, or the plugin left it out. ``no_power``: a meter gave no real power. ``not_aligned``: both have readings, but too far apart.
``waiting``: the partner has no readings from that time on yet. ``missing``: it has later readings, but none at that time. ``no_readings``:
neither has any."""


class SourceTime(NamedTuple):
    """The reading of a present meter that a point is computed from."""

    role: Role
    series: str
    time: int | None
    """Time of its reading, UTC seconds; None if it has none."""
    factor: float | None = None
    """For a meter of a sum: the factor of its readings."""


class Explanation(NamedTuple):
    """One computed point, one point of a sum of meters, or one minute without a point."""

    time: int
    """The time of the point, or the start of the minute, UTC seconds."""
    why: Why
    role: Role
    """The computed role, or the role that is a sum."""
    series: str
    sources: tuple[SourceTime, ...]
    formula: str
    """Name and version: ``physical/1``."""
    text: str
    """An explanation for people."""


def formula_name(formula: Formula) -> str:
    """Name and version of a formula."""
    return f"{formula}/{VERSIONS[formula]}"


def explain(
    segment: DerivationSegment,
    stored: Mapping[str, Sequence[Reading]],
    *,
    tolerance: int,
    formula: Formula,
    reached: Mapping[Role, int] | None = None,
) -> list[Explanation]:
    """Explain a segment: an entry for each computed point, and one for each minute that has none.

    :param stored: readings by series, ascending: the sources' over the segment's reading range, the computed ones over the segment.
    :param reached: the latest known time of each present meter, besides ``stored``.
    """
    view = _IndexedSegment(segment, stored, tolerance, formula, reached or {})
    found: list[Explanation] = []
    for start, end in minutes_of(segment.start, segment.end):
        points = _within(view.points, start, end)
        if points:
            found.extend(_point(view, point) for point in points)
        else:
            found.append(_gap(view, start, end))
    return found


def minutes_of(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The minutes of a range; the first and last are cut to it."""
    for minute in range(start - start % MINUTE, end, MINUTE):
        yield max(minute, start), min(minute + MINUTE, end)


class _IndexedSegment:
    """The arguments of :func:`explain`, indexed by time."""

    def __init__(
        self,
        segment: DerivationSegment,
        stored: Mapping[str, Sequence[Reading]],
        tolerance: int,
        formula: Formula,
        reached: Mapping[Role, int],
    ) -> None:
        self.segment = segment
        self.formula = formula_name(formula)
        self.points = stored[segment.target]
        self.present = role_readings(segment, stored)
        self.aligned = align(self.present, tolerance)
        self.pair_at = {pair.time: pair for pair in self.aligned}
        self.alone = unmatched(self.present, self.aligned)
        self.near = max(MINUTE, 2 * tolerance)
        self.reached = {
            role: max(reached.get(role, 0), readings[-1].time if readings else 0)
            for role, readings in self.present.items()
        }


def _point(view: _IndexedSegment, point: Reading) -> Explanation:
    pair = view.pair_at.get(point.time)
    if point.estimated:
        return _entry(view, point.time, "estimated", pair, "computed; reactive power is estimated from P and PF")
    return _entry(view, point.time, "computed", pair, "computed from two measured readings")


def _gap(view: _IndexedSegment, start: int, end: int) -> Explanation:
    pairs = _within(view.aligned, start, end)
    if pairs:
        lacking = [role for role in view.present if getattr(pairs[0], role).P is None]
        if lacking:
            return _entry(view, start, "no_power", pairs[0], f"the {lacking[0]} meter gave no real power")
        return _entry(view, start, "pending", pairs[0], "not derived yet, or left out by the plugin")
    alone = [(role, each) for role, readings in view.alone.items() for each in _within(readings, start, end)]
    if not alone:
        return _entry(view, start, "no_readings", None, "no unused reading of either meter")
    role, reading = alone[0]
    partner = next(other for other in view.present if other != role)
    times = {role: reading.time}
    if view.reached[partner] < reading.time:
        return _explanation(view, start, "waiting", times, f"the {partner} meter has not uploaded this time yet")
    if _within(view.alone[partner], reading.time - view.near, reading.time + view.near + 1):
        return _explanation(view, start, "not_aligned", times, "the two meters' readings are too far apart in time")
    return _explanation(
        view, start, "missing", times, f"the {partner} meter gave no reading, though it has given later ones"
    )


def _entry(view: _IndexedSegment, time: int, why: Why, pair: AlignedReading | None, text: str) -> Explanation:
    times = {role: getattr(pair, role).time for role in view.present} if pair else {}
    return _explanation(view, time, why, times, text)


def _explanation(view: _IndexedSegment, time: int, why: Why, times: Mapping[Role, int], text: str) -> Explanation:
    segment = view.segment
    sources = tuple(SourceTime(source.role, source.series, times.get(source.role)) for source in segment.sources)
    return Explanation(time, why, segment.role, segment.target, sources, view.formula, text)


def _within(items: Sequence[Reading] | Sequence[AlignedReading], start: int, end: int) -> Sequence:  # type: ignore[type-arg]
    return items[bisect_left(items, (start,)) : bisect_left(items, (end,))]
