"""Makes readings for tests, and a day of a simulated site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from cenergyd.customers.model import ROLES, Customer, Role
from cenergyd.hookspecs import AlignedReading
from cenergyd.readings.model import Reading
from cenergyd.testing.customers import make_customer
from cenergyd.tools.simulator.day import site_moments
from cenergyd.tools.simulator.site import METER_OF_ROLE, make_sites

NOON = 1_800_014_400
"""2027-01-15 12:00:00 UTC."""


def make_readings(values: Sequence[float | Reading | None], start: int = NOON, interval: int = 60) -> list[Reading]:
    """A reading for each value, ``interval`` seconds apart: a number is its P in kW, None a gap, a Reading stays as it is."""
    readings = []
    for number, value in enumerate(values):
        if isinstance(value, Reading):
            readings.append(value)
        elif value is not None:
            readings.append(Reading(start + number * interval, P=float(value)))
    return readings


def aligned(start: int = NOON, interval: int = 60, **roles: Sequence[float | Reading]) -> list[AlignedReading]:
    """Arguments for ``cenergyd_derive``, such as ``aligned(utility=[1.0, 2.0], solar=[3.0, 4.0])`` for the load meter.

    Numbers are P in kW. Exactly two roles, of the same length; the third is the one to compute.
    """
    if len(roles) != 2 or not set(roles) <= set(ROLES):
        raise ValueError(f"two of {', '.join(ROLES)} are needed")
    made = {role: make_readings(values, start, interval) for role, values in roles.items()}
    lengths = {len(values) for values in made.values()}
    if len(lengths) != 1:
        raise ValueError("both roles need the same number of values")
    return [
        AlignedReading(start + number * interval, **{role: None for role in ROLES if role not in made}, **pair)
        for number, pair in enumerate(
            {role: values[n] for role, values in made.items()} for n in range(lengths.pop())
        )
    ]  # fmt: skip


@attrs.frozen(kw_only=True)
class SimulatedDay:
    """A day of a site with weather and appliances, in which one of the three meters is missing."""

    customer: Customer
    missing: Role
    start: int
    """UTC seconds."""
    end: int
    readings: Mapping[Role, Sequence[Reading]]
    """The readings of each role, including the missing one, which a plugin should compute."""

    @property
    def aligned(self) -> list[AlignedReading]:
        """The aligned readings for ``cenergyd_derive``."""
        shown = {role: values for role, values in self.readings.items() if role != self.missing}
        times = [reading.time for reading in self.readings[self.missing]]
        return [
            AlignedReading(time, **dict.fromkeys(ROLES) | {role: values[n] for role, values in shown.items()})
            for n, time in enumerate(times)
        ]


def simulate_day(
    missing: Role = "load", *, start: int = NOON - NOON % 86400, interval: int = 60, seed: int = 1, hours: int = 24
) -> SimulatedDay:
    """A day of a simulated site, the same for the same arguments.

    :param start: UTC seconds.
    :param interval: seconds between readings.
    """
    site = next(each for each in make_sites(3, seed) if each.missing == missing)
    end = start + hours * 3600
    readings: dict[Role, list[Reading]] = {role: [] for role in ROLES}
    for moment in site_moments(site, start, end, interval):
        for role in ROLES:
            power = moment.of(role)
            readings[role].append(
                Reading(moment.time, P=power.P, L1_PF=power.power_factor, L1_V=moment.volts, Q=power.Q)
            )
    customer = make_customer(missing, name=site.name, time_zone=site.place.zone, logger_serial_number=site.serial)
    assert all(customer.current.meter_of(role) in ("", METER_OF_ROLE[role]) for role in ROLES)
    return SimulatedDay(customer=customer, missing=missing, start=start, end=end, readings=readings)
