"""Parses the forms that devices POST: variables, files and credentials."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Generator, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from cenergyd.errors import CenergydError, UploadError

_PART_HEAD: Final = re.compile(
    rb"""Content-Disposition: form-data; name="(\w{1,64})"(?:; filename="([\w./-]{1,255})"\r\nContent-Type: [\w./-]{1,64})?""",
    re.ASCII,
)
"""The head of a part as devices write it, without quoting, escapes or parameters. Other heads are left to the library's parser."""
_MAX_PART_HEAD: Final = 512
_DEVICE_FORM: Final = re.compile(r"multipart/form-data; boundary=([\w-]{1,70})", re.ASCII)
"""The Content-Type as devices write it. Others are left to the library's parser."""
_SERIAL: Final = re.compile(r"[0-9A-Za-z]{1,32}\Z")
_MAX_NAME: Final = 64
_MAX_HEADER: Final = 2048
_HEAD_BYTES: Final = 16 * 1024
_MAX_URLENCODED: Final = 64 * 1024
"""Bytes. Such a form has no file, and decoding it is slow."""


_STEP_BYTES: Final = 64 * 1024


class CredentialsError(CenergydError):
    """No usable credentials, or two pairs that differ (answered 401, without telling which part was wrong)."""


class FilePart(msgspec.Struct, frozen=True):
    """One file of a form: its name as sent (untrusted text) and its bytes as sent."""

    filename: str
    content: bytes

    def __repr__(self) -> str:
        """Without the content."""
        return f"FilePart({self.filename!r})"


class Form(msgspec.Struct, frozen=True):
    """Form variables and files, by upper-case name."""

    fields: Mapping[str, str] = msgspec.field(default_factory=dict)
    files: Mapping[str, FilePart] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        """Without values, because one of them is a password."""
        return f"Form({sorted(self.fields)}, {self.files})"


def parse_form(
    body: bytes,
    content_type: bytes | str | None,
    *,
    max_fields: int = 64,
    max_field_bytes: int = 4096,
    max_total_bytes: int = 64 * 1024 * 1024,
) -> Form:
    """Parse ``multipart/form-data`` or ``application/x-www-form-urlencoded``.

    :param content_type: the request's Content-Type header.
    :param max_fields: variables and files together.
    :param max_field_bytes: size of one variable; files are limited by ``max_total_bytes`` alone.
    :raises UploadError: not such a form, malformed, beyond a limit, or with one variable given twice with different values.
    """
    if len(body) > max_total_bytes:
        raise UploadError(f"the request has {len(body)} bytes, more than the {max_total_bytes} allowed")
    header = content_type.decode("latin-1") if isinstance(content_type, bytes) else (content_type or "")
    plain = _DEVICE_FORM.fullmatch(header)
    if plain is not None:
        return _multipart(body, plain[1].encode(), max_fields, max_field_bytes)
    boundary = _boundary_of(header)
    if boundary is not None:
        return _multipart(body, boundary, max_fields, max_field_bytes)
    if parse_options_header(header)[0] == "application/x-www-form-urlencoded":
        return _parse_urlencoded(body, max_fields, max_field_bytes)
    raise UploadError("the request is not a multipart/form-data form")


def parse_large_form(
    body: bytes, content_type: bytes | str | None, *, max_fields: int = 64, max_field_bytes: int = 4096
) -> Generator[None, None, Form]:
    """As :func:`parse_form`, in steps of a millisecond or less; slower in total."""
    boundary = _boundary_of(content_type)
    if boundary is None:
        return parse_form(body, content_type, max_fields=max_fields, max_field_bytes=max_field_bytes)
    return (yield from _multipart_steps(body, boundary, max_fields, max_field_bytes))


def _boundary_of(content_type: bytes | str | None) -> bytes | None:
    """The boundary of a multipart form; None for any other kind of form."""
    header = content_type.decode("latin-1") if isinstance(content_type, bytes) else (content_type or "")
    kind, options = parse_options_header(header)
    return options.get("boundary", "").encode("latin-1", "replace") if kind == "multipart/form-data" else None


def parse_head(
    body: bytes, content_type: bytes | str | None, *, max_fields: int = 64, max_field_bytes: int = 4096
) -> Form:
    """The variables before the first file of a multipart form, within its first 16 KiB; none if it does not begin like a form.

    This identifies the sender before a large form is parsed. Raises UploadError as :func:`parse_form`.
    """
    head = body[:_HEAD_BYTES]
    boundary, line_end, _ = head.partition(b"\r\n")
    file = head.find(b"; filename=")
    end = head.rfind(b"\r\n" + boundary + b"\r\n", 0, file if file >= 0 else len(head))
    if not (boundary.startswith(b"--") and line_end and end > 0):
        return Form()
    return parse_form(
        head[:end] + b"\r\n" + boundary + b"--\r\n",
        content_type,
        max_fields=max_fields,
        max_field_bytes=max_field_bytes,
    )


def _multipart(body: bytes, boundary: bytes, max_fields: int, max_field_bytes: int) -> Form:
    form = _parse_device_form(body, boundary, max_fields, max_field_bytes)
    return form if form is not None else _parse_multipart(body, boundary, max_fields, max_field_bytes)


def _parse_device_form(body: bytes, boundary: bytes, max_fields: int, max_field_bytes: int) -> Form | None:
    """Parse a form exactly as devices write it, in a quarter of the time; None for any other form, valid or not.

    The result never differs from the library's: if a boundary is in an unexpected place, the form is left to the library.
    """
    opening, between = b"--" + boundary + b"\r\n", b"\r\n--" + boundary
    closing = between + b"--\r\n"
    if not (boundary and body.startswith(opening) and body.endswith(closing)):
        return None
    parts = body[len(opening) : -len(closing)].split(between + b"\r\n")
    if len(parts) > max_fields or body.count(between) != len(parts):
        return None
    fields: dict[str, str] = {}
    files: dict[str, FilePart] = {}
    for part in parts:
        head, blank_line, payload = part.partition(b"\r\n\r\n")
        known = _part_head(head) if blank_line and len(head) <= _MAX_PART_HEAD else None
        if known is None:
            return None
        name, filename = known
        if filename is not None:
            _put_file(files, name, FilePart(filename, payload))
        elif name not in fields and len(payload) <= max_field_bytes and payload.isascii():
            fields[name] = payload.decode("ascii")
        else:
            _put_field(fields, name, payload, max_field_bytes)
    return Form(fields, files)


@lru_cache(1024)
def _part_head(head: bytes) -> tuple[str, str | None] | None:
    """Clean name and file name from a part's head; None if it is not as devices write it. Cached, because all devices write the same heads."""
    known = _PART_HEAD.fullmatch(head)
    if known is None:
        return None
    return _clean_name(known[1].decode()), known[2].decode() if known[2] is not None else None


def _parse_multipart(body: bytes, boundary: bytes, max_fields: int, max_field_bytes: int) -> Form:
    return _result_of(_multipart_steps(body, boundary, max_fields, max_field_bytes))


def _result_of(steps: Generator[None, None, Form]) -> Form:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            form: Form = stop.value
            return form


def _multipart_steps(
    body: bytes, boundary: bytes, max_fields: int, max_field_bytes: int
) -> Generator[None, None, Form]:
    """Parse by the library's parser, one step per part of the body."""
    fields: dict[str, str] = {}
    files: dict[str, FilePart] = {}
    try:
        parser = PushMultipartParser(
            boundary,
            max_segment_count=max_fields,
            max_header_size=_MAX_HEADER,
            header_charset="latin-1",
        )
        segment: MultipartSegment | None = None
        payload: list[bytes] = []
        for first in range(0, len(body), _STEP_BYTES):
            for event in parser.parse(body[first : first + _STEP_BYTES]):
                if event is None:
                    assert segment is not None
                    _add_part(fields, files, segment, b"".join(payload), max_field_bytes)
                elif isinstance(event, MultipartSegment):
                    segment, payload = event, []
                else:
                    payload.append(bytes(event))
            yield
        parser.close()
    except MultipartError as error:
        raise UploadError(f"the multipart form is malformed: {error}") from error
    return Form(fields, files)


def _add_part(
    fields: dict[str, str],
    files: dict[str, FilePart],
    segment: MultipartSegment,
    payload: bytes,
    max_field_bytes: int,
) -> None:
    name = _clean_name(segment.name)
    if segment.filename is None:
        _put_field(fields, name, payload, max_field_bytes)
    else:
        _put_file(files, name, FilePart(segment.filename, payload))


def _put_file(files: dict[str, FilePart], name: str, part: FilePart) -> None:
    if name in files:
        raise UploadError(f"file {name} is in the form twice")
    files[name] = part


def _put_field(fields: dict[str, str], name: str, value: bytes, max_field_bytes: int) -> None:
    if len(value) > max_field_bytes:
        raise UploadError(f"form variable {name} is longer than {max_field_bytes} bytes")
    text = decoded(value)
    if fields.setdefault(name, text) != text:
        raise UploadError(f"form variable {name} is given twice with different values")


def _clean_name(name: str) -> str:
    if len(name) > _MAX_NAME or not name.isascii() or not name.isprintable():
        raise UploadError(f"a form variable's name is not plain text of at most {_MAX_NAME} characters")
    return name.upper()


def decoded(value: bytes) -> str:
    """A device's text; never fails. Devices write ASCII, but names typed by people are in the browser's encoding: UTF-8, otherwise Latin-1, which accepts any byte."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _parse_urlencoded(body: bytes, max_fields: int, max_field_bytes: int) -> Form:
    if len(body) > _MAX_URLENCODED:
        raise UploadError(f"the form is longer than {_MAX_URLENCODED} bytes")
    fields: dict[str, str] = {}
    try:
        pairs = parse_qsl(body, keep_blank_values=True, max_num_fields=max_fields)
    except ValueError as error:
        raise UploadError(f"the form is malformed or has more than {max_fields} variables") from error
    for name, value in pairs:
        _put_field(fields, _clean_name(name.decode("latin-1")), value, max_field_bytes)
    return Form(fields)


def basic_credentials(header: bytes | None) -> tuple[str, str] | None:
    """User and password of an ``Authorization: Basic`` header; None if it is missing or unreadable."""
    if not header:
        return None
    scheme, _, encoded = header.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        plain = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    user, colon, password = plain.partition(b":")
    return (decoded(user), decoded(password)) if colon else None


def normalise_serial(text: str) -> str:
    """A logger's serial number, normalised: upper case, no surrounding blanks.

    :raises ValueError: not 1 to 32 ASCII letters and digits.
    """
    serial = text.strip()
    if not _SERIAL.match(serial):
        raise ValueError("a serial number is 1 to 32 letters and digits, for example 001EC6001433")
    return serial.upper()


def credentials(form: Form, basic: tuple[str, str] | None) -> tuple[str, str]:
    """Serial number (upper case) and password of an upload, from the form, Basic authentication or both.

    :raises CredentialsError: none, only one of the two, an invalid serial number, or two pairs that differ.
    """
    serials = [form.fields[name] for name in ("SERIALNUMBER", "ESERVERSERIAL") if form.fields.get(name)]
    passwords = [form.fields["PASSWORD"]] if "PASSWORD" in form.fields else []
    if basic is not None:
        serials.append(basic[0])
        passwords.append(basic[1])
    try:
        normalised = {normalise_serial(serial) for serial in serials}
    except ValueError as error:
        raise CredentialsError("serial number or password is not right") from error
    if len(normalised) != 1 or len(set(passwords)) != 1:
        raise CredentialsError("serial number or password is missing, or given twice with different values")
    return normalised.pop(), passwords[0]
