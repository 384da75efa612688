"""Forms and credentials."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cenergyd.acquisuite.encode import multipart_form
from cenergyd.acquisuite.form import (
    CredentialsError,
    FilePart,
    Form,
    _parse_device_form,
    _parse_multipart,
    basic_credentials,
    credentials,
    normalise_serial,
    parse_form,
    parse_large_form,
)
from cenergyd.errors import UploadError

NAMES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=24)


def basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


def test_a_device_form() -> None:
    content_type, body = multipart_form(
        {"serialnumber": "001EC6001433", "MODE": "LOGFILEUPLOAD", "LOOPNAME": "Bâtiment"},
        "modbus/mb-001.log.gz",
        b"\x1f\x8b\r\n--x",
    )
    form = parse_form(body, content_type.encode())
    assert form.fields == {"SERIALNUMBER": "001EC6001433", "MODE": "LOGFILEUPLOAD", "LOOPNAME": "Bâtiment"}
    assert form.files == {"LOGFILE": FilePart("modbus/mb-001.log.gz", b"\x1f\x8b\r\n--x")}


def test_quoted_boundary_empty_values_and_latin_1() -> None:
    body = b'--a b\r\nContent-Disposition: form-data; name="LOOPNAME"\r\n\r\n\xe9t\xe9\r\n--a b\r\ncontent-disposition: form-data; name="X"\r\n\r\n\r\n--a b--\r\n'
    assert parse_form(body, 'multipart/form-data; boundary="a b"').fields == {"LOOPNAME": "été", "X": ""}


def test_urlencoded() -> None:
    form = parse_form(
        b"MODE=STATUS&serialnumber=001EC6001433&PASSWORD=a%26b&LOOPNAME=", "application/x-www-form-urlencoded"
    )
    assert form.fields == {"MODE": "STATUS", "SERIALNUMBER": "001EC6001433", "PASSWORD": "a&b", "LOOPNAME": ""}


def test_the_repr_has_no_values() -> None:
    assert "geheim" not in repr(Form({"PASSWORD": "geheim"}))


def part(name: bytes, value: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="' + name + b'"\r\n\r\n' + value + b"\r\n"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "multipart/form-data; boundary=b"),
        (b"x", "multipart/form-data"),
        (part(b"A", b"1"), "multipart/form-data; boundary=b"),  # cut short
        (part(b"A", b"1") + b"--b--", "text/plain"),
        (part(b"A", b"1") + b"--b--", None),
        (part(b"A", b"1") + part(b"a", b"2") + b"--b--", "multipart/form-data; boundary=b"),
        (part(b"\xff", b"1") + b"--b--", "multipart/form-data; boundary=b"),
        (part(b"A" * 65, b"1") + b"--b--", "multipart/form-data; boundary=b"),
    ],
)
def test_refused(body: bytes, content_type: str | None) -> None:
    with pytest.raises(UploadError):
        parse_form(body, content_type)


def test_the_same_value_twice_is_no_contradiction() -> None:
    body = part(b"A", b"1") + part(b"a", b"1") + b"--b--"
    assert parse_form(body, "multipart/form-data; boundary=b").fields == {"A": "1"}


def test_limits() -> None:
    content_type, body = multipart_form({f"F{n}": "1" for n in range(10)}, "mb-001.log", b"x" * 5000)
    assert len(parse_form(body, content_type, max_fields=11, max_field_bytes=1).fields) == 10
    with pytest.raises(UploadError):
        parse_form(body, content_type, max_fields=10)
    with pytest.raises(UploadError):
        parse_form(body, content_type, max_total_bytes=len(body) - 1)
    content_type, body = multipart_form({"A": "xx"})
    with pytest.raises(UploadError, match="longer than 1 bytes"):
        parse_form(body, content_type, max_field_bytes=1)
    with pytest.raises(UploadError):
        parse_form(b"a=1&b=2", "application/x-www-form-urlencoded", max_fields=1)
    with pytest.raises(UploadError, match="longer than 65536"):
        parse_form(b"a=" + b"%41" * 30_000, "application/x-www-form-urlencoded", max_field_bytes=1_000_000)


@given(st.dictionaries(NAMES, st.text(max_size=40), max_size=8), st.binary(max_size=300))
@settings(max_examples=60)
def test_what_is_encoded_comes_back(fields: dict[str, str], content: bytes) -> None:
    content_type, body = multipart_form(fields, "modbus/mb-007.log.gz", content)
    form = parse_form(body, content_type)
    assert form == Form(fields, {"LOGFILE": FilePart("modbus/mb-007.log.gz", content)})


@given(
    st.binary(max_size=300), st.sampled_from([b"multipart/form-data; boundary=b", b"application/x-www-form-urlencoded"])
)
@settings(max_examples=100)
def test_any_bytes_raise_nothing_but_upload_error(body: bytes, content_type: bytes) -> None:
    for candidate in (
        body,
        b"--b\r\n" + body,
        part(body, body) + b"--b--",
        b"--b\r\nContent-Disposition: " + body + b"\r\n\r\n\r\n--b--",
    ):
        with suppress(UploadError):
            parse_form(candidate, content_type)


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from(
            [
                b"\r\n", b"\r\n\r\n", b"--b", b"--b--", b"\r\n--b", b"\r\n--b\r\n", b"\r\n--b--\r\n", b"--b\r\n",
                b'Content-Disposition: form-data; name="A"', b'Content-Disposition: form-data; name="B"; filename="c"',
                b"\r\nContent-Type: a/b", b"x",
            ]
        ),
    ),
    max_size=12,
)  # fmt: skip


@given(PIECES)
@example([b'Content-Disposition: form-data; name="A"'])
@example([b'Content-Disposition: form-data; name="A"\r\n\r\nx\r\n--b--\r\n--b'])
@settings(max_examples=500)
def test_the_quick_way_through_a_form_gives_what_the_library_gives(pieces: list[bytes]) -> None:
    body = b"--b\r\n" + b"".join(pieces) + b"\r\n--b--\r\n"
    for content in (body, b"--b\r\n" + part_head(b"A") + b"".join(pieces) + b"\r\n--b--\r\n"):
        assert outcome(_parse_device_form, content) in (None, outcome(_parse_multipart, content))


@given(PIECES, st.integers(1, 40))
@example([b"\r\n--b\r\n", b"\n"], 1)
def test_a_form_read_in_steps_is_the_same(pieces: list[bytes], size: int) -> None:
    """Wherever the steps are cut."""

    def in_steps(body: bytes, boundary: bytes, max_fields: int, max_field_bytes: int) -> Form:
        kind = b"multipart/form-data; boundary=" + boundary
        steps = parse_large_form(body, kind, max_fields=max_fields, max_field_bytes=max_field_bytes)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"{parse_form.__module__}._STEP_BYTES", size)
            while True:
                try:
                    next(steps)
                except StopIteration as stop:
                    return cast(Form, stop.value)

    body = b"--b\r\n" + part_head(b"A") + b"".join(pieces) + b"\r\n--b--\r\n"
    found = outcome(in_steps, body)
    # A bare line feed in a part's head is refused as one only if the step ends before that line does.
    if found != "the multipart form is malformed: Invalid line break in segment header":
        assert found == outcome(_parse_multipart, body)


def part_head(name: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="' + name + b'"\r\n\r\n'


def outcome(parse: Callable[[bytes, bytes, int, int], Form | None], body: bytes) -> Form | str | None:
    try:
        return parse(body, b"b", 4, 30)
    except UploadError as error:
        return str(error)


@given(st.binary(max_size=80))
@settings(max_examples=60)
def test_any_header_raises_nothing_but_upload_error(header: bytes) -> None:
    for content_type in (header, b"multipart/form-data; boundary=" + header):
        with suppress(UploadError):
            parse_form(b"--b\r\n\r\n--b--", content_type)
    basic_credentials(header)
    basic_credentials(b"Basic " + header)


def test_basic_credentials() -> None:
    assert basic_credentials(basic("001EC6001433:a:b")) == ("001EC6001433", "a:b")
    assert basic_credentials(b"basic  " + base64.b64encode(b"u:")) == ("u", "")
    for header in (None, b"", b"Bearer x", b"Basic", b"Basic !!", b"Basic " + base64.b64encode(b"nocolon")):
        assert basic_credentials(header) is None


def test_credentials_from_form_basic_or_both() -> None:
    form = Form({"SERIALNUMBER": "001ec6001433", "PASSWORD": "p"})
    assert credentials(form, None) == ("001EC6001433", "p")
    assert credentials(Form({"ESERVERSERIAL": "001EC6001433", "PASSWORD": "p"}), None) == ("001EC6001433", "p")
    assert credentials(Form(), ("001ec6001433", "p")) == ("001EC6001433", "p")
    assert credentials(form, ("001EC6001433", "p")) == ("001EC6001433", "p")
    assert credentials(Form({"SERIALNUMBER": "001EC6001433"}), ("001EC6001433", "p")) == ("001EC6001433", "p")


@pytest.mark.parametrize(
    ("fields", "basic_pair"),
    [
        ({}, None),
        ({"SERIALNUMBER": "001EC6001433"}, None),
        ({"PASSWORD": "p"}, None),
        ({"SERIALNUMBER": "", "PASSWORD": "p"}, None),
        ({"SERIALNUMBER": "a_b", "PASSWORD": "p"}, None),
        ({"SERIALNUMBER": "A" * 33, "PASSWORD": "p"}, None),
        ({"SERIALNUMBER": "AA", "PASSWORD": "p"}, ("BB", "p")),
        ({"SERIALNUMBER": "AA", "PASSWORD": "p"}, ("AA", "q")),
        ({"SERIALNUMBER": "AA", "ESERVERSERIAL": "BB", "PASSWORD": "p"}, None),
    ],
)
def test_credentials_that_contradict_or_lack(fields: dict[str, str], basic_pair: tuple[str, str] | None) -> None:
    with pytest.raises(CredentialsError) as caught:
        credentials(Form(fields), basic_pair)
    assert not isinstance(caught.value, UploadError)


def test_serials() -> None:
    assert normalise_serial(" 001ec6001433\n") == "001EC6001433"
    for wrong in ("", "é", "\N{ARABIC-INDIC DIGIT ONE}", "a b", "\N{LATIN SMALL LETTER LONG S}"):
        with pytest.raises(ValueError, match="letters and digits"):
            normalise_serial(wrong)
