"""How often a logger uploads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cenergyd.ingest.upload_interval import DAYS, SAME_SESSION, usual_gap, with_upload

HOUR, DAY = 3600, 86400


def learn(times: list[int]) -> list[tuple[int, int]]:
    days: list[tuple[int, int]] = []
    for before, time in zip([None, *times], times, strict=False):
        days = with_upload(days, before, time)
    return days


def test_nothing_is_known_from_one_upload() -> None:
    assert usual_gap(learn([1000])) is None
    assert usual_gap(learn([1000, 1010, 1050])) is None, "files of one upload"


def test_the_usual_gap() -> None:
    assert usual_gap(learn(list(range(0, 3 * DAY, 900)))) == 900
    assert usual_gap(learn(list(range(0, 20 * DAY, DAY)))) == DAY


def test_a_logger_that_rests_at_night() -> None:
    times = [day * DAY + hour * HOUR for day in range(10) for hour in range(8, 19)]
    assert usual_gap(learn(times)) == 14 * HOUR


def test_one_outage_does_not_become_usual() -> None:
    times = [time for time in range(0, 9 * DAY, 900) if not 6 * DAY < time < 6 * DAY + 12 * HOUR]
    assert usual_gap(learn(times)) == 900


@given(st.lists(st.integers(0, 100 * DAY), max_size=200))
def test_it_stays_bounded(times: list[int]) -> None:
    days = learn(sorted(times))
    assert len(days) <= DAYS
    assert all(gap > SAME_SESSION for _, gap in days)
    assert [day for day, _ in days] == sorted({day for day, _ in days})
