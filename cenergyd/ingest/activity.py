"""What loggers do: last upload, meters with their last reading, STATUS, rejected serials.

Shown by the settings page and judged by the alerts; an acknowledgement does not depend on it, so it is gathered in
memory and written every few seconds, each logger and meter once however often it uploads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from cenergyd.documents.kinds import LOGGER, LOGGER_STATUS, METER, REJECTED
from cenergyd.documents.store import DocumentStore, NewDocument
from cenergyd.errors import CenergydError
from cenergyd.readings.model import Reading

log = Logger()


class LoggerActivity(Service):
    """Gathers and writes activity.

    Documents: kind ``logger`` (key serial, due = last upload), ``meter`` (key series, owner serial), ``logger_status``
    (key serial), ``rejected`` (key serial, due = last attempt).

    :param repeat_seconds: a logger or meter is written again at the earliest after so long, however often it uploads.
    :param max_rejected: different rejected serials remembered, in memory and stored; more are only counted.
    :param keep_rejected_seconds: a rejected serial is forgotten after so long without another attempt.
    """

    def __init__(
        self,
        documents: DocumentStore,
        clock: Any,
        *,
        interval_seconds: float = 5,
        repeat_seconds: float = 0,
        max_rejected: int = 1000,
        keep_rejected_seconds: int = 30 * 86400,
    ) -> None:
        self._documents = documents
        self._clock = clock  # IReactorTime
        self._interval = interval_seconds
        self._repeat = repeat_seconds
        self._max_rejected = max_rejected
        self._keep_rejected = keep_rejected_seconds
        self._pending: dict[str, dict[str, NewDocument]] = {LOGGER: {}, METER: {}, LOGGER_STATUS: {}}
        self._written: dict[tuple[str, str], float] = {}
        self._rejected: dict[str, tuple[int, str, str, int]] = {}
        self._loop = LoopingCall(self._flush_logged)
        self._loop.clock = clock
        self.rejected_total = 0

    def uploaded(self, serial: str, address: str, loop_name: str) -> None:
        """A logger made a request with the right password."""
        now = int(self._clock.seconds())
        body = {"loop_name": loop_name, "address": address, "last_upload": now}
        self._pending[LOGGER][serial] = NewDocument(serial, body, None, now)

    def meter(self, serial: str, series: str, device: Mapping[str, str], last: Reading | None) -> None:
        """A meter's log came; ``device`` has name, device_type and device_class as the logger says."""
        waiting = self._pending[METER].get(series)
        known = waiting.body["last_time"] if waiting else None
        body: dict[str, Any] = {**device, "last_upload": int(self._clock.seconds())}
        if last is not None and (known is None or last.time >= known):
            body |= {"last_time": last.time, "last": {"P": last.P, "L1_PF": last.L1_PF, "L1_V": last.L1_V, "Q": last.Q}}
        else:
            body |= {"last_time": known, "last": waiting.body["last"] if waiting else None}
        self._pending[METER][series] = NewDocument(series, body, serial)

    def status(self, serial: str, fields: Mapping[str, Any]) -> None:
        """A logger's STATUS message."""
        body = {"time": int(self._clock.seconds()), "fields": dict(fields)}
        self._pending[LOGGER_STATUS][serial] = NewDocument(serial, body, serial)

    def rejected(self, serial: str, address: str, reason: str) -> None:
        """A request had a serial that belongs to no customer, or a wrong password."""
        self.rejected_total += 1
        if serial not in self._rejected and len(self._rejected) >= self._max_rejected:
            return
        count = self._rejected[serial][3] if serial in self._rejected else 0
        self._rejected[serial] = (int(self._clock.seconds()), address, reason, count + 1)

    async def flush(self, *, everything: bool = True) -> None:
        """Write what was gathered (without ``everything``: only what was not written recently); keep what could not be written."""
        now = self._clock.seconds()
        recent = now - self._repeat
        self._written = {key: time for key, time in self._written.items() if recent < time <= now}
        for kind, gathered in self._pending.items():
            due = {key: new for key, new in gathered.items() if everything or (kind, key) not in self._written}
            if not due:
                continue
            self._pending[kind] = {key: new for key, new in gathered.items() if key not in due}
            try:
                items = await self._merged_meters(due) if kind == METER else list(due.values())
                await self._documents.put_many(kind, items)
            except CenergydError:
                self._pending[kind] = {**due, **self._pending[kind]}
                raise
            self._written.update(((kind, key), now) for key in due)
        await self._flush_rejected()

    async def _merged_meters(self, gathered: Mapping[str, NewDocument]) -> list[NewDocument]:
        # A file that arrives late must not move a meter's last reading back.
        stored = await self._documents.get_many(METER, list(gathered))
        merged = []
        for key, new in gathered.items():
            old = stored[key].body if key in stored else {}
            newer = new.body["last_time"] is not None and new.body["last_time"] >= (old.get("last_time") or 0)
            kept = {} if newer else {"last_time": old.get("last_time"), "last": old.get("last")}
            merged.append(new._replace(body={**new.body, **kept}))
        return merged

    async def _flush_rejected(self) -> None:
        if not self._rejected:
            return
        gathered, self._rejected = self._rejected, {}
        stored = await self._documents.get_many(REJECTED, list(gathered))
        room = self._max_rejected - await self._documents.count(REJECTED)
        documents = []
        for serial, (time, address, reason, count) in gathered.items():
            if serial not in stored:
                room -= 1
                if room < 0:
                    continue  # somebody may be trying serials: the list stays bounded
            before = stored[serial].body.get("count", 0) if serial in stored else 0
            body = {"time": time, "address": address, "reason": reason, "count": before + count}
            documents.append(NewDocument(serial, body, None, time))
        await self._documents.put_many(REJECTED, documents)
        await self._documents.purge(REJECTED, int(self._clock.seconds()) - self._keep_rejected)

    def _flush_logged(self) -> Deferred[None]:
        def failed(failure: Any) -> None:
            log.warn("logger activity is not written, will be tried again: {reason}", reason=failure.getErrorMessage())

        return Deferred.fromCoroutine(self.flush(everything=False)).addErrback(failed)

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Begin to write regularly."""
        super().startService()
        self._loop.start(self._interval, now=False)

    async def stop(self) -> None:
        """Write what is left and stop."""
        if self._loop.running:
            self._loop.stop()
        Service.stopService(self)
        await Deferred.fromCoroutine(self.flush()).addErrback(lambda _: None)
