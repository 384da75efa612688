"""How often a logger uploads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cenergyd.ingest.upload_interval import DAYS, SAME_SESSION, SETTLING, after_outage, usual_gap, with_upload

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


def test_slow_files_of_the_first_day_are_not_usual() -> None:
    first = [DAY // 2, DAY // 2 + 50]
    assert usual_gap(learn(first)) is None
    assert usual_gap(learn([*first, first[0] + DAY, first[1] + DAY])) == DAY - 50
    assert usual_gap(learn(list(range(0, 2 * DAY, 60)))) == 60, (
        "a logger that uploads every minute, from the second day on"
    )


def test_an_outage_and_the_uploads_that_follow_it() -> None:
    days = [(1, 900)]
    assert after_outage(None, days, 10_000, (10_900, 10_900)) is None
    assert after_outage(None, [], 10_000, (90_000, 90_000)) is None, "what is usual is not known yet"
    assert after_outage(None, days, None, (90_000, 90_000)) is None
    known = after_outage(None, days, 10_000, (20_000, 20_001))
    assert known == (10_000, 20_000, 20_001)
    followed = after_outage(known, days, 20_001, (20_001 + SETTLING, 20_200))
    assert followed == (10_000, 20_000, 20_200)
    assert after_outage(followed, days, 20_200, (21_000, 21_005)) == followed, "a later upload"
    assert after_outage(followed, days, 21_005, (30_000, 30_001)) == (21_005, 30_000, 30_001)


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
