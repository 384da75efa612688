"""Corrections of wrong readings by a person: void a range, scale it, or shift it in time. Pure functions.

Measured values stay stored unchanged; corrections are stored beside them. :class:`CorrectionMap` is the combined effect of all
corrections of a series: segments of time, each with the time shift and the factor that turn measured readings into corrected ones.

Corrections apply in the order in which they were made: the range of each is in the times that result from the corrections before it,
which is what its author saw. An undone correction is treated as if it had never been made.

A shift moves the readings of its range to other times. Other readings that the meter has stored for those times are hidden while the
shift is active, so that no time occurs twice. A range can be shifted once: neither the range nor its target may overlap the range
or target of another shift.

A factor scales P and Q. The energy registers of a scaled range are left out: they continue from wrongly counted values, so a
difference to a register outside the range would be meaningless. Where factors cancel out, readings are as measured, registers included.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, Literal, NamedTuple, get_args

import attrs

from cenergyd.errors import Incompatible, InvalidField
from cenergyd.readings.model import MAX_VALUE, Reading
from cenergyd.readings.store import Summary

CorrectionKind = Literal["void", "scale", "shift"]
KINDS: tuple[CorrectionKind, ...] = get_args(CorrectionKind)
LATEST = 1 << 33
"""The latest possible end of a range, UTC seconds (year 2242)."""
BEGINNING, END = -(1 << 53), 1 << 53
"""Before and after every time."""
MAX_FACTOR = 1e6
"""Limit of the factor of one correction, and of the product of all at a time: W instead of kW is 1000, a CT ratio some thousands at most."""
MAX_REASON = 300
"""Characters of a reason."""
MAX_ACTIVE = 100
"""Maximum active corrections of a customer."""
MAX_UNDONE = 100
"""Undone corrections of a customer that are kept in the list; the oldest go first."""
SCALED = frozenset(("P", "Q"))


@attrs.frozen(kw_only=True)
class Correction:
    """One correction of a range of a series."""

    number: int
    """Counts the corrections of the series in the order in which they were made."""
    kind: CorrectionKind
    start: int
    """UTC seconds, in the times that result from the corrections before this one."""
    end: int
    """Exclusive."""
    factor: float | None = None
    """Of ``scale``."""
    seconds: int | None = None
    """Of ``shift``: added to the time."""
    reason: str
    customer_id: str
    """Id of the customer who held the logger at that time."""
    by: str
    """Who made it."""
    at: int
    """When it was made, UTC seconds."""
    undone_by: str | None = None
    """Who undid it; None if it is active."""
    undone_at: int | None = None
    """UTC seconds."""

    @property
    def is_active(self) -> bool:
        """Whether it is applied: not undone."""
        return self.undone_at is None

    @property
    def target(self) -> tuple[int, int]:
        """The range in which its readings are afterwards."""
        return self.start + (self.seconds or 0), self.end + (self.seconds or 0)

    def touches(self, start: int, end: int) -> bool:
        """Whether it changes readings within a range: removes them from there, or moves them there."""
        return any(first < end and start < last for first, last in ((self.start, self.end), self.target))

    @property
    def extent(self) -> tuple[int, int]:
        """The smallest range of times that holds everything it changes: its range and its target."""
        start, end = self.target
        return min(self.start, start), max(self.end, end)


class CorrectionSegment(NamedTuple):
    """A time over which all readings are corrected alike."""

    start: int
    """Corrected time, UTC seconds."""
    end: int
    """Exclusive."""
    shift: int = 0
    """Corrected time less measured time, s."""
    factor: float = 1.0
    """By which P and Q are multiplied."""

    def cut(self, start: int, end: int) -> CorrectionSegment:
        """The part within a range."""
        return self._replace(start=max(self.start, start), end=min(self.end, end))

    @property
    def measured(self) -> tuple[int, int]:
        """The range in measured time."""
        return self.start - self.shift, self.end - self.shift

    @property
    def changes_nothing(self) -> bool:
        """Whether the readings are as measured."""
        return self.shift == 0 and self.factor == 1.0

    def corrected(self, readings: Sequence[Reading]) -> list[Reading]:
        """Measured readings of the segment, corrected. A reading that has no value left is dropped."""
        if self.changes_nothing:
            return list(readings)
        if self.factor == 1.0:
            return [reading._replace(time=reading.time + self.shift) for reading in readings]
        found = (
            Reading(r.time + self.shift, self.scaled(r.P), r.L1_PF, r.L1_V, self.scaled(r.Q), r.estimated)
            for r in readings
        )
        return [reading for reading in found if any(value is not None for value in reading[1:5])]

    def corrected_summary(self, summary: Summary) -> Summary:
        """A window's minimum, mean and maximum, corrected."""
        channels = {}
        for name, triple in summary.channels.items():
            values = [self.scaled(value) for value in triple] if name in SCALED else list(triple)
            low, mean, high = values
            if low is not None and mean is not None and high is not None:
                channels[name] = (min(low, high), mean, max(low, high))
        return summary._replace(time=summary.time + self.shift, channels=channels)

    def scaled(self, value: float | None) -> float | None:
        """A value times the factor; None if the result is implausibly large. Never -0.0."""
        if value is None:
            return None
        product = value * self.factor + 0.0
        return product if abs(product) <= MAX_VALUE else None


@attrs.frozen
class CorrectionMap:
    """The combined effect of a series' corrections. Times in no segment are void."""

    segments: tuple[CorrectionSegment, ...] = (CorrectionSegment(BEGINNING, END),)
    """Ascending, not overlapping."""

    @property
    def changes_nothing(self) -> bool:
        """Whether every reading is as measured."""
        return self.segments == (CorrectionSegment(BEGINNING, END),)

    def between(self, start: int, end: int) -> list[CorrectionSegment]:
        """The segments of a range of corrected time, cut to it."""
        return [segment.cut(start, end) for segment in self.segments if segment.start < end and segment.end > start]

    def reach(self, start: int, end: int) -> tuple[int, int]:
        """The smallest range that holds a range of times and all times between which shifts move readings to or from it, directly or through others."""
        while True:
            low, high = start, end
            for segment in self.segments:
                if segment.shift and segment.start - segment.shift < end and segment.end - segment.shift > start:
                    moved = segment.cut(start + segment.shift, end + segment.shift)
                    low, high = min(low, moved.start), max(high, moved.end)
            if (low, high) == (start, end):
                return start, end
            start, end = low, high

    def void(self, start: int, end: int) -> CorrectionMap:
        """With a range made void."""
        return CorrectionMap(tuple(_outside(self.segments, start, end)))

    def scaled(self, start: int, end: int, factor: float) -> CorrectionMap:
        """With a range scaled."""
        inside = [segment._replace(factor=segment.factor * factor) for segment in self.between(start, end)]
        return CorrectionMap(_joined([*_outside(self.segments, start, end), *inside]))

    def shifted(self, start: int, end: int, seconds: int) -> CorrectionMap:
        """With a range moved; readings already at the target are hidden."""
        moved = [
            CorrectionSegment(segment.start + seconds, segment.end + seconds, segment.shift + seconds, segment.factor)
            for segment in self.between(start, end)
        ]
        rest = _outside(_outside(self.segments, start, end), start + seconds, end + seconds)
        return CorrectionMap(_joined([*rest, *moved]))


def correction_map(corrections: Iterable[Correction]) -> CorrectionMap:
    """The combined effect of the active corrections, in their order."""
    view = CorrectionMap()
    for each in sorted(corrections, key=lambda each: each.number):
        if each.is_active:
            view = _with(view, each)
    return view


def corrected(view: CorrectionMap, readings: Sequence[Reading]) -> list[Reading]:
    """All readings of a series, ascending, corrected."""
    times = [reading.time for reading in readings]
    found: list[Reading] = []
    for segment in view.segments:
        start, end = segment.measured
        found += segment.corrected(readings[bisect_right(times, start - 1) : bisect_right(times, end - 1)])
    return found


def check_correction(
    *, kind: str, start: int, end: int, factor: float | None, seconds: int | None, reason: str
) -> None:
    """Raise InvalidField for a correction that is invalid on its own, whatever other corrections exist."""
    if kind not in KINDS:
        raise InvalidField("kind", f"one of {', '.join(KINDS)} is needed")
    if not 0 <= start < LATEST:
        raise InvalidField("start", "UTC seconds since 1970 are needed")
    if not start < end <= LATEST:
        raise InvalidField("end", "a time later than the start is needed")
    _check_factor(kind, factor)
    _check_seconds(kind, start, end, seconds)
    if not reason.strip():
        raise InvalidField("reason", "a reason is needed")
    if len(reason) > MAX_REASON:
        raise InvalidField("reason", f"at most {MAX_REASON} characters")
    if not reason.isprintable():
        raise InvalidField("reason", "one line of plain text is needed")


def with_correction(corrections: Sequence[Correction], new: Correction) -> list[Correction]:
    """The corrections of a series with one more.

    :raises Incompatible: a range would be shifted twice.
    :raises InvalidField: the product of the factors at some time would be too large or too small.
    """
    if new.kind == "shift":
        for each in corrections:
            if each.is_active and each.kind == "shift" and _touch(each, new):
                raise Incompatible(f"correction {each.number} already shifts these times: undo it first")
    together = [*corrections, new]
    for segment in correction_map(together).segments:
        if not 1 / MAX_FACTOR <= abs(segment.factor) <= MAX_FACTOR:
            raise InvalidField("factor", "combined with the existing corrections, the factor is too large or too small")
    return together


def undone(corrections: Sequence[Correction], number: int, by: str, at: int) -> list[Correction]:
    """The corrections of a series with one undone.

    :raises Incompatible: it is already undone, or the range of a later one is in times that it has shifted.
    """
    (found,) = [each for each in corrections if each.number == number]
    if not found.is_active:
        raise Incompatible("it is already undone")
    if found.kind == "shift":
        later = [
            str(each.number) for each in corrections if each.is_active and each.number > number and _touch(found, each)
        ]
        if later:
            raise Incompatible(
                f"undo {', '.join(later)} first: these later corrections are within times that this one has shifted"
            )
    return [attrs.evolve(each, undone_by=by, undone_at=at) if each is found else each for each in corrections]


def ended(corrections: Sequence[Correction], until: int, by: str, at: int) -> list[Correction]:
    """The corrections of a series whose logger belongs to another customer from a time on: none of them reaches beyond that time.

    A correction whose range ends later is cut, and a shift also where its target would end later. If nothing remains, it is undone.
    """
    found = []
    for each in corrections:
        end = min(each.end, until, until - (each.seconds or 0))
        if not each.is_active or end == each.end:
            found.append(each)
        elif end > each.start:
            found.append(attrs.evolve(each, end=end))
        else:
            found.append(attrs.evolve(each, undone_by=by, undone_at=at))
    return found


def bounded(corrections: Sequence[Correction], customer_id: str) -> list[Correction]:
    """Without a customer's oldest undone corrections beyond MAX_UNDONE."""
    gone = [each.number for each in corrections if each.customer_id == customer_id and not each.is_active]
    left_out = set(gone[: max(0, len(gone) - MAX_UNDONE)])
    return [each for each in corrections if each.number not in left_out]


def effect(each: Correction) -> str:
    """What a correction does, for people: ``void``, ``times 2``, ``shifted by 3600 s``."""
    if each.factor is not None:
        return f"times {each.factor:g}"
    return "void" if each.seconds is None else f"shifted by {each.seconds} s"


def to_body(each: Correction) -> dict[str, object]:
    """As JSON, without what is None."""
    return {name: value for name, value in attrs.asdict(each).items() if value is not None}


def of_body(body: Any) -> Correction:
    """The inverse of :func:`to_body`."""
    return Correction(**body)


def _with(view: CorrectionMap, each: Correction) -> CorrectionMap:
    if each.kind == "void":
        return view.void(each.start, each.end)
    if each.kind == "scale":
        return view.scaled(each.start, each.end, each.factor or 1.0)
    return view.shifted(each.start, each.end, each.seconds or 0)


def _outside(segments: Iterable[CorrectionSegment], start: int, end: int) -> list[CorrectionSegment]:
    found = []
    for segment in segments:
        if segment.end <= start or segment.start >= end:
            found.append(segment)
            continue
        if segment.start < start:
            found.append(segment._replace(end=start))
        if segment.end > end:
            found.append(segment._replace(start=end))
    return found


def _joined(segments: Iterable[CorrectionSegment]) -> tuple[CorrectionSegment, ...]:
    """Ascending, equal neighbours joined."""
    found: list[CorrectionSegment] = []
    for segment in sorted(segments):
        if found and found[-1].end == segment.start and found[-1][2:] == segment[2:]:
            found[-1] = found[-1]._replace(end=segment.end)
        else:
            found.append(segment)
    return tuple(found)


def _touch(shift: Correction, other: Correction) -> bool:
    """Whether the range or target of a shift overlaps that of another correction."""
    mine = ((shift.start, shift.end), shift.target)
    theirs = {(other.start, other.end), other.target}
    return any(a < d and c < b for a, b in mine for c, d in theirs)


def _check_factor(kind: str, factor: float | None) -> None:
    if kind != "scale":
        if factor is not None:
            raise InvalidField("factor", "only a scale has a factor")
    elif factor is None or not isfinite(factor) or not 1 / MAX_FACTOR <= abs(factor) <= MAX_FACTOR or factor == 1:
        raise InvalidField(
            "factor", f"a factor from {1 / MAX_FACTOR:g} to {MAX_FACTOR:g}, or its negative, is needed, and not 1"
        )


def _check_seconds(kind: str, start: int, end: int, seconds: int | None) -> None:
    if kind != "shift":
        if seconds is not None:
            raise InvalidField("seconds", "only a shift has seconds")
    elif not seconds or abs(seconds) > LATEST:
        raise InvalidField("seconds", "whole seconds, not 0, are needed; later is positive")
    elif start + seconds < 0 or end + seconds > LATEST:
        raise InvalidField("seconds", f"the shifted range must be within 0 to {LATEST}, UTC seconds")
