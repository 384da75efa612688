"""The web side on a real loopback port over real stores, and a client for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
import treq
from twisted.internet import reactor
from twisted.web.client import Agent, HTTPConnectionPool

from cenergyd.acquisuite.layouts import LayoutTable
from cenergyd.customers.model import Customer
from cenergyd.customers.passwords import hash_password
from cenergyd.ingest.config_exchange import ConfigExchange
from cenergyd.ingest.config_versions import ConfigVersionStore
from cenergyd.ingest.meter_layouts import MeterLayouts
from cenergyd.jobs.messages.outbox import Outbox
from cenergyd.jobs.site_state.service import SiteStateService
from cenergyd.readings.corrected import corrected_store
from cenergyd.readings.correction_cache import CorrectionCache
from cenergyd.settings.sections import OutboxSettings, WebSettings
from cenergyd.storage.mongodb.connection import MongoDatabase
from cenergyd.storage.mongodb.customers import MongoCustomerStore
from cenergyd.storage.mongodb.documents import MongoDocumentStore
from cenergyd.storage.sqlite.customers import SqliteCustomerStore
from cenergyd.storage.sqlite.documents import SqliteDocumentStore
from cenergyd.storage.sqlite.readings import SqliteReadingStore
from cenergyd.web.access.auth import Authenticator, token_throttle
from cenergyd.web.access.sessions import PER_TOKEN, Sessions
from cenergyd.web.access.tokens import Tokens
from cenergyd.web.api import openapi
from cenergyd.web.api.app import BASE, Api
from cenergyd.web.api.compat import FrontEndSettings
from cenergyd.web.api.reading_feed import ReadingFeed
from cenergyd.web.server.clients import Clients
from cenergyd.web.server.root import Root
from cenergyd.web.server.site import BoundedSite
from cenergyd.web.views.context import PAGE_SIZE, Context
from tests.servers import PATIENT_SECONDS

# The API has the same types in every test, and making their schemas takes longer than many of the tests.
openapi.schemas_of = lru_cache(openapi.schemas_of)


class SettableClock:
    """The reactor's timers with a wall clock that tests move."""

    def __init__(self) -> None:
        self.offset = 0.0

    def seconds(self) -> float:
        return reactor.seconds() + self.offset

    @property
    def now(self) -> int:
        return int(self.seconds())

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


@attrs.frozen
class Response:
    """What came back."""

    status: int
    headers: Any
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    def header(self, name: str) -> str | None:
        values = self.headers.getRawHeaders(name)
        return values[-1] if values else None

    @property
    def etag(self) -> str:
        value = self.header("ETag")
        assert value is not None
        return value


class Client:
    """The client of one caller: a bearer token, or a cookie jar of its own."""

    def __init__(self, web: WebSide, token: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        self._world = web
        self.token = token
        self.headers = dict(headers or {})
        self.cookies: dict[str, str] = {}

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        params: Any = None,
    ) -> Response:
        sent = {**self.headers, **(headers or {})}
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        url = (
            path if path.startswith("http") else self._world.url + (path if path.startswith("/") else f"{BASE}/{path}")
        )
        response = await treq.request(
            method, url, headers=sent, data=data, params=params, agent=self._world.agent, allow_redirects=False
        )
        content = await response.content()
        for line in response.headers.getRawHeaders("Set-Cookie", []):
            name, _, value = line.split(";", 1)[0].partition("=")
            self.cookies[name] = value
        return Response(response.code, response.headers, content)

    async def get(self, path: str, **more: Any) -> Response:
        return await self.call("GET", path, **more)

    async def post(self, path: str, body: Any = None, **more: Any) -> Response:
        return await self.call("POST", path, body, **more)

    async def patch(self, path: str, body: Any = None, **more: Any) -> Response:
        return await self.call("PATCH", path, body, **more)

    async def put(self, path: str, body: Any = None, **more: Any) -> Response:
        return await self.call("PUT", path, body, **more)

    async def delete(self, path: str, **more: Any) -> Response:
        return await self.call("DELETE", path, **more)


class WebSide:
    """Stores, API and site, started and stopped by a test's fixture."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any] | None = None,
        proxies: tuple[str, ...] = (),
        mongo_url: str | None = None,
        *,
        sessions_per_token: int = PER_TOKEN,
        page_size: int = PAGE_SIZE,
    ) -> None:
        database = folder / "customers.sqlite"
        mongo = MongoDatabase(reactor, mongo_url, PATIENT_SECONDS) if mongo_url else None
        self.customers: Any = MongoCustomerStore(mongo) if mongo else SqliteCustomerStore(reactor, database)
        self.documents: Any = MongoDocumentStore(mongo) if mongo else SqliteDocumentStore(reactor, database)
        measured = SqliteReadingStore(reactor, folder / "readings.sqlite")
        self.readings: Any = corrected_store(measured, CorrectionCache(self.documents, reactor.seconds))
        self.settings = WebSettings(**(settings or {}))
        self.sessions_per_token = sessions_per_token
        self.page_size = page_size
        self.proxies = proxies
        self.clock = SettableClock()
        self.feed = ReadingFeed()
        self.changes: list[tuple[Customer | None, Customer | None]] = []

    async def start(self) -> None:
        for store in (self.customers, self.documents, self.readings):
            await store.open()
        settings = self.settings
        self.tokens = Tokens(self.documents)
        self.sessions = Sessions(
            self.documents,
            self.tokens,
            idle_seconds=settings.session_idle_seconds,
            max_seconds=settings.session_max_seconds,
            per_token=self.sessions_per_token,
        )
        self.throttle = token_throttle(self.clock)
        authenticator = Authenticator(self.tokens, self.sessions, self.throttle, Clients(self.proxies), self.clock)

        self.archive = ConfigVersionStore(
            self.documents, MeterLayouts(LayoutTable(), self.documents, self.clock), self.clock,
            remote=True, max_versions=3, max_bytes=65536,
        )  # fmt: skip
        self.exchange = ConfigExchange(self.documents, self.archive)

        async def hashed(password: str) -> str:
            return hash_password(password)

        async def on_change(old: Customer | None, new: Customer | None) -> None:
            self.changes.append((old, new))
            if (changed := new or old) is not None:
                await self.evaluate(changed)

        self.context = Context(
            customers=self.customers,
            readings=self.readings,
            documents=self.documents,
            tokens=self.tokens,
            authenticator=authenticator,
            clock=self.clock,
            settings=settings,
            hash_password=hashed,
            on_change=on_change,
            feed=self.feed,
            page_size=self.page_size,
            archive=self.archive,
            outbox=Outbox(self.documents, self.customers, OutboxSettings()),
        )
        self.site_states = SiteStateService(
            clock=self.clock, customers=self.customers, documents=self.documents, readings=self.readings
        )
        self.api = Api(self.context)
        root = Root({BASE: self.api.app.resource()}, {"/settings": FrontEndSettings(self.context).app.resource()})
        site = BoundedSite(
            root, reactor, max_body_bytes=1 << 20, max_connections=200, idle_seconds=60, request_seconds=60
        )
        self._port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.site = site
        self.url = f"http://127.0.0.1:{self._port.getHost().port}"
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.retryAutomatically = False
        self.agent = Agent(reactor, pool=self._pool)
        self.operator_token, _ = await self.tokens.add("operator", "the operator", self.clock.now)
        self.operator = Client(self, self.operator_token)

    async def stop(self) -> None:
        self.api.close()
        await self._pool.closeCachedConnections()
        await self._port.stopListening()
        for channel in list(self.site.connections):
            channel.forceAbortClient()
        for store in (self.customers, self.documents, self.readings):
            await store.close()

    async def evaluate(self, *customers: Customer) -> None:
        """Update the list of sites to the present state of customers."""
        await self.site_states.evaluate([customer.id for customer in customers])
        self.context.fleet.forget()

    def anybody(self, **headers: str) -> Client:
        """A client without credentials."""
        return Client(self, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def customer(self, **settings: str) -> tuple[Customer, Client]:
        """A customer and a client with its token."""
        made = await self.customers.add(attrs.evolve(Customer(id=""), **settings))
        await self.evaluate(made)
        token, _ = await self.tokens.add("customer", "a customer", self.clock.now, customer_id=made.id)
        return made, Client(self, token)
