"""The connection to MongoDB that its stores share, by txmongo, as configured by a ``mongodb://`` URL.

txmongo reconnects by itself. This module adds a time limit for every operation, one error for every kind of outage, and messages
without secrets.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import quote_plus, urlencode

from bson.errors import BSONError
from OpenSSL.SSL import Connection
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DuplicateKeyError,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)
from pymongo.uri_parser import parse_uri
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    PrivateCertificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from txmongo.collection import Cursor
from txmongo.connection import ConnectionPool
from txmongo.database import Database
from txmongo.errors import TimeExceeded
from zope.interface import implementer  # type: ignore[import-untyped]

from cenergyd.errors import ConfigError, StoreRejected, StoreUnavailable
from cenergyd.runtime.clock import Clock, Timers, twisted_clock
from cenergyd.storage.mongodb.scram import ScramProtocol

T = TypeVar("T")
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"

DEFAULT_DATABASE = "cenergy"
RECONNECT_SECONDS = 1.0
"""Longest pause between two attempts to connect."""
_REFUSED = {13, 18}
"""Error codes Unauthorized and AuthenticationFailed."""
_DATA = {2, 9, 14, 17419, 10334, 52, 57, 26, 27}
"""Error codes for data that are too large or cannot be stored, or (26, 27) for a missing collection or index. Any other code is caused by
the server's state (14031: its disk is full).
"""
_DOWN = (TimeoutError, TimeExceeded, CancelledError, ConnectionFailure, ConnectionDone, ConnectionLost, ConnectError)


def is_duplicate_key(error: PyMongoError) -> bool:
    """Whether a single or bulk write failed only because a unique index already has the value."""
    if isinstance(error, BulkWriteError):
        faults = _faults(error)
        return bool(faults) and all(fault.get("code") == 11000 for fault in faults)
    return isinstance(error, DuplicateKeyError)


CHECKS = "cenergyd_check"
"""The collection with the single document that readiness checks update."""


class MongoDatabase:
    """The database in a URL, with a few persistent connections.

    :param reactor: for time limits. (txmongo itself uses the global reactor.)
    :param url: ``mongodb://user:password@host/database?tls=true&...``; the default database is ``cenergy``.
    :param timeout_seconds: an operation that takes longer fails with StoreUnavailable.
    :raises ConfigError: the URL is invalid; the message does not contain it.
    """

    log = Logger()

    def __init__(self, reactor: Timers, url: str, timeout_seconds: float = 10.0, connections: int = 4) -> None:
        self._reactor = reactor
        self._url = url
        self._timeout = timeout_seconds
        self._connections = connections
        self._pool: ConnectionPool | None = None
        self._down = False
        self.database_name = DEFAULT_DATABASE
        self.where = "MongoDB"
        """The hosts, for messages."""
        self._tls: _ClientTLS | None = None
        if not url.startswith("mongodb+srv://"):
            self._prepare(url)

    async def open(self) -> None:
        """Start connecting and return once the server answers.

        Raises StoreUnavailable if it does not answer in time. Connection attempts continue, so later operations, or another
        ``open()``, may succeed.
        """
        if self._pool is None:
            url = self._url
            if url.startswith("mongodb+srv://"):
                url = await deferToThread(_resolved, url)
                self._prepare(url)
            self._pool = self._connect(url)
        await self.ping()

    async def close(self) -> None:
        """Disconnect."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.disconnect()

    async def ping(self) -> None:
        """Return if the server accepts the user and writes durably; raise StoreUnavailable with the reason if not.

        This makes a write, because a server whose disk is full, or whose writes are locked, may still answer reads.
        """
        count = {"$inc": {"checks": 1}}
        # The first checks of two daemons may both try to insert the document; one then fails.
        with suppress(DuplicateKeyError):
            await self.run(lambda database: database[CHECKS].update_one({"_id": "ready"}, count, upsert=True))

    async def run(self, operation: Callable[[Database], Awaitable[T]]) -> T:
        """Call ``operation(database)`` and return its result.

        :raises StoreUnavailable: the server is down, slow or full, or refuses the user.
        :raises StoreRejected: the server refuses the data itself (too large, cannot be stored).
        :raises DuplicateKeyError: a unique index already has the value.
        :raises BulkWriteError: some operations of a bulk failed, each only because a unique index already has the value.
        :raises CancelledError: the caller was cancelled; the server need not be at fault.
        """
        if self._pool is None:
            raise StoreUnavailable(f"{self.where}: not connected")
        if self._down and not self.connected:
            raise StoreUnavailable(f"{self.where}: not connected, trying to")
        database = self._pool[self.database_name]
        try:
            result = await self._in_time(_call(operation, database))
        except _CallerCancelled:
            raise CancelledError from None
        except _DOWN as error:
            self._went_down(error)
            raise StoreUnavailable(f"{self.where}: no answer within {self._timeout:g} s or connection lost") from None
        except PyMongoError as error:
            if is_duplicate_key(error):
                raise
            # "from None", because the error's text contains the whole command, passwords included.
            raise self._translated(error) from None
        except (BSONError, OverflowError) as error:
            raise StoreRejected(f"{self.where}: cannot be stored: {type(error).__name__}") from None
        if self._down:
            self._down = False
            self.log.info("MongoDB answers again {where}", where=self.where)
        return result

    async def batches(self, find: Callable[[Database], Cursor]) -> AsyncGenerator[list[Any], None]:
        """The batches of a cursor, each within the time limit. Raises as :meth:`run` does."""

        async def begin(database: Database) -> list[Cursor]:
            return [find(database)]  # in a list, because a cursor is itself awaitable

        async def following(_: Database) -> list[object]:
            batch: list[object] = await cursor.next_batch()
            return batch

        (cursor,) = await self.run(begin)
        try:
            while not cursor.exhausted:
                yield await self.run(following)
        finally:
            if not cursor.exhausted and self._pool is not None:
                cursor.close().addErrback(lambda _: None)

    def _in_time(self, call: Coroutine[Deferred[object], object, T]) -> Deferred[T]:
        """The call's result. Fails with an error of :data:`_DOWN` in an outage, with :class:`_CallerCancelled` if the caller cancelled it."""
        running = Deferred.fromCoroutine(call).addTimeout(self._timeout, twisted_clock(self._reactor))

        def cancelled(deferred: Deferred[T]) -> None:
            # Set first, because txmongo reports some outages as CancelledError, too.
            deferred.errback(Failure(_CallerCancelled()))
            running.cancel()

        result: Deferred[T] = Deferred(cancelled)
        running.addCallbacks(
            lambda value: None if result.called else result.callback(value),
            lambda failure: None if result.called else result.errback(failure),
        )
        return result

    def seconds(self) -> float:
        """The time, UTC seconds."""
        return cast(Clock, self._reactor).seconds()

    @property
    def connected(self) -> bool:
        """Whether any connection is established; the server may still not answer."""
        return self._pool is not None and any(factory.instance for factory in self._pool.getprotocols())

    def _went_down(self, error: Exception) -> None:
        if not self._down:
            self._down = True
            self.log.warn("MongoDB does not answer {where} {kind}", where=self.where, kind=type(error).__name__)

    def _translated(self, error: PyMongoError) -> Exception:
        code, name = _code_of(error)
        if code in _REFUSED:
            return StoreUnavailable(f"{self.where} refuses the URL's user, or the user lacks permissions")
        text = f"{self.where}: {name or type(error).__name__} (code {code})"
        return StoreRejected(text) if code in _DATA else StoreUnavailable(text)

    def _prepare(self, url: str) -> None:
        parsed = _parsed(url)
        options = _options(parsed)
        self.database_name = parsed["database"] or DEFAULT_DATABASE
        self.where = "MongoDB at " + ",".join(f"{host}:{port}" for host, port in parsed["nodelist"])
        self._tls = _ClientTLS(options) if options.get("tls") else None

    def _connect(self, url: str) -> ConnectionPool:
        parsed = _parsed(url)
        options = _options(parsed)
        # An acknowledged write is journaled, unless the URL says otherwise.
        durable = {} if {"journal", "j"} & options.keys() else {"j": True}
        pool = ConnectionPool(
            url,
            pool_size=self._connections,
            ssl_context_factory=self._tls,
            ping_interval=max(1.0, self._timeout / 2),
            ping_timeout=self._timeout,
            # Also limits the time for connecting and the handshake.
            retry_delay=self._timeout,
            max_delay=RECONNECT_SECONDS,
            **durable,
        )
        if self._tls:
            self._tls.pool = pool
        for factory in pool.getprotocols():
            factory.protocol = ScramProtocol
        if parsed["username"] and not parsed["database"]:
            # txmongo authenticates by itself only if the URL names a database.
            mechanism = options.get("authmechanism", "DEFAULT")
            pool.authenticate(options.get("authsource", "admin"), parsed["username"], parsed["password"], mechanism)
        return pool


class _CallerCancelled(Exception):
    """The caller cancelled the operation."""


async def _call(operation: Callable[[Database], Awaitable[T]], database: Database) -> T:
    return await operation(database)


def _faults(error: BulkWriteError) -> list[Mapping[str, Any]]:
    """The failures of a bulk: its failed operations, and unmet write concerns."""
    details = error.details or {}
    return [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]


def _code_of(error: PyMongoError) -> tuple[int | None, str]:
    if isinstance(error, BulkWriteError):
        # An error of the server takes precedence over one of the data, because then a retry may succeed.
        faults = sorted(_faults(error), key=lambda fault: (fault.get("code") == 11000, fault.get("code") in _DATA))
        worst = faults[0] if faults else {}
        return worst.get("code"), worst.get("codeName", "")
    if isinstance(error, OperationFailure):
        return error.code, str((error.details or {}).get("codeName", ""))
    return None, ""


def _parsed(url: str) -> Mapping[str, Any]:
    try:
        parsed: object = parse_uri(url)
    except OSError as error:
        raise ConfigError(f"the MongoDB URL: {error.filename}: {error.strerror}") from None
    except (InvalidURI, ConfigurationError, ValueError) as error:
        raise ConfigError(f"the MongoDB URL is not valid: {_without_secrets(str(error), url)}") from None
    return cast(Mapping[str, Any], parsed)


def _options(parsed: Mapping[str, Any]) -> dict[str, object]:
    return {key.lower(): value for key, value in parsed["options"].items()}


def _without_secrets(message: str, url: str) -> str:
    userinfo = url.split("://", 1)[-1].rpartition("@")[0]
    parts = [part for part in {userinfo, *userinfo.split(":"), *userinfo.split("@")} if part]
    return "not shown, because it contains a secret" if any(part in message for part in parts) else message


def _resolved(url: str) -> str:
    """``mongodb+srv://`` as ``mongodb://``. Makes DNS queries, so it must run in a thread."""
    try:
        parsed = parse_uri(url)
    except (ConfigurationError, InvalidURI, ValueError) as error:
        raise StoreUnavailable(f"the MongoDB URL cannot be resolved: {_without_secrets(str(error), url)}") from None
    return plain_url(parsed)


def plain_url(parsed: Mapping[str, Any]) -> str:
    """The ``mongodb://`` URL for a result of ``parse_uri``."""
    user = ""
    if parsed["username"]:
        user = f"{quote_plus(parsed['username'])}:{quote_plus(parsed['password'] or '')}@"
    hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in parsed["nodelist"])
    options = {
        key: str(value).lower() if isinstance(value, bool) else value for key, value in parsed["options"].items()
    }
    query = f"?{urlencode(options)}" if options else ""
    return f"mongodb://{user}{hosts}/{quote_plus(parsed['database'] or '')}{query}"


@implementer(IOpenSSLClientConnectionCreator)
class _ClientTLS:
    """TLS with the URL's options; the certificate of each connection is checked against the host name that it goes to."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.pool: ConnectionPool | None = None
        self._check_certificate = not (options.get("tlsallowinvalidcertificates") or options.get("tlsinsecure"))
        self._check_name = self._check_certificate and not options.get("tlsallowinvalidhostnames")
        try:
            authorities = _certificates(options["tlscafile"]) if "tlscafile" in options else None
            self._own = _own_certificate(options.get("tlscertificatekeyfile"))
        except OSError as error:
            raise ConfigError(f"the MongoDB URL's certificate file: {error.filename}: {error.strerror}") from None
        except Exception as error:  # OpenSSL's parse errors have no common base class
            raise ConfigError(f"the MongoDB URL's certificate file is not PEM: {type(error).__name__}") from None
        self._trust = trustRootFromCertificates(authorities) if authorities is not None else platformTrust()

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> Connection:  # noqa: N802 - Twisted's name
        """See IOpenSSLClientConnectionCreator."""
        if self._check_name:
            host = self._name_of(protocol.wrappedProtocol.factory.connector.host)
            options = optionsForClientTLS(host, trustRoot=self._trust, clientCertificate=self._own)
            connection: Connection = cast(Any, options).clientConnectionForTLS(protocol)  # zope methods have no self
            return connection
        own: dict[str, Any] = {}
        if self._own is not None:
            own = {"privateKey": self._own.privateKey.original, "certificate": self._own.original}
        trust = {"trustRoot": self._trust} if self._check_certificate else {}
        return Connection(CertificateOptions(**trust, **own).getContext(), None)

    def _name_of(self, host: str) -> str:
        # txmongo's pingers connect by address, but the certificate must match the name by which the peer was first reached.
        for factory in self.pool.getprotocols() if self.pool else ():
            if factory.instance and factory.instance.transport.getPeer().host == host:
                return str(factory.connector.host)
        return host


def _certificates(path: str) -> list[Certificate]:
    text = Path(path).read_text(encoding="ascii", errors="replace")
    return [Certificate.loadPEM((part[part.index(_BEGIN) :] + _END).encode()) for part in text.split(_END)[:-1]]


def _own_certificate(path: str | None) -> PrivateCertificate | None:
    if path is None:
        return None
    return cast(PrivateCertificate, PrivateCertificate.loadPEM(Path(path).read_bytes()))
