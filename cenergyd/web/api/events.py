"""``/customers/{customer_id}/events``: server-sent events with what is new."""

from __future__ import annotations

from collections.abc import Sequence

from cenergyd.runtime.attempts import network_of
from cenergyd.web.api import openapi
from cenergyd.web.api.live import LiveViews
from cenergyd.web.api.routing import STREAMED, Call, Response, Route


class EventsApi:
    """Live views."""

    def __init__(self, views: LiveViews) -> None:
        self._views = views

    async def stream(self, call: Call, customer_id: str) -> Response:
        """Send events until the client disconnects."""
        if call.request.method == b"HEAD":
            return Response("", media_type="text/event-stream")
        principal = call.principal
        # By token: one token can have many sessions.
        await self._views.serve(call.request, customer_id, principal.token_id, network_of(call.client.address))
        return STREAMED

    def routes(self) -> Sequence[Route]:
        """The one route."""
        return (Route("GET", "/customers/{customer_id}/events", self.stream, "signed_in", _STREAM),)


_STREAM = openapi.Operation(
    "streamEvents", "readings", "New readings as they arrive (server-sent events)",
    response=str, response_media_type="text/event-stream", parameters=[openapi.CUSTOMER_ID],
    description="Events, each with JSON data: `settings` (etag, missing_role, series by role), `latest` (as from `latest`), "
    "`status` (logger, derivation) at the start and when they change; `readings` (new readings by role, oldest first; a reading may be sent twice). After a lost connection, get what was missed from `readings`.",
)  # fmt: skip
