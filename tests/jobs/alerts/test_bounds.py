"""How much one round of work may take on."""

from __future__ import annotations

from typing import Any

import attrs
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from cenergyd.documents.kinds import LOGGER
from cenergyd.hookspecs import Notification
from cenergyd.jobs.alerts.job import judge_silence
from tests.jobs.conftest import START, World


@pytest_twisted.ensureDeferred
async def test_silent_loggers_in_one_round_are_bounded(world: World) -> None:
    limited = attrs.evolve(world.context.settings.alerts, max_silent_loggers=10)
    world.context.settings = attrs.evolve(world.context.settings, alerts=limited)
    looked: list[str] = []
    by_serial = world.context.customers.by_serial

    async def counting(serial: str) -> Any:
        looked.append(serial)
        return await by_serial(serial)

    world.context.customers.by_serial = counting
    for n in range(15):
        await world.context.documents.put(LOGGER, f"A{n:02d}", {}, due=START + n)
    world.clock.advance(86400)
    await judge_silence(world.context)
    assert looked == [f"A{n:02d}" for n in range(10)], "the longest silent first"


@pytest_twisted.ensureDeferred
async def test_messages_sent_at_once_are_bounded(world: World, notification: Notification) -> None:
    limit = world.outbox.settings.concurrency
    waiting: list[Deferred[bool]] = [Deferred() for _ in range(limit + 3)]
    world.recorder.answers = list(waiting)
    for n in range(limit + 3):
        await world.outbox.enqueue(notification._replace(id=f"n{n}"), {"type": "record", "to": "x"}, world.context.now)
    ticking = Deferred.fromCoroutine(world.service.tick())
    for _ in range(100):  # turns of the reactor, in which more could begin if they were let
        await deferLater(reactor, 0.002)
    assert len(world.recorder.sent) == limit
    for answer in waiting:
        answer.callback(True)
    await ticking
    assert len(world.recorder.sent) == limit + 3
