"""Parses a log file into readings, even if rows are damaged. Where the format leaves a choice:

- A file is readable if at least one row has a time and an error column; otherwise it is refused. Rows with errors are readable but give
  no reading.
- A device ends every line. A last line without an end was cut off by a power loss, even if it has all its columns: its last value may
  be ``12`` of ``123.4``, so that value is dropped and the others are kept. The same holds for a row that is interrupted by the next one.
- Rows with the same time are merged as in the store: a later value replaces an earlier one, a missing one leaves it. So it does not
  matter how a device distributes its rows over files.
- A row with more points than the first rows, or one too narrow for a layout that was identified by the number of points, is another meter's, or
  damaged: its columns are not known, so it is skipped and counted.
- A value beyond 1e30 is corrupt and counts as missing, like nan and inf.
- A power factor up to 1.001 is a rounding error and becomes 1; a larger one (most likely a percentage) counts as missing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Iterator
from functools import cached_property
from typing import Final

import msgspec

from cenergyd.acquisuite.error_codes import FIRST_EVENT, parse_error
from cenergyd.acquisuite.fast_rows import UniformRows, read_uniform_rows, uniform_readings
from cenergyd.acquisuite.inflate import inflated_chunks
from cenergyd.acquisuite.layouts import Layout
from cenergyd.acquisuite.points import FIRST_POINT
from cenergyd.acquisuite.row_values import RowReader, row_reader
from cenergyd.acquisuite.times import YEAR_2000, parse_time, quoted_time
from cenergyd.errors import UploadError
from cenergyd.readings.model import Reading

_MAX_LINE: Final = 64 * 1024
_STEP_LINES: Final = 500
_BREAK: Final = re.compile(
    rb"""\0+|(?=["']\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)|(?<!["'])(?=\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)"""
)
"""Where one row is interrupted by another: at NULs (flash that was never written), or at the time of the next row."""
_QUOTED_TIME_SIZE: Final = 21


class ParsedLog(msgspec.Struct, frozen=True, kw_only=True):
    """The readings of a log file, and counts of unusable rows and values."""

    readings: list[Reading] = msgspec.field(default_factory=list)
    """Ascending in time, each time once, each with at least one value."""
    rows: int = 0
    """Lines that are neither empty nor a header, valid or not."""
    readable_rows: int = 0
    """Rows with a time and an error column, whatever their values."""
    error_rows: int = 0
    """Rows with an error number, which are gaps."""
    missing_values: int = 0
    """Values of the layout that are missing in rows without error."""
    duplicates: int = 0
    """Rows with the same time as an earlier row."""
    skipped: dict[str, int] = msgspec.field(default_factory=dict)
    """Reason -> rows: bad_time, bad_row, too_long, future, before_2000, other_points, no_values."""
    error_codes: dict[int, int] = msgspec.field(default_factory=dict)
    """Error number -> rows."""
    last_error: tuple[int, int] | None = None
    """Time and number of the newest row with an error of the meter; events of the logger do not count."""
    earlier: int = 0
    """Rows without error before ``earliest``, which were not read."""
    empty_range: tuple[int, int] | None = None
    """First and last time of the rows that gave no value."""

    def with_earlier(self, part: ParsedLog) -> ParsedLog:
        """Merged with another pass over the earlier rows. The counts of rows are those of the pass over all rows."""
        skipped = {
            name: self.skipped.get(name, 0) + part.skipped.get(name, 0) for name in ("no_values", "other_points")
        }
        return msgspec.structs.replace(
            self,
            readings=[*part.readings, *self.readings],
            missing_values=self.missing_values + part.missing_values,
            duplicates=self.duplicates + part.duplicates,
            skipped={**self.skipped, **{name: count for name, count in skipped.items() if count}},
            earlier=part.earlier,
            empty_range=part.empty_range or self.empty_range,
        )

    def followed_by(self, later: ParsedLog) -> ParsedLog:
        """With the next part of the same log."""
        found = {reading.time: reading for reading in self.readings}
        for reading in later.readings:
            found[reading.time] = merge(found[reading.time], reading) if reading.time in found else reading
        ranges = [each for each in (self.empty_range, later.empty_range) if each is not None]
        errors = [each for each in (self.last_error, later.last_error) if each is not None]
        return ParsedLog(
            readings=[found[time] for time in sorted(found)],
            rows=self.rows + later.rows,
            readable_rows=self.readable_rows + later.readable_rows,
            error_rows=self.error_rows + later.error_rows,
            missing_values=self.missing_values + later.missing_values,
            duplicates=self.duplicates + later.duplicates + len(self.readings) + len(later.readings) - len(found),
            skipped=dict(Counter(self.skipped) + Counter(later.skipped)),
            error_codes=dict(Counter(self.error_codes) + Counter(later.error_codes)),
            last_error=max(errors, default=None),
            earlier=self.earlier + later.earlier,
            empty_range=(min(each[0] for each in ranges), max(each[1] for each in ranges)) if ranges else None,
        )

    def without_skipped(self, reason: str) -> tuple[ParsedLog, int]:
        """Without the count of rows skipped for a reason, and that count."""
        left = {name: count for name, count in self.skipped.items() if name != reason}
        return msgspec.structs.replace(self, skipped=left), self.skipped.get(reason, 0)


def parse_log(
    content: bytes,
    layout: Layout,
    *,
    now: int,
    max_inflated_bytes: int,
    max_future_seconds: int = 86400,
) -> ParsedLog:
    """Parse a whole log at once. A row takes a few microseconds; use :func:`parse_log_steps` or a thread for a large log.

    :param content: as sent, gzip or plain.
    :param now: UTC seconds; rows later than this by more than ``max_future_seconds`` are skipped.
    :raises UploadError: damaged or cut gzip, too large, or no readable row.
    """
    steps = parse_log_steps(content, layout, latest=now + max_future_seconds, max_inflated_bytes=max_inflated_bytes)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: ParsedLog = stop.value
            return result


def parse_log_steps(
    content: bytes,
    layout: Layout,
    *,
    earliest: int = YEAR_2000,
    latest: int,
    max_inflated_bytes: int,
    points: range | None = None,
) -> Generator[int, None, ParsedLog]:
    """Parse in steps of one or two milliseconds; returns the result.

    After each 128 KiB of text or 500 lines it yields the approximate memory of the readings so far, in bytes. For callers on the reactor's
    thread, which a long log must not block.

    :param earliest: UTC seconds; earlier rows are only counted, in :attr:`ParsedLog.earlier`.
    :param latest: UTC seconds; later rows are skipped.
    :param points: how many points a row of this layout may have; None: any number.
    """
    collector = RowCollector(layout, latest, earliest, points)
    parser = _Parser(collector)
    for text, cut in _whole_lines(inflated_chunks(content, max_inflated_bytes)):
        if cut:
            parser.take_damaged([text], cut)
        elif not parser.take_uniform(text):
            damaged, lines = b"\0" in text, text.splitlines()
            for start in range(0, len(lines), _STEP_LINES):
                step = lines[start : start + _STEP_LINES]
                if damaged:
                    parser.take_damaged(step, cut)
                else:
                    parser.take(step)
                yield collector.held_bytes
        yield collector.held_bytes
    return parser.result()


def parse_uniform_log(
    rows: UniformRows, layout: Layout, *, earliest: int = YEAR_2000, latest: int, points: range | None = None
) -> ParsedLog | None:
    """The result of :func:`parse_log_steps` for a whole log that is already split into rows; None if a row is not regular."""
    if points is not None and rows.commas + 1 - FIRST_POINT not in points:
        return None
    found = uniform_readings(rows, layout, latest, max(earliest, YEAR_2000))
    if found is None:
        return None
    count = len(found.readings)
    return ParsedLog(readings=found.readings, rows=count, readable_rows=count, missing_values=found.missing_values)


def _whole_lines(texts: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Chunks of complete lines, and finally, with True, a line that has no end. CRLF, LF and CR end a line."""
    tail = b""
    for text in texts:
        joined = (tail + text).replace(b"_", b"?")  # float() reads 1_0 as 10
        end = max(joined.rfind(b"\n"), joined.rfind(b"\r")) + 1
        tail = joined[end:]
        if len(tail) > _MAX_LINE:
            tail = b"?" * _MAX_LINE  # longer than any row, so its content does not matter
        if end:
            yield joined[:end], False
    if tail:
        yield tail, True


READING_BYTES: Final = 450
"""Approximate memory of a reading with its numbers and its dictionary entry."""


class RowCollector:
    """Collects rows of any format one by one, and keeps the readings by time.

    :param earliest: UTC seconds; earlier rows are only counted.
    :param latest: UTC seconds; later rows are skipped.
    :param points: how many points a row may have; None: any number.
    """

    def __init__(self, layout: Layout, latest: int, earliest: int = YEAR_2000, points: range | None = None) -> None:
        self.layout = layout
        self.commas = None if points is None else range(points.start + FIRST_POINT - 1, points.stop + FIRST_POINT - 1)
        """How many commas a row may have."""
        self.latest = latest
        self.earliest = max(earliest, YEAR_2000)
        self.earlier = 0
        self.found: dict[int, Reading] = {}
        self.rows = self.missing = self.readable = 0
        self._skipped: dict[str, int] = {}
        self._errors: dict[int, int] = {}
        self._duplicates = 0
        self._last_error: tuple[int, int] | None = None
        self._empty_range: tuple[int, int] | None = None

    @cached_property
    def read_values(self) -> RowReader:
        """Reads a row's columns."""
        return row_reader(self.layout)

    @cached_property
    def last_column(self) -> int:
        """The last column that holds a value."""
        return self.layout.last_column

    @property
    def held_bytes(self) -> int:
        """Approximate memory taken by the readings so far."""
        return len(self.found) * READING_BYTES

    def row(self, time: int | None, error: int | None, fields: list[bytes], commas: int | None = None) -> None:
        """Add a row: time and error number, None if unreadable, and the columns; column 0 is the time."""
        self.rows += 1
        if time is None or error is None:
            self.skip("bad_time" if time is None else "bad_row")
            return
        self.readable += 1
        if error:
            self._errors[error] = self._errors.get(error, 0) + 1
            if error < FIRST_EVENT and YEAR_2000 <= time <= self.latest:
                self._last_error = max(self._last_error or (time, error), (time, error))
        elif time < YEAR_2000:
            self.skip("before_2000")
        elif time > self.latest:
            self.skip("future")
        elif time < self.earliest:
            self.earlier += 1
        elif commas is not None and self.commas is not None and commas not in self.commas:
            self.skip("other_points")
        else:
            self._keep(time, fields)

    def _keep(self, time: int, fields: list[bytes]) -> None:
        reading, missing = self.read_values(time, fields)
        self.missing += missing
        earlier = self.found.get(time)
        if earlier is not None:
            self._duplicates += 1
        if reading is None:
            self.empty(time)
        else:
            self.found[time] = merge(earlier, reading) if earlier is not None else reading

    def empty(self, time: int) -> None:
        """Count a row without a value."""
        self.skip("no_values")
        first, last = self._empty_range or (time, time)
        self._empty_range = min(first, time), max(last, time)

    def skip(self, reason: str) -> None:
        """Count a row as unusable."""
        self._skipped[reason] = self._skipped.get(reason, 0) + 1

    def result(self) -> ParsedLog:
        """What was collected. Raises UploadError if no row was readable."""
        if not self.readable:
            raise UploadError("the log has no readable row")
        return self.collected()

    def collected(self) -> ParsedLog:
        """What was collected, even if nothing was readable."""
        return ParsedLog(
            readings=[self.found[time] for time in sorted(self.found)],
            rows=self.rows,
            readable_rows=self.readable,
            error_rows=sum(self._errors.values()),
            missing_values=self.missing,
            duplicates=self._duplicates,
            skipped=self._skipped,
            error_codes=self._errors,
            last_error=self._last_error,
            earlier=self.earlier,
            empty_range=self._empty_range,
        )


class _Parser:
    """Splits lines into rows for a collector."""

    def __init__(self, collector: RowCollector) -> None:
        self._collector = collector

    def result(self) -> ParsedLog:
        return self._collector.result()

    def take_uniform(self, text: bytes) -> bool:
        """Parse complete lines if all are regular and have new times; otherwise do nothing and return False."""
        collector = self._collector
        if collector.commas is not None and text[: text.find(b"\n")].count(b",") not in collector.commas:
            return False
        read = read_uniform_rows(text, collector.layout, collector.latest, collector.earliest)
        if read is None:
            return False
        found = {reading.time: reading for reading in read.readings}
        if not collector.found.keys().isdisjoint(found):
            return False
        collector.found.update(found)
        collector.rows += len(found)
        collector.readable += len(found)
        collector.missing += read.missing_values
        return True

    def take(self, lines: list[bytes]) -> None:
        """Parse lines. Written for speed: valid rows take a short path, all others go to :meth:`_irregular`."""
        collector = self._collector
        found = collector.found
        columns = collector.last_column + 1
        read_values, earliest, latest = collector.read_values, collector.earliest, collector.latest
        commas = collector.commas
        good = 0
        for line in lines:
            if not line:
                continue
            fields = line.split(b",", columns)
            try:
                time = quoted_time(fields[0])
                plain = fields[1] == b"0" and line.find(b"'", _QUOTED_TIME_SIZE) < 0
            except (ValueError, IndexError):
                plain = False
            if commas is not None and line.count(b",") not in commas:
                plain = False
            if not plain or not earliest <= time <= latest or time in found:
                self._irregular(line, False)
                continue
            good += 1
            reading, missing = read_values(time, fields)
            collector.missing += missing
            if reading is not None:
                found[time] = reading
            else:
                collector.empty(time)
        collector.rows += good
        collector.readable += good

    def take_damaged(self, lines: list[bytes], cut: bool) -> None:
        """Parse lines that may hold NULs, or have no end."""
        for line in lines:
            self._irregular(line, cut)

    def _irregular(self, line: bytes, cut: bool) -> None:
        """Parse a line that may be empty, a header, garbage, an invalid row, or several rows that interrupt each other."""
        line = line.strip(b" \t\x1a\xef\xbb\xbf")
        if line.lstrip(b"'\" ")[:5].lower() == b"time(":
            return
        rows = _BREAK.split(line)
        last = len(rows) - 1
        for index, row in enumerate(rows):
            if row:
                self._irregular_row(row, cut or index < last)

    def _irregular_row(self, row: bytes, cut: bool) -> None:
        if len(row) >= _MAX_LINE:
            self._collector.rows += 1
            self._collector.skip("too_long")
            return
        fields = row.split(b",", self._collector.last_column + 1)
        time = parse_time(fields[0])
        if cut and row.count(b",") < len(fields):
            fields.pop()  # the last value may have lost digits
        error = parse_error(fields[1]) if len(fields) > 1 else None
        self._collector.row(time, error, fields, None if cut else row.count(b","))


def merge(earlier: Reading, later: Reading) -> Reading:
    """Merge two readings of the same time: a later value replaces an earlier one, a missing one leaves it."""
    values = [before if now is None else now for before, now in zip(earlier.values, later.values, strict=True)]
    return Reading.of_values(later.time, values)
