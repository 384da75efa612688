"""Which readings are read beside those of a range: all of a window, and what tells of the pauses at its ends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.model import TimeRange
from cenergyd.jobs.neighbour_readings import NEARBY, NeighbourReader
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from tests.jobs.site import HORIZON, run

LONGEST, FARTHEST = 100, 1000
times = st.lists(st.integers(0, 6000), max_size=60, unique=True).map(sorted)
ranges = st.tuples(st.integers(0, 6000), st.integers(1, 2000)).map(lambda pair: TimeRange(pair[0], sum(pair)))


def completed(times: Sequence[int], read: TimeRange, window: TimeRange) -> list[int]:
    store = MemoryReadingStore()
    run(store.write([SeriesReadings("A_1", [Reading(time, 1.0) for time in times])]))
    rows = run(store.read(["A_1"], *read))
    reader = NeighbourReader(store=store, longest=LONGEST, farthest=FARTHEST, now=HORIZON)
    return [reading.time for reading in run(reader.completed(rows, read, window))["A_1"]]


@given(times, ranges, ranges)
def test_no_reading_of_a_window_is_left_out(times: list[int], read: TimeRange, window: TimeRange) -> None:
    """Wherever the range that was read before lies."""
    found = completed(times, read, window)
    assert found == sorted(set(found))
    assert [time for time in found if window.start <= time < window.end] == [
        time for time in times if window.start <= time < window.end
    ]
    assert found == [time for time in times if found and found[0] <= time <= found[-1]], "nothing between is left out"


@given(times, ranges)
def test_what_shows_of_the_pauses_at_its_ends_is_read(times: list[int], window: TimeRange) -> None:
    found = completed(times, window, window)
    before = [time for time in times if time < window.start]
    following = [time for time in times if time >= window.start]
    if not following:
        return  # it has ended: no pause reaches into the window
    for k in range(1, min(NEARBY, len(before)) + 1):
        if all(later - earlier <= LONGEST for earlier, later in pairwise([*before[-k:], following[0]])):
            assert before[-k] in found
    after = [time for time in times if time >= window.end]
    earlier = [time for time in times if time < window.end]
    if after and after[0] - (earlier or [window.end])[-1] <= LONGEST:
        assert after[0] in found
