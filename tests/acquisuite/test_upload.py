"""Modes and what each carries."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenergyd.acquisuite.encode import error_row, gz, log_fields, log_filename, log_text, md5, multipart_form
from cenergyd.acquisuite.error_codes import error_meaning
from cenergyd.acquisuite.form import FilePart, Form, parse_form
from cenergyd.acquisuite.layouts import SHARK
from cenergyd.acquisuite.log_file import parse_log
from cenergyd.acquisuite.resolve import Resolution
from cenergyd.acquisuite.upload import (
    LogHeader,
    Mode,
    read_log_header,
    read_mode,
    read_status,
    trace_lines,
    wants_trace,
)
from cenergyd.errors import UploadError
from cenergyd.readings.model import Reading

NOW = 1700000000
READINGS = [Reading(NOW - 120, 1.5, 0.9, 230.0, 0.5), Reading(NOW - 60, -2.0, -0.8, 231.5, 0.25)]


def uploaded(content: bytes, **more: str) -> Form:
    fields = log_fields("001EC6001433", "p", "35", content, device_class="35", **more)
    content_type, body = multipart_form(fields, log_filename("35"), content)
    return parse_form(body, content_type)


@pytest.mark.parametrize(
    ("text", "mode"),
    [("LOGFILEUPLOAD", Mode.LOGFILEUPLOAD), ("status", Mode.STATUS), ("MODE_TEST", Mode.TEST), (" Test ", Mode.TEST)],
)
def test_modes(text: str, mode: Mode) -> None:
    assert read_mode(Form({"MODE": text})) is mode


@pytest.mark.parametrize(
    "fields", [{}, {"MODE": ""}, {"MODE": "REBOOT"}, {"MODE": "MODE_STATUS"}, {"MODE": "\nSUCCESS\n"}]
)
def test_other_modes_are_refused(fields: dict[str, str]) -> None:
    with pytest.raises(UploadError, match="not supported"):
        read_mode(Form(fields))


@pytest.mark.parametrize("packed", [True, False])
def test_a_log_upload(packed: bool) -> None:
    content = log_text(READINGS, SHARK, columns=120)
    content = gz(content) if packed else content
    form = uploaded(
        content,
        LOOPNAME="Site <1>",
        SENDDATATRACE="YES",
        FILETIME="2023-11-14 22:13:20",
        MD5CHECKSUM=md5(content).upper(),
    )
    header = read_log_header(form)
    assert header == LogHeader(
        meter="35", filename="modbus/mb-035.00000000_1.log.gz", content=content, name="Meter 35",
        device_class="35", trace=True,
    )  # fmt: skip
    assert repr(content) not in repr(header)
    assert parse_log(header.content, SHARK, now=NOW, max_inflated_bytes=1 << 20).readings == READINGS


def test_the_checksum_is_of_the_bytes_as_sent() -> None:
    content = gz(log_text(READINGS, SHARK, columns=120))
    with pytest.raises(UploadError, match="MD5CHECKSUM"):
        read_log_header(uploaded(content, MD5CHECKSUM=md5(b"other")))
    assert read_log_header(uploaded(content, MD5CHECKSUM=" ")).content == content


def test_a_log_upload_without_file_or_of_another_meter_is_refused() -> None:
    with pytest.raises(UploadError, match="no file LOGFILE"):
        read_log_header(Form({"MODE": "LOGFILEUPLOAD", "LOGFILE": "text"}))
    with pytest.raises(UploadError, match="device 35"):
        read_log_header(uploaded(b"x", MODBUSDEVICE="36"))


def test_device_texts_are_bounded_lines() -> None:
    header = read_log_header(uploaded(b"x", MODBUSDEVICENAME="a\nb" + "x" * 500))
    assert header.name.startswith("a b")
    assert len(header.name) == 128


def test_status() -> None:
    report = read_status({"UPTIME": "3600", "PERCENTBLOCKSINUSE": "12.5%", "PERCENTINODESINUSE": "101", "BOOTCOUNT": "x", "LOOPNAME": "a\nb",
                          "FIRMWAREVERSION": "v02.18", "PASSWORD": "geheim"})  # fmt: skip
    assert (report.uptime_seconds, report.percent_blocks_in_use, report.percent_inodes_in_use) == (3600, 12.5, None)
    assert (report.boot_count, report.loop_name, report.firmware_version) == (None, "a b", "v02.18")
    assert "geheim" not in repr(report.as_document())


def test_a_trace_shows_what_was_read_and_left_out() -> None:
    content = log_text(READINGS, SHARK) + (error_row(NOW, 139) + "\nrubbish\n").encode()
    known = Resolution(state="known", layout=SHARK, reason="built-in", doubts=('energy: "x" may be it',))
    lines = trace_lines(known, parse_log(content, SHARK, now=NOW, max_inflated_bytes=1 << 20))
    assert lines == [
        "layout shark: P from column 13, L1_PF from column 16, L1_V from column 4, Q from column 14",
        'energy: "x" may be it',
        "4 row(s) read",
        "2 reading(s) from 2023-11-14 22:11:20 to 2023-11-14 22:12:20 UTC",
        "1 row(s) without a readable time, skipped",
        "1 row(s) with error 139, Modbus: gateway target did not respond: gaps",
    ]


def test_a_trace_shows_what_is_kept_unread() -> None:
    unknown = Resolution(state="unknown", reason="device class 99 is not in the table")
    log = parse_log(log_text(READINGS, SHARK), SHARK, now=NOW, max_inflated_bytes=1 << 20)
    assert trace_lines(unknown, log, 2)[:1] == ["columns not known: device class 99 is not in the table"]
    assert "2 row(s) kept unread until their columns are known" in trace_lines(unknown, log, 2)


@pytest.mark.parametrize(("text", "wanted"), [("YES", True), ("yes", True), ("NO", False), ("", False)])
def test_trace_wanted(text: str, wanted: bool) -> None:
    assert wants_trace(Form({"SENDDATATRACE": text})) is wanted
    assert not wants_trace(Form())


@given(st.dictionaries(st.sampled_from(["MODE", "MODBUSDEVICE", "MD5CHECKSUM", "FILETIME", "UPTIME", "PERCENTBLOCKSINUSE", "BOOTCOUNT", "LOOPNAME"]), st.text(max_size=30)), st.text(max_size=30), st.binary(max_size=40))  # fmt: skip
@settings(max_examples=100)
def test_any_form_raises_nothing_but_upload_error(fields: dict[str, str], filename: str, content: bytes) -> None:
    form = Form(fields, {"LOGFILE": FilePart(filename, content)})
    read_status(fields).as_document()
    for function in (read_mode, read_log_header):
        with suppress(UploadError):
            function(form)


def test_error_codes() -> None:
    assert error_meaning(0) == "ok"
    assert error_meaning(139) == "Modbus: gateway target did not respond"
    assert error_meaning(110) == "logger: connection timed out"
    assert "log" in error_meaning(160)
    assert all(error_meaning(code) for code in range(-2, 300))
