"""Calls the plugins' job hooks: with a context, a time limit, and a distinction between faults of the plugin and of a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import attrs
from twisted.internet.defer import CancelledError

from cenergyd.customers.model import Customer, TimeRange
from cenergyd.customers.store import CustomerStore
from cenergyd.documents.store import DocumentStore
from cenergyd.errors import Overloaded, StoreUnavailable
from cenergyd.hookspecs import Notification
from cenergyd.jobs.alerts.plugin_alerts import RulesOfPlugin
from cenergyd.jobs.context import RunningJobContext
from cenergyd.jobs.guarded_stores import Writer, guarded
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.isolation import Implementation, PluginFailed, PluginManager, pending
from cenergyd.runtime.plugin_threads import PluginThreads
from cenergyd.settings.sections import Settings

TIMEOUTS_BEFORE_REST = 3
"""After this many consecutive timeouts a plugin is not called for REST_SECONDS; its ranges are kept for later."""
REST_SECONDS = 60


class StoreFailed(Exception):
    """A job failed because a store did not answer, which is not the plugin's fault."""


@attrs.define(slots=True, kw_only=True)
class PluginCalls:
    """Calls jobs and periodic work of plugins, each with its own context."""

    plugins: PluginManager
    clock: Timers
    settings: Settings
    readings: ReadingStore
    documents: DocumentStore
    customers: CustomerStore
    notify: Callable[[Notification], Awaitable[None]]
    """Queues a notification durably."""
    threads: PluginThreads
    """Threads for jobs with synchronous clients."""
    alert_rules: Mapping[str, RulesOfPlugin]
    """The kinds of alerts that each plugin declares, by plugin and kind."""
    stopping: bool = False
    """Whether the daemon is stopping; then a cancelled call is not the plugin's failure."""
    _timeouts: Counter[str] = attrs.field(factory=Counter, init=False)
    _resting: dict[str, float] = attrs.field(factory=dict, init=False)

    async def job(
        self,
        implementation: Implementation,
        customer: Customer,
        time_range: TimeRange,
        shared: ReadingStore | None = None,
    ) -> None:
        """Run a plugin's job over a range.

        :param shared: the reading store that the jobs of the range share.
        :raises PluginFailed: the job failed, or the plugin is not called at the moment.
        :raises StoreFailed: a store did not answer.
        """
        plugin = implementation.plugin
        if self.is_resting(plugin):
            raise PluginFailed(plugin, "it timed out several times and is not called for a while")
        context = self.context(plugin, customer, shared)
        start, end = time_range
        await self.call(implementation, {"customer": customer, "start": start, "end": end, "context": context})

    async def call(self, implementation: Implementation, arguments: dict[str, object]) -> None:
        """Call an implementation and wait for it. Raises PluginFailed, or StoreFailed if a store did not answer."""
        plugin = implementation.plugin
        try:
            result = self.plugins.call(implementation, arguments)
            if pending(result):
                await self.plugins.settled(implementation, result, self.settings.jobs.timeout_seconds, self.clock)
        except PluginFailed as error:
            if self.stopping and isinstance(error.__cause__, CancelledError):
                raise error.__cause__ from error
            if isinstance(error.__cause__, StoreUnavailable | Overloaded):
                raise StoreFailed(str(error.__cause__)) from error
            if isinstance(error.__cause__, TimeoutError):
                self._timeouts[plugin] += 1
                if self._timeouts[plugin] >= TIMEOUTS_BEFORE_REST:
                    self._resting[plugin] = self.clock.seconds() + REST_SECONDS
            raise
        self._timeouts.pop(plugin, None)

    def is_resting(self, plugin: str) -> bool:
        """Whether the plugin is not called at the moment, after several timeouts."""
        # A remaining rest longer than REST_SECONDS means that the clock was set back.
        return bool(0 < self._resting.get(plugin, 0) - self.clock.seconds() <= REST_SECONDS)

    def context(
        self, plugin: str, customer: Customer | None = None, shared: ReadingStore | None = None
    ) -> RunningJobContext:
        """A context for a plugin, with the present time.

        :param customer: the customer whose series it may write; None: it may write none.
        """
        writer = Writer(plugin, customer, built_in=plugin in self.plugins.built_in)
        readings, documents, customers = guarded(writer, shared or self.readings, self.documents, self.customers)
        return RunningJobContext(
            now=int(self.clock.seconds()),
            readings=readings,
            documents=documents,
            customers=customers,
            context_for=partial(self.context, plugin),
            settings=self.settings,
            notifier=self.notify,
            clock=self.clock,
            run_in_thread=partial(self.threads.run, plugin),
            customer=customer,
            rules=self.alert_rules.get(plugin, {}),
            all_documents=self.documents,
        )
