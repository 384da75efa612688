"""Does a meter measure the grid, or what the site uses? Pure functions on what it and the solar meter measured.

In systems whose net load was ``facility - solar``, the meter named as facility measured the site's load. With a solar meter and one of the
two, no rule of a site contradicts the wrong name, but the readings tell: when the sun comes out, the grid's power falls by
what the panels give, and what the site uses stays as it is. So changes of one are compared with changes of the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from cenergyd.customers.model import FIELD_OF_ROLE, Role
from cenergyd.jobs.doctor.checks import Finding, Power, changes_of, step_of

MIN_CHANGES = 100
"""So many common changes are needed to say anything."""
SURE = 3.0
"""Standard errors between the slope and the middle of the two possible ones."""
EXPORT = 0.02
"""A share of readings below zero by which a meter is no load."""

_WORDS: Mapping[Role, str] = {"utility": "the grid", "load": "the load"}


class Slope(NamedTuple):
    """How much a meter's power changes for each kW that solar power changes: -1 for the grid's meter, 0 for the load's."""

    value: float
    error: float
    """Standard error."""
    changes: int


def check_grid_or_load(power: Power) -> list[Finding]:
    """Which of the two the meter beside the solar meter looks like; nothing where all three are measured, or it cannot be told."""
    named = [role for role in ("utility", "load") if role in power]
    if len(named) != 1 or "solar" not in power:
        return []
    role: Literal["utility", "load"] = "utility" if named == ["utility"] else "load"
    slope = slope_of(power[role], power["solar"], step_of(power))
    exports = sum(value < 0 for value in power[role].values()) / max(1, len(power[role]))
    looks = _looks_like(slope, exports)
    if looks is None:
        return []
    evidence = (
        {"kw_per_solar_kw": round(slope.value, 2), "error": round(slope.error, 2), "changes": slope.changes}
        if slope
        else {}
    )
    evidence["negative_percent"] = round(100 * exports, 1)
    field, why = FIELD_OF_ROLE[role], _why(slope, exports, looks)
    if looks == role:
        message = f"The meter named {field} looks like that of {_WORDS[looks]}: {why}."
        return [Finding(severity="ok", code="grid_or_load", field=field, message=message, evidence=evidence)]
    return [
        Finding(
            severity="warning",
            code="grid_or_load",
            field=field,
            message=f"The meter named {field} looks like that of {_WORDS[looks]}, not of {_WORDS[role]}: {why}.",
            advice=f"If that is so, name it as {FIELD_OF_ROLE[looks]} instead: what is computed from it is wrong by the solar power."
            + (" In MongoDB, cenergyd migrate --facility-is load does it." if role == "utility" else ""),
            evidence={**evidence, "looks_like": looks},
        )
    ]


def slope_of(meter: Mapping[int, float], solar: Mapping[int, float], step: int) -> Slope | None:
    """By least squares over changes while the sun shines; None where solar power hardly changes."""
    if not step:
        return None
    ups, sun = changes_of(meter, step), changes_of(solar, step)
    pairs = [(sun[time], ups[time]) for time in sun if time in ups and sun[time]]
    if len(pairs) < MIN_CHANGES:
        return None
    return _least_squares(pairs)


def _least_squares(pairs: Sequence[tuple[float, float]]) -> Slope:
    count = len(pairs)
    mean_x, mean_y = sum(x for x, _ in pairs) / count, sum(y for _, y in pairs) / count
    xx = sum((x - mean_x) ** 2 for x, _ in pairs)
    if not xx:
        return Slope(0.0, math.inf, count)
    value = sum((x - mean_x) * (y - mean_y) for x, y in pairs) / xx
    rest = sum((y - mean_y - value * (x - mean_x)) ** 2 for x, y in pairs)
    return Slope(value, math.sqrt(rest / (count - 2) / xx), count)


def _looks_like(slope: Slope | None, exports: float) -> Literal["utility", "load"] | None:
    if exports > EXPORT:
        return "utility"
    if slope is None or abs(slope.value + 0.5) < SURE * slope.error or not -1.5 < slope.value < 0.5:
        return None
    return "utility" if slope.value < -0.5 else "load"


def _why(slope: Slope | None, exports: float, looks: str) -> str:
    if looks == "utility" and exports > EXPORT:
        return f"it is negative in {exports:.0%} of the readings"
    assert slope is not None
    if looks == "utility":
        return f"it falls by {-slope.value:.2f} kW for each kW that the panels give more"
    return (
        f"it changes by {slope.value:+.2f} kW for each kW that the panels give more, and the grid's would fall by 1 kW"
    )
