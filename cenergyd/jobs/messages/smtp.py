"""Sends one e-mail to an SMTP server, synchronously (in a thread), and determines exactly whether the server has accepted it."""

from __future__ import annotations

import smtplib
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import attrs

from cenergyd.errors import CenergydError, DeliveryRefused, DeliveryUnknown

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

TIMEOUT_SECONDS = 30.0
"""Seconds of silence after which a server has failed."""
CONNECT_SECONDS = 10.0
"""Seconds for each address of the server to accept the connection."""
TOTAL_SECONDS = 50.0
"""Maximum seconds for the whole session: less than the outbox's limit, so that the result is known exactly."""
_ACCEPTED_CODES = (250, 251)


class EmailFailed(CenergydError):
    """The server did not accept the message this time."""


@attrs.frozen(kw_only=True)
class MailServer:
    """The mail server, and how to connect to it."""

    host: str
    port: int
    security: str
    """starttls (required), optional (STARTTLS if offered), tls (from the start) or none."""
    username: str = ""
    password: str = attrs.field(default="", repr=False)
    ca_file: Path | None = None
    """File of certificate authorities to trust instead of the system's."""


class Submission:
    """One attempt to submit one message.

    :param sender: the envelope sender; its domain is also used for EHLO.
    :param content: the message in RFC 5322 format, with CRLF line ends.
    """

    def __init__(self, server: MailServer, sender: str, to: str, content: bytes) -> None:
        self.server = server
        self.sender = sender
        self._to = to
        self._content = content
        self.client: _DeadlineSmtp | None = None
        self.aborted = False

    def run(self) -> None:
        """Submit the message. Returns once the server has accepted it.

        Raises EmailFailed if it has not, DeliveryRefused if it never will, DeliveryUnknown if it did not reply after the whole text was sent.
        """
        try:
            with self._connected() as client:
                self._sign_in(client)
                self._hand_over(client)
        except smtplib.SMTPAuthenticationError as error:
            # Without the original error, which may contain the credentials.
            said = f"{error.smtp_code} {_plain(error.smtp_error)}"
            raise EmailFailed(f"the mail server did not accept our sign-in: {said}") from None
        except ssl.SSLError as error:
            raise self._lost(f"no secure connection to the mail server: {error.reason or _plain(error)}") from None
        except smtplib.SMTPResponseException as error:
            raise EmailFailed(_answered(error.smtp_code, error.smtp_error)) from None
        except (OSError, smtplib.SMTPException, UnicodeError) as error:
            raise self._lost(f"the mail server did not accept the message: {_plain(error)}") from None

    def abort(self) -> None:
        """Close the connection, from any thread: :meth:`run` raises soon after."""
        self.aborted = True
        sock = self.client.sock if self.client is not None else None
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _connected(self) -> _DeadlineSmtp:
        server = self.server
        context = ssl.create_default_context(cafile=server.ca_file)
        client = _TlsClient(self, context) if server.security == "tls" else _PlainClient(self)
        if self.aborted:
            raise EmailFailed("the attempt was ended")
        client.ehlo_or_helo_if_needed()
        if server.security in ("starttls", "optional"):
            if client.has_extn("starttls"):
                client.starttls(context=context)
            elif server.security == "starttls":
                raise EmailFailed("no secure connection to the mail server: it offers no STARTTLS")
        return client

    def _sign_in(self, client: _DeadlineSmtp) -> None:
        if not self.server.username:
            return
        try:
            client.login(self.server.username, self.server.password)
        except smtplib.SMTPNotSupportedError:
            raise EmailFailed(
                "the mail server did not accept our sign-in: it offers no method that is supported"
            ) from None

    def _hand_over(self, client: _DeadlineSmtp) -> None:
        code, answer = client.mail(self.sender)
        if code not in _ACCEPTED_CODES:
            raise EmailFailed(_answered(code, answer))  # retried: the sender is at fault, not the recipient
        code, answer = client.rcpt(self._to)
        if code in _ACCEPTED_CODES:
            try:
                code, answer = client.data(self._content)
            except smtplib.SMTPDataError as error:
                code, answer = error.smtp_code, error.smtp_error if isinstance(error.smtp_error, bytes) else b""
        if 500 <= code < 600:
            raise DeliveryRefused(_answered(code, answer))
        if code not in _ACCEPTED_CODES:
            raise EmailFailed(_answered(code, answer))

    def _lost(self, reason: str) -> CenergydError:
        if self.client is not None and self.client.handed_over:
            return DeliveryUnknown(f"the mail server was given the message and did not answer: {reason}")
        return EmailFailed(reason)


class _DeadlineSmtp(smtplib.SMTP):
    """smtplib's client with one deadline for the whole session, which records whether the whole text was sent."""

    handed_over = False

    def _watch(self, submission: Submission) -> dict[str, Any]:
        """Register this client with the submission, which may abort it; returns the arguments for the base class, which connects at once."""
        self._deadline = monotonic() + TOTAL_SECONDS
        self._submission = submission
        submission.client = self
        domain = submission.sender.rpartition("@")[2].strip("> ").encode("ascii", "replace").decode()
        server = submission.server
        return {
            "host": server.host, "port": server.port, "local_hostname": domain or "localhost", "timeout": CONNECT_SECONDS
        }  # fmt: skip

    def send(self, s: ReadableBuffer | str) -> None:
        """Send, and record when the end of the text was sent: only the text is sent as bytes with this end."""
        super().send(s)
        if isinstance(s, bytes) and s.endswith(b"\r\n.\r\n"):
            self.handed_over = True

    def getreply(self) -> tuple[int, bytes]:
        """The server's reply, if it arrives before the deadline."""
        if self._submission.aborted:  # possibly before there was a socket that could be closed
            raise smtplib.SMTPServerDisconnected("the attempt was ended")
        if self.sock is not None:
            self.sock.settimeout(min(TIMEOUT_SECONDS, max(0.01, self._deadline - monotonic())))
        return super().getreply()

    def __exit__(self, error: object, *_: object) -> None:
        # The reply to QUIT does not matter, nor does its absence.
        with suppress(OSError, smtplib.SMTPException):
            if error is None:
                self.putcmd("QUIT")
        self.close()


class _PlainClient(_DeadlineSmtp):
    def __init__(self, submission: Submission) -> None:
        super().__init__(**self._watch(submission))


class _TlsClient(_DeadlineSmtp, smtplib.SMTP_SSL):
    def __init__(self, submission: Submission, context: ssl.SSLContext) -> None:
        super().__init__(**self._watch(submission), context=context)


def _answered(code: int, answer: bytes | str) -> str:
    return f"the mail server answered {code} {_plain(answer)}"


def _plain(answer: object) -> str:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
    return " ".join(text.split())[:200]
