"""The coordinates of a site: ``extensions["place"]``, ``{"latitude": ..., "longitude": ...}`` in degrees; north and east are positive. Pure.

For a site without them, those of its time zone's city are used (:mod:`cenergyd.jobs.site_state.sun`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from cenergyd.customers.model import Customer
from cenergyd.errors import InvalidField

PLACE = "place"
"""Key of the extension."""
PLACE_FIELDS = ("latitude", "longitude")
_BOUNDS: Mapping[str, float] = {"latitude": 90.0, "longitude": 180.0}


class Place(NamedTuple):
    """Coordinates in degrees."""

    latitude: float
    longitude: float


def own_place(customer: Customer) -> Place | None:
    """The place entered for a site; None if there is none or the stored value is invalid."""
    stored = customer.extensions.get(PLACE)
    if not isinstance(stored, Mapping):
        return None
    try:
        return clean_place(stored.get("latitude"), stored.get("longitude"))
    except InvalidField:
        return None


def clean_place(latitude: object, longitude: object) -> Place | None:
    """A place from numbers or texts in degrees such as ``39.7392``; None if both are empty. Raises InvalidField."""
    values = {"latitude": _degrees("latitude", latitude), "longitude": _degrees("longitude", longitude)}
    north, east = values["latitude"], values["longitude"]
    if north is None and east is None:
        return None
    if north is None or east is None:
        lacking = "latitude" if north is None else "longitude"
        raise InvalidField(lacking, "enter both, or leave both empty to use the city of the time zone")
    return Place(north, east)


def place_change(place: Place | None) -> dict[str, object]:
    """The change of extensions that sets or removes a place."""
    return {PLACE: None if place is None else place._asdict()}


def _degrees(field: str, value: object) -> float | None:
    most = _BOUNDS[field]
    wrong = InvalidField(field, f"degrees from -{most:g} to {most:g} are needed, such as 39.7392")
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise wrong
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise wrong from None
    if not math.isfinite(number) or abs(number) > most:
        raise wrong
    return round(number, 6)
