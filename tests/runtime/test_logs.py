"""The daemon's log: levels, one line an event, and no secrets whatever is logged."""

from __future__ import annotations

import io
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from cenergyd.runtime.log_limit import MAX_CHARACTERS, MAX_SOURCES
from cenergyd.runtime.logs import (
    MAX_FIELDS,
    MAX_MESSAGE,
    MAX_TRACEBACK,
    Output,
    StandardLogging,
    _wanted,
    is_journal,
    json_line,
    secrets_of,
    text_line,
)
from cenergyd.runtime.redact import Redactor
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import LoggingSettings, Settings

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


def test_no_event_is_longer_than_a_bound() -> None:
    try:
        raise ValueError("y" * 1_000_000)
    except ValueError:
        failure = Failure()
    fields = {f"field{n}": "z" * 10_000 for n in range(1000)}
    raised = event("{text}", text="x" * 1_000_000, log_failure=failure, number=10**5000, **fields)
    line = json.loads(json_line(raised, REDACT))
    assert len(line) <= MAX_FIELDS + 10
    assert len(text_line(raised, REDACT)) < MAX_MESSAGE + 2 * MAX_TRACEBACK
    assert "... (" in line["traceback"]
    assert "ValueError" in line["traceback"]


def test_an_object_without_a_text_does_not_break_the_line() -> None:
    class Broken:
        def __str__(self) -> str:
            raise KeyboardInterrupt

        __repr__ = __str__

    assert "KeyboardInterrupt" in json.loads(json_line(event("x {thing}", thing=Broken()), REDACT))["thing"]
    assert text_line(event("x {thing}", thing=Broken()), REDACT)


def output() -> tuple[Output, io.StringIO]:
    written = io.StringIO()
    return Output(LoggingSettings(), REDACT, written), written


def test_a_plugin_cannot_fill_the_log_and_the_daemons_own_lines_stay() -> None:
    out, written = output()
    for n in range(1000):
        out(event("plugin {plugin} failed: {text}", plugin="loud", text="x" * 10_000))
        out({**event("line {n}", n=n), "log_namespace": "noisy.library", "log_level": LogLevel.error})
    out(event("plugin {plugin} failed", plugin="quiet"))
    out(event("uploads go on"))
    lines = written.getvalue().splitlines()
    assert sum(len(line) for line in lines if "loud" in line) <= MAX_CHARACTERS + MAX_MESSAGE + 200
    assert any("quiet" in line for line in lines)
    assert "uploads go on" in lines[-1]
    out({**event("plugin {plugin} failed again", plugin="loud"), "log_time": 1_700_000_061.0})
    notice, last = written.getvalue().splitlines()[-2:]
    assert "further events of plugin loud were left out" in notice
    assert "failed again" in last


def test_any_number_of_names_is_bounded_too() -> None:
    out, written = output()
    for n in range(MAX_SOURCES + 500):
        out(event("failed: {text}", plugin=f"p{n}", text="x" * 2000))
    assert len(out._limit._sources) <= MAX_SOURCES + 1
    assert len(written.getvalue()) < (MAX_SOURCES + 200) * 2200


def test_what_libraries_log_is_redacted_and_bounded() -> None:
    events: list[Any] = []
    logger, handler = logging.getLogger("third.party"), StandardLogging(logging.WARNING)
    globalLogPublisher.addObserver(events.append)
    logger.addHandler(handler)
    logger.propagate = False  # pytest's own handler raises where a message cannot be formatted
    try:
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError:
            logger.exception("lost %s", "mongodb://u:hunter2@h/")
        logger.warning("%d", "no number")
        logger.info("not wanted")
    finally:
        logger.propagate = True
        logger.removeHandler(handler)
        globalLogPublisher.removeObserver(events.append)
    first, second = events
    line = text_line(first, REDACT)
    assert "error third.party: lost mongodb://u:***@h/" in line
    assert "ZeroDivisionError" in line
    assert "cannot be formatted: TypeError" in text_line(second, REDACT)


def test_lines_for_the_journal_begin_with_their_priority() -> None:
    out = io.StringIO()
    output = Output(LoggingSettings(format="text", level="debug"), Redactor(()), out, journal=True)
    for level in (LogLevel.debug, LogLevel.info, LogLevel.warn, LogLevel.error):
        output({"log_level": level, "log_namespace": "cenergyd.x", "log_format": "it is so", "log_time": 0.0})
    broken = {"log_level": LogLevel.error, "log_namespace": "cenergyd.x", "log_format": "no", "log_time": 0.0}
    try:
        raise ValueError("wrong")
    except ValueError:
        output({**broken, "log_failure": Failure()})
    lines = out.getvalue().splitlines()
    assert [line[:3] for line in lines[:4]] == ["<7>", "<6>", "<4>", "<3>"]
    assert len(lines) > 5
    assert all(line.startswith("<3>") for line in lines[4:]), "those of a traceback, too"


def test_the_journal_is_known_by_its_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as out:
        found = os.fstat(out.fileno())
        assert is_journal(out, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not is_journal(out, {"JOURNAL_STREAM": f"{found.st_dev}:1"})
        assert not is_journal(out, {})
    assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": "1:1"})
