"""Which series shows a role, now and over a time in which meters may have changed. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import attrs

from cenergyd.customers.meter_history import role_segments
from cenergyd.customers.model import ROLES, Customer, MeterSetup, Role
from cenergyd.customers.ownership import own_parts
from cenergyd.readings.model import is_series_name


@attrs.frozen
class SeriesSource:
    """A series, and how to read it."""

    series: str
    role: Role | None
    computed: bool
    reversed: bool = False
    """P and Q are read with the opposite sign."""


class TrackSegment(NamedTuple):
    """A range of time with one source."""

    start: int
    """UTC seconds, inclusive."""
    end: int
    """Exclusive."""
    source: SeriesSource


@attrs.frozen
class Track:
    """What one curve shows over a range."""

    role: Role | None
    segments: Sequence[TrackSegment]
    """At least one, ascending, not overlapping; where a role had no series there is a gap."""

    @property
    def source(self) -> SeriesSource:
        """The latest one."""
        return self.segments[-1].source

    @property
    def computed(self) -> bool | None:
        """Whether it is computed; None: for part of the range."""
        computed = {segment.source.computed for segment in self.segments}
        return computed.pop() if len(computed) == 1 else None

    def source_at(self, time: int) -> SeriesSource | None:
        """The source of a time."""
        return next((segment.source for segment in self.segments if segment.start <= time < segment.end), None)


def role_source(customer: Customer, role: Role) -> SeriesSource | None:
    """The source of a role now, or None."""
    return _source(customer.series_of(role), role, customer.current)


def role_sources(customer: Customer) -> list[SeriesSource]:
    """The sources of all roles that have one now."""
    return [source for role in ROLES if (source := role_source(customer, role))]


def role_track(customer: Customer, role: Role, start: int, end: int) -> Track | None:
    """The sources of a role over ``start <= time < end``; None if it has none.

    Each time is shown as it was set up then: by another meter, with a reversed CT, or computed.
    """
    found = [
        TrackSegment(segment.start, segment.end, SeriesSource(segment.series, role, segment.computed, segment.reversed))
        for segment in role_segments(customer, role, start, end)
        if is_series_name(segment.series)
    ]
    return Track(role, tuple(found)) if found else None


def role_tracks(customer: Customer, start: int, end: int, roles: Sequence[Role] = ROLES) -> list[Track]:
    """Those of all roles that have a source within ``start <= time < end``."""
    return [track for role in roles if (track := role_track(customer, role, start, end))]


def series_names(sources: Iterable[SeriesSource | None]) -> list[str]:
    """The series of sources, each once."""
    return list(dict.fromkeys(source.series for source in sources if source is not None))


def own_series_track(customer: Customer, source: SeriesSource, start: int, end: int) -> Track | None:
    """One series of the customer's logger, at the times at which the logger was theirs; None if it never was."""
    parts = own_parts(customer, source.series.partition("_")[0], start, end)
    return Track(source.role, tuple(TrackSegment(*part, source) for part in parts)) if parts else None


def ranges_without_change(tracks: Sequence[Track]) -> list[tuple[int, int]]:
    """The times (start, end) of all tracks, cut wherever one of them changes; ascending."""
    cuts = sorted({time for track in tracks for segment in track.segments for time in segment[:2]})
    return [
        (start, end) for start, end in pairwise(cuts) if any(track.source_at(start) is not None for track in tracks)
    ]


def _source(series: str | None, role: Role, setup: MeterSetup) -> SeriesSource | None:
    if series is None or not is_series_name(series):
        return None
    computed = not setup.meter_of(role)
    return SeriesSource(series, role, computed, not computed and role in setup.reversed_roles)
