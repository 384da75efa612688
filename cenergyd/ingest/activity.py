"""Activity of loggers: last upload, meters with their last reading, STATUS, rejected serials.

Shown on the pages and evaluated by the alerts. An acknowledgement does not depend on it, so it is collected in memory and written every few
seconds, once for each logger and meter, however often it uploads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cenergyd.documents.kinds import LOGGER, LOGGER_STATUS, METER, REJECTED
from cenergyd.documents.store import Document, DocumentStore, NewDocument
from cenergyd.errors import CenergydError
from cenergyd.ingest.logger_proof import PROVEN_BY
from cenergyd.ingest.rejected import Attempts, RejectedAttempts, to_drop
from cenergyd.ingest.rhythm import with_upload
from cenergyd.readings.interval import typical_interval
from cenergyd.readings.model import Reading
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.periodic import PeriodicService

INTERVAL_READINGS = 100
"""Number of the newest readings of a log: enough to determine their interval."""
INTERVAL_SECONDS = 5.0
"""Seconds between writes: the most by which pages and alerts lag, and the most that a killed daemon loses."""
REPEAT_SECONDS = 60.0
"""A logger or meter that uploads often is written at most once in this many seconds."""
MAX_REJECTED = 1000
"""Rejected serial numbers that are remembered: enough for a fleet, and nobody can fill the store by inventing some."""
_MAX_STORED = 10_000
"""Entries of the list read; more than :data:`MAX_REJECTED` only if it was longer once."""
_MAX_INTRODUCED = 100_000
"""Number of series remembered as having a document."""
log = Logger()


class LoggerActivity(PeriodicService):
    """Collects and writes activity.

    Documents: kind ``logger`` (key serial, due = last upload), ``meter`` (key series, owner serial), ``logger_status``
    (key serial), ``rejected`` (key serial, due = last attempt).

    :param repeat_seconds: least time between two writes of a logger or meter, however often it uploads.
    :param max_rejected: different rejected serials remembered, in memory and stored; more are only counted.
    :param keep_rejected_seconds: a rejected serial is forgotten after this time without another attempt.
    """

    def __init__(
        self,
        documents: DocumentStore,
        clock: Timers,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        repeat_seconds: float = REPEAT_SECONDS,
        max_rejected: int = MAX_REJECTED,
        keep_rejected_seconds: int = 30 * 86400,
    ) -> None:
        super().__init__(
            clock, partial(self.flush, everything=False), interval_seconds,
            what="logger activity", log=log, now=False,
        )  # fmt: skip
        self._documents = documents
        self._repeat = repeat_seconds
        self._max_rejected = max_rejected
        self._keep_rejected = keep_rejected_seconds
        self._pending: dict[str, dict[str, NewDocument]] = {LOGGER: {}, METER: {}, LOGGER_STATUS: {}}
        self._written: dict[tuple[str, str], float] = {}
        self._rejected = RejectedAttempts(max_rejected)
        self._introduced: dict[str, None] = {}
        self.rejected_total = 0

    def uploaded(self, serial: str, address: str, loop_name: str) -> None:
        """A logger made a request with the right password."""
        now = int(self._clock.seconds())
        waiting = self._pending[LOGGER].get(serial)
        first = waiting.body["first_upload"] if waiting else now
        body = {"loop_name": loop_name, "address": address, "last_upload": now, "first_upload": first}
        self._pending[LOGGER][serial] = NewDocument(serial, body, None, now)

    def meter(
        self,
        serial: str,
        series: str,
        device: Mapping[str, str],
        readings: Sequence[Reading],
        last_error: tuple[int, int] | None = None,
    ) -> None:
        """A meter's log came.

        :param device: name, device_type and device_class as the logger says.
        :param readings: those of the log, by time.
        :param last_error: time and number of its newest error row.
        """
        last = readings[-1] if readings else None
        body: dict[str, Any] = {
            **device,
            "last_upload": int(self._clock.seconds()),
            "last_time": last.time if last else None,
            "last": {"P": last.P, "L1_PF": last.L1_PF, "L1_V": last.L1_V, "Q": last.Q} if last else None,
            "interval": typical_interval([reading.time for reading in readings[-INTERVAL_READINGS:]]),
            "error": {"time": last_error[0], "code": last_error[1]} if last_error else None,
        }
        waiting = self._pending[METER].get(series)
        self._pending[METER][series] = NewDocument(series, merged_meter(waiting.body if waiting else {}, body), serial)

    async def introduce(self, series: str) -> None:
        """Create a meter's document if it has none; stored when this returns, since the logger may ask for a manifest next."""
        if series in self._introduced:
            return
        if await self._documents.get(METER, series) is None and series in self._pending[METER]:
            await self._documents.put_many(METER, [self._pending[METER][series]])
        while len(self._introduced) >= _MAX_INTRODUCED:
            del self._introduced[next(iter(self._introduced))]
        self._introduced[series] = None

    def status(self, serial: str, fields: Mapping[str, Any]) -> None:
        """A logger's STATUS message."""
        body = {"time": int(self._clock.seconds()), "fields": dict(fields)}
        self._pending[LOGGER_STATUS][serial] = NewDocument(serial, body, serial)

    def rejected(self, serial: str, address: str, reason: str, unowned_password: str = "") -> None:
        """A request had a serial that belongs to no customer, or a wrong password.

        :param unowned_password: the password's hash, where the logger belongs to nobody.
        """
        self.rejected_total += 1
        self._rejected.add(serial, address, reason, int(self._clock.seconds()), unowned_password)

    async def flush(self, *, everything: bool = True) -> None:
        """Write what was collected (without ``everything``: only what was not written recently); keep what could not be written."""
        now = self._clock.seconds()
        recent = now - self._repeat
        self._written = {key: time for key, time in self._written.items() if recent < time <= now}
        for kind, gathered in self._pending.items():
            due = {key: new for key, new in gathered.items() if everything or (kind, key) not in self._written}
            if not due:
                continue
            self._pending[kind] = {key: new for key, new in gathered.items() if key not in due}
            try:
                items = await self._merged(kind, due)
                await self._documents.put_many(kind, items)
            except CenergydError:
                self._pending[kind] = {**due, **self._pending[kind]}
                raise
            self._written.update(((kind, key), now) for key in due)
        await self._flush_rejected()

    async def _merged(self, kind: str, gathered: Mapping[str, NewDocument]) -> list[NewDocument]:
        merge = _MERGES.get(kind)
        if merge is None:
            return list(gathered.values())
        stored = await self._documents.get_many(kind, list(gathered))
        return [
            new._replace(body=merge(stored[key].body if key in stored else {}, new.body))
            for key, new in gathered.items()
        ]

    async def _flush_rejected(self) -> None:
        gathered = self._rejected.take()
        if not gathered:
            return
        try:
            await self._write_rejected(gathered)
        except BaseException:
            self._rejected.put_back(gathered)
            raise

    async def _write_rejected(self, gathered: Mapping[str, Attempts]) -> None:
        await self._documents.purge(REJECTED, int(self._clock.seconds()) - self._keep_rejected)
        stored = {
            document.key: _attempts(document) for document in await self._documents.find(REJECTED, limit=_MAX_STORED)
        }
        known = dict(stored)
        for serial, each in gathered.items():
            before = stored[serial].attempts if serial in stored else 0
            known[serial] = each._replace(attempts=before + each.attempts)
        dropped = to_drop(known, self._max_rejected)
        documents = [
            NewDocument(serial, _body(known[serial]), None, known[serial].time)
            for serial in gathered
            if serial not in dropped
        ]
        await self._documents.put_many(REJECTED, documents)
        for serial in dropped & stored.keys():
            await self._documents.delete(REJECTED, serial)

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Write what is left and stop; what cannot be written is lost."""
        return super().stopService().addCallback(lambda _: Deferred.fromCoroutine(self._flush_last()))

    async def _flush_last(self) -> None:
        try:
            await self.flush()
        except CenergydError as error:
            log.warn("logger activity of the last seconds is not written: {reason}", reason=str(error))


def _body(known: Attempts) -> dict[str, Any]:
    body = {"time": known.time, "address": known.address, "reason": known.reason, "count": known.attempts}
    return {**body, PROVEN_BY: known.password} if known.password else body


def _attempts(document: Document) -> Attempts:
    body = document.body
    return Attempts(
        int(body.get("time") or 0),
        str(body.get("address") or ""),
        str(body.get("reason") or ""),
        int(body.get("count") or 0),
        str(body.get(PROVEN_BY) or ""),
    )


def merged_meter(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A meter's document after another log: a late file does not move its last reading or error back."""
    body = dict(new)
    if new["last_time"] is None or new["last_time"] < (old.get("last_time") or 0):
        body |= {"last_time": old.get("last_time"), "last": old.get("last")}
    body["interval"] = new["interval"] or old.get("interval")
    errors = [each for each in (old.get("error"), new["error"]) if isinstance(each, Mapping)]
    body["error"] = max(errors, key=lambda error: int(error["time"]), default=None)
    return body


def merged_logger(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A logger's document after further uploads, with the longest pauses of its last days, from which its usual interval follows."""
    body = {key: value for key, value in new.items() if key != "first_upload"}
    body["gaps"] = with_upload(old.get("gaps") or (), old.get("last_upload"), new["first_upload"])
    return body


_MERGES: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]] = {
    LOGGER: merged_logger,
    METER: merged_meter,
}
