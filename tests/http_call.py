"""One HTTP request over a connection that is closed afterwards."""

from __future__ import annotations

import http.client
from collections.abc import Mapping


def call(
    link: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Status, headers and body of the reply."""
    try:
        link.request(method, path, body, dict(headers or {}))
        reply = link.getresponse()
        return reply.status, reply.msg, reply.read()
    finally:
        link.close()
