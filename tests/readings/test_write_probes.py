"""Every day of what is to be there is written somewhere, and no more than that is written again."""

from __future__ import annotations

from hypothesis import strategies as st

from cenergyd.readings.write_probes import DAY, probe_times
from tests.properties import for_all

times_of_weeks = st.sets(st.integers(0, 20 * DAY), max_size=40)


@for_all(max_examples=100, times=times_of_weeks, written=times_of_weeks)
async def test_one_of_each_day_in_which_nothing_is_written(times: set[int], written: set[int]) -> None:
    found = probe_times(sorted(times), written)
    days = [time // DAY for time in found]
    assert set(found) <= times
    assert sorted(set(days)) == days
    assert set(days) == {time // DAY for time in times} - {time // DAY for time in written}


def test_the_first_of_the_day() -> None:
    assert probe_times([5, 6, DAY, DAY + 1, 2 * DAY - 1, 2 * DAY], [DAY + 7]) == [5, 2 * DAY]
    assert probe_times([], [5]) == []
