"""Which points are written again although the store shows them already. Pure.

A write that a store refused may be seen all the same until it restarts: InfluxDB whose disk is full keeps in memory what it could not
write to its log. Whoever tries again and finds nothing left to write must not take that for done. So of every day one point is written
again: a store that still refuses it has not stored the rest either.
"""

from __future__ import annotations

from collections.abc import Iterable

DAY = 86400
"""InfluxDB has a log for each shard, and a shard holds a day at least (where the policy keeps more than two days)."""


def probe_times(times: Iterable[int], written: Iterable[int]) -> list[int]:
    """The first of the times in each day (UTC) in which nothing is written.

    :param times: what is to be there, ascending.
    :param written: what is written anyway.
    """
    days = {time // DAY for time in written}
    found = []
    for time in times:
        if time // DAY not in days:
            days.add(time // DAY)
            found.append(time)
    return found
