"""The first rows of a log."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.acquisuite.encode import error_row, gz, log_row
from cenergyd.acquisuite.log_head import LogHead, first_rows, read_head
from cenergyd.acquisuite.points import Point
from cenergyd.errors import UploadError

LIMIT = 1 << 20
T0 = 1_000_000_020
FIELD = Path(__file__).parent.parent / "field"
GOOD = log_row(T0, {}, columns=30) + "\r\n"


@pytest.mark.parametrize(
    ("text", "points"),
    [
        (GOOD * 3, 26),
        (GOOD + log_row(T0, {}, columns=20) + "\r\n", 26),  # cut short by missing points
        (log_row(T0, {}, columns=20) + "\n" + GOOD, 26),
        (GOOD.replace("\r\n", "\r") * 2, 26),
        (error_row(T0, 139) + "\n" + GOOD, 26),
        (error_row(T0, 139) + "\n", None),
        (GOOD.strip(), None),  # it may have been cut by a power loss
        (GOOD + log_row(T0, {}, columns=99), 26),
        ("rubbish,1,2,3,4,5,6\n", None),
        ("", None),
    ],
)
def test_points(text: str, points: int | None) -> None:
    assert read_head(text.encode(), LIMIT)[:2] == ((), points)
    assert read_head(gz(text.encode()), LIMIT) == LogHead((), points)


def test_a_header_row() -> None:
    content = (FIELD / "03-acquilite-class15-with-header.log").read_bytes().partition(b"\n")[2]
    head = read_head(content, LIMIT)
    assert (len(head.header), head.points) == (15, 15)
    assert head.header[2] == Point(2, "M rate (instantaneous)", "kW")


def test_commas_and_quotes_in_a_header() -> None:
    line = "time(utc),error,low alarm,high alarm,'Voltage, Phase A-N (Volts)','','x'\n"
    assert read_head(line.encode(), LIMIT).header == (
        Point(0, "Voltage, Phase A-N", "Volts"),
        Point(1, "", ""),
        Point(2, "x", ""),
    )
    assert read_head(b"time(utc)," + b"x" * 1_000_000 + b"\n", 1 << 24).header == ()


def test_rows_for_a_person() -> None:
    text = error_row(T0, 139) + "\nrubbish\n" + log_row(T0, {4: 1.5, 5: None}, columns=6) + "\n" + "<b>" + "\n" + GOOD
    assert first_rows(gz(text.encode()), LIMIT, 1) == [["2001-09-09 01:47:00", "0", "0", "0", "1.5", ""]]
    assert len(first_rows(text.encode(), LIMIT, 5)) == 2


@given(st.binary(max_size=300))
def test_any_bytes(content: bytes) -> None:
    with suppress(UploadError):
        read_head(content, LIMIT)
        first_rows(content, LIMIT, 3)


@given(st.lists(st.integers(5, 12), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_the_widest_whole_row_counts(widths: list[int], end: str) -> None:
    text = "".join(log_row(T0 + n, {}, columns=width) + end for n, width in enumerate(widths))
    assert read_head(text.encode(), LIMIT).points == max(widths) - 4
