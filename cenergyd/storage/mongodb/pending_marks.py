"""Marks of pending ranges, grouped for few statements. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cenergyd.customers.model import PendingMark
from cenergyd.storage.mongodb.ids import id_value


def customers_by_range(marks: Sequence[PendingMark]) -> dict[tuple[int, int], list[object]]:
    """Range of times -> the ids of the customers whose marks extend over it: one statement for all of them. Most loggers upload the same
    minutes."""
    ranges: dict[str, tuple[int, int]] = {}
    for mark in marks:
        start, end = ranges.get(mark.customer_id, (mark.start, mark.end))
        ranges[mark.customer_id] = (min(start, mark.start), max(end, mark.end))
    found: dict[tuple[int, int], list[object]] = {}
    for customer_id, time_range in ranges.items():
        found.setdefault(time_range, []).append(id_value(customer_id))
    return found
