"""A real HTTP server on loopback that remembers what it was asked and answers as told."""

from __future__ import annotations

from typing import Any, NamedTuple

from twisted.internet import reactor
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site


class ReceivedRequest(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class WebServer(Resource):
    """``answers``: a status, a pair of status and body, ``cut``, ``mute`` or ``endless``; 200 when they run out."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[ReceivedRequest] = []
        self.answers: list[Any] = []
        site = Site(self)
        site.displayTracebacks = False
        self._port = reactor.listenTCP(0, site, interface="127.0.0.1")  # type: ignore[attr-defined]
        self._held: list[Request] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port.getHost().port}"

    async def stop(self) -> None:
        for request in self._held:
            if request.channel is not None:
                request.channel.loseConnection()
        await self._port.stopListening()

    def respond(self, asked: ReceivedRequest) -> Any:
        """The answer to a request; for subclasses."""
        return self.answers.pop(0) if self.answers else 200

    def render(self, request: Request) -> Any:
        headers = {
            name.decode().lower(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        asked = ReceivedRequest(request.method.decode(), request.uri.decode(), headers, request.content.read())
        self.asked.append(asked)
        answer = self.respond(asked)
        if answer in ("cut", "mute", "endless"):
            self._held.append(request)
            if answer == "cut":
                request.transport.abortConnection()
            if answer == "endless":
                self._write_on(request)
            return NOT_DONE_YET
        status, body = answer if isinstance(answer, tuple) else (answer, b"")
        request.setResponseCode(status)
        if 300 <= status < 400:
            request.setHeader(b"location", b"/elsewhere")
        return body

    def _write_on(self, request: Request) -> None:
        if request.channel is not None:
            request.write(b"x" * 65536)
            reactor.callLater(0.01, self._write_on, request)  # type: ignore[attr-defined]
