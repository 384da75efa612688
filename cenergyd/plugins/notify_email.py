"""Sends messages by e-mail. Settings: ``[email]``. Channel: ``{"type": "email", "to": "name@example.org"}``.

The Message-ID comes from the notification's id, so that a message sent again is recognisably the same. An answer that never came after
the text was handed over counts as unknown (:class:`~cenergyd.errors.DeliveryUnknown`): the server may have taken it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Mapping
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import formatdate
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.mail.smtp import (
    SUCCESS,
    AUTHDeclinedError,
    AuthenticationError,
    AUTHRequiredError,
    ESMTPSender,
    ESMTPSenderFactory,
    SMTPClientError,
    SMTPDeliveryError,
    TLSError,
    TLSRequiredError,
)
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from cenergyd.errors import CenergydError, DeliveryRefused, DeliveryUnknown
from cenergyd.hookspecs import Notification, hookimpl

# Twisted's client turns line ends into CRLF itself.
TIMEOUT_SECONDS = 30.0
"""A server that is silent for so long has failed. Shorter than the outbox's limit, so that the reason is known."""
_POLICY = EmailPolicy(linesep="\n", max_line_length=76)


class EmailFailed(CenergydError):
    """The server did not take the message this time."""


@hookimpl
def cenergyd_notify(
    notification: Notification, channel: Mapping[str, Any], settings: Mapping[str, Any]
) -> Awaitable[bool] | None:
    """Send to one address."""
    if channel.get("type") != "email":
        return None
    return send(notification, str(channel["to"]), settings)


async def send(notification: Notification, to: str, settings: Mapping[str, Any]) -> bool:
    """Hand one message to the SMTP server. Raises EmailFailed, DeliveryRefused or DeliveryUnknown."""
    if not settings["host"] or not settings["sender"]:
        raise EmailFailed("e-mail is not set up: [email] host and sender are needed")
    reactor = settings["reactor"]
    now = reactor.seconds()
    content = make_message(notification, str(settings["sender"]), to, now).as_bytes(policy=_POLICY)
    finished: Deferred[Any] = Deferred()
    factory = _make_factory(to, content, finished, settings)
    wrapped: Any = (
        TLSMemoryBIOFactory(_trust(settings), True, cast(Any, factory)) if settings["security"] == "tls" else factory
    )
    connector = reactor.connectTCP(settings["host"], settings["port"], wrapped, timeout=TIMEOUT_SECONDS)
    try:
        await finished
    except SMTPClientError as error:
        raise _judge(error, factory.handed_over) from None  # the error holds the server's words at length
    finally:
        if not factory.taken:
            factory.sendFinished = True
            connector.disconnect()
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


class _Sender(ESMTPSender):
    debug = False  # otherwise errors carry the whole dialogue, with the password in it
    _at_line_start = False

    def transformChunk(self, chunk: bytes) -> bytes:  # noqa: N802
        # Twisted doubles a dot at the start of a line only where the line does not start a chunk.
        sent: bytes = super().transformChunk(chunk)  # type: ignore[no-untyped-call]
        if self._at_line_start and sent.startswith(b"."):
            sent = b"." + sent
        self._at_line_start = sent.endswith(b"\n")
        return sent

    def finishedFileTransfer(self, lastsent: bytes) -> None:  # noqa: N802 - Twisted's name
        self.factory.handed_over = True
        super().finishedFileTransfer(lastsent)  # type: ignore[no-untyped-call]

    def sentMail(self, code: int, *rest: Any) -> None:  # noqa: N802
        self.factory.taken = code in SUCCESS
        super().sentMail(code, *rest)  # type: ignore[no-untyped-call]

    def sendError(self, exc: Exception) -> None:  # noqa: N802
        if self.factory.sendFinished:
            cast(Any, self.transport).abortConnection()  # what the server says to QUIT does not matter
        else:
            super().sendError(exc)  # type: ignore[no-untyped-call]


class _Factory(ESMTPSenderFactory):
    protocol = _Sender
    noisy = False
    handed_over = False
    """Whether the whole text went out, so that the server may have it."""
    taken = False
    """Whether the server said so."""


def _make_factory(to: str, content: bytes, finished: Deferred[Any], settings: Mapping[str, Any]) -> _Factory:
    security = settings["security"]
    username = settings["username"].encode() or None
    factory = _Factory(  # type: ignore[no-untyped-call]
        username,
        settings["password"].encode() if username else None,
        settings["sender"],
        to,
        BytesIO(content),
        finished,
        retries=0,
        timeout=TIMEOUT_SECONDS,
        contextFactory=_trust(settings) if security in ("starttls", "optional") else None,
        heloFallback=username is None,
        requireAuthentication=username is not None,
        requireTransportSecurity=security == "starttls",
    )
    domain = settings["sender"].rpartition("@")[2].strip("> ")
    factory.domain = domain.encode("ascii", "replace") or b"localhost"
    return factory


def _trust(settings: Mapping[str, Any]) -> IOpenSSLClientConnectionCreator:
    host = settings["host"]
    if not settings["ca_file"]:
        return ssl.optionsForClientTLS(host)
    pem = Path(settings["ca_file"]).read_bytes()
    parts = re.findall(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", pem, re.DOTALL)
    roots = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(part) for part in parts])
    return ssl.optionsForClientTLS(host, trustRoot=roots)


def _judge(error: SMTPClientError, handed_over: bool) -> CenergydError:
    # Never str(error): it may hold the dialogue.
    answer = _plain(error.resp)
    if isinstance(error, SMTPDeliveryError):
        addresses: Any = error.addresses or ()
        codes = [code for _, code, _ in addresses] + [error.code]
        sender_refused = not addresses  # ours to mend, no fault of the recipient
        answers = "; ".join(f"{code} {_plain(text)}" for _, code, text in addresses)
        said = f"the mail server answered {error.code} {answer}" + (f" ({answers})" if answers else "")
        if not sender_refused and any(500 <= code < 600 for code in codes):
            return DeliveryRefused(said)
        return EmailFailed(said)
    if isinstance(error, TLSRequiredError | TLSError):
        return EmailFailed(f"no secure connection to the mail server: {answer}")
    if isinstance(error, AUTHDeclinedError | AuthenticationError | AUTHRequiredError):
        return EmailFailed(f"the mail server did not accept our sign-in: {error.code} {answer}")
    if handed_over:
        return DeliveryUnknown(f"the mail server was given the message and did not answer: {answer}")
    return EmailFailed(f"the mail server did not take the message: {answer}")


def _plain(answer: Any) -> str:
    if isinstance(answer, Failure):
        answer = answer.getErrorMessage()
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
    return " ".join(text.split())[:200]
