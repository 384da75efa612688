"""Calls of the plugins' job hooks: what they get, how long they may take, and whose fault it is where one fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import attrs
from twisted.internet.defer import CancelledError

from cenergyd.customers.model import Customer, Window
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
"""After so many timeouts in a row a plugin is left alone for REST_SECONDS: its windows are kept, nobody waits for it."""
REST_SECONDS = 60


class StoreTrouble(Exception):
    """A store did not answer a job: not the plugin's fault."""


@attrs.define(slots=True, kw_only=True)
class PluginCalls:
    """Calls jobs and periodic work of plugins, each with a context of its own."""

    plugins: PluginManager
    clock: Timers
    settings: Settings
    readings: ReadingStore
    documents: DocumentStore
    customers: CustomerStore
    notify: Callable[[Notification], Awaitable[None]]
    """Queues a notification durably."""
    threads: PluginThreads
    """For jobs whose clients are synchronous."""
    alert_rules: Mapping[str, RulesOfPlugin]
    """The kinds of alerts that each plugin declares, by plugin and kind."""
    stopping: bool = False
    """Whether a cancelled call is the daemon's end, and not the plugin's failure."""
    _timeouts: Counter[str] = attrs.field(factory=Counter, init=False)
    _resting: dict[str, float] = attrs.field(factory=dict, init=False)

    async def job(
        self, implementation: Implementation, customer: Customer, window: Window, shared: ReadingStore | None = None
    ) -> None:
        """Run a plugin's job over a window.

        :param shared: readings that the jobs of the window share.
        :raises PluginFailed: also where the plugin is left alone at the moment.
        :raises StoreTrouble: a store was the reason.
        """
        plugin = implementation.plugin
        if self.is_resting(plugin):
            raise PluginFailed(plugin, "it did not answer several times and is left alone for a while")
        context = self.context(plugin, customer, shared)
        await self.call(implementation, {"customer": customer, **window._asdict(), "context": context})

    async def call(self, implementation: Implementation, arguments: dict[str, object]) -> None:
        """Call an implementation and wait for it. Raises PluginFailed, and StoreTrouble where a store was the reason."""
        plugin = implementation.plugin
        try:
            result = self.plugins.call(implementation, arguments)
            if pending(result):
                await self.plugins.settled(implementation, result, self.settings.jobs.timeout_seconds, self.clock)
        except PluginFailed as error:
            if self.stopping and isinstance(error.__cause__, CancelledError):
                raise error.__cause__ from error
            if isinstance(error.__cause__, StoreUnavailable | Overloaded):
                raise StoreTrouble(str(error.__cause__)) from error
            if isinstance(error.__cause__, TimeoutError):
                self._timeouts[plugin] += 1
                if self._timeouts[plugin] >= TIMEOUTS_BEFORE_REST:
                    self._resting[plugin] = self.clock.seconds() + REST_SECONDS
            raise
        self._timeouts.pop(plugin, None)

    def is_resting(self, plugin: str) -> bool:
        """Whether the plugin is left alone after several timeouts."""
        # A longer rest than it was given belongs to a clock that was set back.
        return bool(0 < self._resting.get(plugin, 0) - self.clock.seconds() <= REST_SECONDS)

    def context(
        self, plugin: str, customer: Customer | None = None, shared: ReadingStore | None = None
    ) -> RunningJobContext:
        """What a plugin may use now.

        :param customer: whose series it may write; None: nobody's.
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
