"""E-mail against a real SMTP server (aiosmtpd, in a thread of its own)."""

from __future__ import annotations

import email
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from cenergyd.errors import DeliveryRefused, DeliveryUnknown
from cenergyd.hookspecs import Notification
from cenergyd.jobs.messages import smtp
from cenergyd.jobs.messages.sender import OutboxService
from cenergyd.jobs.messages.smtp import EmailFailed
from cenergyd.plugins import notify_email
from cenergyd.plugins.notify_email import send
from cenergyd.runtime.plugin_threads import PluginThreads
from cenergyd.settings.sections import EmailSettings
from tests.certificates import Authority
from tests.jobs.conftest import JobsUnderTest, plugin_manager
from tests.jobs.messages.sending import send_due
from tests.plugins.attempts import THREADS, attempt
from tests.servers import free_port

PASSWORD = "Sehr-Geheim-1"


@attrs.define
class Mailbox:
    """What the server is to do, and what it received."""

    got: list[tuple[Envelope, Session]] = attrs.field(factory=list)
    rcpt: list[str] = attrs.field(factory=list)
    """Answers to RCPT, one by one; 250 when they run out."""
    mail: str = ""
    data: str = ""
    """An answer to DATA other than 250."""
    drop_at: str = ""
    """MAIL, DATA (before the text is read) or TEXT (once it has it): the connection is cut there."""

    @property
    def messages(self) -> list[EmailMessage]:
        return [email.message_from_bytes(e.content, policy=default) for e, _ in self.got]  # type: ignore[misc, arg-type]

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if self.drop_at == "MAIL":
            server.transport.abort()
        if self.mail:
            return self.mail
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        answer = self.rcpt.pop(0) if self.rcpt else "250 OK"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        if self.data:
            return self.data
        self.got.append((envelope, session))
        if self.drop_at == "TEXT":
            server.transport.abort()
        return "250 Taken"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def serve(authority: Authority) -> Iterator[Callable[..., EmailSettings]]:
    """Starts a server and returns the settings for it."""
    controllers: list[Controller] = []

    def start(
        mailbox: Mailbox, *, security: str = "starttls", host: str = "localhost", **changes: Any
    ) -> EmailSettings:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue(host))
        port = free_port()
        options: dict[str, Any] = {}
        if security == "starttls":
            options = {
                "tls_context": context, "require_starttls": True, "auth_required": True,
                "authenticator": lambda s, ss, e, mechanism, data: AuthResult(
                    success=isinstance(data, LoginPassword) and data.password == PASSWORD.encode(),
                    auth_data=data, handled=False,
                ),
            }  # fmt: skip
        if security == "tls":
            options = {"ssl_context": context}
        controller = Controller(mailbox, hostname="127.0.0.1", port=port, ready_timeout=30, **options)
        controller.start()
        controllers.append(controller)
        signs_in = security == "starttls"
        found = {
            "host": "localhost", "port": port, "security": security, "username": "daemon" if signs_in else "",
            "password": PASSWORD if signs_in else "", "sender": "alerts@example.org", "ca_file": authority.pem, **changes,
        }  # fmt: skip
        return EmailSettings(**found)

    yield start
    for controller in controllers:
        controller.stop()


@pytest_twisted.ensureDeferred
async def test_by_starttls_and_sign_in(serve: Any, notification: Notification) -> None:
    mailbox = Mailbox()
    settings = serve(mailbox)
    assert await send(notification, "you@example.org", attempt(), settings) is True
    ((envelope, session),) = mailbox.got
    assert session.ssl is not None
    assert session.authenticated
    assert (envelope.mail_from, envelope.rcpt_tos) == ("alerts@example.org", ["you@example.org"])
    (message,) = mailbox.messages
    assert message["Subject"] == notification.subject
    assert message["To"] == "you@example.org"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"].datetime is not None
    assert message.get_content().replace("\r\n", "\n") == notification.text
    # Sent again, it is recognisably the same.
    await send(notification, "you@example.org", attempt(), settings)
    await send(notification._replace(id="other"), "you@example.org", attempt(), settings)
    ids = [m["Message-ID"] for m in mailbox.messages]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].endswith("@example.org>")


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("Köln: Spannung zu hoch ⚡", "Zähler 3 zeigt 130 V.\n.\n..\n.dot at the start\nlast\n"),
        ("x\r\nBcc: victim@example.org\r\n\r\nbody", "From nowhere\n" + "long " * 400 + "\n"),
        ("", "\n" * 3 + "a" * 40000 + "\n"),
        ("dots", ".\n" * 30000),
        ("dots", "x\n" + ".\n" * 30000),
        ("dots", "xx\n" + ".\n" * 30000),
    ],
)
@pytest_twisted.ensureDeferred
async def test_whatever_the_words_are_the_message_stays_whole(serve: Any, subject: str, text: str) -> None:
    mailbox = Mailbox()
    notification = Notification("i", "c", "k", subject, text, {})
    await send(notification, "you@example.org", attempt(), serve(mailbox))
    (message,) = mailbox.messages
    assert message["Bcc"] is None
    assert message.get_content().replace("\r\n", "\n") == text
    assert mailbox.got[0][0].rcpt_tos == ["you@example.org"]
    assert [ord(c) for c in str(message["Subject"]) if ord(c) < 32] == []


@pytest_twisted.ensureDeferred
async def test_tls_from_the_first_byte_and_plain_text(serve: Any, notification: Notification) -> None:
    for security in ("tls", "none", "optional"):
        mailbox = Mailbox()
        assert await send(notification, "you@example.org", attempt(), serve(mailbox, security=security)) is True
        assert len(mailbox.got) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest_twisted.ensureDeferred
async def test_a_server_without_a_valid_certificate_gets_nothing(
    serve: Any, notification: Notification, security: str, tmp_path: Path
) -> None:
    mailbox = Mailbox()
    with pytest.raises(EmailFailed):
        await send(
            notification,
            "you@example.org",
            attempt(),
            serve(mailbox, security=security, ca_file=Authority(tmp_path).pem),
        )
    with pytest.raises(EmailFailed):
        await send(
            notification, "you@example.org", attempt(), serve(mailbox, security=security, host="elsewhere.example")
        )
    assert mailbox.got == []


@pytest_twisted.ensureDeferred
async def test_no_password_and_no_message_without_the_required_encryption(
    serve: Any, notification: Notification
) -> None:
    mailbox = Mailbox()
    settings = attrs.evolve(serve(mailbox, security="none"), security="starttls", username="daemon", password=PASSWORD)
    with pytest.raises(EmailFailed, match="no secure connection"):
        await send(notification, "you@example.org", attempt(), settings)
    assert mailbox.got == []


@pytest_twisted.ensureDeferred
async def test_a_wrong_password_is_worth_another_try_and_is_never_repeated_to_people(
    serve: Any, notification: Notification
) -> None:
    mailbox = Mailbox()
    with pytest.raises(EmailFailed, match="sign-in") as caught:
        await send(notification, "you@example.org", attempt(), serve(mailbox, password="Wrong-Secret-9"))
    text = repr(caught.value) + repr(caught.value.__cause__)
    assert "Wrong-Secret-9" not in text
    assert mailbox.got == []


@pytest_twisted.ensureDeferred
async def test_refusals_for_now_and_for_good(serve: Any, notification: Notification) -> None:
    for mailbox, error in (
        (Mailbox(rcpt=["451 greylisted"]), EmailFailed),
        (Mailbox(rcpt=["550 no such user"]), DeliveryRefused),
        (Mailbox(data="452 disk full"), EmailFailed),
        (Mailbox(data="554 spam"), DeliveryRefused),
        (Mailbox(mail="550 sender not allowed"), EmailFailed),
    ):
        with pytest.raises(error):
            await send(notification, "you@example.org", attempt(), serve(mailbox))
        assert mailbox.got == []


@pytest_twisted.ensureDeferred
async def test_a_connection_lost_before_the_text_is_a_failure_and_after_it_unknown(
    serve: Any, notification: Notification
) -> None:
    with pytest.raises(EmailFailed):
        await send(notification, "you@example.org", attempt(), serve(Mailbox(drop_at="MAIL")))
    mailbox = Mailbox(drop_at="TEXT")
    with pytest.raises(DeliveryUnknown):
        await send(notification, "you@example.org", attempt(), serve(mailbox))
    assert len(mailbox.got) == 1


def test_an_attempt_that_is_ended_while_it_connects_does_not_wait_for_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect = smtplib.SMTP._get_socket

    def ended_meanwhile(client: Any, *args: Any) -> Any:
        connected = connect(client, *args)
        submission.abort()  # the client does not know its socket yet
        return connected

    monkeypatch.setattr(smtplib.SMTP, "_get_socket", ended_meanwhile)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        server = smtp.MailServer(host="127.0.0.1", port=mute.getsockname()[1], security="none")
        submission = smtp.Submission(server, "me@example.org", "you@example.org", b"text")
        with pytest.raises(EmailFailed, match="the attempt was ended"):
            submission.run()


@pytest_twisted.ensureDeferred
async def test_no_server_a_silent_server_and_no_settings(
    serve: Any, notification: Notification, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = serve(Mailbox())
    with pytest.raises(EmailFailed):
        await send(notification, "you@example.org", attempt(), attrs.evolve(settings, port=free_port()))
    with socket.socket() as mute:  # it accepts connections and never answers
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        silent = attrs.evolve(settings, port=mute.getsockname()[1])
        with monkeypatch.context() as patch, pytest.raises(EmailFailed):
            patch.setattr(smtp, "TIMEOUT_SECONDS", 0.2)
            await send(notification, "you@example.org", attempt(), silent)
        with monkeypatch.context() as patch, pytest.raises(EmailFailed):
            patch.setattr(smtp, "TOTAL_SECONDS", 0.2)
            await send(notification, "you@example.org", attempt(), silent)
        # Given up by the outbox: its thread does not wait for the server.
        made: list[smtp.Submission] = []
        ended = threading.Event()

        def in_thread(run: Any) -> Any:
            made.append(run.__self__)
            return THREADS.run("test", _and_then, run, ended.set)

        waiting = Deferred.fromCoroutine(send(notification, "you@example.org", attempt(in_thread=in_thread), silent))
        mute.accept()
        while made[0].client is None:
            await deferLater(reactor, 0.005)
        waiting.cancel()
        with pytest.raises(CancelledError):
            await waiting
        assert ended.wait(120)
    with pytest.raises(EmailFailed, match="not set up"):
        await send(notification, "you@example.org", attempt(), attrs.evolve(settings, host=""))
    assert (
        notify_email.cenergyd_notify(notification, {"type": "sms", "to": "+15550000000"}, attempt(), settings) is None
    )


def _and_then(work: Callable[[], None], after: Callable[[], None]) -> None:
    try:
        work()
    finally:
        after()


def _mail_service(jobs: JobsUnderTest, settings: EmailSettings) -> OutboxService:
    return OutboxService(
        jobs.outbox, plugin_manager(notify_email, options=settings), PluginThreads(reactor), reactor, jobs.clock
    )


@pytest_twisted.ensureDeferred
async def test_through_the_outbox_a_greylisted_alert_arrives_once(
    jobs: JobsUnderTest, serve: Any, notification: Notification
) -> None:
    mailbox = Mailbox(rcpt=["451 try later"] * 2)
    service = _mail_service(jobs, serve(mailbox))
    customer = await jobs.customer({"channels": [{"type": "email", "to": "you@example.org"}]})
    await jobs.outbox.notify(notification._replace(customer_id=customer.id), jobs.context.now)
    for _ in range(20):
        await send_due(service)
        jobs.clock.advance(60)
    assert len(mailbox.got) == 1
    (delivery,) = await jobs.outbox.deliveries(customer.id)
    assert (delivery.state, delivery.attempts) == ("sent", 3)


@pytest_twisted.ensureDeferred
async def test_through_the_outbox_a_mail_whose_delivery_is_unknown_is_not_sent_twice(
    jobs: JobsUnderTest, serve: Any, notification: Notification
) -> None:
    mailbox = Mailbox(drop_at="TEXT")
    service = _mail_service(jobs, serve(mailbox))
    key = await jobs.outbox.enqueue(notification, {"type": "email", "to": "you@example.org"}, jobs.context.now)
    for _ in range(20):
        await send_due(service)
        jobs.clock.advance(60)
    assert len(mailbox.got) == 1
    delivery = await jobs.outbox.delivery(key)
    assert delivery is not None
    assert delivery.state == "unsure"


@pytest_twisted.ensureDeferred
async def test_the_test_button_sends_a_real_mail(jobs: JobsUnderTest, serve: Any) -> None:
    mailbox = Mailbox()
    service = _mail_service(jobs, serve(mailbox))
    customer = await jobs.customer({"channels": [{"type": "email", "to": "you@example.org"}]})
    await jobs.outbox.enqueue_test(customer, {"type": "email", "to": "you@example.org"}, jobs.context.now)
    await send_due(service)
    (delivery,) = await jobs.outbox.deliveries(customer.id)
    assert delivery.state == "sent"
    assert mailbox.messages[0]["Subject"] == "Test message of the alerts of Mill"
