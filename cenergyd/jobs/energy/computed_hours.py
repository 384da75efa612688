"""Keeps the energy of hours that were computed for readers, because a page of the same site is viewed again before its readings change.

What is kept is valid for the same customer, settings and readings only: these are compared each time, as read from the
store, or from the cache of newest readings while it agrees with the store. So another daemon's writes are never missed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from cenergyd.customers.model import Customer, TimeRange
from cenergyd.jobs.neighbour_readings import ReadRows
from cenergyd.readings.model import FieldPoint, Reading
from cenergyd.readings.store import ReadingStore

MAX_HOURS = 32
"""Hours that are kept: some 60 kB each."""
MAX_ROWS = 1000
"""An hour that was computed from more readings is not kept."""


class HourInputs(NamedTuple):
    """All that an hour's energy is computed from, unless the store is asked for more."""

    customer: Customer
    hour: TimeRange
    longest: int
    """A longer pause is always a gap, s."""
    registers: bool
    rows: Mapping[str, tuple[Reading, ...]]

    @classmethod
    def of(cls, customer: Customer, hour: TimeRange, longest: int, registers: bool, rows: ReadRows) -> HourInputs:
        """With a copy of the readings, because a store may go on using its lists."""
        return cls(customer, hour, longest, registers, {name: tuple(each) for name, each in rows.items()})


class ComputedHours:
    """The points of the hours that were used last, by series."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, TimeRange], tuple[HourInputs, Mapping[str, Sequence[FieldPoint]]]] = (
            OrderedDict()
        )

    def get(self, inputs: HourInputs) -> Mapping[str, Sequence[FieldPoint]] | None:
        """What was computed from equal inputs; not to be changed."""
        key = (inputs.customer.id, inputs.hour)
        known = self._kept.get(key)
        if known is None or known[0] != inputs:
            return None
        self._kept.move_to_end(key)
        return known[1]

    def keep(self, inputs: HourInputs, points: Mapping[str, Sequence[FieldPoint]]) -> None:
        """Keep a result that was computed from these inputs alone."""
        if sum(map(len, inputs.rows.values())) > MAX_ROWS:
            return
        key = (inputs.customer.id, inputs.hour)
        self._kept[key] = (inputs, points)
        self._kept.move_to_end(key)
        if len(self._kept) > MAX_HOURS:
            self._kept.popitem(last=False)


class CountingStore:
    """A :class:`~cenergyd.readings.store.ReadingStore` that counts how often something of it is used.

    :ivar uses: the number.
    """

    def __init__(self, store: ReadingStore) -> None:
        self._store = store
        self.uses = 0

    def __getattr__(self, name: str) -> object:
        self.uses += 1
        return getattr(self._store, name)

    @property
    def store(self) -> ReadingStore:
        """Itself."""
        return cast(ReadingStore, self)
