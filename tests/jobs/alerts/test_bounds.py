"""How many messages are sent at once."""

from __future__ import annotations

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from cenergyd.hookspecs import Notification
from cenergyd.jobs.messages.sender import CONCURRENCY
from tests.jobs.conftest import JobsUnderTest
from tests.jobs.messages.sending import send_due


@pytest_twisted.ensureDeferred
async def test_messages_sent_at_once_are_bounded(jobs: JobsUnderTest, notification: Notification) -> None:
    waiting: list[Deferred[bool]] = [Deferred() for _ in range(CONCURRENCY + 3)]
    jobs.recorder.answers = list(waiting)
    for n in range(CONCURRENCY + 3):
        note = notification._replace(id=f"n{n}", customer_id=f"c{n}")
        await jobs.outbox.enqueue(note, {"type": "record", "url": f"http://h{n}/"}, jobs.context.now)
    sending = Deferred.fromCoroutine(send_due(jobs.service))
    while len(jobs.recorder.sent) < CONCURRENCY:
        await deferLater(reactor, 0.002)
    for _ in range(20):  # turns of the reactor, in which more could begin if they were let
        await deferLater(reactor, 0.002)
    assert len(jobs.recorder.sent) == CONCURRENCY
    for answer in waiting:
        answer.callback(True)
    await sending
    assert len(jobs.recorder.sent) == CONCURRENCY + 3
