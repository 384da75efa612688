"""What the official InfluxDB client asks of a ``requests`` session, by urllib3 alone, which does the work under requests anyway.

A group of small uploads is one small request, and requests takes twice the time of urllib3 for it.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import attrs
import certifi
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Timeout

from cenergyd.storage.influxdb.line_protocol import InfluxAddress


@attrs.define
class InfluxAnswer:
    """An HTTP answer with the attributes that the client reads, and the one that it sets."""

    status_code: int
    content: bytes
    headers: Mapping[str, str]
    """The type of the content, which is all that the client asks for."""
    _msgpack: Any = None

    def json(self) -> Any:
        """The content; raises ValueError where it is no JSON."""
        return json.loads(self.content)


class InfluxSession:
    """One connection that is kept, for one thread. Knows no proxy, no ``~/.netrc``, no cookie, and follows no redirect.

    :param timeout_seconds: how long to wait for a connection, and for each part of an answer.
    """

    def __init__(self, address: InfluxAddress, timeout_seconds: float) -> None:
        timeout = Timeout(timeout_seconds)
        self._pool = (
            HTTPSConnectionPool(
                address.host, address.port, timeout=timeout, ca_certs=address.ca_file or certifi.where()
            )
            if address.tls
            else HTTPConnectionPool(address.host, address.port, timeout=timeout)
        )
        self._headers = {"Accept-Encoding": "gzip", "User-Agent": "cenergyd"}
        if address.user is not None:
            credentials = f"{address.user}:{address.password or ''}".encode()
            self._headers["Authorization"] = f"Basic {b64encode(credentials).decode()}"

    def mount(self, prefix: str, adapter: Any) -> None:
        """The client would choose how requests connects."""

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any],
        data: bytes | None,
        headers: Mapping[str, str],
        **_settings: Any,
    ) -> InfluxAnswer:
        """Ask and read the whole answer, whatever its status.

        :param url: only its last part counts, as the address is known.
        :param _settings: what else requests would be told (proxies, user, timeout, ...): this session knows better.
        :raises urllib3.exceptions.HTTPError: no connection, or no whole answer in time.
        """
        target = f"/{url.rpartition('/')[2]}?{urlencode(params)}"
        answer = self._pool.urlopen(
            method, target, body=data, headers={**self._headers, **headers}, retries=False, redirect=False
        )
        # Never empty: the client compares what it finds in place of a type with a text, which urllib3's own headers refuse.
        return InfluxAnswer(answer.status, answer.data, {"Content-Type": answer.headers.get("Content-Type", "")})

    def close(self) -> None:
        """Disconnect."""
        self._pool.close()
