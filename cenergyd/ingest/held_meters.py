"""Which meters have held logs, why, and how much room these take.

One document of kind ``held_meter`` for each (key series, owner serial). It is written with a meter's first held log; later ones only change
its counts, which are collected and written every few seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from typing import Final, NamedTuple, Protocol

import attrs

from cenergyd.acquisuite.points import Point
from cenergyd.acquisuite.resolve import MeterFacts, Resolution, ResolutionState
from cenergyd.documents.json_types import JsonObject, ReadOnlyJson
from cenergyd.documents.kinds import HELD_METER
from cenergyd.documents.store import DocumentStore
from cenergyd.errors import Conflict
from cenergyd.readings.model import series_name
from cenergyd.runtime.clock import Timers

OTHER_SHARE: Final = 4
"""Logs of devices that measure no power may take this fraction (1/n) of the room: they must not take the room of meters."""
_TRIES: Final = 5
_PAGE: Final = 500
_LOGGER_CACHE_SECONDS: Final = 60
_ALL_CACHE_SECONDS: Final = 300
_LISTED_SECONDS: Final = 1800
"""A meter's document is looked up again after this time; one without logs is only deleted after twice as long, so that no new log remains unlisted."""
ALERT_AFTER_SECONDS: Final = 3600
"""A logger sends the config file of a new meter after its first logs, in the same session: until then nobody has to act."""
_MAX_NAMED: Final = 256
"""Number of points whose names are kept for the page."""


class Room(Enum):
    """Whether another log can be held, and why not."""

    FREE = "free"
    LOGGER_FULL = "logger full"
    ALL_FULL = "all full"


class Unread(NamedTuple):
    """Rows of a log that were not read, and why."""

    facts: MeterFacts
    resolution: Resolution
    rows: tuple[int, int] | None
    """Their first and last time, UTC seconds."""


class LogDescription(Protocol):
    """The parts of a log that describe its meter."""

    @property
    def serial(self) -> str: ...
    @property
    def meter(self) -> str: ...
    @property
    def received(self) -> int: ...
    @property
    def device_name(self) -> str: ...
    @property
    def device_type(self) -> str: ...
    @property
    def device_class(self) -> str: ...


@attrs.frozen(slots=True, kw_only=True)
class HeldMeter:
    """A meter with held logs. Texts are untrusted."""

    serial: str
    meter: str
    state: ResolutionState
    """``unknown``: somebody should choose its columns. ``other``: it measures no power."""
    reason: str
    """Why its logs are not read, one line for people."""
    doubts: tuple[str, ...] = ()
    """Columns that may be real power."""
    logs: int
    bytes: int
    since: int
    """When the first of them arrived, UTC seconds."""
    until: int
    """When the last one arrived."""
    first_row: int | None = None
    """Time of the earliest row, UTC seconds."""
    device_name: str = ""
    device_type: str = ""
    device_class: str = ""
    points: int | None = None
    """Number of columns after the alarms."""
    names: tuple[Point, ...] = ()
    """The logs' own names for their columns."""
    dismissed: bool = False
    """Whether somebody marked it as not a power meter."""

    @property
    def series(self) -> str:
        """Key of its document."""
        return f"{self.serial}_{self.meter}"

    @property
    def is_not_understood(self) -> bool:
        """Whether somebody has to act."""
        return self.logs > 0 and self.state == "unknown" and not self.dismissed


@attrs.define(slots=True)
class _UncountedLogs:
    """Held logs of a meter that are not yet counted in its document."""

    latest: HeldMeter
    logs: int = 0
    bytes: int = 0


class HeldMeters:
    """Lists and counts held logs by meter.

    :param logger_bytes: room for one logger's held logs.
    :param all_bytes: room for all.
    """

    def __init__(self, documents: DocumentStore, clock: Timers, *, logger_bytes: int, all_bytes: int) -> None:
        self._documents = documents
        self._clock = clock
        self.logger_bytes = logger_bytes
        self.all_bytes = all_bytes
        self._listed: dict[str, float] = {}
        self._gathered: dict[str, _UncountedLogs] = {}
        self._usage: dict[str, tuple[float, int, int]] = {}
        self._all: tuple[float, int] = (0.0, 0)
        self.not_understood = 0
        """Meters whose columns nobody has chosen yet, as of the last count."""
        self.held_logs = 0
        """Logs held, as of the last count."""
        self.held_bytes = 0
        """Their size, as of the last count."""

    async def of_logger(self, serial: str) -> list[HeldMeter]:
        """The meters of a logger that have held logs, by key."""
        found = await self._documents.find(HELD_METER, owner=serial, limit=300)
        return [_from_body(document.body) for document in found]

    async def get(self, series: str) -> HeldMeter | None:
        """One of them."""
        document = await self._documents.get(HELD_METER, series)
        return _from_body(document.body) if document is not None else None

    async def page(self, after: str | None, limit: int = _PAGE) -> list[HeldMeter]:
        """All of them, by key, after one."""
        found = await self._documents.find(HELD_METER, after_key=after, limit=limit)
        return [_from_body(document.body) for document in found]

    async def room_for(self, serial: str, size: int, state: ResolutionState) -> Room:
        """Whether a log of this size, bytes, can be held."""
        known, unknown, other = await self._logger_usage(serial)
        if self._is_full(unknown, other, size, state, self.logger_bytes) and self._clock.seconds() - known > 1:
            self._usage.pop(serial, None)
            known, unknown, other = await self._logger_usage(serial)
        if self._is_full(unknown, other, size, state, self.logger_bytes):
            return Room.LOGGER_FULL
        if await self._all_bytes() + size > self.all_bytes:
            return Room.ALL_FULL
        added = (unknown, other + size) if state == "other" else (unknown + size, other)
        self._usage[serial] = (known, *added)
        self._all = (self._all[0], self._all[1] + size)
        return Room.FREE

    @staticmethod
    def _is_full(unknown: int, other: int, size: int, state: ResolutionState, limit: int) -> bool:
        return unknown + other + size > limit or (state == "other" and other + size > limit // OTHER_SHARE)

    async def add(self, log: LogDescription, size: int, why: Unread) -> None:
        """Record a held log of the meter. Its document exists, durably, when this returns."""
        series = series_name(log.serial, log.meter)
        latest = _described(log, why)
        gathered = self._gathered.setdefault(series, _UncountedLogs(latest))
        gathered.latest = _merged_rows(gathered.latest, latest)
        gathered.logs += 1
        gathered.bytes += size
        now = self._clock.seconds()
        if self._listed.get(series, 0.0) <= now:
            await self._write(series, latest)
            self._listed = {key: until for key, until in self._listed.items() if until > now}
            self._listed[series] = now + _LISTED_SECONDS

    async def flush(self) -> None:
        """Write the collected counts. What could not be written is kept."""
        for series in list(self._gathered):
            await self._write(series)

    async def set_counts(self, series: str, logs: int, size: int, resolution: Resolution | None) -> None:
        """Record the result of reading all logs of the meter."""
        self._gathered.pop(series, None)
        self._usage.pop(series.rpartition("_")[0], None)

        def change(body: dict[str, object]) -> dict[str, object]:
            resolved = _resolved_fields(resolution) if resolution is not None else {}
            return {**body, **resolved, "logs": logs, "bytes": size}

        await self._change(series, change)

    async def subtract(self, series: str, logs: int, size: int) -> None:
        """Record that logs of the meter are no longer held."""

        def change(body: JsonObject) -> dict[str, object]:
            return {**body, "logs": max(0, body["logs"] - logs), "bytes": max(0, body["bytes"] - size)}

        await self._change(series, change)

    async def forget_empty(self, meters: Sequence[HeldMeter]) -> None:
        """Forget those of the meters that have had no held log for a long time."""
        for meter in meters:
            if not meter.logs and meter.until < self._clock.seconds() - 2 * _LISTED_SECONDS:
                stored = await self._documents.get(HELD_METER, meter.series)
                if stored is not None and not stored.body["logs"]:
                    with suppress(Conflict):
                        await self._documents.delete(HELD_METER, meter.series, expected_version=stored.version)

    async def dismiss(self, series: str, dismissed: bool) -> None:
        """Record that somebody marked the meter as not a power meter, or withdrew that."""
        await self._change(series, lambda body: {**body, "dismissed": dismissed})

    async def count(self) -> None:
        """Count all held logs, for the metrics and the limit over all loggers."""
        after: str | None = None
        logs = size = unreadable = 0
        while found := await self.page(after):
            logs += sum(meter.logs for meter in found)
            size += sum(meter.bytes for meter in found)
            unreadable += sum(meter.is_not_understood for meter in found)
            after = found[-1].series
        self.held_logs, self.held_bytes, self.not_understood = logs, size, unreadable
        self._all = (self._clock.seconds() + _ALL_CACHE_SECONDS, size)

    async def _all_bytes(self) -> int:
        if self._all[0] <= self._clock.seconds():
            await self.count()
        return self._all[1]

    async def _logger_usage(self, serial: str) -> tuple[float, int, int]:
        """When it was read, and the bytes of meters not understood and of other devices."""
        now = self._clock.seconds()
        cached = self._usage.get(serial)
        if cached is not None and cached[0] + _LOGGER_CACHE_SECONDS > now:
            return cached
        await self.flush()
        found = await self.of_logger(serial)
        other = sum(meter.bytes for meter in found if meter.state == "other")
        self._usage = {key: value for key, value in self._usage.items() if value[0] + _LOGGER_CACHE_SECONDS > now}
        self._usage[serial] = (now, sum(meter.bytes for meter in found) - other, other)
        return self._usage[serial]

    async def _write(self, series: str, latest: HeldMeter | None = None) -> None:
        """Write what was collected; with ``latest``, ensure a document even if another call is already writing it."""
        gathered = self._gathered.pop(series, None)
        if gathered is None:
            if latest is None:
                return
            gathered = _UncountedLogs(latest)
        try:
            await self._change(series, lambda body: _with(body, gathered), gathered.latest.serial)
        except BaseException:
            newer = self._gathered.get(series)
            if newer is not None:
                gathered.latest = _merged_rows(gathered.latest, newer.latest)
                gathered.logs += newer.logs
                gathered.bytes += newer.bytes
            self._gathered[series] = gathered
            raise

    async def _change(
        self, series: str, change: Callable[[dict[str, object]], dict[str, object]], serial: str | None = None
    ) -> None:
        """Change a meter's document, compare-and-set; without ``serial`` only one that exists. Raises Conflict after some tries."""
        for tries_left in reversed(range(_TRIES)):
            stored = await self._documents.get(HELD_METER, series)
            if stored is None and serial is None:
                return
            body = change(dict(stored.body) if stored is not None else {})
            owner = serial if stored is None else stored.owner
            version = stored.version if stored is not None else 0
            due = stored.due if stored is not None else None
            needed = is_not_understood(body)
            if needed != (stored is not None and is_not_understood(stored.body)):
                due = int(self._clock.seconds()) + (ALERT_AFTER_SECONDS if needed else 0)
            try:
                await self._documents.put(HELD_METER, series, body, owner=owner, due=due, expected_version=version)
                return
            except Conflict:
                if not tries_left:
                    raise


def is_not_understood(body: ReadOnlyJson) -> bool:
    """Whether somebody has to act, from the body of a meter's document."""
    return _from_body(body).is_not_understood


def _from_body(body: ReadOnlyJson) -> HeldMeter:
    known = {name: body[name] for name in _FIELDS if name in body}
    points = tuple(Point(*point) for point in body.get("names") or ())
    return HeldMeter(**{**known, "doubts": tuple(body.get("doubts") or ()), "names": points})


_FIELDS: Final = tuple(attribute.name for attribute in attrs.fields(HeldMeter))


def _described(log: LogDescription, why: Unread) -> HeldMeter:
    facts, resolution, rows = why
    return HeldMeter(
        serial=log.serial,
        meter=log.meter,
        state=resolution.state,
        reason=resolution.reason,
        doubts=resolution.doubts,
        logs=0,
        bytes=0,
        since=log.received,
        until=log.received,
        first_row=rows[0] if rows else None,
        device_name=log.device_name,
        device_type=log.device_type,
        device_class=log.device_class,
        points=facts.points,
        names=tuple((facts.header or facts.named)[:_MAX_NAMED]),
    )


def _merged_rows(earlier: HeldMeter, later: HeldMeter) -> HeldMeter:
    rows = [row for row in (earlier.first_row, later.first_row) if row is not None]
    return attrs.evolve(
        later,
        since=min(earlier.since, later.since),
        until=max(earlier.until, later.until),
        first_row=min(rows, default=None),
        points=later.points if later.points is not None else earlier.points,
        names=later.names or earlier.names,
    )


def _with(body: ReadOnlyJson, gathered: _UncountedLogs) -> dict[str, object]:
    """A meter's document with what was collected since it was written."""
    if not body:
        return _to_body(attrs.evolve(gathered.latest, logs=gathered.logs, bytes=gathered.bytes))
    known = _from_body(body)
    return _to_body(
        attrs.evolve(
            _merged_rows(known, gathered.latest) if known.logs else gathered.latest,
            logs=known.logs + gathered.logs,
            bytes=known.bytes + gathered.bytes,
            dismissed=known.dismissed,
        )
    )


def _to_body(meter: HeldMeter) -> dict[str, object]:
    body = {name: getattr(meter, name) for name in _FIELDS}
    return {**body, "doubts": list(meter.doubts), "names": [list(point) for point in meter.names]}


def _resolved_fields(resolution: Resolution) -> dict[str, object]:
    return {"state": resolution.state, "reason": resolution.reason, "doubts": list(resolution.doubts)}
