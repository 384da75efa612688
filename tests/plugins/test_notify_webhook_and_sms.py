"""Webhook and SMS against real HTTP servers on loopback."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.task import Clock, deferLater
from zope.interface import implementer

from cenergyd.errors import CenergydError, DeliveryRefused, DeliveryUnknown
from cenergyd.hookspecs import Notification
from cenergyd.jobs.messages import http
from cenergyd.jobs.messages.http import MAX_RESPONSE, ConnectionFailed, is_public
from cenergyd.jobs.messages.sender import OutboxService
from cenergyd.plugins import notify_sms, notify_webhook
from cenergyd.plugins.notify_sms import SmsFailed, reference, sms_text
from cenergyd.plugins.notify_webhook import WebhookFailed
from cenergyd.runtime.plugin_threads import PluginThreads
from cenergyd.settings.sections import SmsSettings, WebhookSettings
from tests.jobs.conftest import JobsUnderTest, plugin_manager
from tests.jobs.messages.sending import send_due
from tests.jobs.messages.webserver import ReceivedRequest, WebServer
from tests.plugins.attempts import attempt
from tests.servers import free_port

SECRET = "0123456789abcdef"
HERE = WebhookSettings(allow_private_addresses=True)


@pytest_twisted.async_yield_fixture
async def web() -> AsyncIterator[WebServer]:
    server = WebServer()
    yield server
    await server.stop()


@implementer(IReactorPluggableNameResolver)
class SetTimeNetwork(Clock):
    """The reactor's network with a time of its own: a busy machine makes no timeout."""

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class Observed:
    """A response whose body is collected as ever; notices when a number of bytes has come."""

    def __init__(self, response: Any, wanted: int, enough: Deferred[None]) -> None:
        self._response = response
        self._left = wanted
        self._enough = enough

    def collect(self, collector: Callable[[bytes], None]) -> Deferred[None]:
        def observe(part: bytes) -> None:
            collector(part)
            self._left -= len(part)
            if self._left <= 0 and not self._enough.called:
                self._enough.callback(None)

        collected: Deferred[None] = self._response.collect(observe)
        return collected


async def post(web: WebServer, notification: Notification, network: Any = reactor) -> bool:
    channel = {"type": "webhook", "url": f"{web.url}/hook?x=1", "secret": SECRET}
    return await notify_webhook.send(notification, channel, attempt(reactor=network), HERE)


@pytest_twisted.ensureDeferred
async def test_a_webhook_is_json_signed_and_named_for_idempotency(web: WebServer, notification: Notification) -> None:
    before = int(reactor.seconds())  # type: ignore[attr-defined]
    assert await post(web, notification) is True
    after = reactor.seconds()  # type: ignore[attr-defined]
    assert await post(web, notification) is True
    first, second = web.asked
    assert (first.method, first.path) == ("POST", "/hook?x=1")
    assert first.headers["content-type"] == "application/json"
    assert json.loads(first.body) == {
        "id": "n-1", "customer_id": "c1", "kind": "net_load", "subject": notification.subject,
        "text": notification.text, "data": {"value": 60.0},
    }  # fmt: skip
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == "n-1"
    when, mac = (part.partition("=")[2] for part in first.headers["x-cenergyd-signature"].split(","))
    assert before <= int(when) <= after
    expected = hmac.new(SECRET.encode(), when.encode() + b"." + first.body, hashlib.sha256).hexdigest()
    assert mac == expected
    assert SECRET not in repr(first)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (500, WebhookFailed), (503, WebhookFailed), (429, WebhookFailed), (404, WebhookFailed), (401, WebhookFailed),
        (410, DeliveryRefused), (400, DeliveryRefused), (302, DeliveryRefused), ("cut", DeliveryUnknown),
    ],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_what_the_receiver_answers(
    web: WebServer, notification: Notification, answer: Any, error: type[CenergydError]
) -> None:
    web.answers = [answer]
    with pytest.raises(CenergydError) as caught:
        await post(web, notification)
    assert type(caught.value) is error
    assert len(web.asked) == 1  # nothing is followed or repeated


@pytest_twisted.ensureDeferred
async def test_a_receiver_that_never_answers(web: WebServer, notification: Notification) -> None:
    web.answers, network = ["mute"], SetTimeNetwork()
    sending = Deferred.fromCoroutine(post(web, notification, network))
    while not web.asked:
        await deferLater(reactor, 0.005)
    network.advance(notify_webhook.TIMEOUT_SECONDS - 1)
    assert not sending.called
    network.advance(1)
    with pytest.raises(DeliveryUnknown, match="no answer within"):
        await sending


@pytest_twisted.ensureDeferred
async def test_a_receiver_that_is_not_there(notification: Notification) -> None:
    with pytest.raises(ConnectionFailed):
        await notify_webhook.send(
            notification, {"type": "webhook", "url": f"http://127.0.0.1:{free_port()}/"}, attempt(), HERE
        )
    with pytest.raises(ConnectionFailed):
        await notify_webhook.send(notification, {"type": "webhook", "url": "http://nowhere.invalid/"}, attempt(), HERE)


@pytest_twisted.ensureDeferred
async def test_an_endless_answer_is_bounded_in_time_and_memory(
    web: WebServer, notification: Notification, monkeypatch: pytest.MonkeyPatch
) -> None:
    enough, bodies, network = Deferred[None](), list[bytes](), SetTimeNetwork()

    async def body_of(response: Any) -> bytes:
        bodies.append(await read_body(Observed(response, MAX_RESPONSE + 1, enough)))
        return bodies[-1]

    read_body = http._body_of
    monkeypatch.setattr(http, "_body_of", body_of)
    web.answers = ["endless"]
    sending = Deferred.fromCoroutine(post(web, notification, network))
    await enough
    assert not sending.called
    network.advance(notify_webhook.TIMEOUT_SECONDS)
    assert await sending is True
    assert [len(body) for body in bodies] == [MAX_RESPONSE]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"])
@pytest_twisted.ensureDeferred
async def test_private_addresses_are_refused_however_they_are_written(
    web: WebServer, notification: Notification, host: str
) -> None:
    port = urlsplit(web.url).port
    channel = {"type": "webhook", "url": f"http://{host}:{port}/"}
    with pytest.raises(CenergydError) as caught:
        await notify_webhook.send(notification, channel, attempt(), WebhookSettings())
    assert isinstance(caught.value, DeliveryRefused | ConnectionFailed)
    if host in ("127.0.0.1", "localhost"):
        assert "private address" in str(caught.value)
    assert web.asked == []


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("10.0.0.1", False), ("172.16.0.1", False),
        ("192.168.1.1", False), ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False),
        ("224.0.0.1", False), ("255.255.255.255", False), ("::1", False), ("::", False), ("fe80::1%eth0", False),
        ("fc00::1", False), ("ff02::1", False), ("::ffff:10.0.0.1", False), ("::ffff:8.8.8.8", True),
        ("64:ff9b::a00:1", False), ("2002:a00:1::", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(host: str, public: bool) -> None:
    assert is_public(host) is public


class Twilio(WebServer):
    """The part of Twilio's API that we use; keeps messages even where its answer is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[dict[str, str]] = []
        self.posts: list[Any] = []
        """What becomes of posts: a status, or ``lost``: the message is taken and the connection cut."""
        self.gets: list[Any] = []

    def respond(self, asked: ReceivedRequest) -> Any:
        parts = urlsplit(asked.path)
        assert parts.path == "/2010-04-01/Accounts/AC1/Messages.json"
        if asked.headers["authorization"] != "Basic " + base64.b64encode(b"AC1:token").decode():
            return 401, b'{"message": "Authenticate"}'
        if asked.method == "GET":
            to = parse_qs(parts.query)["To"][0]
            found = [m for m in self.messages if m["to"] == to]
            return self.gets.pop(0) if self.gets else (200, json.dumps({"messages": found}).encode())
        form = {key: values[0] for key, values in parse_qs(asked.body.decode()).items()}
        fate = self.posts.pop(0) if self.posts else 201
        if fate in (201, "lost"):
            self.messages.append({"to": form["To"], "from": form.get("From", ""), "body": form["Body"]})
        if fate == "lost":
            return "cut"
        return fate, b'{"code": 21211, "message": "Invalid number"}'


@pytest_twisted.async_yield_fixture
async def twilio() -> AsyncIterator[Twilio]:
    server = Twilio()
    yield server
    await server.stop()


def sms_settings(twilio: Twilio, **changes: str) -> SmsSettings:
    found = {"account_sid": "AC1", "auth_token": "token", "sender": "+15550001111", "base_url": twilio.url, **changes}
    return SmsSettings(**found)


@pytest_twisted.ensureDeferred
async def test_an_sms(twilio: Twilio, notification: Notification) -> None:
    assert await notify_sms.send(notification, "+15552223333", attempt(), sms_settings(twilio)) is True
    (message,) = twilio.messages
    assert message["to"] == "+15552223333"
    assert message["from"] == "+15550001111"
    assert message["body"] == f"Mill: net load is high: It is 60 kW. {reference(notification)}"
    long = notification._replace(subject="s" * 500)
    assert len(sms_text(long)) < 320
    assert sms_text(long).endswith(reference(notification))


@pytest.mark.parametrize(
    ("fate", "error"),
    [(400, DeliveryRefused), (429, SmsFailed), (401, SmsFailed), (500, DeliveryUnknown), ("lost", DeliveryUnknown)],
)
@pytest_twisted.ensureDeferred
async def test_what_twilio_answers(
    twilio: Twilio, notification: Notification, fate: Any, error: type[CenergydError]
) -> None:
    twilio.posts = [fate]
    with pytest.raises(CenergydError) as caught:
        await notify_sms.send(notification, "+15552223333", attempt(), sms_settings(twilio))
    assert type(caught.value) is error
    assert "token" not in str(caught.value)


@pytest_twisted.ensureDeferred
async def test_sms_not_set_up(twilio: Twilio, notification: Notification) -> None:
    with pytest.raises(SmsFailed, match="not set up"):
        await notify_sms.send(notification, "+15552223333", attempt(), sms_settings(twilio, account_sid=""))


@pytest.mark.parametrize(
    ("posts", "gets", "attempts"),
    [
        (["lost"], [], 2),  # taken, the answer lost: found again
        ([500], [], 2),  # not taken: sent again
        (["lost"], [(500, b""), (200, b"nonsense"), "cut"], 5),  # nothing is sent until Twilio says what it has
        ([500, "lost", 201], [], 3),
    ],
)
@pytest_twisted.ensureDeferred
async def test_through_the_outbox_an_sms_goes_out_exactly_once(
    jobs: JobsUnderTest, twilio: Twilio, notification: Notification, posts: list[Any], gets: list[Any], attempts: int
) -> None:
    plugins = plugin_manager(notify_sms, options=sms_settings(twilio))
    service = OutboxService(jobs.outbox, plugins, PluginThreads(reactor), reactor, jobs.clock)
    other = notification._replace(id="another")
    await notify_sms.send(other, "+15552223333", attempt(unsure=True), sms_settings(twilio))
    twilio.posts, twilio.gets = posts, gets
    key = await jobs.outbox.enqueue(notification, {"type": "sms", "to": "+15552223333"}, jobs.context.now)
    for _ in range(70):
        await send_due(service)
        jobs.clock.advance(60)
    delivery = await jobs.outbox.delivery(key)
    assert delivery is not None
    assert (delivery.state, delivery.attempts) == ("sent", attempts)
    assert len([m for m in twilio.messages if reference(notification) in m["body"]]) == 1


@pytest_twisted.ensureDeferred
async def test_through_the_outbox_a_webhook_whose_answer_was_lost_comes_again_under_the_same_name(
    jobs: JobsUnderTest, web: WebServer, notification: Notification
) -> None:
    web.answers = ["cut", 503, 200]
    plugins = plugin_manager(notify_webhook, options=HERE)
    service = OutboxService(jobs.outbox, plugins, PluginThreads(reactor), reactor, jobs.clock)
    key = await jobs.outbox.enqueue(notification, {"type": "webhook", "url": web.url}, jobs.context.now)
    for _ in range(10):
        await send_due(service)
        jobs.clock.advance(60)
    delivery = await jobs.outbox.delivery(key)
    assert delivery is not None
    assert (delivery.state, delivery.attempts) == ("sent", 3)
    assert {asked.headers["idempotency-key"] for asked in web.asked} == {"n-1"}
