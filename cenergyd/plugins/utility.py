"""Computes the utility meter: the part of the load that does not come from solar; negative while the site exports."""

from __future__ import annotations

from collections.abc import Sequence

from cenergyd.customers.model import Role
from cenergyd.derivation.formulas import compute
from cenergyd.hookspecs import AlignedReading, Derived, Formula, hookimpl


@hookimpl
def cenergyd_derive(role: Role, aligned: Sequence[AlignedReading], formula: Formula) -> Derived | None:
    """utility = load - solar."""
    return compute(role, aligned, formula) if role == "utility" else None
