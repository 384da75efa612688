"""What a job gets to work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs

from cenergyd.customers.model import Customer
from cenergyd.customers.store import CustomerStore
from cenergyd.documents.store import DocumentStore
from cenergyd.hookspecs import Notification
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Timers, sleep
from cenergyd.settings.sections import Settings

T = TypeVar("T")


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
    clock: Timers
    """The reactor."""
    run_in_thread: Callable[..., Awaitable[Any]]
    """Runs a function in one of the plugin's threads."""

    context_for: Callable[[Customer], RunningJobContext]
    """Makes the context of a customer."""

    def for_customer(self, customer: Customer) -> RunningJobContext:
        """A context that may write that customer's series, for ``cenergyd_periodic``."""
        return self.context_for(customer)

    async def notify(self, notification: Notification) -> None:
        """Queue a message to every channel of the customer, durably; returns once it is queued."""
        await self.notifier(notification)

    async def in_thread(self, function: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Run a synchronous function in one of the plugin's own threads and return what it returns or raises."""
        result: T = await self.run_in_thread(function, *args, **kwargs)
        return result

    async def pause(self) -> None:
        """Let the daemon do other things; await it after every 10 ms or so of computing."""
        await sleep(self.clock, 0)
