"""Corrects the sign of readings of meters whose current transformers (CTs) are mounted the wrong way round. Pure."""

from __future__ import annotations

from cenergyd.readings.model import Reading
from cenergyd.readings.store import Summary

SIGNED = frozenset(("P", "Q"))
"""The channels that have a direction."""


def sign_corrected(reading: Reading) -> Reading:
    """The reading of a meter whose CTs are reversed, corrected: the direction of power and energy is inverted.

    What the meter counted as import was export. Power factor and voltage do not depend on the CT's direction.
    """
    time, p, pf, v, q, estimated, net, imported, exported = reading
    return Reading(time, negated(p), pf, v, negated(q), estimated, negated(net), exported, imported)


def sign_corrected_summary(summary: Summary) -> Summary:
    """A window's minimum, mean and maximum with the sign corrected."""
    channels = {
        name: (0.0 - high, 0.0 - mean, 0.0 - low) if name in SIGNED else (low, mean, high)
        for name, (low, mean, high) in summary.channels.items()
    }
    return summary._replace(channels=channels)


def negated(value: float | None) -> float | None:
    """The value with the other sign; zero is never -0.0."""
    return None if value is None else 0.0 - value
