"""How a store merges a reading with the one that it holds at the same time. Pure."""

from __future__ import annotations

from cenergyd.readings.model import Reading


def merged_reading(old: Reading, new: Reading) -> Reading:
    """What a store holds at a time for which ``old`` and then ``new`` were written."""
    values = [now if now is not None else before for before, now in zip(old.values, new.values, strict=True)]
    return Reading.of_values(new.time, values, old.estimated or new.estimated)
