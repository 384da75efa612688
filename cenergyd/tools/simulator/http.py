"""An HTTP client that behaves as a logger does: one connection per request, HTTP/1.0 or 1.1, and it can drop a response.

Twisted's Agent can neither use HTTP/1.0 nor hang up before the response, as old firmware does and bad lines cause.
"""

from __future__ import annotations

import http.client
import io
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, cast
from typing import Protocol as TypingProtocol
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure

from cenergyd.runtime.clock import Reactor, twisted_clock
from cenergyd.tools.errors import NoResponse

Version = Literal["1.0", "1.1"]
MAX_RESPONSE: Final = 4 << 20
"""Maximum bytes of a response; the protocol has no longer ones."""


class UploadResponse(NamedTuple):
    """An HTTP response."""

    status: int
    body: bytes

    @property
    def success(self) -> bool:
        """Whether a logger may delete what it sent: status 200 with a line SUCCESS, or that result in XML."""
        if self.status != 200:
            return False
        lines = {line.strip() for line in self.body.splitlines()}
        return b"SUCCESS" in lines or b"<result>SUCCESS</result>" in self.body

    @property
    def reason(self) -> str:
        """The line with the reason of a failure."""
        lines = [line.strip() for line in self.body.decode("utf-8", "replace").splitlines() if line.strip()]
        failure = next((line for line in lines if "FAILURE" in line), lines[0] if lines else "empty reply")
        return f"{self.status}: {failure[:200]}"


class Target:
    """The URL to upload to.

    :param url: ``http://host:port/path`` or ``https://``; anything else raises ValueError.
    :param timeout: seconds for one whole request.
    """

    def __init__(self, reactor: Reactor, url: str, timeout: float = 60.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not a URL: http://host:port/consume is needed")
        self._reactor = reactor
        self._timeout = timeout
        port = parts.port or (443 if parts.scheme == "https" else 80)
        endpoint = cast(IStreamClientEndpoint, HostnameEndpoint(reactor, parts.hostname, port))
        if parts.scheme == "https":
            endpoint = wrapClientTLS(optionsForClientTLS(parts.hostname), endpoint)
        self._endpoint = cast(_Endpoint, endpoint)
        self._host = parts.netloc.rpartition("@")[2]
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    async def post(
        self,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        *,
        version: Version = "1.1",
        lose_reply: bool = False,
    ) -> UploadResponse:
        """POST and return the response. Raises :class:`NoResponse`.

        :param lose_reply: send everything, then hang up without reading the response, as on a bad line.
        """
        lines = [f"POST {self._path} HTTP/{version}", f"Host: {self._host}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if version == "1.1":
            lines.append("Connection: close")
        request = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body
        exchange = _Exchange(request, lose_reply)
        try:
            connecting = self._endpoint.connect(Factory.forProtocol(lambda: exchange))
            await connecting.addTimeout(self._timeout, twisted_clock(self._reactor))
            raw = await exchange.done.addTimeout(self._timeout, twisted_clock(self._reactor))
        except (ConnectError, ConnectionLost, ConnectionDone, DNSLookupError, DeferredTimeout, OSError) as error:
            exchange.abort()
            raise NoResponse(f"{self._host}: {error or type(error).__name__}") from error
        return _parse(raw)


class _Endpoint(TypingProtocol):
    """Twisted's ``IStreamClientEndpoint``."""

    def connect(self, protocolFactory: Factory) -> Deferred[_Exchange]: ...


class _Transport(TypingProtocol):
    """Twisted's ``ITCPTransport``."""

    def write(self, data: bytes) -> None: ...

    def loseConnection(self) -> None: ...  # noqa: N802

    def abortConnection(self) -> None: ...  # noqa: N802


class _Exchange(Protocol):
    """One request, and everything received until the connection closed."""

    def __init__(self, request: bytes, lose_reply: bool) -> None:
        self._request = request
        self._lose_reply = lose_reply
        self._received = bytearray()
        self.done: Deferred[bytes] = Deferred(lambda _: self.abort())

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Send the request."""
        transport = cast(_Transport, self.transport)
        transport.write(self._request)
        if self._lose_reply:
            transport.loseConnection()  # closes after everything is sent

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Part of the reply."""
        self._received += data
        if len(self._received) > MAX_RESPONSE:
            self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """The connection has ended; the parser decides whether the response is complete."""
        if not self.done.called:
            self.done.callback(b"" if self._lose_reply else bytes(self._received))

    def abort(self) -> None:
        """Hang up at once."""
        if self.transport is not None:
            cast(_Transport, self.transport).abortConnection()


class _Bytes:
    """The part of a socket's interface that http.client needs to read."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._raw)


def _parse(raw: bytes) -> UploadResponse:
    response = http.client.HTTPResponse(_Bytes(raw), method="POST")  # type: ignore[arg-type]
    try:
        response.begin()
        return UploadResponse(response.status, response.read())
    except (http.client.HTTPException, ValueError, OSError) as error:
        raise NoResponse(f"the reply was cut off or is not HTTP: {error or type(error).__name__}") from error
