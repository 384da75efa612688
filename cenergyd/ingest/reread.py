"""Reads archived uploads again, after a layout was corrected: their readings replace those stored at the times of their rows.

Nothing else changes: a time that no archived row has keeps its reading. Uploads are read in the order they arrived, so if two have the same
time the later one wins, channel by channel, as on arrival. Changes are marked for derivation, and everything else follows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import attrs
from twisted.logger import Logger

from cenergyd.acquisuite.form import FilePart, Form
from cenergyd.acquisuite.row_times import row_times
from cenergyd.acquisuite.upload import read_log_header
from cenergyd.acquisuite.xml import parse_xml_steps
from cenergyd.customers.claims import PendingQueue
from cenergyd.customers.model import Customer, PendingMark, TimeRange
from cenergyd.customers.ownership import first_owned, own_parts
from cenergyd.derivation.diff import SeriesChange, change, loses
from cenergyd.errors import FutureRows, UploadError
from cenergyd.ingest.archive_format import (
    ArchivedUpload,
    ArchiveEntry,
    Damage,
    DamagedRecord,
    archived_entries,
    day_of,
    file_day,
    read_upload,
)
from cenergyd.ingest.log_reader import MAX_INFLATED_BYTES, LogReader, ReadLog, in_steps, inflated
from cenergyd.readings.corrected import as_measured
from cenergyd.readings.model import Reading, SeriesReadings, series_name
from cenergyd.readings.pauses import is_regular, usual_intervals
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.threads import InThread

DAY: Final = 86400
MAX_DAYS: Final = 400
"""The longest range in one run: every time read is remembered."""
LONGEST_PAUSE: Final = 5400
"""A longer pause between readings is a gap, s."""
log = Logger()
T = TypeVar("T")


@attrs.define(kw_only=True)
class RereadCounts:
    """Counts of a run."""

    uploads: int = 0
    """Archived uploads read."""
    readings: int = 0
    """Readings in them within the range."""
    changed: int = 0
    """Readings changed or added."""
    removed: int = 0
    """Readings removed, because their row has none by the present layout."""
    unread: int = 0
    """Uploads with rows whose columns are still unknown: nothing of theirs was removed."""
    others: int = 0
    """Uploads from when the logger was another customer's: left out."""
    refused: int = 0
    """Uploads that cannot be read at all."""
    damaged: list[str] = attrs.field(factory=list)
    """Damaged records, for people."""


class Rows(NamedTuple):
    """One meter's readings in an upload."""

    times: set[int]
    """The times of its rows, UTC seconds."""
    readings: Sequence[Reading]


def _ignore_progress(done: int, total: int) -> None:
    """Does nothing."""


@attrs.define(kw_only=True)
class Rereader:
    """One run. Methods raise StoreUnavailable, OSError."""

    readings: ReadingStore = attrs.field(converter=as_measured)
    """What is read again replaces the measured readings; corrections stay."""
    queue: PendingQueue
    reader: LogReader
    clock: Timers
    in_thread: InThread
    removed: Callable[[str, int, int], Awaitable[None]]
    """Called for ranges of a series where readings were removed, before they are marked: results that were computed only from them must be removed."""
    dry_run: bool = False
    """Whether changes are only counted, not written."""
    progress: Callable[[int, int], None] = attrs.field(default=_ignore_progress)
    """Called after each upload with the bytes of the archive that are done, and their total."""
    counts: RereadCounts = attrs.field(factory=RereadCounts)
    _done: dict[str, set[int]] = attrs.field(factory=dict, init=False)

    async def run(
        self, folder: Path, customer: Customer, time_range: TimeRange, *, meter: str | None = None
    ) -> RereadCounts:
        """Read the uploads of a customer's logger again, as far as their rows are within a range.

        :param meter: only this one.
        """
        within = TimeRange(max(time_range.start, first_owned(customer)), time_range.end)
        first = day_of(max(0, time_range.start - self.reader.max_future_seconds))
        days = await self.in_thread(_days, folder, first)
        total, done = sum(size for _, size in days), 0
        for paths, size in days:
            found = await self.in_thread(_entries, paths, customer.logger_serial_number)
            before = done

            def report(share: float, before: int = before, size: int = size) -> None:
                self.progress(before + int(share * size), total)

            await self._day(customer, found, within, meter, report)
            done += size
            self.progress(done, total)
        return self.counts

    async def _day(
        self,
        customer: Customer,
        found: Sequence[ArchiveEntry | Damage],
        within: TimeRange,
        meter: str | None,
        report: Callable[[float], None],
    ) -> None:
        rows: dict[str, list[Rows]] = {}
        own = own_parts(customer, customer.logger_serial_number, *within)
        for number, each in enumerate(found):
            report(number / len(found))
            if isinstance(each, Damage):
                what = "ends with a record that was cut short" if each.is_end else f"is damaged at byte {each.at}"
                self.counts.damaged.append(f"{each.path.name} {what}")
                continue
            upload = await self._upload(each)
            if upload is None:
                continue
            if upload.customer_id != customer.id:
                self.counts.others += 1
                continue
            for name, part in await self._rows(customer, upload, meter):
                kept = {time for time in part.times if any(since <= time < until for since, until in own)}
                inside = [reading for reading in part.readings if reading.time in kept]
                if kept:
                    rows.setdefault(name, []).append(Rows(kept, inside))
        for name, parts in rows.items():
            await self._store(customer, series_name(customer.logger_serial_number, name), parts)

    async def _upload(self, entry: ArchiveEntry) -> ArchivedUpload | None:
        try:
            return await self.in_thread(read_upload, entry)
        except DamagedRecord as error:
            self.counts.damaged.append(str(error))
            return None

    async def _rows(self, customer: Customer, upload: ArchivedUpload, meter: str | None) -> list[tuple[str, Rows]]:
        """Meter ids, and what the upload says of them by the present layouts."""
        try:
            if upload.format == "log":
                found = await self._log_rows(customer, upload, meter)
            else:
                found = await self._xml_rows(customer, upload, meter)
        except (UploadError, FutureRows) as error:
            self.counts.refused += 1
            log.warn("an archived upload of {serial} cannot be read: {reason}", serial=upload.serial, reason=str(error))
            return []
        self.counts.uploads += bool(found)
        return found

    async def _log_rows(self, customer: Customer, upload: ArchivedUpload, meter: str | None) -> list[tuple[str, Rows]]:
        header = read_log_header(Form(upload.fields, {"LOGFILE": FilePart(upload.filename, upload.content)}))
        if meter not in (None, header.meter):
            return []
        read = await self.reader.read_file(customer, header, upload.received)
        times = set() if read.unread else row_times(header.content, MAX_INFLATED_BYTES)
        return [(header.meter, self._known(read, times, upload))]

    async def _xml_rows(self, customer: Customer, upload: ArchivedUpload, meter: str | None) -> list[tuple[str, Rows]]:
        body = await inflated(self.reader.turns, self.clock, upload.content)
        message = await in_steps(self.reader.turns, self.clock, parse_xml_steps(body, max_bytes=MAX_INFLATED_BYTES))
        found = []
        for device in message.devices:
            if meter in (None, device.meter):
                read = await self.reader.read_device(customer, device, upload.received)
                times = {record.time for record in device.records if record.time and record.error == 0}
                found.append((device.meter, self._known(read, times, upload)))
        return found

    def _known(self, read: ReadLog, times: set[int], upload: ArchivedUpload) -> Rows:
        own = {reading.time for reading in read.parsed.readings}
        if read.unread:
            self.counts.unread += 1
            return Rows(own, read.parsed.readings)  # nothing is known of the others
        latest = upload.received + self.reader.max_future_seconds
        return Rows({time for time in times if time <= latest} | own, read.parsed.readings)

    async def _store(self, customer: Customer, series: str, parts: Sequence[Rows]) -> None:
        """One archive day's readings of a series, stored day by day of the readings' own times."""
        days = sorted({time // DAY for part in parts for time in part.times})
        for day in days:
            start, end = day * DAY, (day + 1) * DAY
            before = (await self.readings.read([series], start, end))[series]
            after = self._replaced(series, before, parts, TimeRange(start, end))
            self.counts.readings += sum(start <= reading.time < end for part in parts for reading in part.readings)
            difference = change(series, start, end, before, after)
            times = [time for part in parts for time in part.times if start <= time < end]
            mark = PendingMark(customer.id, min(times), max(times) + 1)
            if difference is not None:
                if not self.dry_run:
                    # Before the write as well: daemons may have these readings in their caches, and this may be interrupted.
                    await self.queue.mark([mark])
                await self._write(difference, before)
            if not self.dry_run:
                await self.queue.mark([mark])

    def _replaced(
        self, series: str, before: Sequence[Reading], parts: Sequence[Rows], time_range: TimeRange
    ) -> list[Reading]:
        start, end = time_range
        now = {reading.time: reading for reading in before}
        done = self._done.setdefault(series, set())
        for part in parts:
            times = {time for time in part.times if start <= time < end}
            for time in times - done:
                now.pop(time, None)
            done |= times
            for reading in part.readings:
                if start <= reading.time < end:
                    now[reading.time] = _merged(now.get(reading.time), reading)
        return [now[time] for time in sorted(now)]

    async def _write(self, difference: SeriesChange, before: Sequence[Reading]) -> None:
        old = {reading.time: reading for reading in before}
        new = {reading.time: reading for reading in difference.readings}
        self.counts.changed += sum(old.get(time) != reading for time, reading in new.items())
        if difference.replace:
            self.counts.removed += len(old.keys() - new.keys())
        if self.dry_run:
            return
        if difference.replace:
            ranges = losing_ranges(before, new)
            await self.readings.replace_many(
                [
                    (difference.series, *each, [new[time] for time in new if each.start <= time < each.end])
                    for each in ranges
                ]
            )
        changed = [reading for time, reading in new.items() if old.get(time) != reading]
        if changed:
            await self.readings.write([SeriesReadings(difference.series, changed)])
        if difference.replace:
            others = [time for time, reading in old.items() if new.get(time) != reading]
            await self.removed(difference.series, min(others), max(others) + 1)


def losing_ranges(before: Sequence[Reading], after: Mapping[int, Reading]) -> list[TimeRange]:
    """Ranges that have every stored reading that loses a value. None crosses a gap between readings, because uploads continue meanwhile:
    a late row may arrive there that is in neither.

    :param before: the stored readings, ascending.
    :param after: the wanted ones by time.
    """
    usual = usual_intervals([reading.time for reading in before], LONGEST_PAUSE)
    found: list[TimeRange] = []
    connected = False
    for index, reading in enumerate(before):
        if index and not is_regular(reading.time - before[index - 1].time, usual[index - 1] or 0):
            connected = False
        if loses(reading, after.get(reading.time)):
            start = found.pop().start if connected else reading.time
            found.append(TimeRange(start, reading.time + 1))
            connected = True
    return found


def _days(folder: Path, first: str) -> list[tuple[list[Path], int]]:
    """The archive's files from a day on, grouped by day, ascending, and their bytes."""
    days: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        day = file_day(path.name)
        if day is not None and day >= first:
            days.setdefault(day, []).append(path)
    return [(paths, sum(path.stat().st_size for path in paths)) for _, paths in sorted(days.items())]


def _entries(paths: Sequence[Path], serial: str) -> list[ArchiveEntry | Damage]:
    """A day's records of all daemons in the order of arrival, and damaged ranges."""
    found = [each for path in paths for each in archived_entries(path, serial)]
    entries = sorted((each for each in found if isinstance(each, ArchiveEntry)), key=lambda each: each.received)
    return [*(each for each in found if isinstance(each, Damage)), *entries]


def _merged(old: Reading | None, new: Reading) -> Reading:
    """As a store merges: a value replaces the old one, None leaves it."""
    if old is None:
        return new
    values = [was if value is None else value for was, value in zip(old.values, new.values, strict=True)]
    return Reading.of_values(new.time, values, new.estimated)
