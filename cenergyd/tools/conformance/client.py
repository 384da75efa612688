"""An HTTP client for checks, over plain sockets: HTTP/1.0 and 1.1, requests sent in fragments, interrupted connections."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs

from cenergyd.acquisuite.encode import multipart_form
from cenergyd.tools.errors import NoResponse

MAX_RESPONSE = 1 << 20


@attrs.frozen(slots=True)
class ServerResponse:
    """The server's response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def success(self) -> bool:
        """Whether a device would delete its file."""
        return self.status == 200 and any(line.strip() == b"SUCCESS" for line in self.body.splitlines())

    @property
    def failure(self) -> bool:
        """Whether it has FAILURE with a reason, and SUCCESS nowhere on a line of its own."""
        lines = [line.strip() for line in self.body.splitlines()]
        return any(line.startswith(b"FAILURE: ") for line in lines) and b"SUCCESS" not in lines


@attrs.frozen(slots=True)
class Server:
    """The server under test, with credentials that it should accept.

    :param password: the password of ``serial``; never displayed.
    """

    url: str
    serial: str
    password: str = attrs.field(repr=False)
    timeout: float = 30.0

    def form(self, fields: Mapping[str, str], filename: str | None = None, content: bytes = b"", *,
             file_field: str = "LOGFILE", version: str = "1.1", headers: Mapping[str, str] | None = None) -> ServerResponse:  # fmt: skip
        """POST a multipart form."""
        kind, body = multipart_form(fields, filename, content, file_field)
        return self.post(kind, body, version=version, headers=headers)

    def post(
        self, content_type: str, body: bytes, *, version: str = "1.1", headers: Mapping[str, str] | None = None
    ) -> ServerResponse:
        """POST a body."""
        return self.request(
            "POST", {"Content-Type": content_type, "Content-Length": str(len(body)), **(headers or {})}, body, version
        )

    def request(
        self, method: str, headers: Mapping[str, str], body: bytes = b"", version: str = "1.1"
    ) -> ServerResponse:
        """One request on a connection of its own. Raises NoResponse."""
        parts = urlsplit(self.url)
        path = parts.path or "/"
        lines = [f"{method} {path} HTTP/{version}"]
        if version == "1.1":
            lines += [f"Host: {parts.netloc.rpartition('@')[2]}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        try:
            with self.connect() as link:
                link.sendall(head + body)
                return _parse_response(_read_all(link))
        except OSError as error:
            raise NoResponse(f"{parts.hostname}:{parts.port or ''}: {error}") from error

    def connect(self) -> socket.socket:
        """A connection, with TLS for https."""
        parts = urlsplit(self.url)
        secure = parts.scheme == "https"
        link = socket.create_connection((parts.hostname or "", parts.port or (443 if secure else 80)), self.timeout)
        return ssl.create_default_context().wrap_socket(link, server_hostname=parts.hostname) if secure else link


def _read_all(link: socket.socket) -> bytes:
    received = b""
    while len(received) < MAX_RESPONSE and (chunk := link.recv(65536)):
        received += chunk
    return received


def _parse_response(received: bytes) -> ServerResponse:
    head, separator, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if not separator or len(words) < 2 or not words[1].isdigit():
        raise NoResponse("the server closed the connection without an HTTP response")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _unchunked(body)
    return ServerResponse(int(words[1]), headers, body)


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.split(b";")[0] or b"0", 16)
        if not length:
            break
        whole += rest[:length]
        body = rest[length + 2 :]
    return whole
