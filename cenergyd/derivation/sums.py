"""Adds up the meters of a role that is a sum (:mod:`cenergyd.customers.meter_sum`). Pure.

A reading of the sum consists of one reading of each meter: each is the nearest to the first meter's reading and vice versa, as in :mod:`.align`,
and the latest is no further from the earliest than the tolerance. If one is missing or has no real power, the sum has a gap. So a sum at
``t`` depends only on readings from ``t - tolerance`` to ``t + 2 * tolerance``, as a computed reading does.

P, Q and registers are multiplied by their meter's factor and added; the power factor follows from P and Q; the voltage is the meters'
mean. If a meter has no Q, it is estimated from P and power factor, and the sum is marked ``estimated``. A single meter with a factor keeps
its own power factor.
"""

from __future__ import annotations

from collections.abc import Sequence

from cenergyd.derivation.align import mutual_nearest
from cenergyd.derivation.formulas import power_factor, reactive_power, rounded
from cenergyd.readings.model import MAX_VALUE, Reading
from cenergyd.readings.signs import sign_corrected

VERSION = 1
"""Incremented whenever the results change; shown with the sum's provenance."""
FORMULA = f"sum/{VERSION}"


def matched(readings: Sequence[Sequence[Reading]], tolerance: int) -> list[tuple[Reading, ...]]:
    """Groups of one reading of each meter, each of which gives a reading of the sum, ascending.

    :param readings: for each meter its readings, ascending in time, each time once.
    """
    first, *others = readings
    if not others:
        return [(reading,) for reading in first]
    times = [[reading.time for reading in each] for each in readings]
    if all(each == times[0] for each in times[1:]):
        return list(zip(*readings, strict=True))
    partners = [dict(mutual_nearest(times[0], each, tolerance)) for each in times[1:]]
    found = []
    for i, reading in enumerate(first):
        rest = [each[partner[i]] for each, partner in zip(others, partners, strict=True) if i in partner]
        if len(rest) < len(others):
            continue
        group = (reading, *rest)
        around = [each.time for each in group]
        if max(around) - min(around) <= tolerance:
            found.append(group)
    return found


def add_up(factors: Sequence[float], readings: Sequence[Sequence[Reading]], tolerance: int) -> list[Reading]:
    """The readings of a sum, ascending; each has the earliest time of its parts.

    :param factors: the factor of each meter.
    :param readings: see :func:`matched`.
    """
    if len(factors) == 1:
        return [_scaled(reading, factors[0]) for reading in readings[0]]
    found = (_added(factors, group) for group in matched(readings, tolerance))
    return [reading for reading in found if reading is not None]


def _scaled(reading: Reading, factor: float) -> Reading:
    """The reading of a single meter times its factor; power factor and voltage stay."""
    time, P, own_factor, voltage, Q, estimated, net, imported, exported = (
        sign_corrected(reading) if factor < 0 else reading
    )
    size = abs(factor)
    registers = [_times(size, each) for each in (net, imported, exported)]
    return Reading(time, _times(size, P), own_factor, voltage, _times(size, Q), estimated, *registers)


def _added(factors: Sequence[float], group: Sequence[Reading]) -> Reading | None:
    P = _total(factors, [reading.P for reading in group])
    if P is None:
        return None
    reactive = [reactive_power(reading) for reading in group]
    Q = _total(factors, [value for value, _ in reactive])
    return Reading(
        min(reading.time for reading in group),
        P,
        None if Q is None else power_factor(P, Q),
        _mean([reading.L1_V for reading in group]),
        Q,
        Q is not None and any(estimate for _, estimate in reactive),
        _total(factors, [_net(reading) for reading in group]),
        *_import_export(factors, group),
    )


def _import_export(factors: Sequence[float], group: Sequence[Reading]) -> tuple[float | None, float | None]:
    """Sums of import and export registers; None if meters are subtracted from others, because then only net energy can be added."""
    imported = [reading.E_import for reading in group]
    exported = [reading.E_export for reading in group]
    if all(factor > 0 for factor in factors):
        return _total(factors, imported), _total(factors, exported)
    if all(factor < 0 for factor in factors):
        sizes = [-factor for factor in factors]
        return _total(sizes, exported), _total(sizes, imported)
    return None, None


def _net(reading: Reading) -> float | None:
    if reading.E_net is not None:
        return reading.E_net
    if reading.E_import is None or reading.E_export is None:
        return None
    return reading.E_import - reading.E_export


def _total(factors: Sequence[float], values: Sequence[float | None]) -> float | None:
    total = 0.0
    for factor, value in zip(factors, values, strict=True):
        if value is None:
            return None
        total += factor * value
    return _storable(total)


def _times(size: float, value: float | None) -> float | None:
    return None if value is None else _storable(size * value)


def _storable(value: float) -> float | None:
    """Rounded; None if it is implausibly large."""
    return rounded(value) if abs(value) <= MAX_VALUE else None


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return _storable(sum(value / len(there) for value in there)) if there else None
