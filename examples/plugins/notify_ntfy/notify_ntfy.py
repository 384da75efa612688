"""Sends messages to ntfy (https://ntfy.sh or your own server), which shows them on telephones.

Channel: ``{"type": "ntfy", "topic": "my-site"}``. ntfy does not recognise repeated messages, so a message whose response was lost
is not repeated (``DeliveryUnknown``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Annotated, Any
from urllib.parse import quote

import treq
from msgspec import Meta
from twisted.internet.error import ConnectError, DNSLookupError

from cenergyd.errors import DeliveryRefused, DeliveryUnknown
from cenergyd.hookspecs import Attempt, Channel, ChannelType, Notification, Resource, hookimpl

NOT_FOUND, FORBIDDEN, BAD_REQUEST = 404, 403, 400


class NtfyFailed(Exception):
    """The server did not take the message this time."""


class Options(Resource):
    """What [plugin:notify_ntfy] in the ini may set."""

    url: Annotated[str, Meta(description="The ntfy server.")] = "https://ntfy.sh"
    token: Annotated[
        str, Meta(description="Access token, such as @credential:ntfy; empty: none.", extra={"secret": True})
    ] = ""
    priority: Annotated[int, Meta(ge=1, le=5, description="Of all messages: 1 is silent, 5 rings.")] = 4


@hookimpl
def cenergyd_options() -> type[Resource]:
    """The options."""
    return Options


class NtfyChannel(Channel):
    """A customer's channel."""

    topic: Annotated[
        str,
        Meta(pattern=r"^[-_A-Za-z0-9]{1,64}$", extra={"needed": "a topic of letters, digits, _ and - is needed"}),
    ]


@hookimpl
def cenergyd_channels() -> list[ChannelType]:
    """What is offered on the alerts page."""
    return [ChannelType("ntfy", "ntfy", NtfyChannel, "topic", hint="an ntfy topic such as my-site")]


@hookimpl
def cenergyd_notify(
    notification: Notification, channel: Mapping[str, Any], attempt: Attempt, options: Options
) -> Awaitable[bool] | None:
    """Send to one topic."""
    return send(notification, str(channel["topic"]), options) if channel["type"] == "ntfy" else None


async def send(notification: Notification, topic: str, options: Options) -> bool:
    """POST one message. Raises NtfyFailed, DeliveryRefused or DeliveryUnknown."""
    # Titles go into a header: RFC 2047 is what ntfy reads where they are not ASCII.
    headers = {
        "Title": f"=?utf-8?q?{quote(notification.subject)}?=".replace("%", "="),
        "Priority": str(options.priority),
    }
    if options.token:
        headers["Authorization"] = f"Bearer {options.token}"
    url = f"{options.url.rstrip('/')}/{quote(topic, safe='')}"
    try:
        # A kept connection may end just as a message goes out; nobody knows then whether it came.
        response = await treq.post(
            url, notification.text.encode(), headers=headers, timeout=20, allow_redirects=False, persistent=False
        )
    except (ConnectError, DNSLookupError) as error:
        raise NtfyFailed(f"no connection: {error}") from error  # it never heard of the message
    except Exception as error:
        raise DeliveryUnknown(f"ntfy did not answer: {type(error).__name__}") from error
    if response.code in (NOT_FOUND, FORBIDDEN, BAD_REQUEST):
        raise DeliveryRefused(f"ntfy does not take messages for {topic}: {response.code}")
    if response.code != 200:
        raise NtfyFailed(f"ntfy answered {response.code}")
    return True
