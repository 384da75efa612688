"""The settings form between two requests: what was typed, its errors, and what somebody else saved meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import attrs

from cenergyd.customers.meter_sum import InvalidSum, fault_of, is_sum, meter_ids, normal_sum
from cenergyd.customers.model import FIELD_OF_ROLE, ROLES, Customer, MeterSetup
from cenergyd.customers.place import PLACE_FIELDS, own_place
from cenergyd.errors import InvalidField
from cenergyd.web.pages.texts import EQUATIONS, ROLE_NAMES
from cenergyd.web.server.problems import RequestProblem

TEXT_FIELDS = ("name", "time_zone", "logger_serial_number", "facility", "load", "solar")
FIELDS = (*TEXT_FIELDS, *PLACE_FIELDS)
"""Fields of the form, except the password."""
PASSWORD = "logger_password"  # noqa: S105 - a field's name
REMOVE_PASSWORD = "remove_password"  # noqa: S105
BASE_PREFIX = "was."


class Difference(NamedTuple):
    """A field that somebody else has changed while it was being edited."""

    field: str
    before: str
    """As it was when the form was opened."""
    stored: str
    """As it is now."""
    typed: str

    @property
    def both(self) -> bool:
        """Both editors changed it, to different values."""
        return self.typed not in (self.before, self.stored)


class ComputedMeter(NamedTuple):
    """The result of a form's meters."""

    level: str
    """``ok`` or ``warn``."""
    text: str


@attrs.frozen
class Draft:
    """A form as it is shown."""

    values: Mapping[str, str]
    base: Mapping[str, str]
    """The stored values that the form was filled with."""
    etag: str = ""
    errors: Mapping[str, str] = attrs.field(factory=dict)
    differences: Sequence[Difference] = ()
    conflict: bool = False
    remove_password: bool = False
    password: str = attrs.field(default="", repr=False)
    """As typed, so that it need not be typed again after an error elsewhere; never the stored one."""

    @property
    def computed_meter(self) -> ComputedMeter:
        """Which meter will be computed."""
        return computed_meter({field: self.values[field] for field in FIELD_OF_ROLE.values()})


def draft_of(customer: Customer) -> Draft:
    """A form of what is stored."""
    values = stored_values(customer)
    return Draft(values, values, customer.etag)


def stored_values(customer: Customer) -> dict[str, str]:
    """The fields of a customer as text."""
    place = own_place(customer)
    texts = {field: getattr(customer, field) for field in TEXT_FIELDS}
    return texts | {field: _degrees(getattr(place, field)) if place else "" for field in PLACE_FIELDS}


def draft_from(form: Mapping[str, str]) -> Draft:
    """A form as it was sent."""
    values = {field: form.get(field, "") for field in FIELDS}
    base = {field: form.get(BASE_PREFIX + field, "") for field in FIELDS}
    return Draft(
        values,
        base,
        form.get("etag", ""),
        remove_password=bool(form.get(REMOVE_PASSWORD)),
        password=form.get(PASSWORD, ""),
    )


def changes_of(form: Mapping[str, str]) -> dict[str, str]:
    """What to save of a sent form: an empty password means that none was typed, so the stored one is kept."""
    changes = {field: form[field] for field in FIELDS if field in form}
    if form.get(REMOVE_PASSWORD):
        changes[PASSWORD] = ""
    elif form.get(PASSWORD):
        changes[PASSWORD] = form[PASSWORD]
    return changes


def with_errors(draft: Draft, error: InvalidField | RequestProblem) -> Draft:
    """The form with errors beside its fields."""
    if isinstance(error, InvalidField):
        return attrs.evolve(draft, errors={error.field: str(error)})
    return attrs.evolve(draft, errors={fault.field: fault.detail for fault in error.details.errors})


def with_conflict(draft: Draft, stored: Customer) -> Draft:
    """The form after somebody else saved first: fields that only they changed take their values, fields changed here stay as typed."""
    now = stored_values(stored)
    differences = [
        Difference(field, draft.base[field], now[field], draft.values[field])
        for field in FIELDS
        if now[field] != draft.base[field]
    ]
    kept = {field: draft.values[field] if draft.values[field] != draft.base[field] else now[field] for field in FIELDS}
    return attrs.evolve(draft, values=kept, base=now, etag=stored.etag, differences=differences, conflict=True)


def with_meter(draft: Draft, choice: str) -> Draft:
    """The form after a press of "use as", such as ``load:2``. Any other text changes nothing."""
    field, _, meter = choice.partition(":")
    if field not in FIELD_OF_ROLE.values() or not meter.isascii() or not meter.isdigit() or len(meter) > 3:
        return draft
    # A meter plays one role: the field that named it before is emptied.
    moved = {name: "" for name in FIELD_OF_ROLE.values() if _plain(draft.values[name]) == meter}
    return attrs.evolve(draft, values={**draft.values, **moved, field: meter})


def computed_meter(meters: Mapping[str, str]) -> ComputedMeter:
    """The result of the three meter fields, by field name."""
    of_role = {role: _plain(meters[FIELD_OF_ROLE[role]]) for role in ROLES}
    fitted = [meter for meter in of_role.values() if meter]
    wrong = next((meter for meter in fitted if fault_of(meter)), None)
    if wrong is not None:
        what = "sum of meters" if is_sum(wrong) else "Modbus address"
        return ComputedMeter("warn", f"Nothing is computed: {wrong} is not a {what}.")
    meters_named = [meter for role in fitted for meter in meter_ids(role)]
    doubled = next((meter for meter in meters_named if meters_named.count(meter) > 1), None)
    if doubled is not None:
        return ComputedMeter("warn", f"Nothing is computed: meter {doubled} is named more than once.")
    if len(fitted) < 2:
        return ComputedMeter("warn", "Nothing is computed yet: two of the three meters are needed.")
    missing = MeterSetup(utility=of_role["utility"], load=of_role["load"], solar=of_role["solar"]).missing_role
    if missing is None:
        return ComputedMeter("ok", "All three meters are measured; nothing needs to be computed.")
    return ComputedMeter("ok", f"{ROLE_NAMES[missing]} will be computed: {EQUATIONS[missing]}.")


def _degrees(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _plain(meter: str) -> str:
    meter = meter.strip()
    if is_sum(meter):
        try:
            return normal_sum(meter)
        except InvalidSum:
            return meter
    return meter.lstrip("0") or meter if meter.isdigit() else meter
