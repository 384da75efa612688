"""The smallest write that brings a range of a series to its wanted state. Pure.

Deriving a range again usually gives the stored readings, and late data usually add some. Deleting is expensive, above all in InfluxDB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cenergyd.derivation.plan import between
from cenergyd.readings.model import Reading


class SeriesChange(NamedTuple):
    """The write that brings ``start <= time < end`` of a series to its wanted state."""

    series: str
    start: int
    end: int
    readings: Sequence[Reading]
    replace: bool
    """True: replace everything in the range by these. False: write these and keep the others."""


def change(
    series: str, start: int, end: int, before: Sequence[Reading], after: Sequence[Reading]
) -> SeriesChange | None:
    """The change from ``before`` to ``after`` (both ascending), or None if nothing differs.

    Writing merges channel by channel, so a value that must become None needs a replacement.
    """
    before = between(before, start, end)
    if not before:
        return SeriesChange(series, start, end, after, False) if after else None
    if list(before) == list(after):
        return None
    new = {reading[0]: reading for reading in after}
    if any(loses(old, new.get(old[0])) for old in before):
        return SeriesChange(series, start, end, after, True)
    old = {reading[0]: reading for reading in before}
    return SeriesChange(series, start, end, [reading for reading in after if old.get(reading[0]) != reading], False)


def loses(old: Reading, new: Reading | None) -> bool:
    """Whether a stored reading has a value, or the flag "estimated", that the wanted one lacks: writing does not remove it."""
    if new is None or (old[5] and not new[5]):
        return True
    return None in new and any(now is None and was is not None for was, now in zip(old.values, new.values, strict=True))
