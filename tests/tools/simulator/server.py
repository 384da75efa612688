"""A small real HTTP server on loopback that remembers what it got and answers as it is told."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from cenergyd.acquisuite.form import Form, parse_form


class Server(Resource):
    """``answers`` are taken in turn: (status, body), or None to hang up without one; then always SUCCESS."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[tuple[int, bytes] | None] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.versions: list[bytes] = []
        site = Site(self)
        site.noisy = False
        site._parsePOSTFormSubmission = False
        self._port = reactor.listenTCP(0, site, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._port.getHost().port}/consume"

    def render_POST(self, request: Any) -> Any:
        self.bodies.append(request.content.read())
        self.headers.append({k.decode().lower(): v[0].decode() for k, v in request.requestHeaders.getAllRawHeaders()})
        self.versions.append(request.clientproto)
        answer = self.answers.pop(0) if self.answers else (200, b"SUCCESS\n")
        if answer is None:
            request.transport.abortConnection()
            return NOT_DONE_YET
        request.setResponseCode(answer[0])
        return answer[1]

    @property
    def forms(self) -> list[Form]:
        return [parse_form(body, h["content-type"]) for body, h in zip(self.bodies, self.headers, strict=True)]

    async def stop(self) -> None:
        await self._port.stopListening()
