"""Selects points that are written again although the store already returns them. Pure.

A store may return a point that it failed to make durable: InfluxDB with a full disk keeps in memory, until it restarts, what it
could not write to its log. A retry that finds nothing left to write must not count as success. So one point of every day is written
again, as a probe: if the store still refuses it, the others of that day are not stored either.
"""

from __future__ import annotations

from collections.abc import Iterable

DAY = 86400
"""Seconds. InfluxDB has a log for each shard, and a shard covers at least a day (if the policy keeps more than two days)."""


def probe_times(times: Iterable[int], written: Iterable[int]) -> list[int]:
    """The first time of each UTC day in which nothing else is written.

    :param times: the times of the points that should be stored, ascending, UTC seconds.
    :param written: times that are written anyway.
    """
    days = {time // DAY for time in written}
    found = []
    for time in times:
        if time // DAY not in days:
            days.add(time // DAY)
            found.append(time)
    return found
