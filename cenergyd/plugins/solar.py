"""Computes the solar meter: the part of the load that does not come from the grid."""

from __future__ import annotations

from collections.abc import Sequence

from cenergyd.customers.model import Role
from cenergyd.derivation.formulas import compute
from cenergyd.hookspecs import AlignedReading, Derived, Formula, hookimpl


@hookimpl
def cenergyd_derive(role: Role, aligned: Sequence[AlignedReading], formula: Formula) -> Derived | None:
    """solar = load - utility."""
    return compute(role, aligned, formula) if role == "solar" else None
