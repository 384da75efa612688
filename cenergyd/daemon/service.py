"""The daemon: the one place where stores, domain services, plugins and web are wired together, started and stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cenergyd.customers.model import Customer, PendingMark
from cenergyd.daemon.backlog_counts import BacklogCounts, store_infos
from cenergyd.daemon.metrics import (
    bind_archive_metrics,
    bind_backlog_metrics,
    bind_derivation_metrics,
    bind_held_metrics,
    bind_job_metrics,
    bind_plugin_metrics,
    bind_recent_metrics,
    bind_site_metrics,
    bind_state_metrics,
    bind_upload_metrics,
)
from cenergyd.daemon.opening import StoreOpening
from cenergyd.daemon.plugins import build_plugin_manager, log_plugins
from cenergyd.daemon.readiness import readiness_checks
from cenergyd.daemon.reloading import need_restart
from cenergyd.daemon.retention import Retention, oldest_pending
from cenergyd.daemon.uploads import UploadParts
from cenergyd.daemon.web import WebServer
from cenergyd.derivation.corrector import CorrectionFollowUp, Corrector
from cenergyd.derivation.front_end_watch import FrontEndWatch
from cenergyd.derivation.service import DerivationService
from cenergyd.documents.change_notices import POLL_SECONDS, ChangeNotices
from cenergyd.errors import CenergydError, ConfigError, InvalidField
from cenergyd.hookspecs import Notification
from cenergyd.jobs.alerts.rules import operator_channels
from cenergyd.jobs.alerts.site_alerts import SiteAlerts
from cenergyd.jobs.messages.outbox import Outbox
from cenergyd.jobs.messages.sender import OutboxService
from cenergyd.jobs.service import JobService
from cenergyd.jobs.site_state.fleet import FleetReader
from cenergyd.jobs.site_state.service import SiteStateService
from cenergyd.jobs.site_state.summary import SiteSummary
from cenergyd.runtime.clock import Reactor
from cenergyd.runtime.metrics import Metrics
from cenergyd.runtime.ordered_services import OrderedServices
from cenergyd.runtime.periodic import PeriodicService
from cenergyd.runtime.plugin_threads import PluginThreads
from cenergyd.runtime.store_info import StoreInfo
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import Stores, make_stores, open_stores
from cenergyd.web.access.tokens import FIRST_TOKEN_SECONDS, ensure_first_token
from cenergyd.web.api.reading_feed import ReadingFeed

__all__ = ["Daemon", "Stores", "build_daemon", "open_stores"]

STOP_SECONDS = 20.0
"""Seconds for a stop in addition to ``[server] shutdown_grace_seconds``, in which requests are answered; then what still runs is cancelled."""
FLEET_SECONDS = 20.0
"""Seconds between two checks whether the list of all sites must be read again."""
log = Logger()


class Daemon(OrderedServices):
    """Everything that ``cenergyd run`` runs, as one tree. Listens at once; answers uploads as soon as the stores do.

    :meth:`_parts` lists its parts in the order in which they start; they stop in the opposite one.
    """

    def __init__(self, settings: Settings, reactor: Reactor, stores: Stores) -> None:
        super().__init__(reactor, settings.server.shutdown_grace_seconds + STOP_SECONDS)
        self.settings = settings
        self.stores = stores
        self.customers, self.readings, self.documents = stores.customers, stores.readings, stores.documents
        self._reactor = reactor
        self.metrics = Metrics()
        self.plugins = build_plugin_manager(settings)
        self.plugin_threads = PluginThreads(reactor)
        self.feed = ReadingFeed()
        self.opening = StoreOpening(stores, reactor, self._opened)
        self._notices = ChangeNotices(self.documents, reactor.seconds)
        self.uploads = UploadParts(
            settings, reactor, stores, self.metrics, self._readings_arrived,
            notices=self._notices, mark=self._mark,
        )  # fmt: skip
        self.outbox = Outbox(
            self.documents, self.customers, settings.outbox, _operators(settings),
            [kind.type for kind in self.plugins.channel_types.values() if kind.idempotent],
        )  # fmt: skip
        self.sender = OutboxService(self.outbox, self.plugins, self.plugin_threads, reactor)
        self.backlog_counts = BacklogCounts(reactor, self.customers.job_queue, self.outbox)
        self.site_states = self._site_states()
        self.jobs = self._jobs()
        self.derivation = self._derivation()
        self.front_end_watch = FrontEndWatch(reactor, self.customers, self.readings, self._customer_changed)
        self.correction_follow_up = CorrectionFollowUp(
            reactor, Corrector(customers=self.customers, readings=self.readings, documents=self.documents)
        )
        self.retention = _retention(settings, reactor, stores, self.jobs)
        self.web = self._web()
        self.addresses = self.web.addresses
        """URLs where it listens, once started."""
        for part in self._parts():
            part.setServiceParent(self)
        _bind_metrics(self, reactor)

    async def _mark(self, marks: Sequence[PendingMark]) -> None:
        await self.derivation.marks.mark(marks)

    def _derivation(self) -> DerivationService:
        return DerivationService(
            clock=self._reactor,
            settings=self.settings.derivation,
            plugins=self.plugins,
            readings=self.stores.cached_readings,
            claimed=self.stores.recent.claimed,
            documents=self.documents,
            derivation_queue=self.customers.derivation_queue,
            job_queue=self.customers.job_queue,
            derived=self._readings_arrived,
            jobs=self.jobs.handed_over,
        )

    def _jobs(self) -> JobService:
        return JobService(
            clock=self._reactor,
            settings=self.settings,
            plugins=self.plugins,
            readings=self.readings,
            cached_readings=self.stores.cached_readings,
            documents=self.documents,
            customers=self.customers,
            notify=self._notify,
            threads=self.plugin_threads,
            alert_rules=self.plugins.alert_rules,
            finished=self.site_states.finished,
        )

    def _site_states(self) -> SiteStateService:
        return SiteStateService(
            clock=self._reactor,
            customers=self.customers,
            documents=self.documents,
            readings=self.readings,
            evaluated=SiteAlerts(lambda: self.jobs.context("alerts")).evaluated,
            stored=self._sites_evaluated,
            cached_readings=self.stores.cached_readings,
            is_current=self.stores.recent.is_current,
            max_gap=self.settings.rollups.max_gap_seconds,
            uploads=self.uploads.activity.regular,
        )

    def _sites_evaluated(self, summaries: Sequence[SiteSummary], gone: Sequence[str]) -> None:
        self.web.context.fleet.take(summaries, gone)

    def _web(self) -> WebServer:
        return WebServer(
            self.settings, self._reactor, self.stores, self.metrics,
            uploads=self.uploads, outbox=self.outbox, feed=self.feed,
            checks=readiness_checks(self.opening, self.stores, self.uploads, self._reactor),
            on_change=self._customer_changed, plugins=self.plugins, store_infos=self.store_infos,
        )  # fmt: skip

    def _parts(self) -> Sequence[Service]:
        """In the order in which they start."""
        return (
            self.opening,
            _notice_reading(self._notices, self._reactor),
            self.uploads.activity,
            self.uploads.held,
            *([self.uploads.archive] if self.uploads.archive else []),
            self.sender,
            self.backlog_counts,
            self.retention,
            self.site_states,
            _fleet_reading(self.web.context.fleet, self._reactor),
            self.front_end_watch,
            self.correction_follow_up,
            self.jobs,
            self.derivation,
            self.uploads,
            self.web,
        )

    def store_infos(self) -> Sequence[StoreInfo]:
        """Information about the stores, for operators."""
        return store_infos(self.settings, self.retention)

    def _readings_arrived(self, customer_id: str) -> None:
        """Readings of a customer were stored or computed."""
        self.feed.publish(customer_id)
        self.site_states.site_changed(customer_id)

    async def _customer_changed(self, old: Customer | None, new: Customer | None) -> None:
        """Drop cached credentials of its logger, and evaluate its site again."""
        self.uploads.forget(old, new)
        if new is not None and new.logger_serial_number:
            await self.uploads.columns_changed(new)
        changed = new or old
        if changed is not None:
            try:
                await self.site_states.evaluate([changed.id])
            except CenergydError:
                self.site_states.site_changed(changed.id)  # the change is saved; the site's state may follow later
                self.web.context.fleet.forget()

    async def _notify(self, notification: Notification) -> None:
        await self.outbox.notify(notification, int(self._reactor.seconds()))

    @property
    def api_document(self) -> dict[str, object]:
        """The OpenAPI document of its API."""
        return self.web.api.document()

    async def start(self) -> None:
        """Listen, then open the stores; returns once uploads can be taken, or the stores turn out to be down.

        While they are down every request but /healthz and /readyz is answered 503, and opening is tried again: no restart
        is needed. Raises ConfigError where an address cannot be listened on.
        """
        log_plugins(self.plugins.infos)
        await self.web.listen()
        await self.opening.open()

    async def _opened(self) -> None:
        """The stores are open: start everything else."""
        secret = await ensure_first_token(self.web.tokens, int(self._reactor.seconds()), FIRST_TOKEN_SECONDS)
        if secret is not None:
            # Not logged, because logs may be stored and sent elsewhere: it is for the person who starts the daemon for the first time.
            print(f"\nNo operator can sign in yet. One-time sign-in token: {secret}\n", flush=True)
        # Nothing can fail after this, so that another attempt to open the stores starts no service twice.
        self.startService()  # type: ignore[no-untyped-call]
        log.info("ready for uploads at {path}", path=self.settings.upload.path)

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Accept no new connections, finish the requests in progress, stop all parts, close the stores; within ``stop_seconds``."""
        return super().stopService().addCallback(lambda _: self.plugin_threads.stop())

    async def reload(self, settings: Settings) -> None:
        """Apply new settings: those of :data:`~cenergyd.daemon.reloading.LIVE` at once; others that differ from the running ones are logged
        as needing a restart.

        Cached passwords are looked up again. Raises ConfigError, and then nothing has changed.
        """
        self.uploads.reload(settings)  # first, because only this can fail
        self.web.reload(settings)
        self.stop_seconds = settings.server.shutdown_grace_seconds + STOP_SECONDS
        waiting = need_restart(self.settings, settings)
        if waiting:
            log.warn("changes of these settings need a restart: {settings}", settings=", ".join(waiting))


def _fleet_reading(fleet: FleetReader, reactor: Reactor) -> PeriodicService:
    """Keeps the list of all sites in memory, from the start on."""
    return PeriodicService(reactor, fleet.refresh, FLEET_SECONDS, what="reading the list of sites", log=log)


def _notice_reading(notices: ChangeNotices, reactor: Reactor) -> PeriodicService:
    """Learns of changes that other daemons make."""
    return PeriodicService(reactor, notices.refresh, POLL_SECONDS, what="reading what has changed", log=log)


def _operators(settings: Settings) -> Sequence[Mapping[str, object]]:
    try:
        return operator_channels(settings.alerts.operators)
    except InvalidField as error:
        raise ConfigError(f"[alerts] operators: {error}") from error


def build_daemon(settings: Settings, reactor: Reactor) -> Daemon:
    """A daemon of the settings, not yet started. Raises ConfigError."""
    return Daemon(settings, reactor, make_stores(settings, reactor))


def _retention(settings: Settings, reactor: Reactor, stores: Stores, jobs: JobService) -> Retention:
    queues = (stores.customers.derivation_queue, stores.customers.job_queue)
    waiting = (*map(oldest_pending, queues), jobs.oldest_retry)
    return Retention(reactor, stores.old_rows, settings.readings.keep_days, waiting)


def _bind_metrics(daemon: Daemon, reactor: Reactor) -> None:
    bind_upload_metrics(daemon.metrics, daemon.uploads, lambda: daemon.web.operations.ready)
    bind_held_metrics(daemon.metrics, daemon.uploads)
    if daemon.uploads.archive:
        bind_archive_metrics(daemon.metrics, daemon.uploads.archive)
    bind_site_metrics(daemon.metrics, daemon.web.site)
    bind_derivation_metrics(daemon.metrics, daemon.derivation.status, reactor.seconds)
    bind_plugin_metrics(daemon.metrics, daemon.plugins.infos, daemon.plugins.times)
    bind_state_metrics(daemon.metrics, daemon.web.context.fleet.counts)
    bind_backlog_metrics(daemon.metrics, daemon.backlog_counts, daemon.store_infos, reactor.seconds)
    bind_recent_metrics(daemon.metrics, daemon.stores.recent)
    bind_job_metrics(daemon.metrics, daemon.jobs.status, daemon.sender)
