"""Reads logs, whose columns may have changed at some time, and reports rows that could not be read because their columns are not known."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Final, NamedTuple, TypeVar

from cenergyd.acquisuite.form import Form, parse_form, parse_large_form
from cenergyd.acquisuite.inflate import inflated_chunks, unpacked_if_short
from cenergyd.acquisuite.layouts import Layout
from cenergyd.acquisuite.log_file import READING_BYTES, ParsedLog, parse_log_steps, parse_uniform_log
from cenergyd.acquisuite.log_head import LogHead, parts_by_header, read_head
from cenergyd.acquisuite.resolve import MeterFacts, Resolution
from cenergyd.acquisuite.upload import LogHeader, md5_steps, read_log_header
from cenergyd.acquisuite.xml import XmlDevice
from cenergyd.customers.model import Customer
from cenergyd.errors import FutureRows, UploadError
from cenergyd.ingest.meter_layouts import MeterLayouts, TimedResolution
from cenergyd.runtime.clock import Timers, sleep
from cenergyd.runtime.yielding import SharedTurns

MAX_INFLATED_BYTES: Final = 128 << 20
"""Inflated size of a log (gzip bombs): a year of minutes of a wide meter fits."""
_STEPS_AT_ONCE: Final = 2
"""Parsing steps (a millisecond or two each) between two yields to the reactor."""
LARGE_BYTES: Final = 1 << 20
"""A longer form or file is read in steps, so that other requests are not delayed."""
SHORT_STEPS: Final = 8
"""A computation of at most this many steps is short and does not queue with long ones."""
_NO_COLUMNS: Final = Layout("no column known")

S = TypeVar("S")
T = TypeVar("T")
_Parse = Callable[[Layout, range | None, int, int], ParsedLog | Generator[int, None, ParsedLog]]
"""Parses the rows that have one of these numbers of points, between two times, both inclusive: at once or in steps."""
Hold = Callable[[int], None]
"""Called with the bytes that a computation holds; raises Overloaded if that is too much."""


class ReadLog(NamedTuple):
    """The result of reading a log."""

    parsed: ParsedLog
    facts: MeterFacts
    resolution: Resolution
    """What is known of the columns of its latest rows."""
    unread: int
    """Number of rows with values whose columns are not known."""
    unread_resolution: Resolution | None
    """Why those were not read."""

    def followed_by(self, later: ReadLog) -> ReadLog:
        """Joined with the next part of the same log, which has its own columns."""
        kept = self if self.unread_resolution is not None else later
        return ReadLog(
            self.parsed.followed_by(later.parsed), kept.facts, later.resolution,
            self.unread + later.unread, kept.unread_resolution,
        )  # fmt: skip


class LogReader:
    """Reads log files and the devices of XML messages.

    :param max_future_seconds: rows later than now by more are skipped.
    """

    def __init__(self, layouts: MeterLayouts, clock: Timers, max_future_seconds: int) -> None:
        self._layouts = layouts
        self._clock = clock
        self.turns = SharedTurns(clock)
        self.max_future_seconds = max_future_seconds

    async def read_form(self, body: bytes, content_type: bytes, max_fields: int, max_field_bytes: int) -> Form:
        """Parse a form; see :func:`parse_form`. Raises UploadError."""
        if len(body) <= LARGE_BYTES:
            return parse_form(body, content_type, max_fields=max_fields, max_field_bytes=max_field_bytes)
        steps = parse_large_form(body, content_type, max_fields=max_fields, max_field_bytes=max_field_bytes)
        return await in_steps(self.turns, self._clock, steps)

    async def read_header(self, form: Form) -> LogHeader:
        """The log file of a form and its variables; see :func:`read_log_header`. Raises UploadError."""
        file = form.files.get("LOGFILE")
        if file is None or len(file.content) <= LARGE_BYTES:
            return read_log_header(form)
        return read_log_header(form, await in_steps(self.turns, self._clock, md5_steps(file.content)))

    async def read_file(
        self, customer: Customer, file: LogHeader, now: int | None = None, hold: Hold | None = None
    ) -> ReadLog:
        """Read a log file.

        :param now: when it arrived, UTC seconds; None: now.
        :param hold: called with the memory held.
        :raises UploadError: it is damaged, too large, or has no readable row.
        :raises FutureRows: all its rows are later than ``now``.
        """
        content = unpacked_if_short(file.content, MAX_INFLATED_BYTES)
        head = read_head(content, MAX_INFLATED_BYTES)
        parts = parts_by_header(await inflated(self.turns, self._clock, content, hold)) if head.header else []
        if len(parts) > 1:
            read = await self._read_parts(customer, file, parts, now, hold)
        else:
            read = await self._read_part(customer, file, content, head, now=now, hold=hold)
        if is_all_future(read):
            raise FutureRows(read.parsed.skipped["future"])
        return read

    async def _read_parts(
        self, customer: Customer, file: LogHeader, parts: Sequence[bytes], now: int | None, hold: Hold | None
    ) -> ReadLog:
        """Read a log whose parts have header rows of their own; a part that is not readable is left out."""
        read: ReadLog | None = None
        refused: UploadError | None = None
        for part in parts:
            try:
                head = read_head(part, MAX_INFLATED_BYTES)
                following = await self._read_part(customer, file, part, head, now=now, hold=hold)
            except UploadError as error:
                refused = error
            else:
                read = following if read is None else read.followed_by(following)
        if read is None:
            raise refused or UploadError("the log has no readable row")
        return read

    async def _read_part(
        self, customer: Customer, file: LogHeader, content: bytes, head: LogHead, *, now: int | None, hold: Hold | None
    ) -> ReadLog:
        """Read a log, or the part of one with one header row."""
        facts = MeterFacts(
            device_class=file.device_class, device_type=file.device_type, points=head.points, header=head.header
        )

        def parse(
            layout: Layout, points: range | None, earliest: int, latest: int
        ) -> ParsedLog | Generator[int, None, ParsedLog]:
            if head.rows is not None:
                parsed = parse_uniform_log(head.rows, layout, earliest=earliest, latest=latest, points=points)
                if parsed is not None:
                    return parsed
            return parse_log_steps(
                content,
                layout,
                earliest=earliest,
                latest=latest,
                points=points,
                max_inflated_bytes=MAX_INFLATED_BYTES,
            )

        return await self._read(customer, file.meter, facts, parse, now, hold=hold)

    async def read_device(self, customer: Customer, device: XmlDevice, now: int | None = None) -> ReadLog:
        """Read a device of an XML message; rows that are not readable are only counted."""
        facts = device.facts()

        def parse(layout: Layout, points: range | None, earliest: int, latest: int) -> Generator[int, None, ParsedLog]:
            return device.parse_steps(layout, earliest=earliest, latest=latest)

        return await self._read(customer, device.meter, facts, parse, now)

    async def _read(
        self,
        customer: Customer,
        meter: str,
        facts: MeterFacts,
        parse: _Parse,
        now: int | None,
        *,
        hold: Hold | None = None,
    ) -> ReadLog:
        resolutions = await self._layouts.resolve(customer, meter, facts)
        came = int(self._clock.seconds()) if now is None else now
        parsed, unread = await self._parse(resolutions, parse, came + self.max_future_seconds, hold)
        reason: Resolution | None = None
        if unread:
            reason = next((timed.resolution for timed in resolutions if timed.resolution.layout is None), None)
        return ReadLog(parsed, facts, resolutions[0].resolution, unread, reason)

    async def _parse(
        self, resolutions: Sequence[TimedResolution], parse: _Parse, latest: int, hold: Hold | None
    ) -> tuple[ParsedLog, int]:
        """Parse by the latest layout; earlier rows, if any, by the layouts of their time."""
        whole: ParsedLog | None = None
        unread = 0
        for timed in resolutions:
            layout = timed.resolution.layout
            part = parse(layout or _NO_COLUMNS, timed.resolution.points, timed.since, latest)
            if not isinstance(part, ParsedLog):
                part = await in_steps(self.turns, self._clock, part, hold)
            elif hold is not None:
                hold(len(part.readings) * READING_BYTES)
            if layout is None:
                part, count = part.without_skipped("no_values")
                unread += count
            whole = part if whole is None else whole.with_earlier(part)
            if not part.earlier:
                break
            latest = timed.since - 1
        assert whole is not None  # there is always one resolution
        return whole, unread


def is_all_future(read: ReadLog) -> bool:
    """Whether there are rows with values, and all of them are in the future."""
    return bool(read.parsed.skipped.get("future")) and not read.parsed.readings and not read.unread


async def inflated(turns: SharedTurns, clock: Timers, content: bytes, hold: Hold | None = None) -> bytes:
    """Decompress a file, in steps; ``hold`` is called with its size so far. Raises UploadError."""

    def steps() -> Generator[int, None, bytes]:
        chunks, size = [], 0
        for chunk in inflated_chunks(content, MAX_INFLATED_BYTES):
            chunks.append(chunk)
            size += len(chunk)
            yield size
        return b"".join(chunks)

    return await in_steps(turns, clock, steps(), hold)


async def in_steps(
    turns: SharedTurns, clock: Timers, steps: Generator[S, None, T], on_step: Callable[[S], object] | None = None
) -> T:
    """Run a long computation, yielding to the reactor every few steps; ``on_step`` is called with what each step yields."""
    count = 0
    while True:
        try:
            step = next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
        if on_step is not None:
            on_step(step)
        count += 1
        if count % _STEPS_AT_ONCE == 0:
            await (sleep(clock, 0) if count <= SHORT_STEPS else turns.next())
