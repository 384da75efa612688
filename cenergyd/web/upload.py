"""The upload endpoint: HTTP around the receiver."""

from __future__ import annotations

from typing import Any

from klein import Klein

from cenergyd.acquisuite import replies
from cenergyd.web.clients import Clients
from cenergyd.web.receiver import Receiver, UploadRequest


class UploadApp:
    """What devices POST to, and the page that a GET of the same URL shows."""

    app = Klein()

    def __init__(self, receiver: Receiver, clients: Clients) -> None:
        self._receiver = receiver
        self._clients = clients

    @app.route("/", methods=["POST"])
    async def upload(self, request: Any) -> bytes:
        """A device's upload."""
        reply = await self._receiver.receive(
            UploadRequest(
                body=request.content.read(),
                content_type=request.getHeader(b"content-type") or b"",
                authorization=request.getHeader(b"authorization"),
                address=self._clients.of(request).address,
                request_id=request.request_id,
            )
        )
        request.setResponseCode(reply.status)
        request.setHeader(b"Content-Type", reply.content_type.encode())
        request.setHeader(b"Content-Length", str(len(reply.body)).encode())
        request.setHeader(b"X-Request-Id", request.request_id.encode())
        if reply.status == 503:
            request.setHeader(b"Retry-After", b"60")
        return reply.body

    @app.route("/", methods=["GET", "HEAD"])
    def probe(self, request: Any) -> bytes:
        """A person, or a device's probe, looks whether somebody is there."""
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return replies.success(["this is where AcquiSuite loggers upload to"])
