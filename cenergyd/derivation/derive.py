"""Derives one segment of a customer: the plugins compute the missing meter's readings from those of the present meters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import attrs
from twisted.logger import Logger

from cenergyd.customers.model import Customer, Role
from cenergyd.derivation.align import align
from cenergyd.derivation.diff import SeriesChange, change
from cenergyd.derivation.gaps import Gaps, gaps
from cenergyd.derivation.plan import DerivationSegment, role_readings
from cenergyd.derivation.plugin_result import BadResult, checked_result
from cenergyd.hookspecs import AlignedReading, Formula
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.readings.write_probes import probe_times
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.isolation import PluginFailed, PluginManager, error_text, pending
from cenergyd.runtime.yielding import CooperativeYield

SLICE = 1000
"""Aligned readings passed to a plugin in one call: a few milliseconds of work."""

log = Logger()


class Derivation(NamedTuple):
    """The result of one segment."""

    change: SeriesChange | None
    """What to write; None if the stored readings are correct."""
    derived: int
    """Readings computed."""
    derived_until: int | None
    """Time of the last computed reading."""
    gaps: Gaps
    no_plugin: bool = False
    """True if no plugin computes this role (the built-in one is disabled); stored readings then stay."""
    kept: SeriesReadings | None = None
    """Stored readings to write again as probes (:mod:`cenergyd.readings.write_probes`)."""


@attrs.frozen(slots=True, kw_only=True)
class Deriver:
    """Calls the derive hook and checks its results."""

    plugins: PluginManager
    formula: Formula
    tolerance: int
    """The greatest distance in seconds of readings that belong together."""
    timeout: float
    """Seconds that a plugin may take."""
    clock: Timers

    async def derive(
        self,
        customer: Customer,
        segment: DerivationSegment,
        stored: Mapping[str, Sequence[Reading]],
        reached: int | None = None,
    ) -> Derivation:
        """Compute the segment from the stored readings of its series.

        Completes synchronously unless a plugin waits or there is much to compute.

        :param stored: readings by series, ascending, at least those of the segment's range.
        :param reached: a time up to which both meters are known to have readings.
        :raises PluginFailed: a plugin raised, timed out or returned an invalid result; nothing may be written.
        """
        present = role_readings(segment, stored)
        aligned = align(present, self.tolerance)
        found = gaps(present, aligned, segment.start, segment.end, reached)
        if aligned and (aligned[0][0] < segment.start or aligned[-1][0] >= segment.end):
            aligned = [pair for pair in aligned if segment.start <= pair[0] < segment.end]
        readings = await self._in_slices(customer, segment.role, aligned)
        if readings is None:
            return Derivation(None, 0, None, found, no_plugin=True)
        changed = change(segment.target, segment.start, segment.end, stored[segment.target], readings)
        return Derivation(
            changed,
            len(readings),
            readings[-1][0] if readings else None,
            found,
            kept=kept_readings(segment.target, readings, changed),
        )

    async def _in_slices(
        self, customer: Customer, role: Role, aligned: Sequence[AlignedReading]
    ) -> list[Reading] | None:
        if not aligned:
            return []
        if len(aligned) <= SLICE:
            return await self._ask(customer, role, aligned)
        cooperate = CooperativeYield(self.clock, 0)
        readings: list[Reading] = []
        for position in range(0, len(aligned), SLICE):
            await cooperate()
            part = await self._ask(customer, role, aligned[position : position + SLICE])
            if part is None:
                return None
            readings += part
        return readings

    async def _ask(self, customer: Customer, role: Role, aligned: Sequence[AlignedReading]) -> list[Reading] | None:
        """Call the plugins in turn until one returns a result; None if none did. If the customer names a plugin, only that one is called."""
        asked = tuple(aligned)
        arguments = {"customer": customer, "role": role, "aligned": asked, "formula": self.formula}
        chosen = customer.derivation_plugin
        for implementation in self.plugins.implementations("cenergyd_derive"):
            if chosen and implementation.plugin != chosen:
                continue
            result = self.plugins.call(implementation, arguments)
            if result is not None and pending(result):
                result = await self.plugins.settled(implementation, result, self.timeout, self.clock)
            if result is None:
                continue
            try:
                return checked_result(asked, result)
            except BadResult as error:
                raise PluginFailed(implementation.plugin, str(error)) from error
            except BaseException as error:  # the methods of its sequence may raise
                raise PluginFailed(implementation.plugin, f"its result cannot be read: {error_text(error)}") from error
        if chosen:
            raise PluginFailed(chosen, f"the customer names it, but it is not loaded or does not compute {role}")
        return None


def kept_readings(series: str, readings: Sequence[Reading], changed: SeriesChange | None) -> SeriesReadings | None:
    """Computed readings that are already stored and are to be written again as probes (:mod:`cenergyd.readings.write_probes`)."""
    if changed is not None and len(changed.readings) == len(readings):
        return None  # all are written anyway
    written = [reading[0] for reading in changed.readings] if changed else ()
    times = set(probe_times((reading[0] for reading in readings), written))
    return SeriesReadings(series, [reading for reading in readings if reading[0] in times]) if times else None
