"""Compares the integral of a meter's power with its registers, per day, and finds the likely reason for a difference. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import fsum
from typing import NamedTuple

from cenergyd.customers.model import FIELD_OF_ROLE, Role, TimeRange
from cenergyd.jobs.doctor.checks import Finding
from cenergyd.jobs.energy.energy import energy
from cenergyd.jobs.energy.gap_bridging import power_lines
from cenergyd.readings.model import Reading
from cenergyd.readings.pauses import REGULAR_FACTOR

AGREES = 0.02
"""Share of a day's energy by which integral and register may differ, because power is logged as an instantaneous value."""
RARE_SECONDS = 300
"""With pauses of this length or more, instantaneous power misses much of what happens in between."""
SAME_FACTOR = 0.02
"""How far the days' ratios may differ if they are to be explained by a factor."""


class ComparedDay(NamedTuple):
    """A day's net energy, import less export, kWh: between its first and last reading with registers."""

    start: int
    """UTC seconds."""
    integral_kwh: float
    """The integral of the power, without gaps."""
    register_kwh: float
    """The difference of the registers."""
    gap_seconds: int
    """Seconds for which the power is not known."""
    resolution_kwh: float
    """The smallest observed step of the register."""
    reset: bool
    """Whether a register decreased although no power was exported."""
    pause_seconds: int
    """The usual time between readings."""

    @property
    def difference_kwh(self) -> float:
        """Register less integral."""
        return self.register_kwh - self.integral_kwh

    @property
    def agrees(self) -> bool:
        """Whether they agree within the register's resolution."""
        return abs(self.difference_kwh) <= max(2 * self.resolution_kwh, AGREES * abs(self.register_kwh))


def compared_days(readings: Sequence[Reading], days: Sequence[TimeRange], longest: int) -> list[ComparedDay]:
    """Integral and register of each day for which both are known.

    :param readings: readings of one meter, ascending, sign-corrected.
    :param longest: a longer pause is always a gap, s.
    """
    lines = power_lines(readings, longest)
    found = []
    for day in days:
        own = [r for r in readings if day.start <= r.time < day.end and net_register(r) is not None]
        if len(own) < 3:
            continue
        first, last = own[0], own[-1]
        known = energy(lines, first.time, last.time)
        steps = [_net(later) - _net(earlier) for earlier, later in pairwise(own)]
        sizes = [abs(step) for step in steps if step]
        pauses = sorted(later.time - earlier.time for earlier, later in pairwise(own))
        flows_back = any(reading.P is not None and reading.P < 0 for reading in own)
        found.append(
            ComparedDay(
                day.start,
                known.import_kwh - known.export_kwh,
                fsum(steps),
                last.time - first.time - known.covered_seconds,
                min(sizes, default=0.0),
                any(step < 0 for step in steps) and not flows_back,
                pauses[len(pauses) // 2],
            )
        )
    return found


def net_register(reading: Reading) -> float | None:
    """Import less export according to the registers, kWh."""
    if reading.E_net is not None:
        return reading.E_net
    if reading.E_import is None:
        return None
    return reading.E_import - (reading.E_export or 0.0)


def check_registers(role: Role, days: Sequence[ComparedDay]) -> list[Finding]:
    """By how much integral and register differ, and why; nothing if the meter has no registers."""
    if not days:
        return []
    evidence = {"days": [_evidence(day) for day in days]}
    wrong = [day for day in days if not day.agrees]
    field = FIELD_OF_ROLE[role]
    if not wrong:
        return [
            Finding(
                severity="ok", code="registers", field=field, evidence=evidence,
                message=f"The {role} meter's registers agree with its power on all of {len(days)} days.",
            )
        ]  # fmt: skip
    worst = max(wrong, key=lambda day: abs(day.difference_kwh))
    why, advice = _why(wrong, worst)
    message = (
        f"The {role} meter's registers counted {worst.register_kwh:.1f} kWh in a day in which its power adds up to "
        f"{worst.integral_kwh:.1f} kWh ({len(wrong)} of {len(days)} days differ): {why}."
    )
    return [
        Finding(severity="warning", code="registers_differ", field=field, message=message, advice=advice, evidence=evidence)
    ]  # fmt: skip


def _why(wrong: Sequence[ComparedDay], worst: ComparedDay) -> tuple[str, str]:
    if any(day.reset for day in wrong):
        return "a register was reset or rolled over", "Nothing to do if the meter was replaced or its register is full."
    if worst.gap_seconds > worst.pause_seconds * REGULAR_FACTOR:
        minutes = worst.gap_seconds // 60
        return f"power is not known for {minutes} minutes of it", "Such gaps are filled by the registers in the energy."
    ratios = [day.register_kwh / day.integral_kwh for day in wrong if day.integral_kwh]
    if ratios and max(ratios) - min(ratios) <= SAME_FACTOR * abs(ratios[0]):
        if ratios[0] < 0:
            return "they count in the other direction", "Check whether the CTs are reversed for one of them."
        factor = sum(ratios) / len(ratios)
        return f"always by the factor {factor:.3g}", "Check the CT ratio and the units of power and registers."
    if worst.pause_seconds >= RARE_SECONDS:
        text = f"power is logged only every {worst.pause_seconds // 60} minutes, as an instantaneous value"
        return text, "Log more often, or have energy billed by the registers."
    return "for a reason that the readings do not show", "Check whether power and registers are of the same meter."


def _evidence(day: ComparedDay) -> Mapping[str, object]:
    return {
        "start": day.start,
        "integral_kwh": round(day.integral_kwh, 3),
        "register_kwh": round(day.register_kwh, 3),
        "difference_kwh": round(day.difference_kwh, 3),
        "gap_seconds": day.gap_seconds,
    }


def _net(reading: Reading) -> float:
    return net_register(reading) or 0.0
