"""A simulated site: its place, its size, its missing meter and its logger's serial number."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import attrs

from cenergyd.customers.model import FIELD_OF_ROLE, ROLES, Customer, Role

METER_OF_ROLE: Final[Mapping[Role, str]] = {"utility": "1", "load": "2", "solar": "3"}
"""Modbus addresses of a simulated site's meters."""


class SimulatedPlace(NamedTuple):
    """The place of a simulated site, with its time zone."""

    town: str
    zone: str
    latitude: float
    longitude: float


PLACES: Final = (
    SimulatedPlace("Phoenix", "America/Phoenix", 33.4, -112.1),
    SimulatedPlace("Boulder", "America/Denver", 40.0, -105.3),
    SimulatedPlace("Atlanta", "America/New_York", 33.7, -84.4),
    SimulatedPlace("Berlin", "Europe/Berlin", 52.5, 13.4),
    SimulatedPlace("Lisbon", "Europe/Lisbon", 38.7, -9.1),
    SimulatedPlace("Adelaide", "Australia/Adelaide", -34.9, 138.6),
    SimulatedPlace("Pune", "Asia/Kolkata", 18.5, 73.9),
    SimulatedPlace("Nairobi", "Africa/Nairobi", -1.3, 36.8),
)


@attrs.frozen(slots=True, kw_only=True)
class SimulatedSite:
    """A simulated site. Its whole behaviour follows from these values."""

    serial: str
    """Its logger's serial number, a locally administered MAC address, which no real device has."""
    name: str
    place: SimulatedPlace
    missing: Role
    """The meter that is not fitted."""
    seed: int
    peak_solar_kw: float
    """Power of the panels in full sun, kW."""
    mean_load_kw: float
    nominal_volts: float = 120.0
    load_power_factor: float = 0.93
    meters: Mapping[Role, str] = METER_OF_ROLE
    """Modbus addresses of the meters."""

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles that have a meter."""
        return tuple(role for role in ROLES if role != self.missing)

    @property
    def fields(self) -> dict[str, str]:
        """The customer's settings: facility, load and solar, '' for the missing one."""
        return {FIELD_OF_ROLE[role]: "" if role == self.missing else self.meters[role] for role in ROLES}


def site_of(customer: Customer, seed: int) -> SimulatedSite:
    """A site according to a customer's settings. Raises ValueError if they are incomplete."""
    if not customer.logger_serial_number:
        raise ValueError("its logger's serial number is not set")
    meters = {role: meter for role in ROLES if (meter := customer.current.meter_of(role))}
    if len(meters) != 2 or customer.missing_role is None or not all(meter.isdigit() for meter in meters.values()):
        raise ValueError("two of its three meters are needed, each one meter")
    chance = random.Random(f"{seed} {customer.id}")
    mean_load = round(chance.lognormvariate(1.3, 0.6), 2)
    place = next((each for each in PLACES if each.zone == customer.time_zone), None)
    return SimulatedSite(
        serial=customer.logger_serial_number,
        name=customer.name or customer.id,
        place=place or SimulatedPlace(customer.time_zone, customer.time_zone, 40.0, 0.0),
        missing=customer.missing_role,
        seed=chance.getrandbits(48),
        peak_solar_kw=round(mean_load * 2.5, 2),
        mean_load_kw=mean_load,
        meters=meters,
    )


def make_sites(count: int, seed: int) -> Iterator[SimulatedSite]:
    """Sites in which the utility, load or solar meter is missing in turn; the same for the same seed."""
    prefix = hashlib.sha256(f"cenergyd {seed}".encode()).hexdigest()[:4].upper()
    for index in range(count):
        chance = random.Random(f"{seed} {index}")
        place = PLACES[index % len(PLACES)]
        mean_load = round(chance.lognormvariate(1.3, 0.6), 2)
        yield SimulatedSite(
            serial=f"02{prefix}{index:06X}",
            name=f"Simulated {place.town} {index + 1}",
            place=place,
            missing=ROLES[index % len(ROLES)],
            seed=chance.getrandbits(48),
            peak_solar_kw=round(mean_load * chance.uniform(1.5, 4.0), 2),
            mean_load_kw=mean_load,
            load_power_factor=round(chance.uniform(0.85, 0.98), 3),
        )
