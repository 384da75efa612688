"""The official InfluxDB client with a transport of our own.

The client uses ``requests``. For a small write, and a group of uploads is one small write, that takes most of the time. So the one method
that sends requests is replaced. Queries, parsing of responses and errors are still the client's.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import urlencode

import attrs
from influxdb import InfluxDBClient
from influxdb.exceptions import InfluxDBClientError, InfluxDBServerError

from cenergyd.storage.influxdb.address import InfluxAddress
from cenergyd.storage.influxdb.answer import decoded_answer
from cenergyd.storage.influxdb.exchange import Exchanges


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
        self._exchanges = Exchanges(address, timeout_seconds)
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
        sent = {**(headers or self._headers), **self._own_headers}
        answer = self._exchanges.exchange(method, f"/{url}?{urlencode(params or {})}", sent, data or b"")
        is_packed = answer.content_type == "application/x-msgpack"
        decoded = decoded_answer(answer.content) if is_packed and answer.content else None
        if answer.status == expected_response_code:
            return InfluxResponse(answer.content, decoded)
        reason = json.dumps(decoded) if decoded else answer.content
        if 500 <= answer.status < 600:
            raise InfluxDBServerError(reason)
        raise InfluxDBClientError(reason, answer.status)

    def close(self) -> None:
        """Disconnect."""
        self._exchanges.close()
        super().close()
