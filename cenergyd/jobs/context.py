"""The context of a job: stores, settings and services that it may use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import attrs

from cenergyd.customers.model import Customer
from cenergyd.customers.store import CustomerStore
from cenergyd.documents.store import DocumentStore
from cenergyd.hookspecs import AlertRule, Notification, WindowVerdict
from cenergyd.jobs.alerts.plugin_alerts import RulesOfPlugin, plugin_rule, raise_plugin_alert
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Timers, sleep
from cenergyd.runtime.threads import InThread
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
    """Queues a message durably in the outbox."""
    clock: Timers
    """The reactor."""
    run_in_thread: InThread
    """Runs a function in one of the plugin's own threads."""

    context_for: Callable[[Customer], RunningJobContext]
    """Makes the context of a customer."""
    customer: Customer | None = None
    """The customer of the job; None for periodic work."""
    rules: RulesOfPlugin = attrs.field(factory=dict)
    """Kinds of alerts that the plugin declares."""
    all_documents: DocumentStore | None = None
    """The document store without write checks, for alerts."""

    def for_customer(self, customer: Customer) -> RunningJobContext:
        """A context that may write a customer's series, for ``cenergyd_periodic``."""
        return self.context_for(customer)

    def alert_rule(self, kind: str) -> AlertRule | None:
        """The customer's settings of an alert that the plugin declares; None if it is off."""
        return plugin_rule(self.rules, self.customer, kind)

    async def alert(self, kind: str, series: str, verdicts: Sequence[WindowVerdict], text: str) -> None:
        """Update an alert on one of the customer's series."""
        unguarded = attrs.evolve(self, documents=self.all_documents or self.documents)
        await raise_plugin_alert(
            self.rules, self.customer, unguarded, kind=kind, series=series, verdicts=verdicts, text=text
        )

    async def notify(self, notification: Notification) -> None:
        """Queue a message to every channel of the customer; it is durable when this returns."""
        await self.notifier(notification)

    async def in_thread(self, function: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Run a synchronous function in one of the plugin's own threads; returns or raises what it returns or raises."""
        return await self.run_in_thread(function, *args, **kwargs)

    async def pause(self) -> None:
        """Let the reactor run other work; await this after about 10 ms of computation."""
        await sleep(self.clock, 0)
