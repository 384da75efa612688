"""Derives the missing meter as the built-in plugins do, from corrected readings: for a wrong CT ratio, and for solar power measured at night.

A customer uses it alone with ``cenergyd customers set CUSTOMER --derivation-plugin site_corrections``; where no customer names it, it
computes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta

from cenergyd.customers.model import Customer, Role
from cenergyd.derivation.formulas import compute
from cenergyd.hookspecs import AlignedReading, Formula, Resource, hookimpl
from cenergyd.readings.model import Reading

NAME = "site_corrections"


class Options(Resource):
    """What [plugin:site_corrections] in the ini may set."""

    meter: Annotated[
        Literal["", "utility", "load", "solar"],
        Meta(description="The role whose meter was given a wrong CT ratio; empty: none."),
    ] = ""
    ct_ratio: Annotated[
        float,
        Meta(gt=0, le=100, description="Its P and Q are multiplied by this: the true ratio by the one that was set."),
    ] = 1.0
    night_kw: Annotated[
        float,
        Meta(ge=0, description="Solar power nearer to zero than this, kW, is the inverter's standby: taken as 0."),
    ] = 0.05


@hookimpl
def cenergyd_options() -> type[Resource]:
    """The options."""
    return Options


@hookimpl
def cenergyd_derive(
    customer: Customer, role: Role, aligned: Sequence[AlignedReading], formula: Formula, options: Options
) -> list[Reading] | None:
    """The site equation, solved for the missing meter, on corrected readings."""
    if customer.derivation_plugin != NAME:
        return None
    computed = compute(role, [corrected(pair, options) for pair in aligned], formula)
    return [clamped(reading, options) for reading in computed] if role == "solar" else computed


def corrected(pair: AlignedReading, options: Options) -> AlignedReading:
    """The pair with the CT ratio and the night applied to what was measured."""
    changes = {}
    if options.meter and (reading := getattr(pair, options.meter)) is not None:
        changes[options.meter] = scaled(reading, options.ct_ratio)
    solar = changes.get("solar", pair.solar)
    if solar is not None:
        changes["solar"] = clamped(solar, options)
    return pair._replace(**changes)


def scaled(reading: Reading, ratio: float) -> Reading:
    """Power times the ratio; power factor and voltage do not depend on it."""
    P = None if reading.P is None else reading.P * ratio
    Q = None if reading.Q is None else reading.Q * ratio
    return reading._replace(P=P, Q=Q)


def clamped(reading: Reading, options: Options) -> Reading:
    """No power where there is only the inverter's standby."""
    if reading.P is None or abs(reading.P) >= options.night_kw:
        return reading
    return reading._replace(P=0.0, Q=None if reading.Q is None else 0.0, L1_PF=None)
