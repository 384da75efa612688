"""The stored result of a site's last evaluation, with everything that the list of all sites needs. Values only.

It is stored as one text of JSON lists: ten thousand of them are read for one page, and nested objects would take five times as long.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cenergyd.customers.model import Customer, Role
from cenergyd.jobs.site_state.model import SiteState


class DayEnergy(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A role's energy of a day so far, kWh."""

    role: Role
    imported: float
    exported: float


class SiteSummary(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One site in the list of all sites."""

    customer_id: str
    name: str
    serial: str
    time_zone: str
    state: SiteState
    energy_day: str = ""
    """The customer's day of ``energy``, such as ``2026-11-24``."""
    energy: tuple[DayEnergy, ...] = ()
    alerts: int = 0
    """Number of active alerts."""

    @property
    def title(self) -> str:
        """The site's name for display."""
        return self.name or self.serial or self.customer_id

    def power(self, role: Role, now: int) -> float | None:
        """The power of a role at ``now``, kW; None if unknown."""
        state = next((each for each in self.state.roles if each.role == role), None)
        return None if state is None else state.present_power(now)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(SiteSummary)


def summary_of(
    customer: Customer, state: SiteState, *, energy_day: str, energy: tuple[DayEnergy, ...], alerts: int
) -> SiteSummary:
    """A customer's summary."""
    return SiteSummary(
        customer_id=customer.id,
        name=customer.name,
        serial=customer.logger_serial_number,
        time_zone=customer.time_zone,
        state=state,
        energy_day=energy_day,
        energy=energy,
        alerts=alerts,
    )


def differ_in_numbers_only(one: SiteSummary, other: SiteSummary) -> bool:
    """Whether two summaries of a site are equal except for times, power and energy."""
    return _without_numbers(one) == _without_numbers(other)


def _without_numbers(summary: SiteSummary) -> tuple[object, ...]:
    state = summary.state
    roles = [(each.role, each.computed, each.stale, each.power is None) for each in state.roles]
    place = (summary.name, summary.serial, summary.time_zone, summary.energy_day, summary.alerts)
    return state.kind, state.issues, roles, place


def summary_to_json(summary: SiteSummary) -> dict[str, object]:
    """The body of a site's document."""
    return {"site": _ENCODER.encode(summary).decode()}


def summary_from_json(body: Mapping[str, object]) -> SiteSummary | None:
    """The inverse of :func:`summary_to_json`; None for a summary of another version, which is soon evaluated again."""
    try:
        return _DECODER.decode(str(body.get("site", "")))
    except msgspec.DecodeError:
        return None
