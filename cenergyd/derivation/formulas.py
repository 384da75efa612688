"""The formulas by which a missing meter is computed.

The site equation is load = solar + utility. It holds for real power P and reactive power Q at every moment; it does not hold for
power factors and voltages, so ``physical`` computes those from P, Q and the meters' voltages, while ``literal`` adds and subtracts all
channels alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import hypot, inf, isfinite, sqrt

from cenergyd.customers.model import ROLES, Role
from cenergyd.hookspecs import AlignedReading, Formula
from cenergyd.readings.model import Reading, new_reading

VERSIONS: Mapping[str, int] = {"physical": 1, "literal": 1}
"""Incremented whenever a formula's results change; shown in every computed point's provenance."""

DIGITS = 9
"""Decimals of results (1e-9 kW = 1 microwatt): no meter is that precise, and the rounding error of 0.3 - 0.1 - 0.2 must not count as power,
of which a power factor would be computed.
"""

_SCALE = 10.0**DIGITS
_EXACT_BELOW = 3e4
"""Below this, the error of a value times ``_SCALE`` is less than 0.002."""
_NEAREST = 1.5 * 2.0**52
"""Adding and then subtracting this gives the nearest integer of a float below 2^51."""
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
    return rounded(min(1.0, abs(P) / apparent)) if 0 < apparent < inf else None


def rounded(value: float) -> float | None:
    """The value rounded to DIGITS, exactly as ``round`` does but in half the time, and never -0.0; None if it is not finite."""
    if -_EXACT_BELOW < value < _EXACT_BELOW:
        scaled = value * _SCALE
        nearest = (scaled + _NEAREST) - _NEAREST
        if -0.49 < scaled - nearest < 0.49:  # otherwise the error of the product could decide
            return nearest / _SCALE
    result = round(value, DIGITS) + 0.0
    return result if isfinite(result) else None


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
    _, our_p, _, our_v, our_q, _, _, _, _ = one
    _, their_p, _, their_v, their_q, _, _, _, _ = other
    if our_p is None or their_p is None or (P := rounded(our_p + sign * their_p)) is None:
        return None
    estimated = False
    if our_q is None or their_q is None:
        our_q, our_estimate = reactive_power(one)
        their_q, their_estimate = reactive_power(other)
        estimated = our_estimate or their_estimate
    Q = None if our_q is None or their_q is None else rounded(our_q + sign * their_q)
    factor = None if Q is None else power_factor(P, Q)
    return new_reading((time, P, factor, _mean(our_v, their_v), Q, estimated and Q is not None, None, None, None))


def _literal(time: int, one: Reading, other: Reading, sign: float) -> Reading | None:
    P = _sum(one[1], other[1], sign)
    if P is None:
        return None
    return Reading(time, P, _sum(one[2], other[2], sign), _sum(one[3], other[3], sign), _sum(one[4], other[4], sign))


def _sum(one: float | None, other: float | None, sign: float) -> float | None:
    return None if one is None or other is None else rounded(one + sign * other)


def _mean(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        one, other = (other if one is None else one), (one if other is None else other)
        if one is None or other is None:
            return None
    return rounded(one / 2 + other / 2)
