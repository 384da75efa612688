"""Sends messages by e-mail. Options: ``[email]``. Channel: ``{"type": "email", "to": "name@example.org"}``.

The Message-ID is derived from the notification's id, so that a message that is sent again can be recognised. If the server does not reply
after the whole text was sent, the result is unknown (:class:`~cenergyd.errors.DeliveryUnknown`): it may have accepted the message.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Mapping
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import formatdate

from twisted.internet.defer import CancelledError

from cenergyd.hookspecs import Attempt, Notification, hookimpl
from cenergyd.jobs.messages.smtp import EmailFailed, MailServer, Submission
from cenergyd.settings.sections import EmailSettings

_POLICY = EmailPolicy(linesep="\r\n", max_line_length=76, cte_type="7bit")


@hookimpl
def cenergyd_notify(
    notification: Notification, channel: Mapping[str, object], attempt: Attempt, options: EmailSettings
) -> Awaitable[bool] | None:
    """Send to one address."""
    if channel.get("type") != "email":
        return None
    return send(notification, str(channel["to"]), attempt, options)


async def send(notification: Notification, to: str, attempt: Attempt, options: EmailSettings) -> bool:
    """Submit one message to the SMTP server. Raises EmailFailed, DeliveryRefused or DeliveryUnknown."""
    if not options.host or not options.sender:
        raise EmailFailed("e-mail is not set up: [email] host and sender are needed")
    server = MailServer(
        host=options.host,
        port=options.port,
        security=options.security,
        username=options.username,
        password=options.password,
        ca_file=options.ca_file,
    )
    message = make_message(notification, options.sender, to, attempt.now)
    submission = Submission(server, options.sender, to, message.as_bytes(policy=_POLICY))
    try:
        await attempt.in_thread(submission.run)
    except CancelledError:
        submission.abort()  # otherwise its thread would wait until the timeout
        raise
    return True


def make_message(notification: Notification, sender: str, to: str, now: float) -> EmailMessage:
    """The e-mail of a notification."""
    message = EmailMessage(policy=_POLICY)
    message["From"] = sender
    message["To"] = to
    message["Subject"] = re.sub(r"[\x00-\x1f\x7f]+", " ", notification.subject)
    message["Date"] = formatdate(now)
    message["Message-ID"] = message_id(notification, sender)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(notification.text)
    return message


def message_id(notification: Notification, sender: str) -> str:
    """The same for the same notification, unique otherwise."""
    name = hashlib.sha256(notification.id.encode()).hexdigest()[:32]
    return f"<{name}@{sender.rpartition('@')[2].strip('> ') or 'localhost'}>"
