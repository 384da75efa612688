"""What a job gets to work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import attrs

from cenergyd.customers.model import Customer
from cenergyd.customers.store import CustomerStore
from cenergyd.documents.store import DocumentStore
from cenergyd.hookspecs import AlertRule, Notification, WindowVerdict
from cenergyd.jobs.alerts.plugin_alerts import RulesOfPlugin, plugin_rule, raise_plugin_alert
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
    customer: Customer | None = None
    """Whose job it is."""
    rules: RulesOfPlugin = attrs.field(factory=dict)
    """Kinds of alerts that the plugin declares."""
    all_documents: DocumentStore | None = None
    """The document store as it is, for alerts."""

    def for_customer(self, customer: Customer) -> RunningJobContext:
        """A context that may write that customer's series, for ``cenergyd_periodic``."""
        return self.context_for(customer)

    def alert_rule(self, kind: str) -> AlertRule | None:
        """What the job's customer has set of an alert that the plugin declares; None where it is off."""
        return plugin_rule(self.rules, self.customer, kind)

    async def alert(self, kind: str, series: str, verdicts: Sequence[WindowVerdict], text: str) -> None:
        """Bring an alert about one of the customer's series up to date."""
        unguarded = attrs.evolve(self, documents=self.all_documents or self.documents)
        await raise_plugin_alert(
            self.rules, self.customer, unguarded, kind=kind, series=series, verdicts=verdicts, text=text
        )

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
