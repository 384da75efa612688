"""Live views over a real connection."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.web.http_headers import Headers

from cenergyd.customers.model import Customer
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.web.access.sessions import Sessions
from cenergyd.web.access.tokens import Tokens
from cenergyd.web.api import live
from tests.web.harness import Client, WebSide

SERIAL = "A1"
TIME = 1_750_000_000
WAIT = 60


class Stream(Protocol):
    """The events of one open view."""

    def __init__(self) -> None:
        self.events: DeferredQueue[tuple[str, Any]] = DeferredQueue()
        self.ended: Deferred[None] = Deferred()
        self._buffer = b""

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while b"\n\n" in self._buffer:
            block, self._buffer = self._buffer.split(b"\n\n", 1)
            fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if not line.startswith(b":"))
            if b"event" in fields:
                self.events.put((fields[b"event"].decode(), json.loads(fields[b"data"])))

    def connectionLost(self, reason: Any = None) -> None:
        self.ended.callback(None)

    def leave(self) -> None:
        self.transport.loseConnection()

    async def next(self, name: str) -> Any:
        """The data of the next event with this name; others are left out."""
        while True:
            found, data = await self.events.get().addTimeout(WAIT, reactor)
            if found == name:
                return data


async def opened(web: WebSide, client: Client, customer: Customer) -> Stream:
    url = f"{web.url}/api/v1/customers/{customer.id}/events".encode()
    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    credentials = {"Authorization": [f"Bearer {client.token}"]} if client.token else {"Cookie": [cookie]}
    response = await web.agent.request(b"GET", url, Headers(credentials))
    assert response.code == 200
    assert response.headers.getRawHeaders("Content-Type") == ["text/event-stream"]
    stream = Stream()
    response.deliverBody(stream)
    return stream


async def eventually(condition: Any) -> None:
    for _ in range(WAIT * 50):
        if condition():
            return
        await deferLater(reactor, 0.02)
    raise AssertionError("did not happen")


def views(web: WebSide) -> Any:
    return web.api.live_views


async def site(web: WebSide) -> tuple[Customer, Client]:
    return await web.customer(name="x", facility="1", solar="2", logger_serial_number=SERIAL)


@pytest_twisted.ensureDeferred
async def test_new_readings_come_by_polling(web: WebSide) -> None:
    customer, client = await site(web)
    await web.readings.write([SeriesReadings("A1_1", [Reading(TIME, P=1.0)])])
    stream = await opened(web, client, customer)
    latest = await stream.next("latest")
    assert latest["roles"]["utility"]["P"] == 1.0
    assert latest["roles"]["load"] is None
    assert (await stream.next("status"))["derivation"]["state"] == "no_data"
    await web.readings.write([SeriesReadings("A1_1", [Reading(TIME + 60 * n, P=1.0 + n) for n in range(1, 4)])])
    fresh = await stream.next("readings")
    assert [(reading["time"], reading["P"]) for reading in fresh["utility"]] == [
        (TIME + 60, 2.0), (TIME + 120, 3.0), (TIME + 180, 4.0),
    ]  # fmt: skip
    await web.readings.write([SeriesReadings("A1_missing_meter", [Reading(TIME, P=9.0, estimated=True)])])
    fresh = await stream.next("readings")
    assert set(fresh) == {"load"}
    assert fresh["load"][0]["computed"] is True
    assert fresh["load"][0]["estimated"] is True


@pytest_twisted.ensureDeferred
async def test_the_feed_is_quicker_than_polling(web: WebSide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_SECONDS", 300)
    customer, client = await site(web)
    stream = await opened(web, client, customer)
    await stream.next("status")
    await web.readings.write([SeriesReadings("A1_1", [Reading(TIME, P=1.0)])])
    web.feed.publish("somebody else")
    web.feed.publish(customer.id)
    assert (await stream.next("readings"))["utility"][0]["P"] == 1.0


@pytest_twisted.ensureDeferred
async def test_a_change_of_settings_moves_the_view(web: WebSide) -> None:
    customer, client = await site(web)
    await web.readings.write([SeriesReadings("A1_5", [Reading(TIME, P=5.0)])])
    stream = await opened(web, client, customer)
    await stream.next("status")
    await web.customers.update(customer.id, {"load": "5"})
    settings = await stream.next("settings")
    assert settings["series"]["load"] == "A1_5"
    assert settings["missing_role"] is None
    assert (await stream.next("readings"))["load"][0]["P"] == 5.0


@pytest_twisted.ensureDeferred
async def test_a_long_backlog_comes_in_pieces(web: WebSide) -> None:
    customer, client = await site(web)
    await web.readings.write([SeriesReadings("A1_1", [Reading(TIME, P=0.0)])])
    stream = await opened(web, client, customer)
    await stream.next("status")
    await web.readings.write([SeriesReadings("A1_1", [Reading(TIME + n, P=float(n)) for n in range(1, 1201)])])
    times: list[int] = []
    while len(times) < 1200:
        fresh = (await stream.next("readings"))["utility"]
        assert len(fresh) <= 500
        times += [reading["time"] for reading in fresh]
    assert times == list(range(TIME + 1, TIME + 1201))


@pytest_twisted.ensureDeferred
async def test_closed_views_release_everything(web: WebSide) -> None:
    customer, client = await site(web)
    first, second = await opened(web, client, customer), await opened(web, client, customer)
    await second.next("status")
    assert len(views(web)) == 2
    first.leave()
    await eventually(lambda: len(views(web)) == 1)
    second.leave()
    await eventually(lambda: len(views(web)) == 0)
    assert not views(web)._customers


@pytest_twisted.ensureDeferred
async def test_ends_with_the_customer_and_with_the_daemon(web: WebSide) -> None:
    customer, client = await site(web)
    stream = await opened(web, client, customer)
    await stream.next("status")
    await web.customers.remove(customer.id)
    await stream.ended.addTimeout(WAIT, reactor)
    other, other_client = await web.customer(name="y")
    stream = await opened(web, other_client, other)
    await stream.next("status")
    web.api.close()
    await stream.ended.addTimeout(WAIT, reactor)
    assert len(views(web)) == 0


@pytest.mark.parametrize("web", [{"constants": {"api.live.MAX_STREAMS": 3}}], indirect=True)
@pytest_twisted.ensureDeferred
async def test_views_are_bounded(web: WebSide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "STREAMS_PER_CLIENT", 2)
    customer, client = await site(web)
    streams = [await opened(web, client, customer) for _ in range(2)]
    third = await client.get(f"customers/{customer.id}/events")
    assert (third.status, third.json["code"]) == (429, "too_many_streams")
    streams.append(await opened(web, web.operator, customer))
    fourth = await web.operator.get(f"customers/{customer.id}/events")
    assert (fourth.status, fourth.json["code"]) == (503, "overloaded")
    streams[0].leave()
    await eventually(lambda: len(views(web)) == 2)
    await opened(web, client, customer)


@pytest_twisted.ensureDeferred
async def test_who_may_read(web: WebSide) -> None:
    customer, _ = await site(web)
    _, other = await web.customer(name="y")
    assert (await other.get(f"customers/{customer.id}/events")).status == 404
    assert (await web.anybody().get(f"customers/{customer.id}/events")).status == 401
    assert (await web.operator.get("customers/unknown/events")).status == 404
    head = await web.operator.call("HEAD", f"customers/{customer.id}/events")
    assert (head.status, len(views(web))) == (200, 0)


@pytest_twisted.ensureDeferred
async def test_a_token_that_is_revoked_takes_its_views_along_and_those_of_its_sessions(web: WebSide) -> None:
    customer, client = await site(web)
    stream = await opened(web, client, customer)
    browser = web.anybody()
    assert (await browser.post("session", {"token": client.token})).status == 200
    of_session = await opened(web, browser, customer)
    (token,) = (await web.operator.get(f"tokens?customer_id={customer.id}")).json["tokens"]
    assert (await web.operator.delete(f"tokens/{token['id']}")).status == 204
    await stream.ended.addTimeout(WAIT, reactor)
    await of_session.ended.addTimeout(WAIT, reactor)


@pytest_twisted.ensureDeferred
async def test_a_session_that_another_daemon_ends_takes_its_views_along(web: WebSide) -> None:
    customer, client = await site(web)
    browser = web.anybody()
    assert (await browser.post("session", {"token": client.token})).status == 200
    stream = await opened(web, browser, customer)
    other = Sessions(web.documents, Tokens(web.documents), idle_seconds=1000, max_seconds=10000)
    (session,) = await other.page(web.clock.now)
    assert await other.end(session.id)
    await stream.ended.addTimeout(WAIT, reactor)


@pytest_twisted.ensureDeferred
async def test_one_address_cannot_take_every_view(web: WebSide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "STREAMS_PER_ADDRESS", 2)
    customer, client = await site(web)
    await opened(web, client, customer)
    await opened(web, web.operator, customer)
    _, other = await web.customer(name="other")
    (found,) = (await other.get("customers")).json["customers"]
    assert (await other.get(f"customers/{found['id']}/events")).status == 429
