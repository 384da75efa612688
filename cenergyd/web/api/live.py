"""Live views: new data of a customer, read once for all of its viewers, sent as server-sent events."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.server import Request

from cenergyd.customers.model import Customer, Role
from cenergyd.customers.ownership import without_foreign
from cenergyd.derivation.status import results_of
from cenergyd.documents.loggers import logger_of
from cenergyd.errors import CenergydError, NotFound, Overloaded
from cenergyd.readings.model import Reading
from cenergyd.runtime.clock import Timers, twisted_clock
from cenergyd.runtime.structs import Resource
from cenergyd.web.api.customers import SeriesOfRoles
from cenergyd.web.api.derivation_state import DerivationState, derivation_state
from cenergyd.web.api.loggers import LoggerJson
from cenergyd.web.api.readings import latest_of
from cenergyd.web.api.routing import dump_json
from cenergyd.web.server.problems import RequestProblem
from cenergyd.web.views.context import Context
from cenergyd.web.views.curves import LatestReading
from cenergyd.web.views.sources import SeriesSource, role_sources

KEEP_ALIVE_SECONDS = 15
MAX_STREAMS = 500
"""Live views open at once; a sleeping one costs some kilobytes."""
CHECK_SECONDS = 1
"""Seconds between two checks of a stream's token or session, which any daemon may have ended."""
STREAMS_PER_ADDRESS = 64
"""Live views open at once from one network."""
POLL_SECONDS = 3.0
"""Seconds between two checks for readings that another daemon received."""
STREAMS_PER_CLIENT = 8
"""Live views open at once with one token or session: some browser windows."""
RETRY_MILLISECONDS = 5000
_MAX_WAITING = 100
_MAX_NEW = 500

Event = tuple[str, object]

log = Logger()


class LiveSettings(Resource, frozen=True, kw_only=True):
    """The event ``settings``."""

    etag: str
    missing_role: Role | None
    series: SeriesOfRoles


class LiveStatus(Resource, frozen=True, kw_only=True):
    """The event ``status``."""

    logger: LoggerJson | None
    derivation: DerivationState


class Watcher(Protocol):
    """A receiver of a customer's events."""

    def deliver(self, event: Event) -> None:
        """Take an event."""
        ...

    def end(self) -> None:
        """No more events follow."""
        ...


class LiveCustomer:
    """Reads new data of one customer and sends it to all viewers."""

    def __init__(self, context: Context, customer_id: str, ended: Callable[[], None]) -> None:
        self._context = context
        self._customer_id = customer_id
        self._ended = ended
        self._watchers: set[Watcher] = set()
        self._known: dict[str, int] = {}
        self._settings: LiveSettings | None = None
        self._status: LiveStatus | None = None
        self._again = False
        self._busy = False
        self._loop = LoopingCall(self._check)
        self._loop.clock = twisted_clock(context.clock)
        self._unsubscribe: Callable[[], None] | None = None

    def watch(self, watcher: Watcher) -> None:
        """Send every event from now on."""
        self._watchers.add(watcher)
        if self._unsubscribe is None:
            self._unsubscribe = self._context.feed.subscribe(self._customer_id, self._news)
            self._loop.start(POLL_SECONDS, now=False)

    def unwatch(self, watcher: Watcher) -> None:
        """Stop sending; after the last watcher, reading stops."""
        self._watchers.discard(watcher)
        if not self._watchers and self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
            self._loop.stop()
            self._ended()

    async def first_events(self) -> list[Event]:
        """The first events for a new watcher: ``settings``, ``latest`` and ``status``. Raises NotFound."""
        customer, last = await self._read()
        sources = role_sources(customer)
        settings, status = settings_event(customer), await self._status_of(customer, last)
        if self._settings is None:
            self._settings, self._status = settings, status
            self._known = {series: reading.time for series, reading in last.items()}
        latest = latest_of(customer, sources, last, int(self._context.clock.seconds()))
        return [("settings", settings), ("latest", latest), ("status", status)]

    def _news(self) -> None:
        self._again = True
        if not self._busy:
            Deferred.fromCoroutine(self._check())

    async def _check(self) -> None:
        if self._busy or self._settings is None:
            return
        self._busy = self._again = True
        try:
            while self._again and self._watchers:
                self._again = False
                for event in await self._events():
                    for watcher in tuple(self._watchers):
                        watcher.deliver(event)
        except NotFound:
            for watcher in tuple(self._watchers):
                watcher.end()
        except CenergydError as error:
            log.warn("live view of {customer}: {reason}", customer=self._customer_id, reason=str(error))
        except Exception:
            log.failure("live view of {customer} failed", customer=self._customer_id)
        finally:
            self._busy = False

    async def _events(self) -> list[Event]:
        customer, last = await self._read()
        events: list[Event] = []
        if (settings := settings_event(customer)) != self._settings:
            self._settings = settings
            events.append(("settings", settings))
        if fresh := await self._fresh(role_sources(customer), last):
            events.append(("readings", fresh))
        if (status := await self._status_of(customer, last)) != self._status:
            self._status = status
            events.append(("status", status))
        return events

    async def _read(self) -> tuple[Customer, Mapping[str, Reading]]:
        customer = await self._context.customer(self._customer_id)
        series = [source.series for source in role_sources(customer)]
        return customer, without_foreign(customer, await self._context.readings.last(series)) if series else {}

    async def _fresh(self, sources: Sequence[SeriesSource], last: Mapping[str, Reading]) -> dict[str, object]:
        fresh: dict[str, object] = {}
        for source in sources:
            newest = last.get(source.series)
            if newest is None or newest.time <= self._known.get(source.series, -1):
                continue
            since = self._known.get(source.series, newest.time - 1) + 1
            read = await self._context.readings.read([source.series], since, newest.time + 1, limit=_MAX_NEW)
            readings = read[source.series] or [newest]
            # After a long pause more may be new than one event should carry: the rest comes with the next one.
            self._known[source.series] = readings[-1].time
            self._again = self._again or readings[-1].time < newest.time
            fresh[str(source.role)] = [LatestReading.of(source, reading) for reading in readings]
        return fresh

    async def _status_of(self, customer: Customer, last: Mapping[str, Reading]) -> LiveStatus:
        serial = customer.logger_serial_number
        seen = await logger_of(self._context.documents, serial) if serial else None
        results = await results_of([customer], self._context.documents)
        return LiveStatus(
            logger=LoggerJson.of_customer(customer, seen, last) if serial else None,
            derivation=derivation_state(customer, last, results.get(customer.id)),
        )


def settings_event(customer: Customer) -> LiveSettings:
    """The settings that a view depends on."""
    return LiveSettings(etag=customer.etag, missing_role=customer.missing_role, series=SeriesOfRoles.of(customer))


def _encoded(event: Event) -> bytes:
    name, data = event
    return b"event: " + name.encode() + b"\ndata: " + dump_json(data).strip() + b"\n\n"


class EventStream:
    """Events over one HTTP response, with back pressure: a client that does not read is disconnected; its events are not buffered."""

    def __init__(self, request: Request, clock: Timers, is_allowed: Callable[[], Awaitable[bool]]) -> None:
        self._request = request
        self._clock = clock
        self._is_allowed = is_allowed
        self._waiting: deque[bytes] = deque()
        self._begun = False
        self._paused = True
        self._open = True
        self._done: Deferred[None] = Deferred()
        self._quiet_since = clock.seconds()
        self._checked = clock.seconds()
        self._loop = LoopingCall(self._tick)
        self._loop.clock = twisted_clock(clock)

    def begin(self, first: Sequence[Event]) -> None:
        """Send the headers, the first events, and those that have arrived meanwhile."""
        self._begun = True
        self._request.setHeader(b"Content-Type", b"text/event-stream")
        self._request.setHeader(b"Cache-Control", b"no-store")
        # Tells nginx not to buffer events.
        self._request.setHeader(b"X-Accel-Buffering", b"no")
        if not self._open:
            return  # It ended while the first events were read, so nothing would unregister the producer.
        meanwhile, self._waiting = self._waiting, deque([f"retry: {RETRY_MILLISECONDS}\n\n".encode()])
        self._waiting.extend(_encoded(event) for event in first)
        self._waiting.extend(meanwhile)
        self._request.registerProducer(self, True)
        self._loop.start(CHECK_SECONDS, now=False)
        self.resumeProducing()

    async def finished(self) -> None:
        """Return when this side ends the stream; it is cancelled when the client disconnects."""
        await self._done

    def deliver(self, event: Event) -> None:
        """Send an event."""
        self._write(_encoded(event))

    def end(self) -> None:
        """End the stream."""
        if not self._open:
            return
        self._open = False
        self._waiting.clear()
        if self._loop.running:
            self._loop.stop()
        # After the client has disconnected, the request has no channel.
        if self._begun and self._request.channel is not None:
            self._request.unregisterProducer()
        if not self._done.called:
            self._done.callback(None)

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The client reads more slowly than we write."""
        self._paused = True

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The client has caught up."""
        self._paused = False
        while self._waiting and not self._paused:
            self._request.write(self._waiting.popleft())

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The connection is closed."""
        self._paused = True

    def _write(self, chunk: bytes) -> None:
        if not self._open:
            return
        self._quiet_since = self._clock.seconds()
        if not self._paused:
            self._request.write(chunk)
        elif len(self._waiting) < _MAX_WAITING:
            self._waiting.append(chunk)
        else:
            self.end()

    async def _tick(self) -> None:
        now = self._clock.seconds()
        if now - self._checked >= CHECK_SECONDS:
            self._checked = now
            if not await self._allowed():
                self.end()
                return
        if now - self._quiet_since >= KEEP_ALIVE_SECONDS and not self._paused:
            self._write(b": still here\n\n")

    async def _allowed(self) -> bool:
        try:
            return bool(await self._is_allowed())
        except CenergydError:
            return True  # a short outage of the store must not end the stream


class LiveViews:
    """All live views of this daemon, bounded."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._customers: dict[str, LiveCustomer] = {}
        self._streams: set[EventStream] = set()
        self._per_client: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._streams)

    async def serve(self, request: Request, customer_id: str, client: str, network: str) -> None:
        """Send events until the client disconnects or loses its permission. ``client`` identifies the token, ``network`` is that of the address.

        Raises NotFound, Overloaded, a 429 problem.
        """
        self._check_room(client, network)

        async def is_allowed() -> bool:
            return await self._context.authenticator.still_valid(request)

        stream = EventStream(request, self._context.clock, is_allowed)
        self._streams.add(stream)
        self._per_client.update((client, network))
        live = self._live(customer_id)
        live.watch(stream)
        try:
            stream.begin(await live.first_events())
            await stream.finished()
        finally:
            live.unwatch(stream)
            self._streams.discard(stream)
            self._per_client -= Counter((client, network))
            stream.end()

    def close(self) -> None:
        """End all of them, for a stop of the daemon."""
        for stream in tuple(self._streams):
            stream.end()

    def _check_room(self, client: str, network: str) -> None:
        if self._per_client[client] >= STREAMS_PER_CLIENT or self._per_client[network] >= STREAMS_PER_ADDRESS:
            raise RequestProblem(
                429, "too_many_streams", f"at most {STREAMS_PER_CLIENT} live views at once",
                headers={"Retry-After": "10"},
            )  # fmt: skip
        if len(self._streams) >= MAX_STREAMS:
            raise Overloaded("too many live views")

    def _live(self, customer_id: str) -> LiveCustomer:
        live = self._customers.get(customer_id)
        if live is None:
            live = LiveCustomer(self._context, customer_id, lambda: self._forget(customer_id))
            self._customers[customer_id] = live
        return live

    def _forget(self, customer_id: str) -> None:
        del self._customers[customer_id]
