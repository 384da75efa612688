"""Activity of loggers: last upload, meters with their last reading, STATUS, rejected serials.

Shown on the pages and evaluated by the alerts. An acknowledgement does not depend on it, so it is collected in memory and written every few
seconds, once for each logger and meter, however often it uploads. Regular uploads (:mod:`.regular_uploads`) are not written here, but with
the state of the site.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cenergyd.documents.json_types import JsonObject, ReadOnlyJson
from cenergyd.documents.kinds import LOGGER, LOGGER_STATUS, REJECTED
from cenergyd.documents.loggers import CUSTOMER, loggers_of
from cenergyd.documents.meters import logger_and_meters, meters_of_logger
from cenergyd.documents.store import Document, DocumentStore, NewDocument
from cenergyd.errors import CenergydError, Conflict
from cenergyd.ingest.activity_record import ActivityRecord, merged_logger, merged_meter
from cenergyd.ingest.logger_proof import PROVEN_BY
from cenergyd.ingest.regular_uploads import RegularUploads, without_times
from cenergyd.ingest.rejected_loggers import Attempts, RejectedAttempts, to_drop
from cenergyd.readings.interval import typical_interval
from cenergyd.readings.model import Reading
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.concurrency import InProgress
from cenergyd.runtime.periodic import PeriodicService

INTERVAL_READINGS = 100
"""The interval is determined from this many of a log's newest readings."""
INTERVAL_SECONDS = 5.0
"""Seconds between writes, by which pages and alerts lag at most, and of which a killed daemon loses the activity."""
REPEAT_SECONDS = 60.0
"""A logger or meter that uploads often is written at most once in this many seconds."""
MAX_REJECTED = 1000
"""Rejected serial numbers that are remembered: enough for a fleet, and nobody can fill the store by inventing some."""
FORGET_SECONDS = 60.0
"""Seconds between two checks whether rejected loggers have uploaded since, to any daemon."""
_MAX_STORED = 10_000
"""Maximum entries of the stored list that are read: more than :data:`MAX_REJECTED`, because the limit may have been larger before."""
_ATTEMPTS = 5
"""Attempts to write a logger that other daemons write at the same time; then it waits for the next pass."""
_MAX_KNOWN_METERS = 100_000
"""Number of series remembered as having a document."""
log = Logger()


class LoggerActivity(PeriodicService):
    """Collects and writes activity.

    Documents: kind ``logger`` (key serial, due = last upload; with its meters), ``logger_status`` (key serial), ``rejected``
    (key serial, due = last attempt).

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
        self._records: dict[str, ActivityRecord] = {}
        self.regular = RegularUploads()
        """Uploads to be stored with the states of their sites."""
        self._statuses: dict[str, NewDocument] = {}
        self._written: dict[tuple[str, str], float] = {}
        self._rejected = RejectedAttempts(max_rejected)
        self._known_meters: dict[str, None] = {}
        self._writes: dict[InProgress, Collection[str]] = {}
        """Each with the serial numbers that it writes."""
        self._forgot = clock.seconds()
        self.rejected_total = 0

    def uploaded(self, serial: str, address: str, loop_name: str, customer_id: str = "") -> None:
        """Record a request of a logger with the right password.

        :param customer_id: the customer whose site's state is evaluated because of it; '' if there is none.
        """
        now = int(self._clock.seconds())
        record = self._record(serial)
        record.first_upload = now if record.first_upload is None else record.first_upload
        record.last_upload = now
        record.report = {"loop_name": loop_name, "address": address}
        if customer_id:
            record.report[CUSTOMER] = customer_id

    def meter(
        self,
        serial: str,
        series: str,
        device: Mapping[str, str],
        readings: Sequence[Reading],
        last_error: tuple[int, int] | None = None,
        *,
        other_rows: int = 0,
    ) -> None:
        """Record a meter's log.

        :param device: name, device_type and device_class as sent by the logger.
        :param readings: those of the log, by time.
        :param last_error: time and number of its newest error row.
        :param other_rows: rows that were left out because they have other columns than the meter's.
        """
        last = readings[-1] if readings else None
        now = int(self._clock.seconds())
        body: JsonObject = {
            **device,
            "last_upload": now,
            "last_time": last.time if last else None,
            "last": {"P": last.P, "L1_PF": last.L1_PF, "L1_V": last.L1_V, "Q": last.Q} if last else None,
            "interval": typical_interval([reading.time for reading in readings[-INTERVAL_READINGS:]]),
            "error": {"time": last_error[0], "code": last_error[1]} if last_error else None,
            "other_rows": {"time": now, "rows": other_rows} if other_rows else None,
        }
        meters = self._record(serial).meters
        meters[series] = merged_meter(meters[series], body) if series in meters else body

    def _record(self, serial: str) -> ActivityRecord:
        record = self._records.get(serial)
        if record is None:
            record = self._records[serial] = ActivityRecord()
        return record

    def is_known_meter(self, series: str) -> bool:
        """Whether the meter is known to be stored."""
        return series in self._known_meters

    async def store_new_meter(self, serial: str, series: str) -> None:
        """Store a meter that was never record before. It is durable on return, because the logger may request a manifest next."""
        if series in self._known_meters:
            return
        _, stored = await logger_and_meters(self._documents, serial)
        while series not in stored:
            record = self._records.get(serial)
            if record is not None and series in record.meters:
                await self._write({serial: self._records.pop(serial)}, [serial])
                break
            write = next((each for each, serials in self._writes.items() if serial in serials), None)
            if write is None:
                break
            await write.ended()  # the periodic one: the meter is stored by it, or its record is back
            _, stored = await logger_and_meters(self._documents, serial)
        for name in {series, *stored}:
            while len(self._known_meters) >= _MAX_KNOWN_METERS:
                del self._known_meters[next(iter(self._known_meters))]
            self._known_meters[name] = None

    def status(self, serial: str, fields: ReadOnlyJson) -> None:
        """Record a logger's STATUS message."""
        body = {"time": int(self._clock.seconds()), "fields": dict(fields)}
        self._statuses[serial] = NewDocument(serial, body, serial)

    def rejected(self, serial: str, address: str, reason: str, unowned_password: str = "") -> None:
        """Record a request with a serial number that belongs to no customer, or with a wrong password.

        :param unowned_password: the password's hash, if the logger belongs to nobody.
        """
        self.rejected_total += 1
        self._rejected.add(serial, address, reason, int(self._clock.seconds()), unowned_password)

    async def flush(self, *, everything: bool = True) -> None:
        """Write the collected activity (without ``everything``: only of loggers not written recently, and no regular uploads that will be
        stored with their sites); keep what could not be written."""
        now = self._clock.seconds()
        recent = now - self._repeat
        self._written = {key: time for key, time in self._written.items() if recent < time <= now}
        if not everything:
            self._hold_regular(now)
        overdue = self.regular.overdue(now, everything=everything)
        due = {serial: ActivityRecord() for serial in overdue} | {
            serial: record
            for serial, record in self._records.items()
            if everything or any((LOGGER, part) not in self._written for part in record.parts(serial))
        }
        for serial in due:
            self._records.pop(serial, None)
        await self._write(due, due if everything else overdue)
        await self._write_statuses(everything=everything)
        await self._flush_rejected()
        if not 0 <= now - self._forgot < FORGET_SECONDS:
            self._forgot = now
            await self._forget_accepted()

    def _hold_regular(self, now: float) -> None:
        for serial, record in list(self._records.items()):
            if self.regular.is_regular(serial, record):
                del self._records[serial]
                self.regular.hold(serial, record, now)

    async def _write(self, due: Mapping[str, ActivityRecord], always: Collection[str]) -> None:
        """Write the activity of loggers; what could not be written is kept for the next pass.

        :param always: those to write even if the uploads are regular.
        """
        left = {}
        for serial, record in due.items():
            held = self.regular.take(serial)
            left[serial] = record if held is None else held.followed_by(record)
        write = InProgress()
        self._writes[write] = due.keys()
        with write:
            try:
                for _ in range(_ATTEMPTS if left else 0):
                    for serial in await self._write_once(left, always):
                        self._written.update(
                            ((LOGGER, part), self._clock.seconds()) for part in left.pop(serial).parts(serial)
                        )
                    if not left:
                        break
            finally:
                del self._writes[write]
                for serial, record in left.items():
                    self._records[serial] = record.followed_by(self._records.get(serial))

    async def _write_once(self, left: Mapping[str, ActivityRecord], always: Collection[str]) -> list[str]:
        """Write once; returns the serial numbers of the loggers that no other daemon has changed meanwhile."""
        stored = await loggers_of(self._documents, list(left))
        new, held = [], []
        for serial, record in left.items():
            old = stored.get(serial)
            meters = await meters_of_logger(self._documents, serial, old)
            before = old.body if old else {}
            body = merged_logger(before, {key: meter.body for key, meter in meters.items()}, record)
            # The first upload since the start could not be compared with the document before, and others may have received some meanwhile.
            is_compared = self.regular.knows(serial) and not self.regular.is_late(serial, record)
            may_hold = serial not in always and not is_compared and record.is_current
            self.regular.remember(serial, body)
            if may_hold and self.regular.knows(serial) and without_times(before) == without_times(body):
                self.regular.hold(serial, record, self._clock.seconds())
                held.append(serial)
            else:
                new.append((NewDocument(serial, body, None, body.get("last_upload")), old.version if old else 0))
        replaced = await self._documents.replace_many(LOGGER, new) if new else []
        return held + [document.key for (document, _), is_new in zip(new, replaced, strict=True) if is_new]

    async def _write_statuses(self, *, everything: bool) -> None:
        due = {
            serial: status
            for serial, status in self._statuses.items()
            if everything or (LOGGER_STATUS, serial) not in self._written
        }
        if not due:
            return
        await self._documents.put_many(LOGGER_STATUS, list(due.values()))
        now = self._clock.seconds()
        for serial, status in due.items():
            self._written[LOGGER_STATUS, serial] = now
            if self._statuses.get(serial) is status:
                del self._statuses[serial]

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

    async def _forget_accepted(self) -> None:
        """Delete the entries of rejected loggers that have uploaded since."""
        rejected = {document.key: document for document in await self._documents.find(REJECTED, limit=_MAX_STORED)}
        loggers = await loggers_of(self._documents, list(rejected))
        for serial, logger in loggers.items():
            document = rejected[serial]
            if int(logger.body.get("last_upload") or 0) < _attempts(document).time:
                continue
            try:
                await self._documents.delete(REJECTED, serial, expected_version=document.version)
            except Conflict:
                continue  # it was rejected again meanwhile

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Write what is left and stop; what cannot be written is lost."""
        return super().stopService().addCallback(lambda _: Deferred.fromCoroutine(self._flush_last()))

    async def _flush_last(self) -> None:
        try:
            await self.flush()
        except CenergydError as error:
            log.warn("logger activity of the last seconds is not written: {reason}", reason=str(error))


def _body(known: Attempts) -> JsonObject:
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
