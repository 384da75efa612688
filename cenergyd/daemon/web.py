"""Everything that answers HTTP, wired together, and the endpoints where it listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger
from twisted.web.resource import IResource

from cenergyd.daemon.plugins import LoadedPlugins
from cenergyd.daemon.uploads import UploadParts
from cenergyd.errors import ConfigError
from cenergyd.jobs.messages.outbox import Outbox
from cenergyd.runtime.clock import Reactor, sleep
from cenergyd.runtime.metrics import Metrics
from cenergyd.runtime.store_info import StoreInfo
from cenergyd.runtime.threads import BoundedPool
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import Stores
from cenergyd.web.access.auth import Authenticator, token_throttle
from cenergyd.web.access.sessions import Sessions
from cenergyd.web.access.tokens import Tokens
from cenergyd.web.api.app import BASE, Api
from cenergyd.web.api.compat import FrontEndSettings
from cenergyd.web.api.reading_feed import ReadingFeed
from cenergyd.web.pages.app import Pages
from cenergyd.web.pages.static import BASE as STATIC
from cenergyd.web.server.accept import ListeningPort, accept_singly, accept_until_closed, use_own_family
from cenergyd.web.server.clients import Clients
from cenergyd.web.server.operations import Operations, ReadinessCheck
from cenergyd.web.server.root import Root
from cenergyd.web.server.site import MAX_BODY_BYTES, MAX_REQUEST_SECONDS, BoundedSite
from cenergyd.web.server.upload import UploadApp, UploadShortcut
from cenergyd.web.views.context import MAX_JSON_BYTES, PAGE_SIZE, Context, OnChange

UPLOAD_SHORTCUT = True
"""Whether uploads bypass Klein's router; a test compares the replies of both paths."""
BACKLOG = 1024
"""Connections that the kernel queues for the daemon.

A burst of a few hundred overflows Twisted's default of 50, and a logger that connects then waits seconds for its retransmission.
"""
MAX_WAITING_PAGES = 100
"""Requests that may wait until templates are compiled or the OpenAPI document is made, once after the start; further ones are refused."""
_POLL_SECONDS = 0.05
log = Logger()


class WebServer(Service):
    """Listens, and serves the upload endpoint, the API, the pages and the operations endpoints.

    :param reactor: IReactorTCP and IReactorTime.
    :param checks: what ``/readyz`` asks.
    :ivar addresses: URLs where it listens.
    """

    name = "web"

    def __init__(
        self,
        settings: Settings,
        reactor: Reactor,
        stores: Stores,
        metrics: Metrics,
        *,
        uploads: UploadParts,
        outbox: Outbox,
        feed: ReadingFeed,
        checks: Mapping[str, ReadinessCheck],
        on_change: OnChange,
        plugins: LoadedPlugins,
        store_infos: Callable[[], Sequence[StoreInfo]],
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._uploads = uploads
        self._ports: list[ListeningPort] = []
        self._shared: list[ListeningPort] = []
        self.addresses: list[str] = []
        self.grace_seconds: float = settings.server.shutdown_grace_seconds
        """Seconds that a stop waits for requests that are being read or answered."""
        self._clients = Clients(settings.server.trusted_proxies)
        self._page_pool = BoundedPool(reactor, "pages", 1, MAX_WAITING_PAGES)
        self.tokens = Tokens(stores.documents)
        self._plugins = plugins
        self._store_infos = store_infos
        self.context = context = self._context(stores, outbox, feed, on_change)
        self.operations = Operations(checks, metrics, reactor)
        self.api = Api(context, in_thread=self._page_pool.run)
        self.site = self._site(context)

    def _context(self, stores: Stores, outbox: Outbox, feed: ReadingFeed, on_change: OnChange) -> Context:
        settings = self._settings
        sessions = Sessions(
            stores.documents,
            self.tokens,
            idle_seconds=settings.web.session_idle_seconds,
            max_seconds=settings.web.session_max_seconds,
        )
        throttle = token_throttle(self._reactor)
        return Context(
            customers=stores.customers,
            readings=stores.readings,
            documents=stores.documents,
            cached_readings=stores.cached_readings,
            is_current=stores.recent.is_current,
            tokens=self.tokens,
            authenticator=Authenticator(self.tokens, sessions, throttle, self._clients, self._reactor),
            clock=self._reactor,
            settings=settings.web,
            hash_password=self._uploads.hash_password,
            proves_logger=self._uploads.proof.proves,
            on_change=on_change,
            feed=feed,
            derivation=settings.derivation,
            max_gap_seconds=settings.rollups.max_gap_seconds,
            keep_days=settings.readings.keep_days,
            archive=self._uploads.config_versions,
            outbox=outbox,
            channel_types=self._plugins.channel_types,
            alert_rules=self._plugins.rules_by_kind(),
            channels_set_up=_channels_set_up(settings),
            operators_alerted=bool(settings.alerts.operators),
            plugins=self._plugins.infos,
            store_infos=self._store_infos,
            page_size=PAGE_SIZE,
            max_json_bytes=MAX_JSON_BYTES,
        )

    def _site(self, context: Context) -> BoundedSite:
        server, path = self._settings.server, self._settings.upload.path
        operations = self.operations.app.resource()
        uploads = UploadApp(self._uploads.receiver, self._clients, path)
        pages = Pages(context, upload_path=path, in_thread=self._page_pool.run)
        mounts = {
            BASE: self.api.app.resource(),
            STATIC: pages.static,
            "": pages.app.resource(),
        }
        legacy = FrontEndSettings(context).app.resource()
        whole = {
            path: uploads.app.resource(),
            "/healthz": operations,
            "/readyz": operations,
            "/metrics": operations,
            "/settings": legacy,
        }
        return BoundedSite(
            cast(IResource, Root(mounts, whole)),
            self._reactor,
            upload_paths=(path,),
            max_body_bytes=MAX_BODY_BYTES,
            max_connections=server.max_connections,
            idle_seconds=server.request_timeout_seconds,
            request_seconds=MAX_REQUEST_SECONDS,
            direct={path: cast(IResource, UploadShortcut(uploads))} if UPLOAD_SHORTCUT else None,
            budget=self._uploads.budget,
            known_networks=self._uploads.receiver.known_networks,
            clients=self._clients,
        )

    def reload(self, settings: Settings) -> None:
        """Apply the settings that take effect at once."""
        self.site.max_connections = settings.server.max_connections
        self.site.timeOut = settings.server.request_timeout_seconds
        self.grace_seconds = settings.server.shutdown_grace_seconds

    async def listen(self) -> None:
        """Listen on every address. Raises ConfigError where that is not possible."""
        for text in self._settings.server.listen:
            try:
                endpoint = serverFromString(self._reactor, with_backlog(text))
                use_own_family(endpoint)
                port = cast(ListeningPort, await endpoint.listen(self.site))
            except Exception as error:
                raise ConfigError(f"[server] listen: cannot listen on {text}: {error}") from error
            self._ports.append(port)
            if text.startswith("systemd:"):
                accept_singly(port)
                self._shared.append(port)
            host = port.getHost()
            scheme = "https" if text.startswith("ssl:") else "http"
            self.addresses.append(f"{scheme}://{_in_url(host.host)}:{host.port}/" if hasattr(host, "port") else text)

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Accept no new connections; fires when the requests in progress are answered, or their time limit has passed."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._finish())

    async def _finish(self) -> None:
        for port in self._ports:
            if port not in self._shared:
                accept_until_closed(port)
            stopping = port.stopListening()
            if stopping is not None:
                await stopping
        self.api.close()
        self.site.drain()
        began = self._reactor.seconds()
        # A clock that is set back must not lengthen the wait.
        while self.site.busy and 0 <= self._reactor.seconds() - began < self.grace_seconds:
            await sleep(self._reactor, _POLL_SECONDS)
        for channel in list(self.site.connections):
            channel.close()
        self._page_pool.stop()


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _channels_set_up(settings: Settings) -> frozenset[str]:
    """The kinds of channels that can send: webhooks always, e-mail and SMS if an account is set."""
    email = {"email"} if settings.email.host and settings.email.sender else set()
    sms = {"sms"} if settings.sms.account_sid and settings.sms.sender else set()
    return frozenset({"webhook"} | email | sms)


def with_backlog(endpoint: str) -> str:
    """An endpoint description, with :data:`BACKLOG` added if we bind it and it names no backlog."""
    kind = endpoint.partition(":")[0]
    if kind not in ("tcp", "tcp4", "tcp6", "ssl") or ":backlog=" in endpoint:
        return endpoint
    return f"{endpoint}:backlog={BACKLOG}"
