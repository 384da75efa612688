"""How far a customer's computed meter is behind the measured ones, for the API and live views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta

from cenergyd.customers.model import ROLES, Customer, Role
from cenergyd.customers.ownership import without_foreign
from cenergyd.derivation.status import missing_of
from cenergyd.documents.json_types import ReadOnlyJson
from cenergyd.readings.model import Reading
from cenergyd.runtime.structs import Resource, Time, read


class MissingReadings(Resource, frozen=True, kw_only=True):
    """A gap that a silent meter left."""

    role: Role
    start: Time
    end: Annotated[Time, Meta(description="Exclusive.")]
    readings: int


class PluginFailure(Resource, frozen=True, kw_only=True):
    """A plugin that fails. Its error message is only in the log and on operators' pages."""

    plugin: str
    since: Time


class DerivationState(Resource, frozen=True, kw_only=True):
    """How far the computed meter is behind the two measured ones.

    `failing`: a plugin fails. `off`: no meter is computed. `no_data`: not both meters have readings. `pending`: readings wait for the next pass.
    `waiting`: one meter has newer readings than the other. `current`: nothing to do.
    """

    state: Literal["off", "failing", "no_data", "pending", "waiting", "current"]
    pending_start: Time | None
    pending_end: Annotated[Time | None, Meta(description="Exclusive.")]
    last_measured: Time | None
    last_computed: Time | None
    lag_seconds: Annotated[
        int | None,
        Meta(description="Time from the newest computed reading to the newest measured one."),
    ]
    waiting_for: Annotated[Role | None, Meta(description="The role whose meter has not uploaded yet.")]
    waiting_since: Time | None
    missing: Annotated[MissingReadings | None, Meta(description="The latest gap that a silent meter left.")]
    failure: PluginFailure | None
    no_plugin: Annotated[bool, Meta(description="No enabled plugin computes the missing role.")]


def derivation_state(
    customer: Customer, last: Mapping[str, Reading], result: ReadOnlyJson | None = None
) -> DerivationState:
    """The state of a customer; ``result`` is the stored result of its derivation."""
    last = without_foreign(customer, last)
    role = customer.missing_role
    state: Literal["off", "failing", "no_data", "pending", "waiting", "current"]
    places = {each: customer.series_of(each) or "" for each in ROLES}
    measured = [last[place].time for other, place in places.items() if other != role and place in last]
    computed = last.get(places[role]) if role else None
    common = min(measured) if len(measured) == 2 else None
    body = result or {}
    failure = body.get("failure")
    if role is None:
        state = "off"
    elif failure:
        state = "failing"
    elif customer.pending_start is not None:
        state = "pending"
    elif common is None:
        state = "no_data"
    else:
        state = "waiting" if max(measured) > (computed.time if computed else 0) else "current"
    return DerivationState(
        state=state,
        pending_start=customer.pending_start,
        pending_end=customer.pending_end,
        last_measured=max(measured) if measured else None,
        last_computed=computed.time if computed else None,
        lag_seconds=max(0, max(measured) - computed.time) if measured and computed else None,
        waiting_for=body.get("waiting_for"),
        waiting_since=body.get("waiting_since"),
        missing=read(missing, MissingReadings) if (missing := missing_of(body)) else None,
        failure=PluginFailure(plugin=failure["plugin"], since=failure["since"]) if failure else None,
        no_plugin=bool(body.get("no_plugin")),
    )
