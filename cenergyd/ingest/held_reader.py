"""Reads held logs as soon as their columns are known, in the order they arrived, and deletes those that are too old."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cenergyd.acquisuite.resolve import MeterFacts, Resolution
from cenergyd.acquisuite.upload import LogHeader
from cenergyd.acquisuite.xml import parse_xml_steps
from cenergyd.customers.model import Customer
from cenergyd.customers.store import CustomerStore
from cenergyd.errors import CenergydError, FutureRows, StoreRejected, UploadError
from cenergyd.ingest.held_logs import HeldLog, HeldLogs
from cenergyd.ingest.held_meters import HeldMeter, Unread
from cenergyd.ingest.log_reader import MAX_INFLATED_BYTES, Hold, LogReader, ReadLog, in_steps, inflated
from cenergyd.ingest.meter_layouts import MeterLayouts
from cenergyd.runtime.byte_budget import DEFAULT_BUDGET_BYTES, ByteBudget
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.periodic import PeriodicService

FLUSH_SECONDS: Final = 5
"""Seconds between two writes of counts and checks of waiting meters."""
WALK_SECONDS: Final = 3600
"""Seconds between two checks of all meters with held logs, for changes made by other daemons or commands."""
COUNT_SECONDS: Final = 60
"""Seconds between two counts of all held logs, for the metrics."""
SCAN_AGAIN_SECONDS: Final = 600
"""A meter some of whose held logs could not be read is checked again after this time, or when something new becomes known about it."""
_MAX_KNOWN_CLEAR: Final = 100_000
log = Logger()

StoreReadings = Callable[[Customer, Sequence[tuple[str, ReadLog]]], Awaitable[None]]
"""Takes meter ids and the readings of each."""


class HeldLogService(PeriodicService):
    """Reads held logs.

    :ivar store: stores the readings of meters, marked for derivation; durable when it returns. Set it before starting.
    :ivar budget: the byte budget of all requests, in which held logs count while they are read. Set it before starting.
    """

    name = "held logs"
    store: StoreReadings

    def __init__(
        self, held: HeldLogs, layouts: MeterLayouts, reader: LogReader, customers: CustomerStore, clock: Timers
    ) -> None:
        super().__init__(clock, self.work, FLUSH_SECONDS, what="reading held logs", log=log, longest_rest=60, now=False)
        self.held = held
        self.budget = ByteBudget(DEFAULT_BUDGET_BYTES)
        self._layouts = layouts
        self._reader = reader
        self._customers = customers
        self._waiting: dict[str, None] = {}
        self._clear: dict[str, None] = {}
        self._scanned: dict[str, float] = {}
        self._walk_at = self._count_at = 0.0  # at once, for logs left by another daemon or an earlier run
        self.read_logs = 0
        """Held logs read since the start."""

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """Stop, and write the counts."""
        return super().stopService().addCallback(lambda _: Deferred.fromCoroutine(self._flush_last()))

    async def _flush_last(self) -> None:
        with suppress(CenergydError):
            await self.held.meters.flush()

    def read_all_again(self) -> None:
        """Check every meter with held logs soon: the ini's layouts have changed."""
        self._clear.clear()
        self._walk_at = self._clock.seconds()

    def read_again(self, series: str) -> None:
        """Check a meter's held logs soon: what is known of it has changed."""
        self._clear.pop(series, None)
        self._scanned.pop(series, None)
        self._waiting[series] = None

    async def read_logger_again(self, serial: str) -> None:
        """Check the held logs of all meters of a logger soon."""
        for meter in await self.held.meters.of_logger(serial):
            self.read_again(meter.series)

    def understood(self, series: str) -> None:
        """A log of the series could be read: if some are held, they can probably be read too. Costs nothing if there are none."""
        if series in self._clear or self._scanned.get(series, 0.0) > self._clock.seconds():
            return
        while len(self._clear) >= _MAX_KNOWN_CLEAR:
            del self._clear[next(iter(self._clear))]
        self._clear[series] = None
        self._waiting[series] = None

    async def hold(self, came: HeldLog, content: bytes, read: ReadLog) -> None:
        """Keep a log that could not be read completely; durable when this returns. Raises UploadError where there is no room."""
        assert read.unread_resolution is not None
        await self.held.hold(came, content, Unread(read.facts, read.unread_resolution, read.parsed.empty_range))
        self._clear.pop(came.series, None)

    async def work(self) -> None:
        """Check all meters that are due."""
        await self.held.meters.flush()
        if self._clock.seconds() >= self._walk_at:
            self._walk_at = self._clock.seconds() + WALK_SECONDS
            await self._walk()
        while self._waiting:
            series = next(iter(self._waiting))
            await self.read_series(series)
            self._waiting.pop(series, None)
        if self._clock.seconds() >= self._count_at:
            self._count_at = self._clock.seconds() + COUNT_SECONDS
            await self.held.meters.count()

    async def _walk(self) -> None:
        for given_up in await self.held.expire(int(self._clock.seconds())):
            log.warn(
                "a log of meter {series} was deleted unread after {days} days",
                series=given_up.series, days=self.held.keep_days,
            )  # fmt: skip
        after: str | None = None
        while found := await self.held.meters.page(after):
            after = found[-1].series
            for meter in found:
                if meter.logs and await self._may_be_known(meter):
                    self._waiting[meter.series] = None
            await self.held.meters.forget_empty(found)

    async def _may_be_known(self, meter: HeldMeter) -> bool:
        """Whether something is known now of a meter's columns, without reading its logs."""
        customer = await self._customers.by_serial(meter.serial)
        if customer is None:
            return False
        facts = MeterFacts(
            device_class=meter.device_class, device_type=meter.device_type, points=meter.points, header=meter.names
        )
        found = await self._layouts.resolve(customer, meter.meter, facts)
        return any(timed.resolution.layout is not None for timed in found)

    async def read_series(self, series: str) -> int:
        """Read what can be read of a meter's held logs; returns how many were read. The others stay."""
        serial = series.rpartition("_")[0]
        customer = await self._customers.by_serial(serial)
        listed = await self.held.meters.get(series)
        if customer is None or listed is None or not listed.logs:
            return 0
        self._scanned = {key: until for key, until in self._scanned.items() if until > self._clock.seconds()}
        self._scanned[series] = self._clock.seconds() + SCAN_AGAIN_SECONDS
        read = kept = size = 0
        why: Resolution | None = None
        after: str | None = None
        while found := await self.held.page(series, after):
            after = found[-1].key
            for each in found:
                unread = await self._read(customer, each)
                if unread is None:
                    await self.held.drop(each)
                    read += 1
                else:
                    kept, size, why = kept + 1, size + each.size, unread
        if after is not None:
            await self.held.meters.set_counts(series, kept, size, why)
        if read:
            self.read_logs += read
            log.info("{logs} held logs of meter {series} were read", logs=read, series=series)
        return read

    async def _read(self, customer: Customer, held: HeldLog) -> Resolution | None:
        """Read a log and store its readings; None if all of it was read, otherwise why not. Raises Overloaded if the requests leave no memory for it."""
        lease = self.budget.own_lease()
        # Counted as for requests: its bytes as stored and as parsed.
        lease.hold(min(2 * held.size, self.budget.total // 4))
        try:
            return await self._read_counted(customer, held, lambda parsed: lease.count(2 * held.size + parsed))
        finally:
            lease.release()

    async def _read_counted(self, customer: Customer, held: HeldLog, count: Hold) -> Resolution | None:
        try:
            read = await self._parsed(customer, held, await self.held.content(held), count)
        except (UploadError, FutureRows) as error:
            log.error("a held log of meter {series} cannot be read: {reason}", series=held.series, reason=str(error))
            return None
        if read is None:
            return None
        if read.parsed.readings:
            try:
                await self.store(customer, [(held.meter, read)])
            except StoreRejected as error:
                log.error("the store refused a held log of {series}: {reason}", series=held.series, reason=str(error))
                return read.resolution
        return read.unread_resolution

    async def _parsed(self, customer: Customer, held: HeldLog, content: bytes, count: Hold) -> ReadLog | None:
        if held.format == "log":
            file = LogHeader(
                meter=held.meter,
                filename=held.filename,
                content=content,
                device_class=held.device_class,
                device_type=held.device_type,
            )
            return await self._reader.read_file(customer, file, held.received, count)
        body = await inflated(self._reader.turns, self._clock, content, count)
        steps = parse_xml_steps(body, max_bytes=MAX_INFLATED_BYTES)
        message = await in_steps(
            self._reader.turns, self._clock, steps, lambda progress: count(len(body) + progress.held_bytes)
        )
        devices = [device for device in message.devices if device.meter == held.meter]
        return await self._reader.read_device(customer, devices[0], held.received) if devices else None
