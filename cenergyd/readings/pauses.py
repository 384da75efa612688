"""Pauses between a meter's readings: its usual interval, one or two lost rows, or a gap. Pure.

The usual interval is determined locally, from the two pauses before and the two after each pause. So a change of the log period (1 to
15 to 60 minutes and back) is no gap, clock drift does not matter, and the result depends only on nearby readings.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

NEIGHBOURS = 2
"""Pauses on either side from which a pause's usual interval is determined."""
REGULAR_FACTOR = 1.5
"""A pause of up to this many usual intervals counts as one interval: clocks drift, and a row may be late."""
LOST_FACTOR = 3
"""A pause of up to this many usual intervals counts as one or two lost rows."""
LOST_SECONDS = 900
"""A longer pause is no lost row, unless one and a half usual intervals are longer still, s."""


def usual_intervals(times: Sequence[int], longest: int) -> list[int | None]:
    """For each pause between neighbouring times (ascending) the usual interval around it, s; None where unknown.

    It is the longer of the usual interval before and the one after. On either side that is the shorter of the two nearest pauses; a
    single pause is used only if the other side has none. A pause longer than ``longest`` ends a side.
    """
    if is_even(times, longest):
        return [times[1] - times[0]] * (len(times) - 1)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    found: list[int | None] = []
    for pause, run in groupby(pauses):
        first, end = len(found), len(found) + len(list(run))
        for index in range(first, end):
            if index - first >= NEIGHBOURS and end - index > 2 * NEIGHBOURS and pause <= longest:
                # With two equal pauses on both sides, the pause itself is the usual interval.
                found += [pause] * (end - NEIGHBOURS - index)
                break
            found.append(_usual_at(pauses, index, longest))
        found += [_usual_at(pauses, index, longest) for index in range(len(found), end)]
    return found


def is_even(times: Sequence[int], longest: int) -> bool:
    """Whether all pauses between some times (ascending) are the same, so that none is longer than the usual interval; False for fewer than two pauses."""
    if len(times) < 3 or not 0 < (pause := times[1] - times[0]) <= longest:
        return False
    # The comparison of the ends keeps the range as short as the times.
    return times[-1] - times[0] == pause * (len(times) - 1) and list(times) == list(
        range(times[0], times[-1] + 1, pause)
    )


def _usual_at(pauses: Sequence[int], index: int, longest: int) -> int | None:
    before = _side(pauses[max(0, index - NEIGHBOURS) : index][::-1], longest)
    after = _side(pauses[index + 1 : index + 1 + NEIGHBOURS], longest)
    sides = [min(side) for side in (before, after) if len(side) == NEIGHBOURS]
    if not sides:
        sides = [min(side) for side in (before, after) if side]
    return max(sides, default=None)


def _side(pauses: Sequence[int], longest: int) -> Sequence[int]:
    for count, pause in enumerate(pauses):
        if pause > longest:
            return pauses[:count]
    return pauses


def is_regular(pause: int, usual: int) -> bool:
    """Whether a pause is one usual interval."""
    return pause <= REGULAR_FACTOR * usual


def is_bridgeable(pause: int, usual: int) -> bool:
    """Whether a pause is short enough to interpolate over: one usual interval, or one or two lost rows."""
    return pause <= min(LOST_FACTOR * usual, max(LOST_SECONDS, REGULAR_FACTOR * usual))


def valid_seconds(times: Sequence[int], longest: int) -> list[int]:
    """How long each reading (ascending times) is valid for, s: until the next one, at most its usual interval; 0 where unknown."""
    if is_even(times, longest):
        return [times[1] - times[0]] * len(times)
    usual = usual_intervals(times, longest)
    found: list[int] = []
    before, last_usual = longest + 1, 0
    for index, time in enumerate(times):
        after = times[index + 1] - time if index + 1 < len(times) else longest + 1
        # The usual interval beyond a gap does not apply on this side.
        next_usual = (usual[index] or 0) if after <= longest else 0
        interval = max(last_usual if before <= longest else 0, next_usual)
        found.append(min(interval, after))
        before, last_usual = after, next_usual
    return found
