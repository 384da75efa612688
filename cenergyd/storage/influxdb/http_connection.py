"""One persistent HTTP/1.1 connection to InfluxDB, for one thread.

It sends a request in one piece and reads the response in as few pieces as the network delivers. ``http.client`` and ``urllib3`` take five
to ten times as long for InfluxDB's short responses, most of it to parse headers as those of an e-mail, and a write is a short response.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
from typing import Final, NamedTuple

import certifi

from cenergyd.storage.influxdb.address import InfluxAddress

_RECEIVE_BYTES: Final = 256 * 1024
_MAX_HEAD: Final = 64 * 1024
_MAX_CHUNK_LINE: Final = 1024


class NotConnected(Exception):
    """No connection could be made; the argument says why."""


class UnreadableResponse(ValueError):
    """The response is not HTTP/1.1 as a server of it may send it."""


class RawResponse(NamedTuple):
    """A complete response."""

    status: int
    content_type: str
    content: bytes


class HttpConnection:
    """Connects when first used, and again after the server has closed the connection. Retries nothing and follows no redirects.

    :param timeout_seconds: how long to wait for a connection, and for each part of a response.
    """

    def __init__(self, address: InfluxAddress, timeout_seconds: float) -> None:
        self._host, self._port = address.host.strip("[]"), address.port
        self._timeout = timeout_seconds
        self._authorities = (address.ca_file or certifi.where()) if address.tls else None
        self._socket: socket.socket | None = None
        self._poll = select.poll()
        self._received = b""

    def exchange(self, head: bytes, body: bytes) -> RawResponse:
        """Send a request and read its response.

        :param head: request line and header lines, with the blank line.
        :raises NotConnected: no connection.
        :raises OSError: the connection was lost (TimeoutError: no response in time, ssl.SSLError: TLS failed).
        :raises UnreadableResponse: what came is no response.
        """
        connection = self._connected()
        try:
            connection.sendall(head + body)
            response, persistent = self._response(connection)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self.close()
            raise TimeoutError("timed out") from None
        except BaseException:
            self.close()
            raise
        if not persistent or self._received:
            self.close()
        return response

    def close(self) -> None:
        """Disconnect."""
        if self._socket is not None:
            self._poll.unregister(self._socket)
            self._socket.close()
            self._socket = None
        self._received = b""

    def _connected(self) -> socket.socket:
        if self._socket is not None and self._poll.poll(0):
            self.close()  # the server has closed it
        if self._socket is None:
            self._socket = self._connect()
            self._poll.register(self._socket, select.POLLIN)
        return self._socket

    def _connect(self) -> socket.socket:
        try:
            plain = socket.create_connection((self._host, self._port), self._timeout)
        except TimeoutError:
            raise
        except OSError as error:
            raise NotConnected(error) from error
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = plain if self._authorities is None else self._secured(plain, self._authorities)
        # Limits of the kernel's in place of Python's, which polls before each call.
        whole = int(self._timeout)
        limit = struct.pack("ll", whole, max(int((self._timeout - whole) * 1e6), not whole))
        connection.setblocking(True)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, option, limit)
        return connection

    def _secured(self, plain: socket.socket, authorities: str) -> ssl.SSLSocket:
        try:
            try:
                context = ssl.create_default_context(cafile=authorities)
            except FileNotFoundError as error:
                raise ssl.SSLError(f"{authorities}: {error.strerror}") from None
            return context.wrap_socket(plain, server_hostname=self._host)
        except BaseException:
            plain.close()
            raise

    def _more(self, connection: socket.socket) -> bytes:
        data = connection.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionResetError("the server closed the connection before its response was complete")
        return data

    def _response(self, connection: socket.socket) -> tuple[RawResponse, bool]:
        """The response, and whether the connection may be used again."""
        status = 100
        while 100 <= status < 200:
            text = self._until(connection, b"\r\n\r\n", _MAX_HEAD)
            status, persistent, headers = _parsed_head(text)
        if status in (204, 304):
            return RawResponse(status, headers.get(b"content-type", ""), b""), persistent
        if headers.get(b"transfer-encoding", "").lower() == "chunked":
            content = self._chunks(connection)
        elif b"content-length" in headers:
            content = self._exactly(connection, _length(headers[b"content-length"]))
        else:
            content, persistent = self._to_the_end(connection), False
        return RawResponse(status, headers.get(b"content-type", ""), content), persistent

    def _until(self, connection: socket.socket, end: bytes, most: int) -> bytes:
        """What comes before ``end``, which is removed."""
        while (at := self._received.find(end)) < 0:
            if len(self._received) > most:
                raise UnreadableResponse("a line or head is too long")
            self._received += self._more(connection)
        found, self._received = self._received[:at], self._received[at + len(end) :]
        return found

    def _exactly(self, connection: socket.socket, size: int) -> bytes:
        parts, have = [self._received], len(self._received)
        while have < size:
            parts.append(self._more(connection))
            have += len(parts[-1])
        joined = b"".join(parts) if len(parts) > 1 else parts[0]
        self._received = joined[size:]
        return joined[:size]

    def _chunks(self, connection: socket.socket) -> bytes:
        parts: list[bytes] = []
        while True:
            size = _length(self._until(connection, b"\r\n", _MAX_CHUNK_LINE).partition(b";")[0].decode("latin-1"), 16)
            if not size:
                break
            parts.append(self._exactly(connection, size))
            if self._exactly(connection, 2) != b"\r\n":
                raise UnreadableResponse("a chunk is longer than it says")
        while self._until(connection, b"\r\n", _MAX_HEAD):
            pass  # trailers
        return b"".join(parts)

    def _to_the_end(self, connection: socket.socket) -> bytes:
        parts = [self._received]
        self._received = b""
        while data := connection.recv(_RECEIVE_BYTES):
            parts.append(data)
        return b"".join(parts)


def _parsed_head(text: bytes) -> tuple[int, bool, dict[bytes, str]]:
    """Status, whether the connection persists, and the headers by lower-case name."""
    first, *lines = text.split(b"\r\n")
    version, _, rest = first.partition(b" ")
    status = rest[:3]
    if not version.startswith(b"HTTP/1.") or not (status.isdigit() and len(status) == 3):
        raise UnreadableResponse("no HTTP/1.1 response")
    headers: dict[bytes, str] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip().decode("latin-1")
    persistent = version == b"HTTP/1.1" and headers.get(b"connection", "").lower() != "close"
    return int(status), persistent, headers


def _length(text: str, base: int = 10) -> int:
    text = text.strip()
    try:
        if text[:1] not in ("", "+", "-"):
            return int(text, base)
    except ValueError:
        pass
    raise UnreadableResponse("no length")
