"""The official InfluxDB client with the standard library's HTTP client as its transport.

The client uses ``requests``. For a small write, and a group of uploads is one small write, that takes four times the CPU time, and urllib3 alone
twice. So the one method that sends requests is replaced. Queries, parsing of responses and errors are still the client's.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
from base64 import b64encode
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import urlencode

import attrs
import certifi
from influxdb import InfluxDBClient
from influxdb.exceptions import InfluxDBClientError, InfluxDBServerError

from cenergyd.storage.influxdb.address import InfluxAddress
from cenergyd.storage.influxdb.answer import decoded_answer


@attrs.frozen
class InfluxResponse:
    """The parts of a response that the client's methods use."""

    content: bytes
    _msgpack: object
    """The decoded content if it is MessagePack, which unlike JSON distinguishes 1.0 from 1; otherwise None."""

    def json(self) -> object:
        """The content as JSON, in which older servers answer; raises ValueError if it is not JSON."""
        return json.loads(self.content)


class InfluxClient(InfluxDBClient):  # type: ignore[misc]  # it has no types
    """The official client over one persistent connection, for one thread.

    Uses no proxy and no ``~/.netrc``, keeps no cookies, follows no redirects and retries nothing.

    :param timeout_seconds: how long to wait for a connection, and for each part of a response.
    """

    def __init__(self, address: InfluxAddress, timeout_seconds: float) -> None:
        super().__init__(host=address.host, port=address.port, database=address.database, ssl=address.tls)
        self._address = address
        self._timeout = timeout_seconds
        self._connection: HTTPConnection | None = None
        self._own_headers = {"User-Agent": "cenergyd"}
        if address.user is not None:
            credentials = f"{address.user}:{address.password or ''}".encode()
            self._own_headers["Authorization"] = f"Basic {b64encode(credentials).decode()}"

    def request(  # noqa: PLR0917 - the client's own signature
        self,
        url: str,
        method: str = "GET",
        params: Mapping[str, object] | None = None,
        data: bytes | None = None,
        stream: bool = False,
        expected_response_code: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> InfluxResponse:
        """Send a request and read the whole response; the client's other methods call this.

        :param url: ``query`` or ``write``.
        :param stream: ignored; the whole response is read.
        :raises InfluxDBServerError: the response has a status of 500 to 599.
        :raises InfluxDBClientError: it has any other status than the expected one.
        :raises OSError: no connection, or no response in time.
        :raises HTTPException: no complete response.
        """
        status, content, is_packed = self._exchange(
            method, f"/{url}?{urlencode(params or {})}", data, {**(headers or self._headers), **self._own_headers}
        )
        decoded = decoded_answer(content) if is_packed and content else None
        if status == expected_response_code:
            return InfluxResponse(content, decoded)
        reason = json.dumps(decoded) if decoded else content
        if 500 <= status < 600:
            raise InfluxDBServerError(reason)
        raise InfluxDBClientError(reason, status)

    def _exchange(
        self, method: str, target: str, data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes, bool]:
        """Status and content of the response, and whether it is MessagePack."""
        connection = self._connected()
        try:
            connection.request(method, target, data, headers)
            response = connection.getresponse()
            return response.status, response.read(), response.getheader("Content-Type") == "application/x-msgpack"
        except BaseException:
            connection.close()  # a late response would be taken for that to the next request
            raise

    def _connected(self) -> HTTPConnection:
        """The connection, which connects when it is next used if the server has closed it meanwhile."""
        if self._connection is None:
            self._connection = self._new_connection()
        # An idle connection is only readable if it was closed, or if something came that nobody asked for.
        if self._connection.sock is not None and _is_readable(self._connection.sock):
            self._connection.close()
        return self._connection

    def _new_connection(self) -> HTTPConnection:
        address = self._address
        if not address.tls:
            return HTTPConnection(address.host, address.port, timeout=self._timeout)
        certificates = address.ca_file or certifi.where()
        try:
            context = ssl.create_default_context(cafile=certificates)
        except OSError as error:
            raise ssl.SSLError(f"{certificates}: {error.strerror or error}") from error
        return HTTPSConnection(address.host, address.port, timeout=self._timeout, context=context)

    def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.close()
        super().close()


def _is_readable(link: socket.socket) -> bool:
    poll = select.poll()
    poll.register(link, select.POLLIN)
    return bool(poll.poll(0))
