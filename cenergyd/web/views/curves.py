"""Readings as curves: which resolution fits a range, columns, gaps. Pure functions. As CSV: :mod:`cenergyd.web.views.curve_csv`.

A curve follows its role through changes of meters: each of its segments shows what was fitted then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import fsum
from statistics import median_low
from typing import Annotated, NamedTuple

import attrs
from msgspec import UNSET, Meta, UnsetType

from cenergyd.customers.model import Role
from cenergyd.derivation.corrector import Listed
from cenergyd.errors import InvalidField
from cenergyd.readings.corrections import CorrectionKind
from cenergyd.readings.model import CHANNELS, VALUES, Reading
from cenergyd.readings.signs import sign_corrected, sign_corrected_summary
from cenergyd.readings.store import Summary
from cenergyd.runtime.structs import Resource, Time
from cenergyd.web.views.sources import SeriesSource, Track, TrackSegment

DAY = 86400
AUTO_RESOLUTIONS = (60, 300, 600, 900, 1800, 3600, 7200, 10800, 14400, 21600, 43200, DAY)
"""Resolutions that ``auto`` chooses from, seconds; beyond a day, whole days."""
_MEAN = 1
"""Its place in a triple."""
GAP_STEPS = 2.5
"""A curve has a gap where the next point is further away than this many usual steps."""

Computed = Annotated[bool, Meta(description="Computed from the other two meters.")]
EnergyRegister = Annotated[float | None, Meta(description="Energy register of the meter, kWh.")]
Triple = tuple[float, float, float]


class CurvePoint(NamedTuple):
    """One point: min, mean and max per channel; all three the same in a single reading."""

    source: SeriesSource
    time: int
    readings: int
    channels: Mapping[str, Triple]
    estimated: bool


@attrs.frozen
class Curve:
    """The points of one track over a range, by time."""

    track: Track
    resolution: int | None
    """Seconds per point; None: single readings."""
    points: Sequence[CurvePoint]


def gap_limit(times: Sequence[int], resolution: int | None) -> int | None:
    """Points further apart than this, s, have a gap between them; None if there are too few to know."""
    steps = [after - before for before, after in pairwise(times)]
    return int(GAP_STEPS * max(resolution or 1, median_low(steps))) if steps else None


def auto_resolution(start: int, end: int, points: int) -> int:
    """The finest of AUTO_RESOLUTIONS with at most ``points`` windows over the range."""
    needed = -(-(end - start) // points)
    for step in AUTO_RESOLUTIONS:
        if step >= needed:
            return step
    return -(-needed // DAY) * DAY


def check_resolution(start: int, end: int, resolution: int, max_points: int) -> None:
    """Raise InvalidField for a resolution that would take more than ``max_points``."""
    least = -(-(end - start) // max_points)
    if resolution < least:
        raise InvalidField("resolution", f"too fine for this range: at least {least} s are needed")


class CurvePart(NamedTuple):
    """One source's summary of a window, or of a part of one."""

    source: SeriesSource
    summary: Summary
    counts: Mapping[str, int]
    """Number of readings of each channel; required for channels that several parts have."""


def whole_window(source: SeriesSource, summary: Summary) -> CurvePoint:
    """One window that has one source."""
    shown = sign_corrected_summary(summary) if source.reversed else summary
    return CurvePoint(source, shown.time, shown.readings, shown.channels, shown.estimated)


def joined_window(parts: Sequence[CurvePart]) -> CurvePoint:
    """One window from its parts, ascending in time (at least one); attributed to the last source."""
    shown = [sign_corrected_summary(part.summary) if part.source.reversed else part.summary for part in parts]
    channels: dict[str, Triple] = {}
    for channel in CHANNELS:
        mine = [
            (each.channels[channel], part.counts)
            for each, part in zip(shown, parts, strict=True)
            if channel in each.channels
        ]
        if len(mine) == 1:
            channels[channel] = mine[0][0]
        elif mine:
            lows, means, highs = zip(*(triple for triple, _ in mine), strict=True)
            weights = [counts[channel] for _, counts in mine]
            mean = fsum(mean * weight for mean, weight in zip(means, weights, strict=True)) / sum(weights)
            low, high = min(lows), max(highs)
            channels[channel] = (low, min(high, max(low, mean)), high)
    readings = sum(each.readings for each in shown)
    return CurvePoint(parts[-1].source, shown[-1].time, readings, channels, any(each.estimated for each in shown))


class LatestReading(Resource, frozen=True, kw_only=True):
    """One reading of a role and its origin; null if the meter gave no value."""

    series: str
    computed: Computed
    time: Time
    P: float | None
    L1_PF: float | None
    L1_V: float | None
    Q: float | None
    E_net: EnergyRegister
    E_import: EnergyRegister
    E_export: EnergyRegister
    estimated: Annotated[bool, Meta(description="Based on an estimated reactive power.")]

    @classmethod
    def of(cls, source: SeriesSource, reading: Reading) -> LatestReading:
        """A reading of a source."""
        shown = sign_corrected(reading) if source.reversed else reading
        return cls(
            series=source.series,
            computed=source.computed,
            time=shown.time,
            estimated=shown.estimated,
            **dict(zip(VALUES, shown.values, strict=True)),
        )


class Columns(Resource, frozen=True, kw_only=True):
    """Only `mean` for single readings."""

    mean: list[float | None]
    min: list[float | None] | UnsetType = UNSET
    max: list[float | None] | UnsetType = UNSET


class CurveSegment(Resource, frozen=True, kw_only=True):
    """A part of a curve that comes from one series."""

    start: Time
    end: Annotated[int, Meta(description="UTC seconds since 1970, exclusive.")]
    series: str
    computed: Computed
    reversed: Annotated[bool, Meta(description="The CT is mounted the wrong way round; the sign is corrected here.")]

    @classmethod
    def of(cls, segment: TrackSegment) -> CurveSegment:
        """A segment of a track."""
        source = segment.source
        return cls(
            start=segment.start,
            end=segment.end,
            series=source.series,
            computed=source.computed,
            reversed=source.reversed,
        )


class CurveCorrection(Resource, frozen=True, kw_only=True):
    """An active correction that changes readings behind a curve."""

    id: Annotated[str, Meta(description="Its id in the customer's `corrections`.")]
    series: Annotated[str, Meta(description="The corrected meter; for a computed curve, one of those it is made of.")]
    kind: CorrectionKind
    start: Time
    end: Annotated[int, Meta(description="UTC seconds since 1970, exclusive.")]

    @classmethod
    def of(cls, listed: Listed) -> CurveCorrection:
        """A correction of the list."""
        each = listed.correction
        return cls(id=listed.id, series=listed.series, kind=each.kind, start=each.start, end=each.end)


class CurveJson(Resource, frozen=True, kw_only=True):
    """Columns of the same length; null if a channel has no value."""

    role: Role | None
    series: Annotated[str, Meta(description="The series of the last segment.")]
    computed: Annotated[bool, Meta(description="Whether the last segment is computed from the other two meters.")]
    segments: Annotated[
        list[CurveSegment],
        Meta(description="Where the curve comes from over the range: more than one where meters were changed."),
    ]
    corrections: list[CurveCorrection]
    gap_seconds: Annotated[int | None, Meta(description="Points further apart have a gap between them.")]
    gaps: Annotated[list[tuple[Time, Time]], Meta(description="Last time before and first time after each gap.")]
    time: list[Time]
    readings: Annotated[list[int], Meta(description="Readings behind each point.")]
    estimated: list[bool]
    P: Columns | UnsetType = UNSET
    L1_PF: Columns | UnsetType = UNSET
    L1_V: Columns | UnsetType = UNSET
    Q: Columns | UnsetType = UNSET
    E_net: Columns | UnsetType = UNSET
    E_import: Columns | UnsetType = UNSET
    E_export: Columns | UnsetType = UNSET


class CurveColumns:
    """Collects the points of a curve as columns of numbers, because the objects of a year of points would take much memory.

    :param resolution: seconds per point; None: single readings.
    :param channels: the requested ones.
    """

    def __init__(self, track: Track, resolution: int | None, channels: Sequence[str] = CHANNELS) -> None:
        self._track = track
        self._resolution = resolution
        self._times: list[int] = []
        self._readings: list[int] = []
        self._estimated: list[bool] = []
        self._values: dict[str, tuple[list[float | None], ...]] = {channel: ([], [], []) for channel in channels}

    def add(self, points: Sequence[CurvePoint]) -> None:
        """Add points, which are later than those added before."""
        self._times += [point.time for point in points]
        self._readings += [point.readings for point in points]
        self._estimated += [point.estimated for point in points]
        for channel, columns in self._values.items():
            triples = [point.channels.get(channel) for point in points]
            for part, column in enumerate(columns):
                if part == _MEAN or self._resolution is not None:
                    column += [triple and triple[part] for triple in triples]

    def json(self, corrections: Sequence[Listed] = ()) -> CurveJson:
        """The curve.

        :param corrections: the active ones that change readings behind it.
        """
        source, limit = self._track.source, gap_limit(self._times, self._resolution)
        gaps = [] if limit is None else [pair for pair in pairwise(self._times) if pair[1] - pair[0] > limit]
        columns: dict[str, Columns] = {}
        for channel, (low, mean, high) in self._values.items():
            columns[channel] = Columns(mean=mean) if self._resolution is None else Columns(mean=mean, min=low, max=high)
        return CurveJson(
            role=self._track.role,
            series=source.series,
            computed=source.computed,
            segments=[CurveSegment.of(segment) for segment in self._track.segments],
            corrections=[CurveCorrection.of(each) for each in corrections],
            gap_seconds=limit,
            gaps=gaps,
            time=self._times,
            readings=self._readings,
            estimated=self._estimated,
            **columns,
        )


def point_of_reading(reading: Reading, source: SeriesSource) -> CurvePoint:
    """A single reading of a source."""
    channels: dict[str, Triple] = {}
    shown = sign_corrected(reading) if source.reversed else reading
    for channel, value in zip(VALUES, shown.values, strict=True):
        if value is not None:
            channels[channel] = (value, value, value)
    return CurvePoint(source, reading.time, 1, channels, reading.estimated)
