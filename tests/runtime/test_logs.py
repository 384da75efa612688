"""The daemon's log: levels, one line an event, and no secrets whatever is logged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from cenergyd.runtime.logs import Redactor, _wanted, json_line, secrets_of, text_line
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings

REDACT = Redactor(["pw-of-mongo"])


def event(text: str, /, **fields: Any) -> dict[str, Any]:
    return {
        "log_format": text, "log_level": LogLevel.warn, "log_namespace": "cenergyd.x", "log_time": 1_700_000_000.5,
        **fields,
    }  # fmt: skip


def test_a_text_line() -> None:
    line = text_line(event("refused {serial}: {reason}", serial="00AA", reason="no"), REDACT)
    assert line == "2023-11-14T22:13:20.500Z warn cenergyd.x: refused 00AA: no\n"


def test_a_json_line_has_the_events_own_fields() -> None:
    line = json.loads(
        json_line(event("refused {serial}", serial="00AA", count=3, ratio=0.5, no=None, thing=b"x"), REDACT)
    )
    assert line == {
        "time": "2023-11-14T22:13:20.500Z", "level": "warn", "namespace": "cenergyd.x", "event": "refused 00AA",
        "serial": "00AA", "count": 3, "ratio": 0.5, "no": None, "thing": "b'x'",
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "mongodb://user:hunter2@host/db refused",
        "influxdb://me:hunter2@h:8086/x and more",
        'form: name="PASSWORD"\r\n\r\nhunter2\r\n',
        repr('name="PASSWORD"\r\n\r\nhunter2\r\n'),
        "PASSWORD=hunter2&MODE=TEST",
        "{'password': 'hunter2', 'x': 1}",
        '{"logger_password":"hunter2"}',
        "Authorization: Basic hunter2==",
        "authorization: Bearer hunter2",
        "api_key = hunter2",
        "the token: hunter2.",
        "$argon2id$v=19$m=8,t=1,p=1$hunter2$hunter2",
        "connecting with pw-of-mongo failed",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    for line in (text_line(event("{text}", text=text), REDACT), json_line(event("{text}", text=text), REDACT)):
        assert "hunter2" not in line
        assert "pw-of-mongo" not in line
        assert "***" in line


def test_ordinary_words_stay() -> None:
    text = "logger 001EC6001433 at http://127.0.0.1:8080/consume sent 3 rows; see sqlite:////var/lib/x.sqlite: locked"
    assert REDACT(text) == text


def test_a_secret_field_is_hidden_by_its_name() -> None:
    line = json.loads(json_line(event("x", logger_password="hunter2", token="t", count=1), REDACT))
    assert (line["logger_password"], line["token"], line["count"]) == ("***", "***", 1)


def test_a_traceback_is_redacted_and_cannot_forge_a_line() -> None:
    try:
        raise ValueError("mongodb://u:hunter2@h/\n2026-01-01T00:00:00Z info cenergyd.web: all is well")
    except ValueError:
        failure = Failure()
    text = text_line(event("boom", log_failure=failure), REDACT)
    assert "hunter2" not in text
    assert "ValueError" in text
    assert all(line.startswith("    | ") for line in text.splitlines()[1:])
    assert "hunter2" not in json_line(event("boom", log_failure=failure), REDACT)


@given(st.text(), st.text())
def test_whatever_a_device_sends_stays_one_line(name: str, value: str) -> None:
    raised = event("upload of {name}", name=name, value=value)
    assert len(text_line(raised, REDACT).splitlines()) == 1
    line = json_line(raised, REDACT)
    assert len(line.splitlines()) == 1
    json.loads(line)


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.floats(), st.integers(), st.binary(), st.none())))
def test_any_field_makes_valid_json(fields: dict[str, Any]) -> None:
    json.loads(json_line({**fields, **event("x")}, REDACT), parse_constant=pytest.fail)


def test_levels() -> None:
    own, twisted = {"log_namespace": "cenergyd.x"}, {"log_namespace": "twisted.internet"}
    assert _wanted({**own, "log_level": LogLevel.info}, LogLevel.info)
    assert not _wanted({**own, "log_level": LogLevel.debug}, LogLevel.info)
    assert not _wanted({**twisted, "log_level": LogLevel.info}, LogLevel.info)
    assert _wanted({**twisted, "log_level": LogLevel.info}, LogLevel.debug)
    assert _wanted({**twisted, "log_level": LogLevel.critical}, LogLevel.error)
    assert _wanted({**own}, LogLevel.info)


def test_the_settings_secrets_are_known() -> None:
    settings = load_settings(
        Settings,
        None,
        {
            "customers.url": "mongodb://me:pass-one@host/db",
            "readings.url": "sqlite:////var/lib/readings.sqlite",
            "email.password": "pass-two",
        },
    )
    found = secrets_of(settings)
    assert {"pass-one", "pass-two"} <= found
    assert not any("readings.sqlite" in secret for secret in found)
