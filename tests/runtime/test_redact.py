"""Secrets in text: hidden wherever they are cut, and in a time that grows with the text only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.runtime.redact import Redactor, names_a_secret

REDACT = Redactor(["hunter2", "hunter2-long"])


@pytest.mark.parametrize("limit", range(0, 60))
def test_a_cut_shows_no_part_of_a_secret(limit: int) -> None:
    for text in (
        "see mongodb://user:correct-horse@host/db now, and then on",
        'x name="PASSWORD"\r\n\r\ncorrect-horse\r\n and then on',
        "with password=correct-horse and then on",
        "with hunter2-long and then on and on and on and on",
    ):
        shown = REDACT(text, limit).partition("...")[0]
        for part in ("corr", "hors", "hunt", "long"):
            assert part not in shown


@given(st.text(alphabet="ab hunter2-log=", max_size=60), st.integers(0, 70), st.integers(0, 70))
def test_an_excerpt_is_a_part_of_the_whole_where_there_is_no_secret(text: str, start: int, end: int) -> None:
    redact = Redactor()
    assert redact.excerpt(text, start, end) == text[start:end]


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_known_secret_is_hidden_whatever_stands_around_it(before: str, after: str) -> None:
    assert "hunter2" not in REDACT(f"{before}hunter2{after}")


def test_how_much_was_left_out_is_reported() -> None:
    assert REDACT("a" * 100, 10) == "aaaaaaaaaa... (90 more characters)"


@pytest.mark.parametrize(
    "part", ["a", "a_", "a.", "a:", "://", "a://a:", 'name="token"', 'name="', "password ", "token=", "basic ", "$argon2", " ", "\n"]
)  # fmt: skip
def test_half_a_million_characters_of_any_shape(part: str) -> None:
    # With a pattern that scans text repeatedly this would take hours.
    text = part * (500_000 // len(part))
    assert len(REDACT(text)) <= len(text)


@pytest.mark.parametrize("name", ["password", "logger_password", "API_KEY", "apikey", "token", "Authorization"])
def test_names_of_secrets(name: str) -> None:
    assert names_a_secret(name)


@pytest.mark.parametrize("name", ["password_file", "tokens", "p", "x" * 1_000_000])
def test_other_names(name: str) -> None:
    assert not names_a_secret(name)
