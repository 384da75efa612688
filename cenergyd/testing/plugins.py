"""Runs a plugin in a test as the daemon does: isolated, its results checked, with options from an ini, on stores in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

import attrs

from cenergyd.customers.model import Customer, Role
from cenergyd.daemon.plugins import build_plugin_manager
from cenergyd.derivation.plugin_result import BadResult, checked_result
from cenergyd.hookspecs import AlignedReading, Attempt, Formula, Notification
from cenergyd.jobs.alerts.rules import edit_alerts, parse_channel
from cenergyd.jobs.context import RunningJobContext
from cenergyd.jobs.guarded_stores import Writer, guarded
from cenergyd.readings.model import FieldPoint, Reading, SeriesReadings
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.isolation import Implementation, PluginFailed, pending
from cenergyd.runtime.threads import in_this_thread
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.testing.reactor_thread import reactor, wait_for
from cenergyd.testing.readings import NOON, SimulatedDay
from cenergyd.testing.stores import NamingReadings, open_test_stores, urls_of_environment

T = TypeVar("T")
SECONDS = 30.0
"""Seconds until a hook that has not returned counts as failed."""


class PluginTest:
    """One plugin on stores of its own.

    Its methods call the plugin's hooks. They raise what the plugin raised, and :class:`~cenergyd.runtime.isolation.PluginFailed` if the
    daemon would refuse its result. Coroutines and Deferreds are awaited, with Twisted's reactor in a thread.

    :param plugin: the module, or object.
    :param name: as in its entry point.
    :param options: texts as in the ini's ``[plugin:NAME]``. Raises ConfigError if they are invalid.
    :param settings: other settings, ``section.key`` -> text. ``customers.url`` and ``readings.url`` select real stores instead of those in
        memory; so do the environment variables :data:`~cenergyd.testing.stores.VARIABLES`, with which each object gets its own databases.
    """

    def __init__(
        self,
        plugin: object,
        name: str = "plugin",
        *,
        options: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        texts = {f"plugin:{name}.{key}": value for key, value in (options or {}).items()}
        self.name = name
        given = {**urls_of_environment(), **texts, **(settings or {})}
        self.settings = load_settings(Settings, None, given)
        self.manager = build_plugin_manager(self.settings, extra=[(name, plugin)])
        self._stores = wait_for(open_test_stores(self.settings, given, reactor))
        self.readings, self.documents = self._stores.readings, self._stores.documents
        self.customers = self._stores.customers
        self._named: set[str] = set()
        self.messages: list[Notification] = []
        """The notifications of jobs, each id once."""
        self.now = NOON
        """UTC seconds."""

    @property
    def options(self) -> Any:
        """The options as the plugin's hooks get them."""
        return self.manager.options.get(self.name)

    def add_customer(self, customer: Customer) -> None:
        """Add a customer to the store, for ``cenergyd_periodic``; the customer of a job is added automatically."""
        wait_for(self._stores.keep(customer))

    def write(self, series: str, readings: Iterable[Reading]) -> None:
        """Store measured readings."""
        wait_for(self.readings.write([SeriesReadings(series, list(readings))]))

    def points(self, series: str) -> list[FieldPoint]:
        """The field points that are stored in a series."""
        return wait_for(self.readings.read_points(series, 0, 1 << 40))

    def derive(
        self, customer: Customer, role: Role, aligned: Sequence[AlignedReading], formula: Formula = "physical"
    ) -> list[Reading] | None:
        """The result of ``cenergyd_derive``; None if it leaves the computation to other plugins."""
        asked = tuple(aligned)
        arguments = {"customer": customer, "role": role, "aligned": asked, "formula": formula}
        answer = self._call("cenergyd_derive", arguments)
        try:
            return None if answer is None else checked_result(asked, answer)
        except BadResult as error:
            raise PluginFailed(self.name, str(error)) from error

    def job(self, customer: Customer, start: int, end: int) -> None:
        """Run ``cenergyd_job`` over a range of times, ``start <= time < end``, UTC seconds."""
        self.add_customer(customer)
        context = self.context(customer)
        self._call("cenergyd_job", {"customer": customer, "start": start, "end": end, "context": context})

    def periodic(self) -> None:
        """Run ``cenergyd_periodic``."""
        self._call("cenergyd_periodic", {"context": self.context()})

    def notify(
        self, notification: Notification, channel: Mapping[str, object], *, number: int = 1, unsure: bool = False
    ) -> bool | None:
        """Call ``cenergyd_notify``: True if the message was accepted, None if the channel is not the plugin's."""
        attempt = Attempt(number=number, unsure=unsure, now=self.now, reactor=reactor, in_thread=in_this_thread)
        arguments = {"notification": notification, "channel": dict(channel), "attempt": attempt}
        return cast(bool | None, self._call("cenergyd_notify", arguments))

    def check_channel(self, channel: Mapping[str, object]) -> dict[str, object]:
        """A channel as it is stored after being entered on the page or by the API. Raises InvalidField."""
        return parse_channel(channel, types=self.manager.channel_types)

    def check_alerts(self, alerts: Mapping[str, object]) -> dict[str, object]:
        """Alert settings as they are stored after being entered, ``{"plugin_rules": {kind: {...}}, ...}``. Raises InvalidField."""
        return edit_alerts(None, alerts, self.manager.channel_types, self.manager.rules_by_kind())

    def day(self, day: SimulatedDay) -> list[Reading]:
        """Run the plugin over a day as the daemon does: derive (by a built-in plugin if this one does not), store, then run its job twice.

        Returns the computed readings. Raises AssertionError if the second run of the job left other results than the first.
        """
        serial = day.customer.logger_serial_number
        for role, readings in day.readings.items():
            if role != day.missing:
                self.write(f"{serial}_{day.customer.current.meter_of(role)}", readings)
        computed: list[Reading] = []
        for implementation in self.manager.implementations("cenergyd_derive"):
            arguments = {
                "customer": day.customer, "role": day.missing, "aligned": tuple(day.aligned), "formula": "physical"
            }  # fmt: skip
            answer = self._run(implementation, arguments)
            if answer is not None:
                computed = checked_result(day.aligned, answer)
                break
        self.write(f"{serial}_missing_meter", computed)
        if any(each.plugin == self.name for each in self.manager.implementations("cenergyd_job")):
            self.job(day.customer, day.start, day.end)
            first = self._results()
            self.job(day.customer, day.start, day.end)
            assert self._results() == first, "the job left other results when it was run again"
        return computed

    def context(self, customer: Customer | None = None) -> RunningJobContext:
        """The context of a job."""
        writer = Writer(self.name, customer)
        readings = cast(ReadingStore, NamingReadings(self.readings, self._named))
        stores = guarded(writer, readings, self.documents, self.customers)
        return _TestContext(
            now=self.now, readings=stores[0], documents=stores[1], customers=stores[2], settings=self.settings,
            notifier=self._notified, clock=reactor, run_in_thread=in_this_thread, context_for=self.context,
            customer=customer, rules=self.manager.alert_rules.get(self.name, {}), all_documents=self.documents,
        )  # fmt: skip

    def _results(self) -> dict[str, list[FieldPoint]]:
        return {series: self.points(series) for series in sorted(self._named)}

    async def _notified(self, notification: Notification) -> None:
        if notification.id not in {each.id for each in self.messages}:
            self.messages.append(notification)

    def _call(self, hook: str, arguments: Mapping[str, object]) -> object:
        for implementation in self.manager.implementations(hook):
            if implementation.plugin == self.name:
                return self._run(implementation, arguments)
        raise LookupError(f"the plugin does not implement {hook}")

    def _run(self, implementation: Implementation, arguments: Mapping[str, object]) -> object:
        async def work() -> object:
            result = self.manager.call(implementation, arguments)
            if pending(result):
                result = await self.manager.settled(implementation, result, SECONDS, reactor)
            return result

        try:
            return wait_for(work())
        except PluginFailed as error:
            raise (error.__cause__ or error) from None


@attrs.define(slots=True, kw_only=True)
class _TestContext(RunningJobContext):
    async def pause(self) -> None:
        """Do nothing: in a test nothing else is waiting."""
