"""The parts that take in uploads, wired together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from cenergyd.acquisuite.layouts import LayoutTable
from cenergyd.customers.model import Customer, PendingMark
from cenergyd.customers.passwords import hash_password, verify_password
from cenergyd.documents.change_notices import ChangeNotices
from cenergyd.errors import ConfigError, StoreUnavailable
from cenergyd.ingest.activity import INTERVAL_SECONDS, MAX_REJECTED, REPEAT_SECONDS, LoggerActivity
from cenergyd.ingest.archive import UploadArchive
from cenergyd.ingest.archive_files import ArchiveFolder
from cenergyd.ingest.config_exchange import ConfigExchange
from cenergyd.ingest.config_versions import ConfigVersionStore
from cenergyd.ingest.credentials import HASH_THREADS, MAX_WAITING, CredentialChecker
from cenergyd.ingest.group_commit import GroupCommit
from cenergyd.ingest.held_logs import HeldLogs
from cenergyd.ingest.held_meters import HeldMeters
from cenergyd.ingest.held_reader import HeldLogService
from cenergyd.ingest.log_reader import LogReader
from cenergyd.ingest.logger_proof import LoggerProof
from cenergyd.ingest.meter_layouts import MeterLayouts
from cenergyd.ingest.receiver import Receiver
from cenergyd.readings.model import series_name
from cenergyd.runtime.byte_budget import ByteBudget
from cenergyd.runtime.clock import Reactor, Timers
from cenergyd.runtime.metrics import Metrics
from cenergyd.runtime.threads import BoundedPool
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import Stores

MEGABYTE: Final = 1_000_000
ALL_LOGGERS: Final = 64
"""The room for all loggers' held logs is this many times that for one: 4 GB by default."""

PROCESS_BYTES = 160 << 20
"""The part of ``[server] max_memory_mb`` that the process itself takes; requests share the rest."""


class UploadParts(Service):
    """Everything that an upload passes through, from password check to durable write; the endpoint itself is in the web server.

    :param reactor: Timers and IReactorFromThreads.
    :param notices: of changes, as this daemon follows them.
    :param mark: widens the customers' pending ranges, durably.
    :param stored: called with the id of each customer for whom readings were stored, or whose log had none.
    """

    name = "uploads"

    def __init__(
        self,
        settings: Settings,
        reactor: Reactor,
        stores: Stores,
        metrics: Metrics,
        stored: Callable[[str], None],
        *,
        notices: ChangeNotices,
        mark: Callable[[Sequence[PendingMark]], Awaitable[None]],
    ) -> None:
        self._mark_pending = mark
        self._stored = stored
        self._hash_pool = BoundedPool(reactor, "argon2", HASH_THREADS, MAX_WAITING)
        announced = notices if stores.customers.announces_changes else None
        self.credentials = CredentialChecker(
            stores.customers, self._hash_pool, reactor, settings.credentials, announced
        )
        self.proof = LoggerProof(stores.customers, stores.documents, self._check_password, reactor)
        self.group_commit: GroupCommit[PendingMark] = GroupCommit(
            stores.readings, reactor, self._mark, took=metrics.store
        )
        self.activity = _activity(stores, reactor)
        self.layouts = MeterLayouts(layout_table(settings), stores.documents, reactor, notices)
        self._reader = LogReader(self.layouts, reactor, settings.upload.max_future_seconds)
        self.held_meters = HeldMeters(stores.documents, reactor, logger_bytes=0, all_bytes=0)
        self._held_logs = HeldLogs(stores.documents, self.held_meters, reactor, settings.upload.held_days)
        self.held = HeldLogService(self._held_logs, self.layouts, self._reader, stores.customers, reactor)
        self.budget = ByteBudget((settings.server.max_memory_mb << 20) - PROCESS_BYTES)
        self.held.budget = self.budget
        self._bound_held_logs(settings)
        self.layouts.when_learned(lambda serial, meter: self.held.read_again(series_name(serial, meter)))
        self.config_versions = ConfigVersionStore(
            stores.documents, self.layouts, reactor, remote=settings.upload.remote_configuration
        )
        self._config_exchange = ConfigExchange(stores.documents, self.config_versions)
        self.archive = upload_archive(settings, reactor)
        self.receiver = self._receiver(metrics, reactor)
        self.held.store = self.receiver.store

    def _receiver(self, metrics: Metrics, clock: Timers) -> Receiver:
        return Receiver(
            credential_checker=self.credentials,
            group_commit=self.group_commit,
            reader=self._reader,
            held=self.held,
            activity=self.activity,
            metrics=metrics,
            clock=clock,
            config_exchange=self._config_exchange,
            archive=self.archive.keep if self.archive else None,
            nothing_stored=self._stored,
        )

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Fires when the writes in progress have ended."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._finish())

    def reload(self, settings: Settings) -> None:
        """Apply the settings that take effect at once. Raises ConfigError, and then nothing has changed."""
        self.layouts.table = layout_table(settings)  # first, because only this can fail
        self.held.read_all_again()
        self._reader.max_future_seconds = settings.upload.max_future_seconds
        self._bound_held_logs(settings)
        self.config_versions.remote = settings.upload.remote_configuration
        self.credentials.forget_all()

    async def hash_password(self, password: str) -> str:
        """A new hash, made in a thread."""
        return await self._hash_pool.run(hash_password, password)

    async def _check_password(self, stored: str, password: str) -> bool:
        return await self._hash_pool.run(_is_password, stored, password)

    def forget(self, *customers: Customer | None) -> None:
        """Forget what is remembered of their loggers."""
        for customer in customers:
            if customer is not None:
                self.credentials.forget(customer.logger_serial_number)

    async def columns_changed(self, customer: Customer) -> None:
        """Read the held logs of the customer's logger, as far as their columns are known now."""
        try:
            await self.held.read_logger_again(customer.logger_serial_number)
        except StoreUnavailable:
            self.held.read_all_again()  # the change is stored, so the logs are found later

    def _bound_held_logs(self, settings: Settings) -> None:
        self._held_logs.keep_days = settings.upload.held_days
        self.held_meters.logger_bytes = settings.upload.held_mb * MEGABYTE
        self.held_meters.all_bytes = ALL_LOGGERS * self.held_meters.logger_bytes

    async def _finish(self) -> None:
        try:
            await self.group_commit.stop(0)  # every request has been answered or given up by now
            self.proof.close()
            await self.credentials.finish()
        finally:
            self._hash_pool.stop()

    async def _mark(self, marks: Sequence[PendingMark]) -> None:
        """After a group's write: widen the customers' pending ranges, one mark per customer."""
        merged: dict[str, PendingMark] = {}
        for mark in marks:
            known = merged.get(mark.customer_id, mark)
            start, end = min(known.start, mark.start), max(known.end, mark.end)
            merged[mark.customer_id] = PendingMark(mark.customer_id, start, end)
        await self._mark_pending(list(merged.values()))
        for customer_id in merged:
            self._stored(customer_id)


def _is_password(stored: str, password: str) -> bool:
    if not stored:
        hash_password(password)  # takes as long as a comparison
    return verify_password(stored, password)


def _activity(stores: Stores, reactor: Reactor) -> LoggerActivity:
    return LoggerActivity(
        stores.documents,
        reactor,
        interval_seconds=INTERVAL_SECONDS,
        repeat_seconds=REPEAT_SECONDS,
        max_rejected=MAX_REJECTED,
    )


def upload_archive(settings: Settings, reactor: Reactor) -> UploadArchive | None:
    """The archive of accepted uploads; None where they are not kept."""
    wanted = settings.archive
    if not wanted.days:
        return None
    return UploadArchive(reactor, ArchiveFolder(wanted.folder, wanted.days, wanted.max_gb * 1000 * MEGABYTE))


def layout_table(settings: Settings) -> LayoutTable:
    """The layouts of the settings. Raises ConfigError."""
    try:
        return LayoutTable(settings.layout, settings.upload.unknown_meters)
    except ValueError as error:
        raise ConfigError(f"[layout:...]: {error}") from error
