"""A site's state as people read it."""

from __future__ import annotations

from datetime import datetime
from typing import get_args
from zoneinfo import ZoneInfo

import pytest

from cenergyd.jobs.site_state.issue_text import TITLES, duration, issue_text, when
from cenergyd.jobs.site_state.model import KINDS, LEVELS, Issue, IssueKind, SiteState

DENVER = ZoneInfo("America/Denver")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=DENVER).timestamp())


NOW = at("2026-11-24T14:05")


@pytest.mark.parametrize(
    ("time", "words"),
    [
        ("2026-11-24T13:05", "13:05"),
        ("2026-11-23T23:59", "yesterday 23:59"),
        ("2026-11-19T08:00", "Thu 08:00"),
        ("2026-11-03T08:00", "3 Nov 08:00"),
        ("2025-11-03T08:00", "3 Nov 2025"),
        ("2026-11-25T08:00", "25 Nov 08:00"),
    ],
)
def test_a_time_as_a_person_says_it(time: str, words: str) -> None:
    assert when(at(time), NOW, DENVER) == words


def test_lengths_of_time() -> None:
    assert [duration(each) for each in (-1, 45, 900, 7200, 90000, 400000)] == [
        "0 s",
        "45 s",
        "15 min",
        "2 h",
        "25 h",
        "4 days",
    ]


def state(kind: IssueKind, **more: object) -> SiteState:
    return SiteState(kind=kind, issues=(), roles=(), last_upload=NOW - 60, usual_gap=900, **more)  # type: ignore[arg-type]


def test_every_kind_has_words_and_a_level() -> None:
    assert set(KINDS) == set(get_args(IssueKind)) == set(TITLES) == set(LEVELS)
    for kind in KINDS:
        text = issue_text(
            Issue(kind=kind, role="solar", meter="2", since=NOW - 3600, reason="x"), state(kind), NOW, DENVER
        )
        assert text.title
        assert text.text.endswith(".")
        assert "None" not in text.text + text.title + text.advice
        bare = issue_text(Issue(kind=kind), state(kind), NOW, DENVER)
        assert bare.text


def test_what_is_wrong_names_meter_code_and_time() -> None:
    issue = Issue(kind="meter_error", role="solar", meter="2", since=at("2026-11-24T02:05"), code=139)
    text = issue_text(issue, state("meter_error"), NOW, DENVER)
    assert text.title == "Solar meter: error 139"
    assert text.text == (
        "The solar meter (meter 2) gives error 139 since 02:05 (Modbus: gateway target did not respond). The logger itself uploads."
    )


def test_a_silent_logger_that_is_refused_says_so() -> None:
    issue = Issue(kind="logger_silent", since=at("2026-11-23T14:05"), reason="unknown serial number or wrong password")
    text = issue_text(issue, state("logger_silent"), NOW, DENVER)
    assert (text.title, text.page) == ("Uploads are refused", "settings")
    assert "since yesterday 14:05" in text.text


def test_progress() -> None:
    text = issue_text(Issue(kind="computing", role="load"), state("computing", progress=0.5), NOW, DENVER)
    assert text.text == "Load is being computed from older readings: 50 % done."


def test_progress_is_never_rounded_up_to_all() -> None:
    text = issue_text(Issue(kind="computing", role="load"), state("computing", progress=0.9996), NOW, DENVER)
    assert text.text == "Load is being computed from older readings: 99 % done."
