"""What all stores refuse, and how ranges are cut."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import strategies as st

from cenergyd.readings.checks import slices, storable
from cenergyd.readings.model import VALUES, Reading
from tests.properties import for_all


@for_all(
    max_examples=100,
    bounds=st.tuples(*[st.integers(-(10**8), 10**8)] * 2),
    resolution=st.integers(1, 10**8),
    longest=st.integers(1, 10**8),
)
async def test_slices_cover_the_range_and_cut_no_window(bounds: tuple[int, int], resolution: int, longest: int) -> None:
    start, end = sorted(bounds)
    resolution = max(resolution, (end - start) // 5000 + 1)
    found = list(islice(slices(start, end, resolution, longest), 10_000))
    assert [since for since, _ in found] + [end] == [start] + [until for _, until in found]
    assert all(until % resolution == 0 for _, until in found[:-1])
    assert all(since < until for since, until in found)


_FULL = Reading(1_700_000_000, 1.5, -0.9, 230.0, -0.5, False, 10.0, 12.0, 2.0)


@pytest.mark.parametrize("name", VALUES)
def test_a_negative_zero_becomes_zero_and_all_other_values_stay(name: str) -> None:
    zero, negative = _FULL._replace(**{name: 0.0}), _FULL._replace(**{name: -0.0})
    assert [list(map(repr, reading)) for reading in storable([zero, negative])] == [list(map(repr, zero))] * 2
    assert storable([_FULL]) == [_FULL]
