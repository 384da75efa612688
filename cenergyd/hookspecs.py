"""The whole plugin contract. A plugin is any module or object with functions of these names.

Register one by the entry point group ``cenergyd`` (see the README); built-ins come the same way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Literal, NamedTuple

import pluggy

from cenergyd.customers.model import Customer, Role
from cenergyd.readings.model import Reading

hookspec = pluggy.HookspecMarker("cenergyd")
hookimpl = pluggy.HookimplMarker("cenergyd")

Formula = Literal["physical", "literal"]


class AlignedReading(NamedTuple):
    """Readings of the present meters that belong together; the role to compute is None."""

    time: int
    """Time of the computed reading, UTC seconds."""
    utility: Reading | None
    load: Reading | None
    solar: Reading | None


Derived = Sequence[Reading]


@hookspec(firstresult=True)
def cenergyd_derive(
    customer: Customer, role: Role, aligned: Sequence[AlignedReading], formula: Formula
) -> Derived | Awaitable[Derived] | None:
    """Compute the readings of the missing ``role`` from aligned ones of the other two.

    Return None to leave it to the next plugin (a built-in one at last). Otherwise a sequence of readings, or a Deferred or
    coroutine of one: P in kW, Q in kvar, L1_V in V; each ``time`` one of ``aligned``'s, each at most once; leave a time out
    to leave a gap. A plugin that raises, takes longer than ``[derivation] plugin_timeout_seconds`` or returns anything else
    costs its customer this tick: it is logged, counted and tried again later.
    Use ``@hookimpl(tryfirst=True)`` to come before the built-ins.
    """
