"""Reads that decide which gaps the registers may bridge: few, and each day once."""

from __future__ import annotations

from typing import Any

import pytest

from cenergyd.jobs.energy.hours import energy_series
from cenergyd.jobs.energy.job import update_energy
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading
from tests.jobs.site import UTILITY, context_on, customer_in, points, run, store_with

DAY = 86400
START = 20_000 * DAY


class CountingStore:
    """A store that tells which days of highest and lowest power were asked for."""

    def __init__(self, store: MemoryReadingStore) -> None:
        self._store = store
        self.days: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def summarise(self, series: Any, start: int, end: int, resolution: int, *more: Any, **named: Any) -> Any:
        assert resolution == DAY
        self.days += range(start // DAY, -(-end // DAY))
        return await self._store.summarise(series, start, end, resolution, *more, **named)


def ten_days(gap_power: float) -> list[Reading]:
    """2 kW each quarter of an hour; from 2 h to 4 h of each day nothing is logged while ``gap_power`` flows."""
    rows, counted = [], 0.0
    for k in range(10 * 96):
        gap = 8 <= k % 96 < 16
        if not gap:
            rows.append(Reading(START + 900 * k, P=2.0, E_import=round(counted, 6), E_export=0.0))
        counted += (gap_power if gap else 2.0) / 4
    return rows


@pytest.mark.parametrize(("gap_power", "bridged"), [(2.0, True), (4.2, True), (4.3, False)])
def test_a_day_is_read_at_most_once(gap_power: float, bridged: bool) -> None:
    store = store_with(utility=ten_days(gap_power))
    counting = CountingStore(store)
    run(update_energy(customer_in("UTC"), START, START + 10 * DAY, context_on(counting)))
    found = [point for point in points(store, energy_series(UTILITY)) if point.fields.get("bridged_seconds")]
    assert bool(found) == bridged
    assert len(counting.days) == len(set(counting.days))
    assert bool(counting.days) != bridged, "the readings beside a gap make plausible what it holds"


def test_the_month_around_a_gap_makes_plausible_what_its_neighbours_do_not() -> None:
    rows = ten_days(7.0)
    peak = Reading(START - 20 * DAY, P=6.0)
    store = store_with(utility=[peak, *rows])
    counting = CountingStore(store)
    run(update_energy(customer_in("UTC"), START, START + 10 * DAY, context_on(counting)))
    found = [point for point in points(store, energy_series(UTILITY)) if point.fields.get("bridged_seconds")]
    assert sum(point.fields["bridged_import_kwh"] for point in found) == pytest.approx(10 * (7.0 * 2 + 0.5))
    assert len(counting.days) == len(set(counting.days))
