"""The corrections of meters behind curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cenergyd.customers.meter_history import setup_periods
from cenergyd.customers.model import ROLES, Customer
from cenergyd.derivation.corrector import Listed, corrections_over
from cenergyd.readings.corrections import LATEST
from cenergyd.web.views.context import Context
from cenergyd.web.views.sources import Track


async def corrections_of(
    context: Context, customer: Customer, tracks: Sequence[Track], start: int, end: int
) -> list[list[Listed]]:
    """For each track, the active corrections within a range of its meters, or of those that it is computed from."""
    behind = [series_behind(customer, track) for track in tracks]
    every = {name for names in behind for name in names}
    found = await corrections_over(context.readings, context.documents, every, start, end)
    return [[each for each in found if _concerns(each, names)] for names in behind]


async def corrected_ranges(context: Context, customer: Customer) -> list[tuple[int, int]]:
    """The ranges of readings, of any role and at any time, that an active correction changes; ascending."""
    meters: dict[str, list[tuple[int, int]]] = {}
    for period in setup_periods(customer, 0, LATEST):
        for role in ROLES:
            for name in period.setup.measured_series_of(role, period.serial):
                meters.setdefault(name, []).append((period.start, period.end))
    found = await corrections_over(context.readings, context.documents, meters, 0, LATEST)
    return sorted({each.correction.extent for each in found if _concerns(each, meters)})


def series_behind(customer: Customer, track: Track) -> Mapping[str, Sequence[tuple[int, int]]]:
    """The series of meters that a track shows or is made of, and when (start, end)."""
    found: dict[str, list[tuple[int, int]]] = {}
    for start, end, source in track.segments:
        names = {source.series}
        if source.role is not None:
            roles = ROLES if source.computed else (source.role,)
            for period in setup_periods(customer, start, end):
                names.update(name for role in roles for name in period.setup.measured_series_of(role, period.serial))
        for name in names:
            found.setdefault(name, []).append((start, end))
    return found


def _concerns(each: Listed, names: Mapping[str, Sequence[tuple[int, int]]]) -> bool:
    return any(each.correction.touches(start, end) for start, end in names.get(each.series, ()))
