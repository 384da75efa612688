"""The points of one series over a range of times, as they were read from the store. Pure.

The energy of a day is read for the state of a site after every upload, but written once an hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from cenergyd.readings.model import FieldPoint

POINTS_BYTES = 700
"""Memory of a series besides its packed points."""
_ENCODER, _DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(list[FieldPoint])


class RecentPoints(NamedTuple):
    """Some fields of the points of a range; packed they take a sixth of the memory of their objects."""

    asked: tuple[str, int, int]
    fields: tuple[str, ...]
    since: float
    """When they were read, UTC seconds."""
    packed: bytes

    @classmethod
    def of(
        cls, asked: tuple[str, int, int], fields: Sequence[str], points: Sequence[FieldPoint], since: float
    ) -> RecentPoints:
        """The points of a range (series, start, end), read just now."""
        return cls(asked, tuple(fields), since, _ENCODER.encode(points))

    @property
    def size(self) -> int:
        """Estimated bytes in memory."""
        return POINTS_BYTES + len(self.packed)

    def holds(self, asked: tuple[str, int, int], fields: Sequence[str]) -> bool:
        """Whether these are the points of a range, with these fields."""
        return self.asked == asked and self.fields == tuple(fields)

    def points(self) -> list[FieldPoint]:
        """The points, ascending."""
        return _DECODER.decode(self.packed)
