"""Determines whether a meter measures the grid or the load, from its readings and those of the solar meter. Pure functions.

In systems whose net load was ``facility - solar``, the facility meter measured the site's load. With a solar meter and one of the two, the
wrong role contradicts no rule of a site, but it can be seen in the readings: when solar power rises, the power from the grid falls by the
same amount, while the load stays the same. So changes of the meter are compared with changes of solar power.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from cenergyd.customers.model import FIELD_OF_ROLE, Role
from cenergyd.jobs.doctor.checks import Finding, RolePowers, power_changes, step_of

MIN_CHANGES = 100
"""Minimum number of common changes."""
SURE = 3.0
"""Minimum distance between the slope and the middle of the two possible slopes, in standard errors."""
EXPORT = 0.02
"""Share of negative readings above which a meter does not measure the load."""

_WORDS: Mapping[Role, str] = {"utility": "the grid", "load": "the load"}


class Slope(NamedTuple):
    """The change of a meter's power for each kW that solar power changes: -1 for the grid, 0 for the load."""

    value: float
    """kW per kW."""
    error: float
    """Standard error."""
    changes: int
    """Number of changes from which it is computed."""


def check_grid_or_load(power: RolePowers) -> list[Finding]:
    """What the meter beside the solar meter probably measures; nothing if all three are measured, or if it cannot be determined."""
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
        message = f"The {role} meter appears to measure {_WORDS[looks]}: {why}."
        return [Finding(severity="ok", code="grid_or_load", field=field, message=message, evidence=evidence)]
    return [
        Finding(
            severity="warning",
            code="grid_or_load",
            field=field,
            message=f"The {role} meter appears to measure {_WORDS[looks]}, not {_WORDS[role]}: {why}.",
            advice=f"If that is so, enter it as the {looks} meter instead: what is computed from it is wrong by the solar power."
            + (" In MongoDB, cenergyd migrate --facility-is load does it." if role == "utility" else ""),
            evidence={**evidence, "looks_like": looks},
        )
    ]


def slope_of(meter: Mapping[int, float], solar: Mapping[int, float], step: int) -> Slope | None:
    """The slope, by least squares over changes while the sun shines; None if solar power hardly changes."""
    if not step:
        return None
    ups, sun = power_changes(meter, step), power_changes(solar, step)
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
        return f"it is negative in {exports * 100:.0f} % of the readings"
    assert slope is not None
    if looks == "utility":
        return f"it falls by {-slope.value:.2f} kW for each kW more from the panels"
    return f"it changes by {slope.value:+.2f} kW for each kW more from the panels, where power from the grid would fall by 1 kW"
