"""Computes the load meter: power from solar and grid together."""

from __future__ import annotations

from collections.abc import Sequence

from cenergyd.customers.model import Role
from cenergyd.derivation.formulas import compute
from cenergyd.hookspecs import AlignedReading, Derived, Formula, hookimpl


@hookimpl
def cenergyd_derive(role: Role, aligned: Sequence[AlignedReading], formula: Formula) -> Derived | None:
    """load = solar + utility."""
    return compute(role, aligned, formula) if role == "load" else None
