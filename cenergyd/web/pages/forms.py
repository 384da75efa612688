"""Forms as browsers send them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl

from twisted.web.server import Request

from cenergyd.web.server.problems import RequestProblem

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 8000
"""Fields of a form; a tariff has ten per row. The form's size is limited first."""


class Typed(NamedTuple):
    """A form's values and errors."""

    values: Mapping[str, str]
    errors: Mapping[str, str] = {}


def read_form(request: Request, max_bytes: int) -> Mapping[str, str]:
    """The fields of a posted form; if a name occurs twice, the last one is used. Raises problems 400, 413 and 415."""
    media_type = (request.getHeader(b"content-type") or b"").decode("latin-1").split(";", 1)[0].strip().lower()
    if media_type != FORM:
        raise RequestProblem(415, "unsupported_media_type", "this address takes forms")
    body = request.content.read(max_bytes + 1) if request.content else b""
    if len(body) > max_bytes:
        raise RequestProblem(413, "too_large", f"the form may have {max_bytes} bytes")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError:
        raise RequestProblem(400, "not_a_form", "this is not a form") from None
    return dict(pairs)


def local_path(path: str | None) -> str | None:
    """A path on this server to go to after signing in, or None for anything that could lead elsewhere."""
    if not path or len(path) > 500 or not path.isascii() or not path.isprintable():
        return None
    # Browsers treat a backslash as a slash, and // as the start of another host.
    if not path.startswith("/") or path.startswith("//") or "\\" in path:
        return None
    return path
