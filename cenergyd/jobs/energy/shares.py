"""How much of the sun a site uses itself, and how much of what it uses comes from the sun. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Shares(NamedTuple):
    """Shares from 0 to 1; None where the energies that they come from are not known, or zero."""

    self_consumption: float | None
    """Of what the sun gave, what was used here: (solar - export) / solar."""
    self_sufficiency: float | None
    """Of what was used here, what did not come from the grid: (load - import) / load."""


def shares_of(energy: Mapping[str, object]) -> Shares:
    """From the energies of each role over one time (``import_kwh``, ``export_kwh``, ``covered_seconds``)."""
    utility, solar, load = (_known(energy.get(role)) for role in ("utility", "solar", "load"))
    consumption = _share(solar[0], utility[1]) if solar and utility else None
    sufficiency = _share(load[0], utility[0]) if load and utility else None
    return Shares(consumption, sufficiency)


def _known(each: Any) -> tuple[float, float] | None:
    if not each or not each["covered_seconds"]:
        return None
    return float(each["import_kwh"]), float(each["export_kwh"])


def _share(whole: float, other: float) -> float | None:
    return min(1.0, max(0.0, (whole - other) / whole)) if whole > 0 else None
