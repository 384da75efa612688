"""Requests of the checks, and predicates for responses.

Checks write under Modbus addresses 240 to 249 of the given logger, at times around 2001, so that they do not affect real readings.
"""

from __future__ import annotations

import base64
from typing import Final

from cenergyd.acquisuite import encode
from cenergyd.acquisuite.layouts import VERIS
from cenergyd.readings.model import Reading
from cenergyd.tools.conformance.client import Server, ServerResponse

METER: Final = "240"
START: Final = 1_000_000_020
"""2001-09-09 01:47:00 UTC."""
KEEPS: Final = (406,)


def rows(count: int = 3, start: int = START) -> list[Reading]:
    """Some readings."""
    return [Reading(start + 60 * i, P=1.5 + i, L1_PF=0.95, L1_V=120.25, Q=0.5) for i in range(count)]


def log(values: list[Reading] | None = None) -> bytes:
    """A plain log of readings."""
    return encode.log_text(rows() if values is None else values, VERIS)


def send_log(
    server: Server, content: bytes, *, meter: str = METER, version: str = "1.1", name: str | None = None, **more: str
) -> ServerResponse:
    """Upload a log file; ``more`` adds or replaces form variables."""
    fields = encode.log_fields(server.serial, server.password, meter, content, **more)
    return server.form(fields, name or encode.log_filename(meter), content, version=version)


def mode(server: Server, name: str, **more: str) -> ServerResponse:
    """A request without a file."""
    return server.form({"MODE": name, "SERIALNUMBER": server.serial, "PASSWORD": server.password, **more})


def accepted(response: ServerResponse) -> str | None:
    """None for SUCCESS."""
    return None if response.success else f"no SUCCESS but {response.status} {response.body[:100]!r}"


def kept(response: ServerResponse) -> str | None:
    """None if the response makes the device keep the file and continue."""
    if response.status in KEEPS and response.failure:
        return None
    return f"not 406 with FAILURE but {response.status} {response.body[:100]!r}"


def unauthorized(response: ServerResponse) -> str | None:
    """None for 401 FAILURE."""
    return (
        None
        if response.status == 401 and response.failure
        else f"not 401 with FAILURE but {response.status} {response.body[:100]!r}"
    )


def first(*faults: str | None) -> str | None:
    """The first fault that is not None."""
    return next((fault for fault in faults if fault), None)


def basic_header(user: str, password: str) -> dict[str, str]:
    """The header of HTTP Basic credentials."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def xml(server: Server, name: str, content: str, password: str | None = None) -> ServerResponse:
    """A request in AcquiSuite-XML."""
    body = f'<?xml version="1.0"?><DAS><mode>{name}</mode><name>x</name><serial>{server.serial}</serial>{content}</DAS>'
    return server.post(
        "text/xml",
        body.encode(),
        headers=basic_header(server.serial, server.password if password is None else password),
    )


def xml_accepted(response: ServerResponse) -> str | None:
    """None for a SUCCESS in XML."""
    good = response.status == 200 and b"<result>SUCCESS</result>" in response.body
    typed = response.headers.get("content-type", "").startswith("text/xml")
    return (
        None if good and typed else f"{response.status} {response.headers.get('content-type')} {response.body[:100]!r}"
    )
