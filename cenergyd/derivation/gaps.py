"""Classifies readings without a partner: the other meter is late, or it had no readings. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cenergyd.customers.model import ROLES, Role
from cenergyd.derivation.align import unmatched
from cenergyd.hookspecs import AlignedReading
from cenergyd.readings.model import Reading


class Missing(NamedTuple):
    """A meter has no readings that match its partner's, although it has later ones."""

    role: Role
    start: int
    """Time of the partner's first such reading, UTC seconds."""
    end: int
    """Just after the last such reading."""
    readings: int


class Gaps(NamedTuple):
    """Why readings of one meter have no partner."""

    waiting_for: Role | None = None
    """The role whose meter has no readings from that time on yet; it may still upload."""
    waiting_since: int | None = None
    """Time of the first waiting reading, UTC seconds."""
    missing: tuple[Missing, ...] = ()
    """At most one entry per role."""


NO_GAPS = Gaps()


def gaps(
    role_readings: Mapping[Role, Sequence[Reading]],
    aligned: Sequence[AlignedReading],
    start: int,
    end: int,
    reached: int | None = None,
) -> Gaps:
    """Sort the unmatched readings with ``start <= time < end`` into waiting and missing.

    :param reached: a time up to which both meters are known to have readings (that of the latest computed reading), besides
        ``role_readings``.
    """
    first, second = (role for role in ROLES if role in role_readings)
    if len(aligned) == len(role_readings[first]) == len(role_readings[second]):
        return NO_GAPS
    alone = unmatched(role_readings, aligned)
    waiting: list[tuple[int, Role]] = []
    missing: list[Missing] = []
    for role, partner in ((first, second), (second, first)):
        there = role_readings[partner]
        partner_reached = max(reached or 0, there[-1].time if there else 0)
        times = [reading.time for reading in alone[role] if start <= reading.time < end]
        waiting.extend((time, partner) for time in times if time > partner_reached)
        late = [time for time in times if time <= partner_reached]
        if late:
            missing.append(Missing(partner, late[0], late[-1] + 1, len(late)))
    since, role_waited_for = min(waiting, default=(None, None))
    return Gaps(role_waited_for, since, tuple(missing))
