"""Self-consumption and self-sufficiency of a site. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Shares(NamedTuple):
    """Shares from 0 to 1; None if the energies they are computed from are unknown or zero."""

    self_consumption: float | None
    """The share of solar energy that was used on site: (solar - export) / solar."""
    self_sufficiency: float | None
    """The share of the load that did not come from the grid: (load - import) / load."""


def shares_of(energy: Mapping[str, object]) -> Shares:
    """The shares from each role's energy over the same time (``import_kwh``, ``export_kwh``, ``covered_seconds``)."""
    utility, solar, load = (_known(energy.get(role)) for role in ("utility", "solar", "load"))
    consumption = _share(solar[0], utility[1]) if solar and utility else None
    sufficiency = _share(load[0], utility[0]) if load and utility else None
    return Shares(consumption, sufficiency)


def _known(each: object) -> tuple[float, float] | None:
    if not isinstance(each, Mapping) or not each["covered_seconds"]:
        return None
    return float(each["import_kwh"]), float(each["export_kwh"])


def _share(whole: float, other: float) -> float | None:
    return min(1.0, max(0.0, (whole - other) / whole)) if whole > 0 else None
