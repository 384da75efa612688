"""The upload endpoint: HTTP around the receiver.

A plain resource and no routed app: it has one path, and a fleet's uploads pay for every layer.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from cenergyd.acquisuite import replies
from cenergyd.ingest.receiver import Receiver, UploadReply, UploadRequest
from cenergyd.web.server.clients import Clients

log = Logger()


class UploadResource(Resource):
    """What devices POST to, and the page that a GET of the same URL shows."""

    isLeaf = True

    def __init__(self, receiver: Receiver, clients: Clients) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._receiver = receiver
        self._clients = clients

    def render_POST(self, request: Any) -> int:  # noqa: N802 - Twisted's name
        """A device's upload. One whose sender went away is finished all the same: it may be durable already."""
        upload = UploadRequest(
            body=request.content.read(),
            content_type=request.getHeader(b"content-type") or b"",
            authorization=request.getHeader(b"authorization"),
            address=self._clients.address_of(request),
            request_id=request.request_id,
        )
        gone: list[Any] = []
        request.notifyFinish().addErrback(gone.append)

        def answer(reply: UploadReply) -> None:
            if not gone:
                _write(request, reply)

        answered = Deferred.fromCoroutine(self._receiver.receive(upload)).addCallback(answer)
        answered.addErrback(lambda failure: log.failure("answering {id} failed", failure, id=request.request_id))
        return NOT_DONE_YET

    def render_GET(self, request: Any) -> bytes:  # noqa: N802 - Twisted's name
        """A person, or a device's probe, looks whether somebody is there."""
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return replies.success(["this is where AcquiSuite loggers upload to"])


def _write(request: Any, reply: UploadReply) -> None:
    request.setResponseCode(reply.status)
    request.setHeader(b"Content-Type", reply.content_type.encode())
    request.setHeader(b"Content-Length", b"%d" % len(reply.body))
    request.setHeader(b"X-Request-Id", request.request_id.encode())
    if reply.status == 503:
        request.setHeader(b"Retry-After", b"60")
    request.write(reply.body)
    request.finish()
