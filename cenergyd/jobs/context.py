"""What a job gets to work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from twisted.internet.task import deferLater

from cenergyd.customers.store import CustomerStore
from cenergyd.documents.store import DocumentStore
from cenergyd.hookspecs import Notification
from cenergyd.readings.store import ReadingStore
from cenergyd.settings.sections import Settings


@attrs.define(slots=True, kw_only=True)
class RunningJobContext:
    """The daemon's :class:`~cenergyd.hookspecs.JobContext`."""

    now: int
    """UTC seconds."""
    readings: ReadingStore
    documents: DocumentStore
    customers: CustomerStore
    settings: Settings
    notifier: Callable[[Notification], Awaitable[None]]
    """Queues a message durably (the outbox)."""
    clock: Any
    """The reactor."""

    async def notify(self, notification: Notification) -> None:
        """Queue a message to every channel of the customer, durably; returns once it is queued."""
        await self.notifier(notification)

    async def pause(self) -> None:
        """Let the daemon do other things; await it after every 10 ms or so of computing."""
        await deferLater(self.clock, 0, _nothing)


def _nothing() -> None:
    pass
