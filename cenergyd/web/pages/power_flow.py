"""The present flows between solar, grid and site, for the power page's diagram. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cenergyd.customers.model import Role
from cenergyd.jobs.site_state.model import RoleState, SiteState
from cenergyd.web.pages import texts

SMALL_KW = 0.005
"""kW; a value nearer to zero is shown as no flow."""


class Flow(NamedTuple):
    """One of the three flows."""

    kw: float | None
    """As an amount; None: not known."""
    forward: bool
    """Solar and grid: towards the site. Site: to the loads."""
    direction: str
    style: Role
    stale: bool
    age: str
    text: str


def flows_of(state: SiteState, now: int) -> Mapping[str, Flow | str]:
    """The three flows by role, and ``summary``: the diagram as a sentence."""
    by_role = {each.role: each for each in state.roles}
    flows: dict[str, Flow | str] = {
        "solar": _flow("solar", by_role.get("solar"), now, ("to the site", "from the site")),
        "utility": _flow("utility", by_role.get("utility"), now, ("from the grid", "to the grid")),
        "load": _flow("load", by_role.get("load"), now, ("used", "given")),
    }
    parts = []
    for role, name in (("solar", "Sun"), ("utility", "Grid"), ("load", "Site")):
        flow = flows[role]
        assert isinstance(flow, Flow)
        parts.append(f"{name}: {_now(flow)}")
    flows["summary"] = "; ".join(parts) + "."
    return flows


def _now(flow: Flow) -> str:
    if flow.kw is None or flow.stale:
        return "not known now"
    return f"{texts.number_text(flow.kw)} kW {flow.direction}" if flow.kw else "nothing now"


def _flow(role: Role, state: RoleState | None, now: int, ways: tuple[str, str]) -> Flow:
    if state is None or state.power is None:
        return Flow(None, True, "", role, False, texts.NOTHING, f"{texts.NOTHING} kW")
    amount = abs(state.power)
    forward = state.power >= 0
    direction = ways[0] if forward else ways[1]
    if amount < SMALL_KW:
        amount, direction = 0.0, "nothing"
    age = texts.age(state.time, now)
    stale = state.is_stale(now)
    text = age if stale else f"{texts.number_text(amount)} kW"
    return Flow(amount, forward, direction, role, stale, age, text)
