"""The contract of every reading store; one test suite runs against all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from cenergyd.readings.model import CHANNELS, FieldPoint, Reading, SeriesReadings


class Summary(NamedTuple):
    """One window of a series at a resolution: ``channel -> (min, mean, max)``, absent if the window has no value of it."""

    time: int
    """Start of the window, UTC seconds, a multiple of the resolution (plus the offset, if one is given)."""
    readings: int
    """Number of readings with P in the window; in a window without P, with the next of CHANNELS that it has."""
    channels: Mapping[str, tuple[float, float, float]]
    estimated: bool = False
    """True if any reading in the window is estimated."""


class ReadingStore(Protocol):
    """Keeps readings (keyed by series and time) and field points.

    Every method raises :class:`~cenergyd.errors.StoreUnavailable` when the store does not answer,
    :class:`~cenergyd.errors.Overloaded` when too many calls are already waiting, and
    :class:`~cenergyd.errors.StoreRejected` when the store refuses the data itself.
    Time ranges are half open, ``start <= time < end``, UTC seconds. The limits of what can be stored (names, finite
    values, times) are those of :mod:`cenergyd.readings.checks`, the same for all.
    """

    async def open(self) -> None:
        """Connect and create what is needed (database, tables)."""
        ...

    async def close(self) -> None:
        """Finish running calls and disconnect."""
        ...

    async def ping(self) -> None:
        """Return if the store can accept a write now; raise StoreUnavailable with the reason if not."""
        ...

    async def write(self, batches: Sequence[SeriesReadings]) -> None:
        """Store readings, durable when this returns.

        A reading at a time that already has one is merged value by value: a value replaces the old one, None leaves it (registers
        too); ``estimated`` stays once set (``replace`` clears it). Writing the same readings again changes nothing. A reading
        without any value is a gap and is not stored.
        """
        ...

    async def replace(self, series: str, start: int, end: int, readings: Sequence[Reading]) -> None:
        """Make ``readings`` (all within the range) the only ones of the series in the range."""
        ...

    async def replace_many(self, items: Sequence[tuple[str, int, int, Sequence[Reading]]]) -> None:
        """Many :meth:`replace` calls in as few round trips as the store allows."""
        ...

    async def read(
        self, series: Sequence[str], start: int, end: int, limit: int | None = None
    ) -> dict[str, list[Reading]]:
        """Readings by time, ascending; every requested series is a key. ``limit`` bounds each series (earliest first)."""
        ...

    async def last(self, series: Sequence[str], before: int | None = None) -> dict[str, Reading]:
        """The latest reading (before a time) of each series that has one."""
        ...

    async def first(self, series: Sequence[str], since: int = 0) -> dict[str, Reading]:
        """The earliest reading (at or after a time) of each series that has one."""
        ...

    async def summarise(
        self,
        series: Sequence[str],
        start: int,
        end: int,
        resolution: int,
        channels: Sequence[str] = CHANNELS,
        *,
        offset: int = 0,
    ) -> dict[str, list[Summary]]:
        """min, mean, max per channel and window of ``resolution`` seconds; windows without readings are left out.

        Only readings in the range count, so its first and last window may be partial. Fewer channels cost less.

        :param offset: windows start at multiples of the resolution plus this, s, such as for the days of another time zone.
        """
        ...

    async def series_of(self, serial: str) -> list[str]:
        """The series of readings (``<serial>_<meter id>`` and the missing meter) that exist for a logger, sorted."""
        ...

    async def write_points(self, series: str, points: Sequence[FieldPoint]) -> None:
        """Store field points; a point at an existing time replaces the old one entirely. Numbers are read back as floats."""
        ...

    async def replace_points(self, series: str, start: int, end: int, points: Sequence[FieldPoint]) -> None:
        """Make ``points`` the only field points of the series in the range."""
        ...

    async def replace_points_many(
        self, items: Sequence[tuple[str, int, int, Sequence[FieldPoint]]], field: str = ""
    ) -> None:
        """Many :meth:`replace_points` calls in as few round trips as the store allows; ranges of one series do not overlap.

        :param field: a field that every stored point of these series has, by which a store may look for points; '': there may be none.
        """
        ...

    async def merge_points_many(self, items: Sequence[tuple[str, Sequence[FieldPoint]]]) -> None:
        """Store field points of several series: a field replaces the one of the same name at the same time, the others stay.

        For points that never lose a field: unlike the replacing methods this need not read what is stored.
        """
        ...

    async def read_points(self, series: str, start: int, end: int, limit: int | None = None) -> list[FieldPoint]:
        """Field points by time, ascending."""
        ...

    async def read_points_many(
        self, ranges: Sequence[tuple[str, int, int]], fields: Sequence[str] = ()
    ) -> list[list[FieldPoint]]:
        """The field points of each (series, start, end), in as few round trips as the store allows.

        :param fields: only these fields, and only points that have any of them; none: all.
        """
        ...
