"""What all stores refuse, and how ranges are cut."""

from __future__ import annotations

from itertools import islice

from hypothesis import strategies as st

from cenergyd.readings.checks import slices
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
