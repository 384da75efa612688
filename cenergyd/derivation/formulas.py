"""The formulas by which a missing meter is computed.

The site equation is load = solar + utility. It holds for real power P and reactive power Q at every moment; it does not hold for
power factors and voltages, so ``physical`` computes those from P, Q and the meters' voltages, while ``literal`` adds and subtracts all
channels alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import hypot, isfinite, sqrt

from cenergyd.customers.model import ROLES, Role
from cenergyd.hookspecs import AlignedReading, Formula
from cenergyd.readings.model import Reading

VERSIONS: Mapping[str, int] = {"physical": 1, "literal": 1}
"""Incremented whenever a formula's results change; shown in every computed point's provenance."""

DIGITS = 9
"""Decimals of results (1e-9 kW = 1 microwatt): no meter is that precise, and the rounding error of 0.3 - 0.1 - 0.2 must not count as power,
which would have a power factor.
"""

_PF_SLACK = 1.01
"""A power factor above 1 up to this is a meter's rounding error; a larger one is invalid."""


def compute(role: Role, aligned: Sequence[AlignedReading], formula: Formula = "physical") -> list[Reading]:
    """Compute a missing role as the built-in plugins do: by load = solar + utility, solved for that role.

    :param aligned: paired readings of the other two roles.
    :return: a reading for each pair in which both have P, at the pair's time; P and Q rounded to 1e-9.
    """
    if role == "load":
        return total(aligned, "solar", "utility", formula)
    return difference(aligned, "load", "utility" if role == "solar" else "solar", formula)


def total(aligned: Sequence[AlignedReading], one: Role, other: Role, formula: Formula) -> list[Reading]:
    """The sum of two meters (load = solar + utility)."""
    return _compute(aligned, one, other, 1.0, formula)


def difference(aligned: Sequence[AlignedReading], whole: Role, part: Role, formula: Formula) -> list[Reading]:
    """The difference of two meters (utility = load - solar)."""
    return _compute(aligned, whole, part, -1.0, formula)


def reactive_power(reading: Reading) -> tuple[float | None, bool]:
    """A meter's Q in kvar, and whether it is an estimate.

    Without a measured Q its magnitude follows from the meter's own P and power factor, and it is assumed to be lagging, as for nearly all
    loads. The sign of the power factor is ignored, because its meaning differs between meters. None if the power factor is missing or zero.
    """
    if reading.Q is not None:
        return reading.Q, False
    if reading.P is None or reading.L1_PF is None:
        return None, False
    factor = abs(reading.L1_PF)
    if reading.P == 0:
        return 0.0, True  # S = P / PF; without power, many meters show PF 0 (or 1)
    if not 0 < factor <= _PF_SLACK:
        return None, False
    if factor >= 1:
        return 0.0, True
    return abs(reading.P) * sqrt(1 - factor * factor) / factor, True


def power_factor(P: float, Q: float) -> float | None:
    """|P| / S, or None where no power flows."""
    apparent = hypot(P, Q)
    return round(min(1.0, abs(P) / apparent), DIGITS) if apparent > 0 and isfinite(apparent) else None


def _compute(aligned: Sequence[AlignedReading], one: Role, other: Role, sign: float, formula: Formula) -> list[Reading]:
    compute = _literal if formula == "literal" else _physical
    first, second = 1 + ROLES.index(one), 1 + ROLES.index(other)
    computed = []
    for pair in aligned:
        reading = compute(pair[0], pair[first], pair[second], sign)  # type: ignore[arg-type]
        if reading is not None:
            computed.append(reading)
    return computed


def _physical(time: int, one: Reading, other: Reading, sign: float) -> Reading | None:
    P = _sum(one[1], other[1], sign)
    if P is None:
        return None
    ours, our_estimate = reactive_power(one)
    theirs, their_estimate = reactive_power(other)
    Q = _sum(ours, theirs, sign)
    factor = None if Q is None else power_factor(P, Q)
    return Reading(time, P, factor, _mean(one[3], other[3]), Q, Q is not None and (our_estimate or their_estimate))


def _literal(time: int, one: Reading, other: Reading, sign: float) -> Reading | None:
    P = _sum(one[1], other[1], sign)
    if P is None:
        return None
    return Reading(time, P, _sum(one[2], other[2], sign), _sum(one[3], other[3], sign), _sum(one[4], other[4], sign))


def _sum(one: float | None, other: float | None, sign: float) -> float | None:
    if one is None or other is None:
        return None
    result = round(one + sign * other, DIGITS) + 0.0  # + 0.0 turns -0.0 into 0.0
    return result if isfinite(result) else None


def _mean(one: float | None, other: float | None) -> float | None:
    one, other = (other if one is None else one), (one if other is None else other)
    if one is None or other is None:
        return None
    mean = one / 2 + other / 2
    return round(mean, DIGITS) if isfinite(mean) else None
