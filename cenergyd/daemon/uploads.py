"""The parts that take uploads in, wired together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from cenergyd.acquisuite.layouts import LayoutTable
from cenergyd.customers.model import Customer, PendingMark
from cenergyd.customers.passwords import hash_password
from cenergyd.errors import ConfigError
from cenergyd.ingest.activity import INTERVAL_SECONDS, MAX_REJECTED, REPEAT_SECONDS, LoggerActivity
from cenergyd.ingest.config_versions import ConfigArchive
from cenergyd.ingest.credentials import HASH_THREADS, MAX_WAITING, CredentialChecker
from cenergyd.ingest.group_commit import GroupCommit
from cenergyd.ingest.layouts import LayoutSource
from cenergyd.ingest.receiver import Receiver
from cenergyd.runtime.metrics import Metrics
from cenergyd.runtime.threads import BoundedPool
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import Stores


class UploadParts(Service):
    """What an upload passes through, from its password to its readings' durable copy; the endpoint itself is the web's.

    :param reactor: IReactorTime and IReactorFromThreads.
    :param stored: called with the id of each customer for whom readings were stored.
    """

    name = "uploads"

    def __init__(
        self, settings: Settings, reactor: Any, stores: Stores, metrics: Metrics, stored: Callable[[str], None]
    ) -> None:
        self._queue = stores.customers.derivation_queue
        self._stored = stored
        self._hash_pool = BoundedPool(reactor, "argon2", HASH_THREADS, MAX_WAITING)
        self._hash_pool.start()  # without a thread, until there is a password to hash
        self.credentials = CredentialChecker(stores.customers, self._hash_pool, reactor, settings.credentials)
        self.group_commit: GroupCommit[PendingMark] = GroupCommit(
            stores.readings, reactor, self._mark, took=metrics.store
        )
        self.activity = LoggerActivity(
            stores.documents,
            reactor,
            interval_seconds=INTERVAL_SECONDS,
            repeat_seconds=REPEAT_SECONDS,
            max_rejected=MAX_REJECTED,
        )
        self.layouts = LayoutSource(layout_table(settings), stores.documents, reactor)
        self.config_archive = ConfigArchive(
            stores.documents, self.layouts, reactor, remote=settings.upload.remote_configuration
        )
        self.receiver = Receiver(
            credential_checker=self.credentials,
            group_commit=self.group_commit,
            layouts=self.layouts,
            activity=self.activity,
            metrics=metrics,
            max_future_seconds=settings.upload.max_future_seconds,
            clock=reactor,
            config_archive=self.config_archive,
        )

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Fires when what is being written is written."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._finish())

    def reload(self, settings: Settings) -> None:
        """Take those settings that count at once. Raises ConfigError, and then nothing has changed."""
        self.layouts.table = layout_table(settings)  # first: this alone can fail
        self.receiver.max_future_seconds = settings.upload.max_future_seconds
        self.config_archive.remote = settings.upload.remote_configuration
        self.credentials.forget_all()

    async def hash_password(self, password: str) -> str:
        """A new hash, made in a thread."""
        return await self._hash_pool.run(hash_password, password)

    def forget(self, *customers: Customer | None) -> None:
        """Forget what is remembered of their loggers."""
        for customer in customers:
            if customer is not None:
                self.credentials.forget(customer.logger_serial_number)

    async def _finish(self) -> None:
        try:
            await self.group_commit.stop(0)  # every request has been answered or given up by now
            await self.credentials.finish()
        finally:
            self._hash_pool.stop()

    async def _mark(self, marks: Sequence[PendingMark]) -> None:
        """What follows a group's write: the customers' pending windows, one mark a customer."""
        merged: dict[str, PendingMark] = {}
        for mark in marks:
            known = merged.get(mark.customer_id, mark)
            start, end = min(known.start, mark.start), max(known.end, mark.end)
            merged[mark.customer_id] = PendingMark(mark.customer_id, start, end)
        await self._queue.mark(list(merged.values()))
        for customer_id in merged:
            self._stored(customer_id)


def layout_table(settings: Settings) -> LayoutTable:
    """The layouts of the settings. Raises ConfigError."""
    try:
        return LayoutTable(settings.layout)
    except ValueError as error:
        raise ConfigError(f"[layout:...]: {error}") from error
