"""Connections to one InfluxDB: the official client in a bounded pool of threads, with its errors translated to ours.

Nothing is retried here: errors are raised at once, and callers decide what to do.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from itertools import islice
from typing import Any, NamedTuple, TypedDict, TypeVar

from influxdb.exceptions import InfluxDBClientError, InfluxDBServerError
from twisted.logger import Logger

from cenergyd.errors import CenergydError, StoredTypeConflict, StoreRejected, StoreUnavailable
from cenergyd.runtime.clock import FromThreads
from cenergyd.runtime.threads import BoundedPool
from cenergyd.storage.influxdb.address import InfluxAddress
from cenergyd.storage.influxdb.client import InfluxClient

T = TypeVar("T")


class SeriesRows(TypedDict):
    """The rows of one measurement in the result of a statement."""

    name: str
    columns: list[str]
    values: list[list[Any]]
    """A list for each row: the values of ``columns`` in that order."""


StatementResult = list[SeriesRows]


class Policy(NamedTuple):
    """A retention policy."""

    name: str = ""
    """'' is the database's default policy."""
    days: int | None = None
    """How many days it keeps points if it has to be created, 0 for ever; None: it is not created."""


DEFAULT_POLICY = Policy()

WRITE_LINES = 5_000
"""Lines in one request: InfluxDB recommends 5,000 to 10,000."""
LONG_WRITE = 1_000
"""A write of more points is long: those of a backlog, not those of usual uploads and their jobs."""
MAX_WAITING = 1000
_PROBE = "cenergyd_check,time=0 ok=1"
"""InfluxDB drops this point, because no tag may be named time, but only after writing to its write-ahead log."""
_DROPPED = re.compile(r"points beyond retention policy dropped=(\d+)")

log = Logger()


class InfluxConnection:
    """Threads with one client each. Half of them, rounded up, are for writes, so that long reads never delay a write.

    Long writes have one more thread, one after the other, so that they never delay a short one.

    :param reactor: the reactor to which results are returned.
    :param timeout_seconds: how long to wait for a connection, and for a response.
    """

    def __init__(self, reactor: FromThreads, address: InfluxAddress, threads: int, timeout_seconds: float) -> None:
        self.address = address
        self._timeout = timeout_seconds
        self._writers = BoundedPool(reactor, "influxdb-write", (threads + 1) // 2, MAX_WAITING)
        self._long_writer = BoundedPool(reactor, "influxdb-long-write", 1, MAX_WAITING)
        self._readers = BoundedPool(reactor, "influxdb-read", max(1, threads // 2), MAX_WAITING)
        self._pools = (self._writers, self._long_writer, self._readers)
        self._local = threading.local()
        self._clients: list[InfluxClient] = []
        self._lock = threading.Lock()
        self._failed: dict[str, str] = {}
        """Retention policy -> time of a point in the last write, if InfluxDB failed to store that write."""

    def stop(self) -> None:
        """Wait for running requests (at most the timeout) and disconnect."""
        for pool in self._pools:
            pool.stop()
        with self._lock:
            for client in self._clients:
                client.close()
            self._clients.clear()

    async def check(self, policy: str) -> None:
        """Send a write without points: InfluxDB checks the database, the policy and the permission as for a real write.

        It does not check the disk. So after a failed write, a probe is written to the same shard until that succeeds.
        """
        await self._writers.run(self._guarded, partial(self._check, policy=policy))

    async def write(self, policy: str, points: int, make_lines: Callable[[], Iterator[str]]) -> None:
        """Write lines, which are made in the thread and sent in requests of bounded size.

        :param points: about how many lines there are.
        :param make_lines: makes all lines; called again if the database had to be created.
        """
        pool = self._writers if points <= LONG_WRITE else self._long_writer
        await pool.run(self._guarded, partial(self._send_all, policy=policy, make_lines=make_lines))

    async def query(self, statements: Sequence[str]) -> list[StatementResult]:
        """Run several statements in one request; returns their results in order."""
        return await self._readers.run(self._guarded, partial(_run, statements=statements))

    async def change(self, statements: Sequence[str]) -> None:
        """Run statements that change something (DELETE) in one request."""
        await self._writers.run(self._guarded, partial(_run, statements=statements))

    async def ensure_policy(self, policy: Policy) -> None:
        """Create a policy with days if it does not exist. An existing one is never altered, because InfluxDB would delete data at once."""
        if policy.days is not None:
            await self._writers.run(self._guarded, partial(self._ensure_policy, policy=policy))

    def _ensure_policy(self, client: InfluxClient, policy: Policy) -> None:
        database = self.address.database
        wanted = f"{policy.days}d" if policy.days else "INF"
        make = f'CREATE RETENTION POLICY "{policy.name}" ON "{database}" DURATION {wanted} REPLICATION 1'
        try:
            policies = {found["name"]: found["duration"] for found in client.get_list_retention_policies(database)}
            if policy.name not in policies:
                client.create_retention_policy(policy.name, wanted, "1", database)
                log.info(
                    "created the retention policy {policy}, which keeps {duration}", policy=policy.name, duration=wanted
                )
                return
        except InfluxDBClientError as error:
            if error.code not in (401, 403):
                raise
            log.warn(
                "user {user} may not list or create retention policies; if {policy} does not exist, have an administrator run: {make}",
                user=self.address.user, policy=policy.name, make=make,
            )  # fmt: skip
            return
        hours = policies[policy.name].partition("h")[0]
        kept = "INF" if hours == "0" else f"{int(hours) // 24}d"
        if kept != wanted:
            log.warn(
                "the retention policy {policy} keeps {kept}, the settings say {wanted}; it is not changed",
                policy=policy.name, kept=kept, wanted=wanted,
            )  # fmt: skip

    def _send_all(self, client: InfluxClient, policy: str, make_lines: Callable[[], Iterator[str]]) -> None:
        lines = make_lines()
        while some := list(islice(lines, WRITE_LINES)):
            try:
                self._send(client, policy, some)
            except InfluxDBServerError:
                self._failed[policy] = some[0].rpartition(" ")[2]
                raise
            self._failed.pop(policy, None)

    def _check(self, client: InfluxClient, policy: str) -> None:
        self._send(client, policy, ())
        time = self._failed.get(policy)
        if time is None:
            return
        try:
            self._send(client, policy, [f"{_PROBE} {time}"])
        except InfluxDBClientError as error:
            if error.code != 400:
                raise
        if self._failed.get(policy) == time:
            self._failed.pop(policy, None)

    def _send(self, client: InfluxClient, policy: str, lines: Sequence[str]) -> None:
        params = {"db": self.address.database, "precision": "s"}
        if policy:
            params["rp"] = policy
        try:
            client.write(lines, params=params, protocol="line")
        except InfluxDBClientError as error:
            dropped = _DROPPED.search(_reason(error))
            if dropped is None:
                raise
            log.warn(
                "InfluxDB dropped {dropped} readings that are older than its retention policy allows",
                dropped=int(dropped[1]),
            )

    def _guarded(self, work: Callable[[InfluxClient], T]) -> T:
        """Run ``work`` with this thread's client and translate its errors; a missing database is created once."""
        client = self._client()
        try:
            try:
                return work(client)
            except InfluxDBClientError as error:
                if "database not found" not in _reason(error):
                    raise
            self._create_database(client)
            return work(client)
        except (HTTPException, InfluxDBClientError, InfluxDBServerError, OSError, ValueError) as error:
            raise self._explained(error) from None

    def _create_database(self, client: InfluxClient) -> None:
        try:
            client.create_database(self.address.database)
        except InfluxDBClientError as error:
            if error.code not in (401, 403):
                raise
            raise StoreUnavailable(
                f"{self.address}: the database {self.address.database} does not exist and user {self.address.user} "
                "may not create it: create it, or grant the user all privileges"
            ) from None

    def _client(self) -> InfluxClient:
        client: InfluxClient | None = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = InfluxClient(self.address, self._timeout)
            with self._lock:
                self._clients.append(client)
        return client

    def _explained(self, error: Exception) -> CenergydError:
        if isinstance(error, InfluxDBClientError):
            return _refusal(self.address, error)
        if isinstance(error, InfluxDBServerError):
            return StoreUnavailable(f"{self.address} failed: {_reason(error)}")
        if isinstance(error, TimeoutError):
            return StoreUnavailable(f"{self.address} did not answer within {self._timeout:g} s")
        if isinstance(error, ssl.SSLError):
            return StoreUnavailable(f"{self.address}: TLS failed: {_message(error)}")
        if isinstance(error, HTTPException | OSError):
            refused = isinstance(error, ConnectionRefusedError | socket.gaierror)
            if not refused and not self.address.tls and _answers_with_tls(self.address, self._timeout):
                # InfluxDB may reset a plain connection before its reply (that it requires HTTPS) is read.
                return _speaks_tls(self.address)
            return StoreUnavailable(f"{self.address} cannot be reached: {_message(error)}")
        return StoreUnavailable(f"{self.address} sent a reply that cannot be read: {type(error).__name__}")


def _run(client: InfluxClient, statements: Sequence[str]) -> list[StatementResult]:
    found = client.query("; ".join(statements), epoch="s", method="POST")
    results = [result.raw for result in (found if isinstance(found, list) else [found])]
    if len(results) != len(statements):
        raise StoreUnavailable(f"InfluxDB answered {len(results)} of {len(statements)} statements")
    for result in results:
        if result.get("partial") or any(part.get("partial") for part in result.get("series", ())):
            # A truncated result would look like a gap in the data.
            raise StoreUnavailable(
                "InfluxDB truncated a result: raise max-row-limit in its configuration, or set it to 0"
            )
    return [result.get("series", []) for result in results]


def _speaks_tls(address: InfluxAddress) -> StoreUnavailable:
    return StoreUnavailable(f"{address} uses TLS: the URL must begin with https+influxdb://")


def _answers_with_tls(address: InfluxAddress, timeout: float) -> bool:
    """Whether a TLS handshake succeeds. Nothing is sent over the connection, so the certificate need not be checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((address.host, address.port), timeout) as link, context.wrap_socket(link):
            return True
    except OSError:
        return False


def _refusal(address: InfluxAddress, error: InfluxDBClientError) -> CenergydError:
    """The error for a refused request: either the data are wrong, or the store cannot accept them now."""
    reason = _reason(error)
    if error.code in (401, 403):
        return StoreUnavailable(f"{address} refuses user {address.user}: {reason}")
    if "max-series-per-database" in reason or "max-values-per-tag" in reason:
        return StoreUnavailable(f"{address} takes no new series: {reason}")
    if "HTTP request to an HTTPS server" in reason:
        return _speaks_tls(address)
    if "field type conflict" in reason:
        # Only another program's points can cause this: ours are always floats.
        return StoredTypeConflict(f"{address} holds a field of another type: {reason}")
    if error.code in (400, 413):
        return StoreRejected(f"{address} rejects the data: {reason}")
    return StoreUnavailable(f"{address} failed: {reason}")


def _reason(error: InfluxDBClientError | InfluxDBServerError) -> str:
    """InfluxDB's own message, shortened."""
    content = error.content if isinstance(error, InfluxDBClientError) else (error.args[0] if error.args else "")
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
    with suppress(ValueError, KeyError, TypeError):
        text = json.loads(text)["error"]
    return text.strip()[:300] or "no reason given"


def _message(error: Exception) -> str:
    """The operating system's or the library's message."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)[:200]
