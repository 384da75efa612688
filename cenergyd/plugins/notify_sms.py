"""Sends messages by SMS through Twilio. Options: ``[sms]``. Channel: ``{"type": "sms", "to": "+15551234567"}``.

Twilio has no idempotency key. So every SMS ends with a short reference derived from the notification's id. If an earlier attempt may have
been accepted, Twilio is first queried for messages to that number; one with the reference means that it was.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Awaitable, Mapping

from twisted.web.client import Agent

from cenergyd.errors import CenergydError, DeliveryRefused, DeliveryUnknown
from cenergyd.hookspecs import Attempt, Notification, hookimpl
from cenergyd.jobs.messages.http import HttpResponse, request
from cenergyd.settings.sections import SmsSettings

MAX_CHARACTERS = 300
"""With the reference it fits into two parts of an SMS."""
TIMEOUT_SECONDS = 20.0
"""Seconds to wait for an answer: fewer than the outbox allows, so that the reason of a failure is known."""
_MAX_LISTED = 100
"""The newest messages to a number that are searched for the reference."""
_RETRIABLE_STATUSES = (401, 403, 404, 408, 429)


class SmsFailed(CenergydError):
    """Twilio did not accept the message this time."""


@hookimpl
def cenergyd_notify(
    notification: Notification, channel: Mapping[str, object], attempt: Attempt, options: SmsSettings
) -> Awaitable[bool] | None:
    """Send to one number."""
    if channel.get("type") != "sms":
        return None
    return send(notification, str(channel["to"]), attempt, options)


async def send(notification: Notification, to: str, attempt: Attempt, options: SmsSettings) -> bool:
    """Send one message through Twilio. Raises SmsFailed, DeliveryRefused or DeliveryUnknown."""
    if not options.account_sid or not options.sender:
        raise SmsFailed("SMS is not set up: [sms] account_sid, auth_token and sender are needed")
    if attempt.unsure and await _was_accepted(notification, to, attempt, options):
        return True
    sender = "MessagingServiceSid" if options.sender.startswith("MG") else "From"
    form = {"To": to, sender: options.sender, "Body": sms_text(notification)}
    answer = await _ask("POST", attempt, options, data=form)
    if answer.code in (200, 201):
        return True
    said = f"Twilio answered {answer.code} {_message(answer)}".strip()
    if answer.code >= 500:
        raise DeliveryUnknown(said)
    if 400 <= answer.code < 500 and answer.code not in _RETRIABLE_STATUSES:
        raise DeliveryRefused(said)
    raise SmsFailed(said)


def reference(notification: Notification) -> str:
    """The reference of a message in its text."""
    return f"[{hashlib.sha256(notification.id.encode()).hexdigest()[:8]}]"


def sms_text(notification: Notification) -> str:
    """Subject, the first line of the message, and the reference."""
    first = notification.text.partition("\n")[0]
    text = f"{notification.subject}: {first}" if first else notification.subject
    if len(text) > MAX_CHARACTERS:
        text = text[: MAX_CHARACTERS - 1] + "…"
    return f"{text} {reference(notification)}"


async def _was_accepted(notification: Notification, to: str, attempt: Attempt, options: SmsSettings) -> bool:
    try:
        answer = await _ask("GET", attempt, options, params={"To": to, "PageSize": str(_MAX_LISTED)})
    except DeliveryUnknown as error:
        raise SmsFailed(f"Twilio does not say whether it has the message: {error}") from error
    if answer.code != 200:
        raise SmsFailed(f"Twilio does not say whether it has the message: {answer.code}")
    try:
        messages = json.loads(answer.body)["messages"]
        return any(reference(notification) in str(message.get("body", "")) for message in messages)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SmsFailed("Twilio's list of messages cannot be read") from error


async def _ask(
    method: str,
    attempt: Attempt,
    options: SmsSettings,
    *,
    data: dict[str, str] | None = None,
    params: Mapping[str, str] | None = None,
) -> HttpResponse:
    pair = f"{options.account_sid}:{options.auth_token}".encode()
    path = f"/2010-04-01/Accounts/{options.account_sid}/Messages.json"
    reactor = attempt.reactor
    return await request(
        reactor,
        Agent(reactor, connectTimeout=TIMEOUT_SECONDS),
        method,
        options.base_url.rstrip("/") + path,
        headers={"Authorization": f"Basic {base64.b64encode(pair).decode()}", "User-Agent": "cenergyd"},
        timeout=TIMEOUT_SECONDS,
        data=data,
        params=params,
    )


def _message(answer: HttpResponse) -> str:
    try:
        return str(json.loads(answer.body)["message"])[:200]
    except (ValueError, KeyError, TypeError):
        return ""
