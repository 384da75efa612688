"""Group commit: uploads that arrive while a write is in flight share the next one, and each gets its own answer.

A write (a round trip, an fsync) costs a store far more than a reading, so a fleet's small uploads are written together. A
group is written, then marked (the customers' pending ranges), and only then are its uploads answered. If the store
rejects a group, it is halved until the rejected upload is isolated, so no upload fails because of another's data.

Short and long uploads are never in the same group, and one group of short ones can always be written: the logs of a backlog wait for
each other, not the others for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from cenergyd.errors import Overloaded, StoreRejected, StoreUnavailable
from cenergyd.readings.model import SeriesReadings
from cenergyd.runtime.clock import DelayedCall, Timers

Mark = TypeVar("Mark")
MAX_QUEUED_UPLOADS = 2000
"""Some seconds of a fleet's uploads; further ones get 503 and are sent again."""
MAX_QUEUED_READINGS = 500_000
"""At some 250 bytes each in memory."""
MAX_WRITE_READINGS = 5_000
"""InfluxDB recommends 5,000 to 10,000 points in a write, and SQLite gains little from more. Smaller writes free their thread sooner."""
LONG_READINGS = 500
"""An upload with more readings is long: a usual one has 15 to 60, a day of minutes 1,440."""
MAX_IN_FLIGHT = 2
"""While one group is being written, the next one can be sent."""

BUSY_UPLOADS = 10
"""With at least this many uploads in the last second a group waits for more; with fewer it does not."""
GROUP_SECONDS = 0.12
"""Seconds between the starts of two groups on a busy daemon; a device does not notice it, and stores have less work."""
FULL_GROUP = 16
"""A group with this many uploads is written at once: more would save little."""


class Writes(Protocol):
    """The part of a reading store that is used here."""

    async def write(self, batches: Sequence[SeriesReadings]) -> None:
        """Store readings, durable when this returns."""
        ...


@attrs.define(slots=True, eq=False)
class _Upload(Generic[Mark]):
    batches: Sequence[SeriesReadings]
    mark: Mark | None
    readings: int
    series: frozenset[str]
    answer: Deferred[None]


class GroupCommit(Generic[Mark]):
    """Writes uploads in groups.

    :param store: where readings go.
    :param clock: for the latency, and to group what arrives in the same iteration of the reactor.
    :param after_write: awaited once per group with the marks of its written uploads, before they are answered. If it raises, they all fail
        with its error.
    :param max_queued_uploads: uploads not answered yet; further ones raise Overloaded.
    :param max_queued_readings: their readings, likewise. A larger upload is accepted when nothing else waits.
    :param max_write_readings: readings in one write. A larger upload is a group of its own, written in parts.
    :param max_in_flight: groups written at the same time. Never two with the same series, so readings of a series are written in the order
        they arrived. If there are several, one is reserved for short uploads.
    :param took: called with how long each store kept uploads waiting: "write" (readings) or "mark" (customers), and seconds.
    """

    groups = 0
    """Groups answered since the start."""

    def __init__(
        self,
        store: Writes,
        clock: Timers,
        after_write: Callable[[Sequence[Mark]], Awaitable[None]],
        *,
        max_queued_uploads: int = MAX_QUEUED_UPLOADS,
        max_queued_readings: int = MAX_QUEUED_READINGS,
        max_write_readings: int = MAX_WRITE_READINGS,
        max_in_flight: int = MAX_IN_FLIGHT,
        took: Callable[[str, float], None] = lambda step, seconds: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._after_write = after_write
        self._max_uploads = max_queued_uploads
        self._max_readings = max_queued_readings
        self._max_write = max_write_readings
        self._long = min(LONG_READINGS, max_write_readings)
        self._max_in_flight = max_in_flight
        self._took = took
        self._queue: deque[_Upload[Mark]] = deque()
        self._busy_series: set[str] = set()
        self._long_in_flight = 0
        self._next_start: DelayedCall | None = None
        self._started_at = float("-inf")
        self._arrivals: deque[float] = deque(maxlen=BUSY_UPLOADS)
        self._stopping = False
        self._idle: list[Deferred[None]] = []
        self.queued_uploads = 0
        """Uploads not answered yet, waiting or being written."""
        self.queued_readings = 0
        """Their readings."""
        self.in_flight = 0
        """Groups being written now."""

    def commit(self, batches: SeriesReadings | Sequence[SeriesReadings], mark: Mark | None = None) -> Deferred[None]:
        """Write one upload. Fires once its readings and its mark are durable.

        Fails with Overloaded at once if too much is waiting, with StoreRejected if the store refuses this upload's data, with
        StoreUnavailable if the store does not answer or the daemon is stopping: not acknowledged.
        """
        if isinstance(batches, SeriesReadings):
            batches = (batches,)
        readings = sum(len(batch.readings) for batch in batches)
        if self._stopping:
            return fail(StoreUnavailable("the daemon is stopping"))
        if self.queued_uploads >= self._max_uploads:
            return fail(Overloaded(f"{self.queued_uploads} uploads are waiting to be written"))
        if self.queued_uploads and self.queued_readings + readings > self._max_readings:
            return fail(Overloaded(f"{self.queued_readings} readings are waiting to be written"))
        answer: Deferred[None] = Deferred()
        series = frozenset(batch.series for batch in batches)
        self._queue.append(_Upload(batches, mark, readings, series, answer))
        self._arrivals.append(self._clock.seconds())
        self.queued_uploads += 1
        self.queued_readings += readings
        self._start_soon()
        return answer

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Accept no more uploads and return once all accepted ones are answered.

        :param grace_seconds: after this, uploads that are not being written yet fail with StoreUnavailable (a store that is down makes
            each write wait for its timeout). None: no limit.
        """
        self._stopping = True
        if not self.queued_uploads:
            return
        self._start_soon()
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        giving_up = None if grace_seconds is None else self._clock.callLater(grace_seconds, self._give_up)
        await idle
        if giving_up is not None and giving_up.active():
            giving_up.cancel()

    def _give_up(self) -> None:
        waiting, self._queue = self._queue, deque()
        for upload in waiting:
            self._answer(upload, StoreUnavailable("the daemon is stopping"))
        self._check_idle()

    def _check_idle(self) -> None:
        if not self.queued_uploads:
            waiting, self._idle = self._idle, []
            for idle in waiting:
                idle.callback(None)

    def _start_soon(self) -> None:
        delay = self._delay()
        if self._next_start is None:
            self._next_start = self._clock.callLater(delay, self._start_groups)
        elif not delay:
            self._next_start.reset(0)

    def _delay(self) -> float:
        """Seconds that the next group waits for further uploads."""
        now = self._clock.seconds()
        busy = len(self._arrivals) == BUSY_UPLOADS and now - 1 < self._arrivals[0] <= now
        if self._stopping or not busy or len(self._queue) >= FULL_GROUP:
            return 0.0
        return min(GROUP_SECONDS, max(0.0, self._started_at + GROUP_SECONDS - now))

    def _start_groups(self) -> None:
        self._next_start = None
        while self.in_flight < self._max_in_flight:
            group = self._next_group()
            if not group:
                return
            is_long = self._is_long(group[0])
            series = frozenset[str]().union(*(upload.series for upload in group))
            self._started_at = self._clock.seconds()
            self.in_flight += 1
            self._long_in_flight += is_long
            self._busy_series |= series
            Deferred.fromCoroutine(self._commit_group(group, is_long, series))

    def _is_long(self, upload: _Upload[Mark]) -> bool:
        return upload.readings > self._long

    def _next_group(self) -> list[_Upload[Mark]]:
        """Take from the queue the uploads to write next: of the kind that waits longest, if any of it may be written now."""
        if not self._queue:
            return []
        first = self._is_long(self._queue[0])
        may_be_long = self._long_in_flight < max(1, self._max_in_flight - 1)
        for long in (first, not first):
            if (may_be_long or not long) and (group := self._take(long=long)):
                return group
        return []

    def _take(self, *, long: bool) -> list[_Upload[Mark]]:
        """Take, in order, the long or the short uploads that may be written now and fit into one write."""
        group: list[_Upload[Mark]] = []
        passed: deque[_Upload[Mark]] = deque()
        blocked = set(self._busy_series)
        room = self._max_write
        while self._queue and room > 0:
            upload = self._queue.popleft()
            if self._is_long(upload) is not long or not blocked.isdisjoint(upload.series):
                # Later uploads for the same series must not overtake this one.
                passed.append(upload)
                blocked |= upload.series
                continue
            if group and upload.readings > room:
                passed.append(upload)
                break
            group.append(upload)
            room -= upload.readings
        self._queue.extendleft(reversed(passed))
        return group

    async def _commit_group(self, group: list[_Upload[Mark]], is_long: bool, series: frozenset[str]) -> None:
        failed = await self._write_and_mark(group)
        self.in_flight -= 1
        self._long_in_flight -= is_long
        self._busy_series -= series
        self.groups += 1
        if self._queue:
            self._start_soon()
        for upload in group:
            self._answer(upload, failed.get(upload))
        self._check_idle()

    def _answer(self, upload: _Upload[Mark], error: Exception | None) -> None:
        self.queued_uploads -= 1
        self.queued_readings -= upload.readings
        if error is None:
            upload.answer.callback(None)
        else:
            upload.answer.errback(Failure(error))

    async def _write_and_mark(self, group: list[_Upload[Mark]]) -> dict[_Upload[Mark], Exception]:
        """Write and mark the group; the uploads that failed, and why."""
        failed: dict[_Upload[Mark], Exception] = {}
        written: list[_Upload[Mark]] = []
        parts = [group]
        while parts:
            part = parts.pop()
            try:
                await self._write(part)
            except StoreRejected as error:
                if len(part) == 1:
                    failed[part[0]] = error
                else:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
            except Exception as error:
                failed.update((upload, error) for rest in (part, *parts) for upload in rest)
                break
            else:
                written += part
        marks = [upload.mark for upload in written if upload.mark is not None]
        if marks:
            try:
                await self._timed("mark", self._after_write(marks))
            except StoreRejected as error:
                # The readings are stored: an error in the marks is not the fault of the device's file.
                reason = StoreUnavailable(f"the readings cannot be marked: {error}")
                failed.update((upload, reason) for upload in written)
            except Exception as error:
                failed.update((upload, error) for upload in written)
        return failed

    async def _write(self, group: list[_Upload[Mark]]) -> None:
        batches = [batch for upload in group for batch in upload.batches if batch.readings]
        for part in split_writes(batches, self._max_write):
            await self._timed("write", self._store.write(part))

    async def _timed(self, step: str, work: Awaitable[None]) -> None:
        """Recorded also if it fails: a store that hangs must be visible."""
        began = self._clock.seconds()
        try:
            await work
        finally:
            self._took(step, self._clock.seconds() - began)


def split_writes(batches: Sequence[SeriesReadings], size: int) -> Iterator[list[SeriesReadings]]:
    """The batches, in order, in lists of at most ``size`` readings; a batch is split if necessary."""
    part: list[SeriesReadings] = []
    room = size
    for series, readings in batches:
        position = 0
        while position < len(readings):
            taken = readings[position : position + room]
            part.append(SeriesReadings(series, taken))
            position += len(taken)
            room -= len(taken)
            if room == 0:
                yield part
                part, room = [], size
    if part:
        yield part
