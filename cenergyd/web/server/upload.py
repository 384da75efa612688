"""The upload endpoint: HTTP around the receiver, a Klein app with its two routes."""

from __future__ import annotations

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from cenergyd.acquisuite import replies
from cenergyd.ingest.receiver import Receiver, UploadReply, UploadRequest
from cenergyd.web.server.clients import Clients
from cenergyd.web.server.request import BoundedRequest

log = Logger()


class UploadApp:
    """What devices POST to (logs, status, config files in both directions), and the page that a GET of the same URL shows.

    :param path: its URL path.
    """

    def __init__(self, receiver: Receiver, clients: Clients, path: str) -> None:
        self._receiver = receiver
        self._clients = clients
        self.app = Klein()
        self.app.route(path, methods=["POST"])(self.upload)
        self.app.route(path, methods=["GET"])(self.probe)

    def upload(self, request: BoundedRequest) -> Deferred[bytes]:
        """A device's upload. It is completed even if the sender disconnects: it may be durable already."""
        upload = self._received(request)
        # Klein cancels it when the sender disconnects.
        answer: Deferred[bytes] = Deferred()

        def answered(result: UploadReply | Failure) -> None:
            if answer.called:
                if isinstance(result, Failure):
                    log.failure("answering {id} failed", result, id=upload.request_id)
            elif isinstance(result, Failure):
                answer.errback(result)
            else:
                answer.callback(_prepare(request, result))

        Deferred.fromCoroutine(self._receiver.receive(upload)).addBoth(answered)
        return answer

    async def answer(self, request: BoundedRequest) -> None:
        """As :meth:`upload`, and send the reply, unless the sender has disconnected."""
        reply = await self._receiver.receive(self._received(request))
        if not request.is_gone:
            request.write(_prepare(request, reply))
            request.finish()

    def _received(self, request: BoundedRequest) -> UploadRequest:
        return UploadRequest(
            body=request.content.read() if request.content else b"",
            content_type=request.getHeader(b"content-type") or b"",
            authorization=request.getHeader(b"authorization"),
            address=self._clients.address_of(request),
            request_id=request.request_id,
            lease=request.take_lease(),
        )

    def probe(self, request: BoundedRequest) -> bytes:
        """Answers a person's or a device's connection test."""
        body = replies.success(["this is where AcquiSuite loggers upload to"])
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        request.setHeader(b"Content-Length", b"%d" % len(body))
        return body


class UploadShortcut(Resource):
    """Passes POSTs to :meth:`UploadApp.answer` without Klein's router, which has only one URL to choose from.

    ``benchmarks/upload_route.py`` measures what it saves.
    """

    isLeaf = True

    def __init__(self, uploads: UploadApp) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._uploads = uploads

    def render_POST(self, request: BoundedRequest) -> int:  # noqa: N802 - Twisted's name
        """Answer as the route does."""
        Deferred.fromCoroutine(self._uploads.answer(request)).addErrback(_failed, request)
        return NOT_DONE_YET


def _failed(failure: Failure, request: BoundedRequest) -> None:
    if request.is_gone:
        log.failure("answering {id} failed", failure, id=request.request_id)
    else:
        request.processingFailed(failure)


def _prepare(request: BoundedRequest, reply: UploadReply) -> bytes:
    """Set status and headers; returns the body."""
    request.setResponseCode(reply.status)
    request.setHeader(b"Content-Type", reply.content_type.encode())
    request.setHeader(b"Content-Length", b"%d" % len(reply.body))
    request.setHeader(b"X-Request-Id", request.request_id.encode())
    if reply.status == 503:
        request.setHeader(b"Retry-After", b"60")
    return reply.body
