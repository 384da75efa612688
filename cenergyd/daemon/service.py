"""The daemon: the one place where stores, domain services, plugins and web are wired together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import deferLater
from twisted.logger import Logger

from cenergyd.acquisuite.layouts import LayoutTable
from cenergyd.customers.model import Customer, PendingMark
from cenergyd.customers.passwords import hash_password
from cenergyd.daemon.metrics import (
    bind_derivation_metrics,
    bind_job_metrics,
    bind_plugin_metrics,
    bind_site_metrics,
    bind_state_metrics,
    bind_upload_metrics,
)
from cenergyd.daemon.plugins import build_plugin_manager, log_plugins
from cenergyd.derivation.service import DerivationService
from cenergyd.errors import CenergydError, ConfigError, Overloaded, StoreUnavailable
from cenergyd.hookspecs import Notification
from cenergyd.ingest.activity import INTERVAL_SECONDS, MAX_REJECTED, REPEAT_SECONDS, LoggerActivity
from cenergyd.ingest.config_versions import ConfigArchive
from cenergyd.ingest.credentials import HASH_THREADS, MAX_WAITING, CredentialChecker
from cenergyd.ingest.group_commit import MAX_QUEUED_UPLOADS, GroupCommit
from cenergyd.ingest.layouts import LayoutSource
from cenergyd.ingest.receiver import Receiver
from cenergyd.jobs.messages.outbox import Outbox
from cenergyd.jobs.messages.sender import OutboxService
from cenergyd.jobs.service import JobService
from cenergyd.jobs.site_state.service import SiteStateService
from cenergyd.runtime.isolation import describe
from cenergyd.runtime.metrics import Metrics
from cenergyd.runtime.plugin_threads import PluginThreads
from cenergyd.runtime.threads import BoundedPool
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import Stores, make_stores, open_stores
from cenergyd.web.access.auth import Authenticator, token_throttle
from cenergyd.web.access.sessions import Sessions
from cenergyd.web.access.tokens import FIRST_TOKEN_SECONDS, Tokens, ensure_first_token
from cenergyd.web.api.app import BASE, Api
from cenergyd.web.api.compat import Legacy
from cenergyd.web.api.feed import ReadingFeed
from cenergyd.web.pages.app import Pages
from cenergyd.web.pages.static import BASE as STATIC
from cenergyd.web.server.accept import accept_singly
from cenergyd.web.server.clients import Clients
from cenergyd.web.server.operations import Operations
from cenergyd.web.server.site import MAX_BODY_BYTES, MAX_REQUEST_SECONDS, BoundedSite, Root
from cenergyd.web.server.upload import UploadResource
from cenergyd.web.views.context import MAX_JSON_BYTES, PAGE_SIZE, Context

__all__ = ["Daemon", "Stores", "build_daemon", "open_stores"]

_REOPEN_SECONDS = 2.0
_DRAIN_POLL_SECONDS = 0.05
LIVE: Final = frozenset(
    {
        "layout", "logging",
        "upload.max_future_seconds", "upload.remote_configuration",
        "server.max_connections", "server.request_timeout_seconds", "server.shutdown_grace_seconds",
    }
)  # fmt: skip
"""Sections and settings that a reload changes at once; ``[logging]`` by whoever began the logging."""
log = Logger()


class Daemon:
    """Everything that ``cenergyd run`` runs. Listens at once; answers uploads as soon as the stores do.

    :ivar addresses: URLs where it listens, once started.
    """

    def __init__(self, settings: Settings, reactor: Any, stores: Stores) -> None:
        self.settings = settings
        self.stores = stores
        self.customers, self.readings, self.documents = stores.customers, stores.readings, stores.documents
        self.addresses: list[str] = []
        self.metrics = Metrics()
        self.plugins = build_plugin_manager(settings)
        self.plugin_threads = PluginThreads(reactor)
        self._reactor = reactor
        self._ports: list[Any] = []  # IListeningPort
        self._opening: Deferred[None] | None = None
        self._store_fault: str | None = "the stores are not open yet"
        self._grace: float = settings.server.shutdown_grace_seconds
        self._hash_pool = BoundedPool(reactor, "argon2", HASH_THREADS, MAX_WAITING)
        self._build_uploads()
        self._build_services()
        self._build_web()
        bind_upload_metrics(
            self.metrics, self.receiver, self.group_commit, self.activity, lambda: self._store_fault is None
        )
        bind_site_metrics(self.metrics, self._site)
        bind_derivation_metrics(self.metrics, self.derivation.status, reactor.seconds)
        bind_plugin_metrics(self.metrics, self.plugins.infos, self.plugins.times)
        bind_state_metrics(self.metrics, lambda: self.site_states.counts)
        bind_job_metrics(self.metrics, self.jobs.status, self.outbox_service)

    def _build_uploads(self) -> None:
        settings, reactor = self.settings, self._reactor
        self.credentials = CredentialChecker(self.customers, self._hash_pool, reactor, settings.credentials)
        self.group_commit: GroupCommit[PendingMark] = GroupCommit(
            self.readings,
            reactor,
            self._mark,
            took=self.metrics.store,
        )
        self.activity = LoggerActivity(
            self.documents,
            reactor,
            interval_seconds=INTERVAL_SECONDS,
            repeat_seconds=REPEAT_SECONDS,
            max_rejected=MAX_REJECTED,
        )
        self.layouts = LayoutSource(_layout_table(settings), self.documents, reactor)
        self.config_archive = ConfigArchive(
            self.documents,
            self.layouts,
            reactor,
            remote=settings.upload.remote_configuration,
        )
        self.receiver = Receiver(
            credential_checker=self.credentials,
            group_commit=self.group_commit,
            layouts=self.layouts,
            activity=self.activity,
            metrics=self.metrics,
            max_future_seconds=settings.upload.max_future_seconds,
            clock=reactor,
            config_archive=self.config_archive,
        )

    def _build_services(self) -> None:
        settings, reactor = self.settings, self._reactor
        self.feed = ReadingFeed()
        self.outbox = Outbox(self.documents, self.customers, settings.outbox)
        self.outbox_service = OutboxService(self.outbox, self.plugins, self.plugin_threads, reactor)
        self.derivation = DerivationService(
            clock=reactor,
            settings=settings.derivation,
            plugins=self.plugins,
            readings=self.readings,
            documents=self.documents,
            derivation_queue=self.customers.derivation_queue,
            job_queue=self.customers.job_queue,
            derived=self._have_news,
        )
        self.site_states = SiteStateService(
            clock=reactor, customers=self.customers, documents=self.documents, readings=self.readings
        )
        self.jobs = JobService(
            clock=reactor,
            settings=settings,
            plugins=self.plugins,
            readings=self.readings,
            documents=self.documents,
            customers=self.customers,
            notify=self._notify,
            threads=self.plugin_threads,
        )

    def _build_web(self) -> None:
        settings, reactor = self.settings, self._reactor
        clients = Clients(settings.server.trusted_proxies)
        self.tokens = Tokens(self.documents)
        authenticator = Authenticator(
            self.tokens,
            Sessions(
                self.documents,
                self.tokens,
                idle_seconds=settings.web.session_idle_seconds,
                max_seconds=settings.web.session_max_seconds,
            ),
            token_throttle(reactor, settings.web.max_failures_per_address),
            clients,
            reactor,
        )
        self.context = context = Context(
            customers=self.customers,
            readings=self.readings,
            documents=self.documents,
            tokens=self.tokens,
            authenticator=authenticator,
            clock=reactor,
            settings=settings.web,
            hash_password=self._hash_password,
            on_change=self._customer_changed,
            feed=self.feed,
            derivation=settings.derivation,
            max_gap_seconds=settings.rollups.max_gap_seconds,
            archive=self.config_archive,
            outbox=self.outbox,
            page_size=PAGE_SIZE,
            max_json_bytes=MAX_JSON_BYTES,
        )
        operations: Any = Operations(self._checks(), self.metrics, reactor).app.resource()
        self._api = Api(context)
        pages = Pages(context, upload_path=settings.upload.path)
        uploads: Any = UploadResource(self.receiver, clients)
        mounts: dict[str, Any] = {
            settings.upload.path: uploads,
            BASE: self._api.app.resource(),
            STATIC: pages.static,
            "": pages.app.resource(),
        }
        legacy = Legacy(context).app.resource()
        whole = {"/healthz": operations, "/readyz": operations, "/metrics": operations, "/settings": legacy}
        root: Any = Root(mounts, whole)
        self._site = BoundedSite(
            root,
            reactor,
            max_body_bytes=MAX_BODY_BYTES,
            max_connections=settings.server.max_connections,
            idle_seconds=settings.server.request_timeout_seconds,
            request_seconds=MAX_REQUEST_SECONDS,
            direct={settings.upload.path: uploads},
        )

    def _checks(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        async def opened() -> None:
            if self._store_fault is not None:
                raise StoreUnavailable(self._store_fault)

        async def queue() -> None:
            limit = MAX_QUEUED_UPLOADS
            if self.group_commit.queued_uploads >= limit:
                raise Overloaded(f"{limit} uploads are waiting to be written")

        return {"opened": opened, "customers": self.customers.ping, "readings": self.readings.ping, "queue": queue}

    async def _hash_password(self, password: str) -> str:
        return await self._hash_pool.run(hash_password, password)

    async def _customer_changed(self, old: Customer | None, new: Customer | None) -> None:
        """Forget what is remembered of its logger, and judge its site anew."""
        for customer in (old, new):
            if customer is not None:
                self.credentials.forget(customer.logger_serial_number)
        changed = new or old
        if changed is not None:
            try:
                await self.site_states.judge([changed.id])
            except CenergydError:
                self.site_states.news(changed.id)  # it was saved: that its state is told later is no failure
            self.context.fleet.forget()

    async def _announce_first_token(self) -> None:
        secret = await ensure_first_token(self.tokens, int(self._reactor.seconds()), FIRST_TOKEN_SECONDS)
        if secret is not None:
            # Not through the log, which may be kept and sent elsewhere: this is for whoever watches the first start.
            print(f"\nNo operator can sign in yet. One-time sign-in token: {secret}\n", flush=True)

    async def _notify(self, notification: Notification) -> None:
        await self.outbox.notify(notification, int(self._reactor.seconds()))

    async def _mark(self, marks: Sequence[PendingMark]) -> None:
        """What follows a group's write: the customers' pending windows, one mark a customer."""
        merged: dict[str, PendingMark] = {}
        for mark in marks:
            known = merged.get(mark.customer_id, mark)
            start, end = min(known.start, mark.start), max(known.end, mark.end)
            merged[mark.customer_id] = PendingMark(mark.customer_id, start, end)
        await self.customers.derivation_queue.mark(list(merged.values()))
        for customer_id in merged:
            self._have_news(customer_id)

    def _have_news(self, customer_id: str) -> None:
        """Readings of a customer were stored or computed."""
        self.feed.publish(customer_id)
        self.site_states.news(customer_id)

    @property
    def api_document(self) -> dict[str, Any]:
        """The OpenAPI document of its API."""
        return self._api.document

    async def start(self) -> None:
        """Listen, then open the stores; returns once uploads can be taken, or the stores turned out to be down.

        While they are down every request but /healthz and /readyz is answered 503, and opening is tried again: no restart
        is needed. Raises ConfigError where an address cannot be listened on.
        """
        self._hash_pool.start()
        log_plugins(self.plugins.infos)
        for text in self.settings.server.listen:
            await self._listen(text)
        try:
            await self._open()
        except StoreUnavailable as error:
            self._store_fault = str(error)
            log.error("the stores are not there yet, trying again: {reason}", reason=str(error))
            self._opening = Deferred.fromCoroutine(self._open_patiently())
            self._opening.addErrback(lambda failure: log.failure("starting failed", failure))

    async def _listen(self, text: str) -> None:
        try:
            port = await serverFromString(self._reactor, text).listen(self._site)
        except Exception as error:
            raise ConfigError(f"[server] listen: cannot listen on {text}: {error}") from error
        self._ports.append(port)
        if text.startswith("systemd:"):
            accept_singly(port)
        host = port.getHost()
        scheme = "https" if text.startswith("ssl:") else "http"
        self.addresses.append(f"{scheme}://{host.host}:{host.port}/" if hasattr(host, "port") else text)

    async def _open(self) -> None:
        await self.stores.open()
        await self._announce_first_token()
        # From here on nothing can fail, so that opening again after a failure starts no service twice.
        self._store_fault = None
        self.activity.startService()
        self.derivation.startService()
        self.jobs.startService()
        self.site_states.startService()
        self.outbox_service.startService()
        log.info("ready for uploads at {path}", path=self.settings.upload.path)

    async def _open_patiently(self) -> None:
        while self._store_fault is not None:
            await deferLater(self._reactor, _REOPEN_SECONDS)
            try:
                await self._open()
            except StoreUnavailable as error:
                self._store_fault = str(error)
            except Exception as error:
                # Whatever it is, an operator may put it right while we run: trying goes on.
                self._store_fault = describe(error)
                log.failure("the stores cannot be opened, trying again")

    async def stop(self) -> None:
        """Take no new connections, finish the uploads in hand (for a bounded time), stop the services, close the stores."""
        for port in self._ports:
            await _maybe(port.stopListening())
        self._site.drain()
        if self._opening is not None:
            self._opening.addErrback(lambda _: None)
            self._opening.cancel()
        deadline = self._reactor.seconds() + self._grace
        while self.receiver.in_progress and self._reactor.seconds() < deadline:
            await deferLater(self._reactor, _DRAIN_POLL_SECONDS)
        self._api.close()
        for channel in list(self._site.channels):
            channel.close()
        await self.group_commit.stop(max(0.0, deadline - self._reactor.seconds()))
        await self.credentials.finish()
        if self._store_fault is None:
            await self.derivation.stopService()
            await self.jobs.stopService()
            await _maybe(self.site_states.stopService())
            await self.outbox_service.stopService()
            await self.activity.stop()
        await self.stores.close()
        self._hash_pool.stop()
        self.plugin_threads.stop()

    async def reload(self, settings: Settings) -> None:
        """Take new settings: :data:`LIVE` at once; of others that differ from the running ones the log says that they need a restart.

        Passwords remembered are looked up afresh. Raises ConfigError, and then nothing has changed.
        """
        layouts = _layout_table(settings)  # first: this alone can fail
        self.layouts.table = layouts
        self.receiver.max_future_seconds = settings.upload.max_future_seconds
        self.config_archive.remote = settings.upload.remote_configuration
        self._site.max_connections = settings.server.max_connections
        self._site.timeOut = settings.server.request_timeout_seconds
        self._grace = settings.server.shutdown_grace_seconds
        self.credentials.forget_all()
        waiting = need_restart(self.settings, settings)
        if waiting:
            log.warn("changes of these settings need a restart: {settings}", settings=", ".join(waiting))


def need_restart(running: Settings, wanted: Settings) -> list[str]:
    """Settings that differ and that :meth:`Daemon.reload` does not take, as ``[section] key``."""
    found: list[str] = []
    for section in attrs.fields(Settings):
        name, old, new = section.name, getattr(running, section.name), getattr(wanted, section.name)
        if name in LIVE or old == new:
            continue
        if isinstance(old, Mapping):
            found += [f"[{name}:{member}]" for member in sorted({*old, *new}) if old.get(member) != new.get(member)]
            continue
        keys = [field.name for field in attrs.fields(type(old)) if getattr(old, field.name) != getattr(new, field.name)]
        found += [f"[{name}] {key}" for key in keys if f"{name}.{key}" not in LIVE]
    return found


def build_daemon(settings: Settings, reactor: Any) -> Daemon:
    """A daemon of the settings, not yet started. Raises ConfigError."""
    return Daemon(settings, reactor, make_stores(settings, reactor))


def _layout_table(settings: Settings) -> LayoutTable:
    try:
        return LayoutTable(settings.layout)
    except ValueError as error:
        raise ConfigError(f"[layout:...]: {error}") from error


async def _maybe(result: Any) -> None:
    if isinstance(result, Deferred):
        await result
