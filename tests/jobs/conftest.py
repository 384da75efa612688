"""A small daemon's inside for alerts: stores, outbox and a job context, with a time that tests set."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock

from cenergyd.customers.model import Customer
from cenergyd.daemon.plugins import LoadedPlugins
from cenergyd.documents.kinds import OUTBOX
from cenergyd.documents.store import Document
from cenergyd.hookspecs import Attempt, Notification, hookimpl
from cenergyd.jobs.messages.outbox import Outbox
from cenergyd.jobs.messages.sender import OutboxService
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.runtime.plugin_threads import PluginThreads
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.storage.sqlite.customers import SqliteCustomerStore
from cenergyd.storage.sqlite.documents import SqliteDocumentStore
from tests.derivation.conftest import steady_machine  # noqa: F401 - for all tests of this folder
from tests.jobs.messages.receiver import Receiver

START = 1_800_000_000 - 1_800_000_000 % 86400 + 12 * 3600
"""Noon UTC of a day."""
SERIAL = "001EC6001433"


class Recorder:
    """A notifier for channels of type ``record``; ``answers`` are taken one by one, then :attr:`answer` gives them."""

    def __init__(self) -> None:
        self.sent: list[tuple[Notification, dict[str, Any], Attempt]] = []
        self.answers: list[Any] = []
        self.answer: Callable[[dict[str, Any]], Any] = lambda _: True

    @hookimpl
    def cenergyd_notify(self, notification: Notification, channel: dict[str, Any], attempt: Attempt) -> Any:
        if channel["type"] not in ("record", "again"):
            return None
        self.sent.append((notification, channel, attempt))
        answer = self.answers.pop(0) if self.answers else self.answer(channel)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def subjects(self) -> list[str]:
        return [notification.subject for notification, _, _ in self.sent]


@attrs.define
class Context:
    """A JobContext."""

    clock: Clock
    readings: MemoryReadingStore
    documents: Any
    customers: Any
    settings: Settings
    outbox: Outbox

    @property
    def now(self) -> int:
        return int(self.clock.seconds())

    async def notify(self, notification: Notification) -> None:
        await self.outbox.notify(notification, self.now)

    async def pause(self) -> None:
        return None


@attrs.define
class JobsUnderTest:
    """Everything an alerts test needs."""

    clock: Clock
    context: Context
    outbox: Outbox
    recorder: Recorder
    service: OutboxService
    plugins: LoadedPlugins

    async def customer(self, alerts: dict[str, Any], **fields: Any) -> Customer:
        """Add the customer: a grid meter 1 and a solar meter 2, Los Angeles time."""
        wanted = {
            "id": "", "name": "Mill", "time_zone": "America/Los_Angeles", "facility": "1", "solar": "2",
            "logger_serial_number": SERIAL, "logger_password": "x", "extensions": {"alerts": alerts},
        }  # fmt: skip
        return await self.context.customers.add(Customer(**{**wanted, **fields}))

    async def write(self, meter: str, readings: Iterable[Reading]) -> None:
        await self.context.readings.write([SeriesReadings(f"{SERIAL}_{meter}", list(readings))])

    async def outbox_documents(self) -> list[Document]:
        return await self.context.documents.find(OUTBOX, limit=1000)


def plugin_manager(*plugins: Any, options: object = None) -> LoadedPlugins:
    """The plugins, registered; all are given the same options."""
    manager = LoadedPlugins()
    for number, plugin in enumerate(plugins):
        manager.register(plugin, f"test{number}")
        manager.options[f"test{number}"] = options
    return manager


def settings_with(**overrides: str) -> Settings:
    """Default settings, some of them changed: ``outbox__max_attempts="3"``."""
    return load_settings(Settings, None, {key.replace("__", "."): value for key, value in overrides.items()})


@pytest_twisted.async_yield_fixture
async def jobs(tmp_path: Path) -> AsyncIterator[JobsUnderTest]:
    path = tmp_path / "customers.sqlite"
    customers, documents = SqliteCustomerStore(reactor, path), SqliteDocumentStore(reactor, path)
    await customers.open()
    await documents.open()
    settings = settings_with(outbox__idempotent_channels="again sms webhook")
    clock = Clock()
    clock.advance(START)
    recorder = Recorder()
    outbox = Outbox(documents, customers, settings.outbox)
    manager = plugin_manager(recorder)
    service = OutboxService(outbox, manager, PluginThreads(reactor), reactor, clock)
    context = Context(clock, MemoryReadingStore(), documents, customers, settings, outbox)
    yield JobsUnderTest(clock, context, outbox, recorder, service, manager)
    await documents.close()
    await customers.close()


@pytest.fixture
def notification() -> Notification:
    return Notification("n-1", "c1", "net_load", "Mill: net load is high", "It is 60 kW.\nMore.\n", {"value": 60.0})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Takes messages over HTTP."""
    server = Receiver()
    yield server
    server.close()
