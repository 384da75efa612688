"""Config files: names, manifest, points, and what may be shown."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenergyd.acquisuite.config_files import (
    HIDDEN,
    ManifestEntry,
    config_name,
    diff,
    is_config_name,
    meter_of_config,
    parse_manifest,
    parse_meter_config,
    read_config_upload,
    redact,
    render_manifest,
)
from cenergyd.acquisuite.encode import md5, multipart_form
from cenergyd.acquisuite.form import FilePart, Form, parse_form
from cenergyd.acquisuite.points import Point
from cenergyd.errors import UploadError

LOGGER_CONFIG = b"""LOOPNAME=Roof
ADMINPASSWORD=geheim1
PASSWORD=geheim2
DIALOUTPASSWORD=gehe=im3
DIALOUTUSERNAME=geheim4
SNMPCOMMUNITY=geheim5
UPLOADURL=http://geheim6:geheim7@127.0.0.1/consume?key=geheim8
  ftppassword : geheim9
[wlan] psk=geheim10
UPLOADPORT=80
EMPTYPASSWORD=
"""


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("0", "loggerconfig.ini"),
        ("", "loggerconfig.ini"),
        (None, "loggerconfig.ini"),
        ("1", "modbus/mb-001.ini"),
        ("255", "modbus/mb-255.ini"),
    ],
)
def test_names(device: str | None, name: str) -> None:
    assert config_name(device) == name
    assert is_config_name(name)
    assert meter_of_config(name) == (None if name == "loggerconfig.ini" else device)


def test_names_that_are_none() -> None:
    for device in ("256", "-1", "x", "1/../x", "٣"):
        with pytest.raises(UploadError):
            config_name(device)
    for name in ("modbus/mb-1.ini", "../loggerconfig.ini", "mb-001.ini", "modbus/mb-001.ini\n", ""):
        assert not is_config_name(name)


def test_an_upload() -> None:
    content = b"POINT00NAME=x\r\n"
    fields = {
        "MODE": "CONFIGFILEUPLOAD",
        "MODBUSDEVICE": "12",
        "MODBUSDEVICECLASS": "35",
        "MD5CHECKSUM": md5(content),
        "FILETIME": "2023-11-14 22:13:20",
    }
    content_type, body = multipart_form(fields, "whatever/../x.ini", content, file_field="CONFIGFILE")
    upload = read_config_upload(parse_form(body, content_type))
    assert (upload.name, upload.meter, upload.content, upload.file_time, upload.device_class) == (
        "modbus/mb-012.ini",
        "12",
        content,
        1700000000,
        "35",
    )
    assert "POINT" not in repr(upload)


def test_refused_uploads() -> None:
    file = {"CONFIGFILE": FilePart("x", b"abc")}
    for form in (
        Form({"MODBUSDEVICE": "1"}),
        Form({"MODBUSDEVICE": "x"}, file),
        Form({"MODBUSDEVICE": "1", "MD5CHECKSUM": "0" * 32}, file),
    ):
        with pytest.raises(UploadError):
            read_config_upload(form)
    with pytest.raises(UploadError, match="more than 2 bytes"):
        read_config_upload(Form({"MODBUSDEVICE": "1"}, file), max_bytes=2)


ENTRIES = [ManifestEntry("loggerconfig.ini"), ManifestEntry("modbus/mb-007.ini", "0123456789abcdef" * 2, 1700000000)]


def test_manifest() -> None:
    body = render_manifest(ENTRIES)
    assert (
        body
        == b"CONFIGFILE,loggerconfig.ini,,\nCONFIGFILE,modbus/mb-007.ini,0123456789abcdef0123456789abcdef,2023-11-14 22:13:20\n"
    )
    assert parse_manifest(b"SUCCESS\r\n" + body.replace(b"\n", b"\r\n")) == ENTRIES
    for wrong in (
        b"CONFIGFILE,../x,,",
        b"CONFIGFILE,loggerconfig.ini,xyz,",
        b"CONFIGFILE,loggerconfig.ini,,yesterday",
        b"CONFIGFILE,",
    ):
        with pytest.raises(UploadError):
            parse_manifest(wrong)


def test_points() -> None:
    content = b"POINT00NAME=Real power\r\npoint00units = kW \r\nPOINT01NAME=-\nPOINT01UNITS=-\nPOINT116UNITS='V'\nPOINT02LOW=0\nPOINTxNAME=1\nPOINT5000NAME=x"
    config = parse_meter_config(content)
    assert (config.points, config.count) == ((Point(0, "Real power", "kW"), Point(116, "", "V")), 117)


def test_secrets_are_hidden() -> None:
    shown = redact(LOGGER_CONFIG)
    assert "geheim" not in shown
    assert "gehe" not in shown
    assert shown.count(HIDDEN) == 9
    assert "LOOPNAME=Roof" in shown
    assert "UPLOADPORT=80" in shown
    assert "EMPTYPASSWORD=\n" in shown


def test_a_diff_shows_what_changed_but_no_secret() -> None:
    changed = LOGGER_CONFIG.replace(b"geheim", b"anders").replace(b"=80", b"=443")
    lines = diff(LOGGER_CONFIG, changed).split("\n")
    assert [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")] == [
        "-UPLOADPORT=80",
        "+UPLOADPORT=443",
    ]
    assert diff(LOGGER_CONFIG, LOGGER_CONFIG.replace(b"\n", b"\r\n")) == ""


@given(st.binary(max_size=200))
@settings(max_examples=80)
def test_any_bytes_raise_nothing_but_upload_error(content: bytes) -> None:
    assert all(
        0 <= point.number < 1020 for point in parse_meter_config(b"POINT01NAME=" + content + b"\n" + content).points
    )
    diff(content, redact(content).encode("utf-8", "replace"))
    for body in (content, b"CONFIGFILE," + content):
        with suppress(UploadError):
            parse_manifest(body)


@given(
    st.text("0123456789abcXYZ=:;, ", min_size=6, max_size=30).filter(str.strip),
    st.sampled_from(["ADMINPASSWORD", "password", "x.secretkey", "FTPUSER"]),
)
@settings(max_examples=60)
def test_no_part_of_a_secret_is_left(secret: str, key: str) -> None:
    assert redact(f"A=1\n{key}={secret}\nB=2".encode()) == f"A=1\n{key}={HIDDEN}\nB=2"


def test_long_files_and_lines_stay_cheap() -> None:
    assert HIDDEN in redact(b"x=" + b"http://a@" * 50_000)
    long = b"".join(b"line %d\n" % (n % 100) for n in range(10_000))
    assert "too long" in diff(long, long + b"x")
    assert diff(long, long) == ""
