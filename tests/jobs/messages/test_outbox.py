"""The outbox: durable, tried again, never twice; on SQLite and on MongoDB's protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock

from cenergyd.errors import DeliveryRefused, DeliveryUnknown, InvalidField, Overloaded, StoreUnavailable
from cenergyd.hookspecs import Notification, hookimpl
from cenergyd.jobs.messages import outbox, sender
from cenergyd.jobs.messages.outbox import Outbox
from cenergyd.jobs.messages.sender import (
    CONCURRENCY,
    PER_CUSTOMER,
    PER_DESTINATION,
    SEND_TIMEOUT_SECONDS,
    STOP_SECONDS,
    OutboxService,
)
from cenergyd.runtime.plugin_threads import PluginThreads
from cenergyd.settings.sections import OutboxSettings
from cenergyd.storage.mongodb.connection import MongoDatabase
from cenergyd.storage.mongodb.documents import MongoDocumentStore
from cenergyd.storage.sqlite.customers import SqliteCustomerStore
from cenergyd.storage.sqlite.documents import SqliteDocumentStore
from tests.derivation.memory import MemoryDocumentStore
from tests.jobs.conftest import START, JobsUnderTest, Recorder, plugin_manager, settings_with
from tests.jobs.messages.sending import send_due
from tests.plugins.attempts import attempt
from tests.servers import PATIENT_SECONDS

ONCE = {"type": "record", "to": "me"}
AGAIN = {"type": "again", "to": "me", "secret": "very-secret"}


async def state(jobs: JobsUnderTest, key: str) -> str:
    delivery = await jobs.outbox.delivery(key)
    assert delivery is not None
    return delivery.state


async def rounds(jobs: JobsUnderTest, count: int, seconds: int = 60) -> None:
    for _ in range(count):
        jobs.clock.advance(seconds)
        await send_due(jobs.service)


@pytest_twisted.ensureDeferred
async def test_queued_sent_and_forgotten(jobs: JobsUnderTest, notification: Notification) -> None:
    key = await jobs.outbox.enqueue(notification, AGAIN, jobs.context.now)
    assert await state(jobs, key) == "queued"
    await send_due(jobs.service)
    await send_due(jobs.service)
    ((sent, channel, given),) = jobs.recorder.sent
    assert sent == notification
    assert channel == AGAIN
    assert (given.number, given.unsure, given.now, given.reactor) == (1, False, START, reactor)
    (delivery,) = await jobs.outbox.deliveries("c1")
    assert (delivery.state, delivery.attempts, delivery.subject) == ("sent", 1, notification.subject)
    assert "very-secret" not in repr(delivery)
    # The same message again, also by somebody who crashed meanwhile, is known.
    await jobs.outbox.enqueue(notification, {**AGAIN, "secret": "changed-secret"}, jobs.context.now)
    await rounds(jobs, 5)
    assert len(jobs.recorder.sent) == 1
    jobs.clock.advance(172800)
    await send_due(jobs.service)
    assert await jobs.outbox.delivery(key) is None


@pytest_twisted.ensureDeferred
async def test_known_failures_are_retried_at_growing_intervals_and_end_as_failed(
    jobs: JobsUnderTest, notification: Notification
) -> None:
    jobs.recorder.answers = [RuntimeError("boom"), False, *[RuntimeError("x")] * 100]
    key = await jobs.outbox.enqueue(notification, ONCE, jobs.context.now)
    times: list[int] = []
    for _ in range(12 * 60):
        before = len(jobs.recorder.sent)
        await send_due(jobs.service)
        if len(jobs.recorder.sent) > before:
            times.append((jobs.context.now - START) // 60)
        jobs.clock.advance(60)
    assert times == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363]
    delivery = await jobs.outbox.delivery(key)
    assert delivery is not None
    assert (delivery.state, delivery.attempts) == ("failed", 12)
    assert "x" in delivery.error
    # A person may have it tried once more.
    jobs.recorder.answers = []
    assert await jobs.outbox.send_again(key, jobs.context.now)
    await send_due(jobs.service)
    assert await state(jobs, key) == "sent"
    assert not await jobs.outbox.send_again(key, jobs.context.now)


@pytest_twisted.ensureDeferred
async def test_a_refused_message_is_not_tried_again(jobs: JobsUnderTest, notification: Notification) -> None:
    jobs.recorder.answers = [DeliveryRefused("no such number")]
    key = await jobs.outbox.enqueue(notification, ONCE, jobs.context.now)
    await rounds(jobs, 10)
    delivery = await jobs.outbox.delivery(key)
    assert delivery is not None
    assert (delivery.state, delivery.error, len(jobs.recorder.sent)) == ("failed", "no such number", 1)


@pytest.mark.parametrize(("channel", "final", "sends"), [(ONCE, "unsure", 1), (AGAIN, "sent", 2)])
@pytest_twisted.ensureDeferred
async def test_an_unknown_outcome_is_repeated_only_where_the_notifier_prevents_doubles(
    jobs: JobsUnderTest, notification: Notification, channel: dict[str, Any], final: str, sends: int
) -> None:
    jobs.recorder.answers = [DeliveryUnknown("the connection broke")]
    key = await jobs.outbox.enqueue(notification, channel, jobs.context.now)
    await rounds(jobs, 30)
    assert await state(jobs, key) == final
    assert len(jobs.recorder.sent) == sends
    assert [given.unsure for _, _, given in jobs.recorder.sent] == [False, True][:sends]


@pytest.mark.parametrize(("channel", "final", "sends"), [(ONCE, "unsure", 1), (AGAIN, "sent", 2)])
@pytest_twisted.ensureDeferred
async def test_a_crash_between_sending_and_writing_it_down(
    jobs: JobsUnderTest, notification: Notification, channel: dict[str, Any], final: str, sends: int
) -> None:
    key = await jobs.outbox.enqueue(notification, channel, jobs.context.now)
    (document,) = await jobs.outbox.due(jobs.context.now, 10)
    claimed = await jobs.outbox.claim(document, jobs.context.now, 150)
    assert claimed is not None
    jobs.plugins.hook.cenergyd_notify(
        notification=notification, channel=channel, attempt=attempt(), options=None
    )  # it went out, and here the daemon was killed
    await rounds(jobs, 2)
    assert len(jobs.recorder.sent) == 1  # its claim still holds
    await rounds(jobs, 30)
    assert await state(jobs, key) == final
    assert len(jobs.recorder.sent) == sends


@pytest_twisted.ensureDeferred
async def test_an_outage_while_the_outcome_is_written_makes_no_message_unsure(
    jobs: JobsUnderTest, notification: Notification
) -> None:
    key = await jobs.outbox.enqueue(notification, ONCE, jobs.context.now)
    put, down = jobs.context.documents.put, [False]

    async def failing(*arguments: Any, **options: Any) -> Any:
        if down[0]:
            raise StoreUnavailable("away")
        return await put(*arguments, **options)

    jobs.context.documents.put = failing
    waiting: Deferred[bool] = Deferred()
    jobs.recorder.answers = [waiting]
    ticking = Deferred.fromCoroutine(send_due(jobs.service))
    while not jobs.recorder.sent:
        await _turn()
    down[0] = True
    waiting.callback(True)
    await ticking
    await rounds(jobs, 5)
    assert await state(jobs, key) == "sending"
    down[0] = False
    await rounds(jobs, 5)
    assert await state(jobs, key) == "sent"
    assert len(jobs.recorder.sent) == 1


async def _turn() -> None:
    turned: Deferred[None] = Deferred()
    reactor.callLater(0.001, turned.callback, None)  # type: ignore[attr-defined]
    await turned


@pytest_twisted.ensureDeferred
async def test_a_notifier_that_never_answers_is_left_and_its_late_answer_ignored(
    jobs: JobsUnderTest, notification: Notification
) -> None:
    never: Deferred[bool] = Deferred(lambda _: None)  # does not even react to being cancelled
    jobs.recorder.answers = [never]
    key = await jobs.outbox.enqueue(notification, ONCE, jobs.context.now)
    ticking = Deferred.fromCoroutine(send_due(jobs.service))
    while not jobs.recorder.sent:
        await _turn()
    jobs.clock.advance(60)
    await ticking
    assert await state(jobs, key) == "unsure"
    if not never.called:
        never.callback(True)
    await rounds(jobs, 3)
    assert await state(jobs, key) == "unsure"


@pytest_twisted.ensureDeferred
async def test_a_channel_that_no_plugin_serves_is_reported(jobs: JobsUnderTest, notification: Notification) -> None:
    key = await jobs.outbox.enqueue(notification, {"type": "pigeon", "to": "x"}, jobs.context.now)
    await send_due(jobs.service)
    delivery = await jobs.outbox.delivery(key)
    assert delivery is not None
    assert (delivery.state, delivery.error) == ("failed", "no plugin sends to channels of type pigeon")


@pytest_twisted.ensureDeferred
async def test_a_failing_notifier_of_another_channel_does_not_delay_messages(
    jobs: JobsUnderTest, notification: Notification
) -> None:
    class Broken:
        @hookimpl(tryfirst=True)
        def cenergyd_notify(self, channel: dict[str, Any]) -> Any:
            return channel["room"]

    jobs.plugins.register(Broken(), "broken")
    key = await jobs.outbox.enqueue(notification, ONCE, jobs.context.now)
    await send_due(jobs.service)
    assert await state(jobs, key) == "sent"
    lost = await jobs.outbox.enqueue(notification, {"type": "pigeon", "to": "x"}, jobs.context.now)
    await send_due(jobs.service)
    assert await state(jobs, lost) == "queued"  # it may have been the broken one's


@pytest_twisted.ensureDeferred
async def test_the_outbox_of_a_customer_is_bounded(
    jobs: JobsUnderTest, notification: Notification, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MAX_PER_CUSTOMER", 10)
    for n in range(15):
        await jobs.outbox.enqueue(notification._replace(id=str(n)), ONCE, jobs.context.now)
    other = notification._replace(customer_id="c2")
    await jobs.outbox.enqueue(other, ONCE, jobs.context.now)
    assert len(await jobs.outbox_documents()) == 11


@pytest_twisted.ensureDeferred
async def test_every_channel_of_the_customer_gets_its_own(jobs: JobsUnderTest, notification: Notification) -> None:
    customer = await jobs.customer({"channels": [ONCE, AGAIN]})
    jobs.recorder.answers = [False]
    assert await jobs.outbox.notify(notification._replace(customer_id=customer.id), jobs.context.now) == 2
    assert await jobs.outbox.notify(notification._replace(customer_id="nobody"), jobs.context.now) == 0
    for key in ("audience", "told"):  # the key of this and of an earlier version
        for audience, count in ((["customer"], 2), (["operators"], 0)):
            other = Notification(f"{key}-{count}", customer.id, "voltage", "subject", "text", {key: audience})
            assert await jobs.outbox.notify(other, jobs.context.now) == count
    jobs.recorder.answers = [False] + [True] * 5
    await send_due(jobs.service)
    assert sorted(d.state for d in await jobs.outbox.deliveries(customer.id)) == ["queued", *["sent"] * 5]


@pytest_twisted.ensureDeferred
async def test_one_test_message_a_minute_goes_to_a_channel(jobs: JobsUnderTest) -> None:
    customer = await jobs.customer({"channels": [AGAIN]})
    jobs.recorder.answers = [False]
    await jobs.outbox.enqueue_test(customer, AGAIN, jobs.context.now)
    await send_due(jobs.service)
    (delivery,) = await jobs.outbox.deliveries(customer.id)
    assert (delivery.state, delivery.error) == ("queued", "the notifier did not accept the message")
    jobs.clock.advance(60)
    for channel in ({"type": "again", "to": "me", "has_secret": True}, AGAIN):
        await jobs.outbox.enqueue_test(customer, channel, jobs.context.now)
        await send_due(jobs.service)
    assert jobs.recorder.sent[-1][1] == AGAIN
    assert [d.state for d in await jobs.outbox.deliveries(customer.id)] == ["sent", "sent"]
    assert jobs.recorder.subjects == ["Test message of the alerts of Mill"] * 3
    with pytest.raises(InvalidField):
        await jobs.outbox.enqueue_test(customer, {"type": "email", "to": "nowhere"}, jobs.context.now)


@pytest_twisted.ensureDeferred
async def test_nobody_can_flood_strangers_with_test_messages(jobs: JobsUnderTest) -> None:
    customer = await jobs.customer({})
    for n in range(20):
        await jobs.outbox.enqueue_test(customer, {"type": "record", "to": str(n)}, jobs.context.now)
    await jobs.outbox.enqueue_test(customer, {"type": "record", "to": "19"}, jobs.context.now)  # the same again
    with pytest.raises(Overloaded):
        await jobs.outbox.enqueue_test(customer, {"type": "record", "to": "20"}, jobs.context.now)
    jobs.clock.advance(86400)
    await jobs.outbox.enqueue_test(customer, {"type": "record", "to": "20"}, jobs.context.now)
    assert len(await jobs.outbox_documents()) == 21


@pytest_twisted.ensureDeferred
async def test_the_service_sends_by_itself_and_stops_after_what_it_began(
    jobs: JobsUnderTest, notification: Notification
) -> None:
    slow: Deferred[bool] = Deferred()
    jobs.recorder.answers = [slow]
    key = await jobs.outbox.enqueue(notification, ONCE, jobs.context.now)
    jobs.service.startService()
    while not jobs.recorder.sent:
        await _turn()
    stopping = jobs.service.stopService()
    assert not stopping.called
    slow.callback(True)
    await stopping
    assert await state(jobs, key) == "sent"


@pytest.mark.parametrize(("channel", "left"), [(ONCE, "unsure"), (AGAIN, "queued")])
@pytest_twisted.ensureDeferred
async def test_sends_that_outlast_the_stop_are_cancelled(
    jobs: JobsUnderTest, notification: Notification, channel: dict[str, Any], left: str
) -> None:
    jobs.recorder.answers = [Deferred()]
    key = await jobs.outbox.enqueue(notification, channel, jobs.context.now)
    jobs.service.startService()
    while not jobs.recorder.sent:
        await _turn()
    stopping = jobs.service.stopService()
    jobs.clock.advance(STOP_SECONDS - 1)
    assert not stopping.called
    jobs.clock.advance(1)
    await stopping
    assert await state(jobs, key) == left
    assert jobs.clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_a_dead_host_does_not_delay_the_messages_of_others(
    jobs: JobsUnderTest, notification: Notification
) -> None:
    # One pass sends to all others while the dead host's messages wait for their timeout.
    dead = {"type": "record", "url": "http://dead.example/"}
    for n in range(3 * CONCURRENCY):
        note = notification._replace(id=f"dead{n}", customer_id=f"c{n}")
        await jobs.outbox.enqueue(note, {**dead, "to": str(n)}, jobs.context.now)
    jobs.clock.advance(1)
    for n in range(10):
        note = notification._replace(id=f"live{n}", customer_id=f"d{n}", subject="live")
        await jobs.outbox.enqueue(note, {"type": "record", "url": f"http://live{n}.example/"}, jobs.context.now)
    jobs.recorder.answer = lambda channel: Deferred() if "dead" in channel["url"] else True
    passing = Deferred.fromCoroutine(jobs.service.tick())
    while jobs.recorder.subjects.count("live") < 10:
        await _turn()
    assert passing.called, "a pass does not wait for the slowest message"
    assert await passing == PER_DESTINATION + 10
    assert len(jobs.recorder.sent) == PER_DESTINATION + 10
    # Later passes do not wait for it either.
    await jobs.outbox.enqueue(
        notification._replace(id="later", customer_id="e", subject="later"), ONCE, jobs.context.now
    )
    await jobs.service.tick()
    while "later" not in jobs.recorder.subjects:
        await _turn()
    assert len(jobs.recorder.sent) == PER_DESTINATION + 11
    jobs.clock.advance(SEND_TIMEOUT_SECONDS)
    await jobs.service.idle()


@pytest_twisted.ensureDeferred
async def test_one_customer_with_many_messages_delays_nobody_else(
    jobs: JobsUnderTest, notification: Notification
) -> None:
    for n in range(2 * CONCURRENCY):
        note = notification._replace(id=f"many{n}", customer_id="many")
        await jobs.outbox.enqueue(note, {"type": "record", "url": f"http://h{n}.example/"}, jobs.context.now)
    await jobs.outbox.enqueue(notification, ONCE, jobs.context.now)
    jobs.recorder.answer = lambda channel: Deferred() if "url" in channel else True
    assert await jobs.service.tick() == PER_CUSTOMER + 1
    while len(jobs.recorder.sent) < PER_CUSTOMER + 1:
        await _turn()
    jobs.clock.advance(SEND_TIMEOUT_SECONDS)
    await jobs.service.idle()


@pytest_twisted.ensureDeferred
async def test_more_than_is_read_in_one_pass_hides_nobody(
    jobs: JobsUnderTest, notification: Notification, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "DUE_LIMIT", 10)
    for n in range(20):
        note = notification._replace(id=f"dead{n}", customer_id=f"c{n}")
        await jobs.outbox.enqueue(note, {"type": "record", "url": "http://dead.example/", "to": str(n)}, START - 10)
    await jobs.outbox.enqueue(notification._replace(subject="live"), ONCE, START)
    jobs.recorder.answer = lambda channel: Deferred() if "url" in channel else True
    while "live" not in jobs.recorder.subjects:  # each look sees further ones
        await jobs.service.tick()
        await _turn()
    jobs.clock.advance(SEND_TIMEOUT_SECONDS)
    await jobs.service.idle()


@pytest_twisted.ensureDeferred
async def test_a_place_that_becomes_free_is_used_at_once(jobs: JobsUnderTest, notification: Notification) -> None:
    for n in range(PER_DESTINATION + 2):
        await jobs.outbox.enqueue(notification._replace(id=f"n{n}", customer_id=f"c{n}"), ONCE, jobs.context.now)
    waiting: list[Deferred[bool]] = [Deferred() for _ in range(PER_DESTINATION)]
    jobs.recorder.answers = list(waiting)
    jobs.service.startService()
    while len(jobs.recorder.sent) < PER_DESTINATION:
        await _turn()
    waiting[0].callback(True)
    while len(jobs.recorder.sent) < PER_DESTINATION + 2:
        await _turn()
        jobs.clock.advance(0)  # not the interval: only what is to happen now
    for answer in waiting[1:]:
        answer.callback(True)
    await jobs.service.stopService()


@pytest_twisted.async_yield_fixture(params=["sqlite", "mongo"])
async def two_stores(request: pytest.FixtureRequest, tmp_path: Path, unique_name: str) -> AsyncIterator[list[Any]]:
    """The same documents through two connections."""
    if request.param == "sqlite":
        stores: list[Any] = [SqliteDocumentStore(reactor, tmp_path / "d.sqlite") for _ in range(2)]
    else:
        url = f"{request.getfixturevalue('mongo').url}/{unique_name}"
        stores = [MongoDocumentStore(MongoDatabase(reactor, url, PATIENT_SECONDS)) for _ in range(2)]
    for store in stores:
        await store.open()
    yield stores
    for store in stores:
        await store.close()


@pytest_twisted.ensureDeferred
async def test_two_senders_at_once_send_each_message_once(two_stores: list[Any], tmp_path: Path) -> None:
    customers = SqliteCustomerStore(reactor, tmp_path / "c.sqlite")
    clock, recorder, settings = Clock(), Recorder(), settings_with()
    clock.advance(START)
    outboxes = [Outbox(store, customers, settings.outbox) for store in two_stores]
    services = [
        OutboxService(each, plugin_manager(recorder), PluginThreads(reactor), reactor, clock) for each in outboxes
    ]
    notes = [Notification(f"n{n}", f"c{n % 3}", "k", f"s{n}", "t", {}) for n in range(25)]
    # Both queue all of them, at once.
    await gatherResults(
        [Deferred.fromCoroutine(each.enqueue(note, ONCE, START)) for note in notes for each in outboxes]
    )
    for _ in range(3):
        await gatherResults([Deferred.fromCoroutine(send_due(service)) for service in services])
    assert sorted(recorder.subjects) == sorted(note.subject for note in notes)
    for n in range(3):
        assert {d.state for d in await outboxes[0].deliveries(f"c{n}")} == {"sent"}


def test_the_store_is_asked_soon_for_own_messages_and_rarely_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, documents = Clock(), MemoryDocumentStore()
    clock.advance(START)
    nobody: Any = None
    box = Outbox(documents, nobody, OutboxSettings())
    asked: list[int] = []
    due = box.due

    async def counted(now: int, limit: int) -> Any:
        asked.append(now - START)
        await due(now, limit)
        return []

    monkeypatch.setattr(box, "due", counted)
    service = OutboxService(box, nobody, nobody, clock)
    service.startService()
    clock.pump([1] * 62)
    assert asked == [0, 30, 60]
    notification = Notification("1", "c1", "test", "Subject", "Text", {})
    Deferred.fromCoroutine(box.enqueue(notification, ONCE, int(clock.seconds())))
    clock.pump([1] * 5)
    assert asked == [0, 30, 60, 65]
    service.stopService()
