"""Days and times of day as people write them."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.web.pages.written_dates import full_date, month_day, shown_date, shown_month_day, time_of_day


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 June", "06-01"), ("Jun 1", "06-01"), ("june 1st", "06-01"), ("6-1", "06-01"), ("30. Sept", "09-30"),
        ("6/1", "6/1"), ("1 Ju", "1 Ju"), ("1 June 2026", "1 June 2026"), ("1 Brumaire", "1 Brumaire"), ("", ""),
    ],
)  # fmt: skip
def test_days_of_the_year(text: str, expected: str) -> None:
    assert month_day(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("24 Dec 2026", "2026-12-24"), ("December 24, 2026", "2026-12-24"), ("2026-12-24", "2026-12-24"), ("24 Dec", "24 Dec")],
)  # fmt: skip
def test_dates(text: str, expected: str) -> None:
    assert full_date(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("8", "08:00"), ("8.30", "08:30"), ("4 pm", "16:00"), ("12am", "00:00"), ("12:15 p.m.", "12:15"), ("13 pm", "13 pm"), ("x", "x")],
)  # fmt: skip
def test_times_of_day(text: str, expected: str) -> None:
    assert time_of_day(text) == expected


@given(st.dates(date(1971, 1, 1), date(2200, 12, 31)))
def test_what_is_shown_is_read_back(day: date) -> None:
    assert full_date(shown_date(day.isoformat())) == day.isoformat()
    short = f"{day:%m-%d}"
    assert month_day(shown_month_day(short)) == short
