"""Checks that a plugin's result may be stored."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from numbers import Real
from operator import itemgetter
from typing import Final

from cenergyd.hookspecs import AlignedReading
from cenergyd.readings.model import CHANNELS, Reading

_TIME: Final = itemgetter(0)


class BadResult(ValueError):
    """A plugin returned an invalid result."""


def checked_result(aligned: Sequence[AlignedReading], returned: object) -> list[Reading]:
    """The returned readings, ascending in time. Energy registers are dropped: a computed meter has none.

    :raises BadResult: unless they are readings at times of ``aligned``, each at most once, with at least one value, all finite.
    """
    if not isinstance(returned, Sequence) or isinstance(returned, str | bytes):
        raise BadResult(f"a sequence of readings is needed, not {type(returned).__name__}")
    free = {pair[0] for pair in aligned}
    result = [_checked(reading, free) for reading in returned]
    result.sort(key=_TIME)
    return result


def _checked(returned: object, free: set[int]) -> Reading:
    if not isinstance(returned, Reading):
        raise BadResult(f"a Reading is needed, not {type(returned).__name__}")
    reading: Reading = returned
    time, P, factor, voltage, Q, estimated, net, imported, exported = reading
    if type(time) is not int or time not in free:
        raise BadResult(f"time {time!r} was not requested, or was returned twice")
    free.discard(time)
    if type(estimated) is not bool:
        raise BadResult(f"estimated at {time} is {estimated!r}, not True or False")
    if net is not None or imported is not None or exported is not None:
        reading = Reading(*reading[:6])
    if type(P) is type(factor) is type(voltage) is type(Q) is float and isfinite(P + factor + voltage + Q):
        return reading
    for value in (P, factor, voltage, Q):
        if value is not None and not (type(value) is float and isfinite(value)):
            return _converted(reading)
    if P is None and factor is None and voltage is None and Q is None:
        raise BadResult(f"the reading at {time} has no value")
    return reading


def _converted(reading: Reading) -> Reading:
    """The reading with other number types (int, numpy's) converted to float; anything else is refused."""
    values: list[float | None] = []
    for channel, value in zip(CHANNELS, reading[1:5], strict=True):
        if value is None:
            values.append(None)
            continue
        if isinstance(value, bool) or not isinstance(value, Real):
            raise BadResult(f"{channel} at {reading.time} is a {type(value).__name__}, not a number")
        try:
            number = float(value)
        except OverflowError:
            number = float("inf")
        if not isfinite(number):
            raise BadResult(f"{channel} at {reading.time} is {value!r}")
        values.append(number)
    return Reading(reading.time, *values, reading.estimated)  # type: ignore[call-arg, arg-type]
