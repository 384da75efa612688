"""One InfluxDB, reached by the official client in bounded threads; its errors become ours.

Nothing is retried here: callers learn at once that the store is down and decide.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from influxdb import InfluxDBClient
from influxdb.exceptions import InfluxDBClientError, InfluxDBServerError
from twisted.logger import Logger
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError, SSLError

from cenergyd.errors import CenergydError, StoreRejected, StoreUnavailable
from cenergyd.runtime.threads import BoundedPool
from cenergyd.storage.influxdb.line_protocol import InfluxAddress
from cenergyd.storage.influxdb.session import InfluxSession

T = TypeVar("T")
Answer = list[dict[str, Any]]
"""What a statement answers: ``{name, columns, values}`` for each measurement."""

WRITE_LINES = 20_000
"""Lines in one request: about 2 MB, far below InfluxDB's max-body-size of 25 MB."""
MAX_WAITING = 1000
_PROBE = "cenergyd_check,time=0 ok=1"
"""InfluxDB drops this point, for no tag may be called time, but only after it has written to its log."""
_DROPPED = re.compile(r"points beyond retention policy dropped=(\d+)")

log = Logger()


class InfluxConnection:
    """Threads with a client each: half of them, rounded up, write, so long reads never keep a write waiting.

    :param retention_policy: where to write; '' is the database's default one.
    :param timeout_seconds: how long to wait for a connection, and for an answer.
    """

    def __init__(
        self, reactor: Any, address: InfluxAddress, retention_policy: str, threads: int, timeout_seconds: float
    ) -> None:
        self.address = address
        self._policy = retention_policy
        self._timeout = timeout_seconds
        self._writers = BoundedPool(reactor, "influxdb-write", (threads + 1) // 2, MAX_WAITING)
        self._readers = BoundedPool(reactor, "influxdb-read", max(1, threads // 2), MAX_WAITING)
        self._local = threading.local()
        self._sessions: list[InfluxSession] = []
        self._lock = threading.Lock()
        self._failed_at: str | None = None
        """Time of a line of the last write, where InfluxDB failed at it."""

    def start(self) -> None:
        """Start the threads."""
        self._writers.start()
        self._readers.start()

    def stop(self) -> None:
        """Wait for what runs (at most the timeout) and disconnect."""
        self._writers.stop()
        self._readers.stop()
        with self._lock:
            for session in self._sessions:
                session.close()
            self._sessions.clear()

    async def check(self) -> None:
        """Send a write without any point: InfluxDB checks database and permission as for a real one.

        Not whether its disk is full, so after a write that failed there the same place is tried until it can be written.
        """
        await self._writers.run(self._guarded, self._check)

    async def write(self, make_lines: Callable[[], Iterator[str]]) -> None:
        """Write lines, made in the thread and sent in requests of bounded size.

        :param make_lines: makes all lines anew each time: where the database had to be created, it starts over.
        """
        await self._writers.run(self._guarded, partial(self._send_all, make_lines=make_lines))

    async def query(self, statements: Sequence[str]) -> list[Answer]:
        """Ask several statements in one request."""
        return await self._readers.run(self._guarded, partial(_ask, statements=statements))

    async def change(self, statements: Sequence[str]) -> None:
        """The same for statements that change something."""
        await self._writers.run(self._guarded, partial(_ask, statements=statements))

    def _send_all(self, client: InfluxDBClient, make_lines: Callable[[], Iterator[str]]) -> None:
        lines = make_lines()
        while some := list(islice(lines, WRITE_LINES)):
            try:
                self._send(client, some)
            except InfluxDBServerError:
                self._failed_at = some[0].rpartition(" ")[2]
                raise
            self._failed_at = None

    def _check(self, client: InfluxDBClient) -> None:
        self._send(client, ())
        time = self._failed_at
        if time is None:
            return
        try:
            self._send(client, [f"{_PROBE} {time}"])
        except InfluxDBClientError as error:
            if error.code != 400:
                raise
        if self._failed_at == time:
            self._failed_at = None

    def _send(self, client: InfluxDBClient, lines: Sequence[str]) -> None:
        params = {"db": self.address.database, "precision": "s"}
        if self._policy:
            params["rp"] = self._policy
        try:
            client.write(lines, params=params, protocol="line")
        except InfluxDBClientError as error:
            dropped = _DROPPED.search(_said(error))
            if dropped is None:
                raise
            log.warn(
                "InfluxDB dropped {dropped} readings that are older than its retention policy keeps",
                dropped=int(dropped[1]),
            )

    def _guarded(self, work: Callable[[InfluxDBClient], T]) -> T:
        """Run ``work`` with this thread's client; errors become ours; a missing database is created once."""
        client = self._client()
        try:
            try:
                return work(client)
            except InfluxDBClientError as error:
                if "database not found" not in _said(error):
                    raise
            self._create_database(client)
            return work(client)
        except (HTTPError, InfluxDBClientError, InfluxDBServerError, OSError, ValueError) as error:
            raise self._explained(error) from None

    def _create_database(self, client: InfluxDBClient) -> None:
        try:
            client.create_database(self.address.database)
        except InfluxDBClientError as error:
            if error.code not in (401, 403):
                raise
            raise StoreUnavailable(
                f"{self.address}: there is no database {self.address.database} and user {self.address.user} "
                "may not create it: create it, or grant the user all privileges"
            ) from None

    def _client(self) -> InfluxDBClient:
        client: InfluxDBClient | None = getattr(self._local, "client", None)
        if client is None:
            session = InfluxSession(self.address, self._timeout)
            client = self._local.client = _new_client(self.address, session)
            with self._lock:
                self._sessions.append(session)
        return client

    def _explained(self, error: Exception) -> CenergydError:
        if isinstance(error, InfluxDBClientError):
            return _refusal(self.address, error)
        if isinstance(error, InfluxDBServerError):
            return StoreUnavailable(f"{self.address} failed: {_said(error)}")
        refused = isinstance(error, NewConnectionError)  # to urllib3 that is a timeout as well
        late = isinstance(error, ConnectTimeoutError | ReadTimeoutError) or "timed out" in str(error)
        if late and not refused:
            return StoreUnavailable(f"{self.address} did not answer within {self._timeout:g} s")
        if isinstance(error, SSLError):
            return StoreUnavailable(f"{self.address}: TLS failed: {_innermost(error)}")
        if isinstance(error, HTTPError | OSError):
            return StoreUnavailable(f"{self.address} cannot be reached: {_innermost(error)}")
        return StoreUnavailable(f"{self.address} gave an answer that cannot be read: {type(error).__name__}")


def _new_client(address: InfluxAddress, session: InfluxSession) -> InfluxDBClient:
    # The session signs in and knows its time limit.
    return InfluxDBClient(
        host=address.host,
        port=address.port,
        username=None,
        password=None,
        database=address.database,
        ssl=address.tls,
        retries=1,
        session=session,
    )


def _ask(client: InfluxDBClient, statements: Sequence[str]) -> list[Answer]:
    answers = client.query("; ".join(statements), epoch="s", method="POST")
    results = [answer.raw for answer in (answers if isinstance(answers, list) else [answers])]
    if len(results) != len(statements):
        raise StoreUnavailable(f"InfluxDB answered {len(results)} of {len(statements)} statements")
    for result in results:
        if result.get("partial") or any(part.get("partial") for part in result.get("series", ())):
            # A cut answer would look like a gap in the data.
            raise StoreUnavailable(
                "InfluxDB cut an answer short: raise max-row-limit in its configuration, or set it to 0"
            )
    return [result.get("series", []) for result in results]


def _refusal(address: InfluxAddress, error: InfluxDBClientError) -> CenergydError:
    """What an answer that is no success means: our data, or the store's state."""
    said = _said(error)
    if error.code in (401, 403):
        return StoreUnavailable(f"{address} refuses user {address.user}: {said}")
    if "max-series-per-database" in said or "max-values-per-tag" in said:
        return StoreUnavailable(f"{address} takes no new series: {said}")
    if "HTTP request to an HTTPS server" in said:
        return StoreUnavailable(f"{address} speaks TLS: the URL must begin with https+influxdb://")
    if error.code in (400, 413):
        return StoreRejected(f"{address} rejects the data: {said}")
    return StoreUnavailable(f"{address} failed: {said}")


def _said(error: InfluxDBClientError | InfluxDBServerError) -> str:
    """InfluxDB's own words, shortened."""
    content = error.content if isinstance(error, InfluxDBClientError) else (error.args[0] if error.args else "")
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
    with suppress(ValueError, KeyError, TypeError):
        text = json.loads(text)["error"]
    return text.strip()[:300] or "no reason given"


def _innermost(error: BaseException) -> str:
    """The operating system's word under the layers of requests and urllib3."""
    reason = error
    while True:
        inner = getattr(reason, "reason", None)
        candidates = (inner, reason.__cause__, *reason.args)
        found = next((one for one in candidates if isinstance(one, BaseException)), None)
        if found is None:
            return str(getattr(reason, "strerror", None) or reason)[:200]
        reason = found
