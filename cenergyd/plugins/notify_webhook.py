"""Sends messages as HTTP POST. Options: ``[webhook]``. Channel: ``{"type": "webhook", "url": ..., "secret": ...}``.

The body is JSON: id, kind, subject, text, data, customer. ``Idempotency-Key`` is the notification's id, the same in every attempt: a receiver that
remembers it handles a message once. With a secret, ``X-Cenergyd-Signature: t=<UTC s>,v1=<hex>`` is the HMAC-SHA256 of ``<t>.<body>`` by it.

Customers choose the URL, so it must not reach the operator's network: private, loopback and link-local addresses are refused unless
``allow_private_addresses`` is set. Addresses are checked when the connection is made, because a name may resolve differently later.
Redirects are not followed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Awaitable, Mapping

from twisted.web.client import Agent

from cenergyd.errors import CenergydError, DeliveryRefused
from cenergyd.hookspecs import Attempt, Notification, hookimpl
from cenergyd.jobs.messages.http import PublicEndpoints, request
from cenergyd.settings.sections import WebhookSettings

TIMEOUT_SECONDS = 15.0
"""Seconds to wait for an answer: fewer than the outbox allows, so that the reason of a failure is known."""
# Statuses after which a retry may succeed; after any other 4xx the message will never be accepted.
_RETRIABLE_STATUSES = (401, 403, 404, 408, 409, 425, 429)


class WebhookFailed(CenergydError):
    """The receiver did not accept the message this time."""


@hookimpl
def cenergyd_notify(
    notification: Notification, channel: Mapping[str, object], attempt: Attempt, options: WebhookSettings
) -> Awaitable[bool] | None:
    """POST to one URL."""
    if channel.get("type") != "webhook":
        return None
    return send(notification, channel, attempt, options)


async def send(
    notification: Notification, channel: Mapping[str, object], attempt: Attempt, options: WebhookSettings
) -> bool:
    """Deliver one message. Raises WebhookFailed, DeliveryRefused or DeliveryUnknown."""
    reactor = attempt.reactor
    body = json.dumps({**notification._asdict(), "data": dict(notification.data)}, sort_keys=True).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "cenergyd",
        "Idempotency-Key": notification.id,
    }
    if channel.get("secret"):
        headers["X-Cenergyd-Signature"] = signature(str(channel["secret"]), body, attempt.now)
    endpoints = None if options.allow_private_addresses else PublicEndpoints(reactor, TIMEOUT_SECONDS)
    if endpoints is None:
        agent = Agent(reactor, connectTimeout=TIMEOUT_SECONDS)
    else:
        agent = Agent.usingEndpointFactory(reactor, endpoints)
    try:
        answer = await request(
            reactor, agent, "POST", str(channel["url"]), headers=headers, data=body, timeout=TIMEOUT_SECONDS
        )
    except CenergydError:
        if endpoints is not None and endpoints.refused:
            raise DeliveryRefused(f"the URL leads to a private address ({endpoints.refused})") from None
        raise
    if 200 <= answer.code < 300:
        return True
    said = f"the receiver answered {answer.code}"
    if 300 <= answer.code < 500 and answer.code not in _RETRIABLE_STATUSES:
        raise DeliveryRefused(said)
    raise WebhookFailed(said)


def signature(secret: str, body: bytes, now: int) -> str:
    """The signature header of a body sent at a time."""
    mac = hmac.new(secret.encode(), f"{now}.".encode() + body, hashlib.sha256)
    return f"t={now},v1={mac.hexdigest()}"
