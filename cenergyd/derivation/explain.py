"""Reads what :mod:`cenergyd.derivation.provenance` needs to explain a computed meter."""

from __future__ import annotations

from cenergyd.customers.model import Customer
from cenergyd.derivation.plan import derivation_segments_between
from cenergyd.derivation.provenance import MINUTE, Explanation, explain
from cenergyd.derivation.sum_plan import sum_segments_between
from cenergyd.derivation.sum_provenance import explain_sum
from cenergyd.errors import InvalidField
from cenergyd.hookspecs import Formula
from cenergyd.readings.store import ReadingStore

MAX_MINUTES = 1440
"""Longest range in one answer."""


async def explanations(
    store: ReadingStore, customer: Customer, start: int, end: int, *, tolerance: int, formula: Formula
) -> list[Explanation]:
    """Explain a customer's computed meter, and its sums of meters, from ``start`` to ``end`` (exclusive, UTC seconds).

    Each is ascending, sums first. Empty where no meter is (or was) missing and no role is a sum.

    :raises InvalidField: the range is empty or longer than :data:`MAX_MINUTES`.
    """
    if not 0 < end - start <= MAX_MINUTES * MINUTE:
        raise InvalidField("end", f"a range of 1 to {MAX_MINUTES} minutes is needed")
    found: list[Explanation] = []
    for total in sum_segments_between(customer, start, end, tolerance):
        stored = await store.read(total.series, total.read_start, total.read_end)
        last = await store.last([term.series for term in total.terms])
        latest = {series: reading.time for series, reading in last.items()}
        found += explain_sum(total, stored, tolerance=tolerance, reached=latest)
    for segment in derivation_segments_between(customer, start, end, tolerance):
        stored = await store.read(segment.series, segment.read_start, segment.read_end)
        names = {source.role: source.series for source in segment.sources}
        last = await store.last(list(names.values()))
        reached = {role: last[series].time for role, series in names.items() if series in last}
        found += explain(segment, stored, tolerance=tolerance, formula=formula, reached=reached)
    return found
