"""Readings in InfluxDB 1.x, or in any engine that speaks its API, by the official ``influxdb`` client.

The client is synchronous, so it runs in bounded threads, some for writing and some for reading: long reads never keep a
write waiting. Nothing is retried here: callers learn at once that the store is down and decide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

from cenergyd.errors import ConfigError
from cenergyd.readings.checks import LATEST, check_resolution, check_series, only, only_points, storable_points
from cenergyd.readings.influxclient import Answer, InfluxConnection
from cenergyd.readings.influxtext import (
    FIELDS,
    MAX_QUERY_CHARS,
    Rows,
    batched,
    changes,
    count_fields,
    counts_of,
    delete,
    fields_of,
    nanoseconds,
    parse_address,
    point_lines,
    points_of,
    reading_lines,
    readings_of,
    select,
    summaries_of,
    summary_fields,
    time_range,
)
from cenergyd.readings.inturns import in_turns
from cenergyd.readings.model import CHANNELS, MISSING_METER, FieldPoint, Reading, SeriesReadings
from cenergyd.readings.store import Summary

Range = tuple[str, int, int]
T = TypeVar("T")

PAGE_ROWS = 10_000
"""Rows of one series in one answer. InfluxDB marks a longer one as partial even where it is not."""
ANSWER_ROWS = 100_000
"""Rows of all series in one answer, about; longer reads take several requests."""
SERIES_AT_ONCE = 100
REQUESTS_AT_ONCE = 4
DELETES_AT_ONCE = 10
"""A DELETE takes tens of milliseconds; more of them in one request might not end within the timeout."""
SUMMARY_SECONDS = 400 * 86400
"""Range times series in one request for summaries, so that its answer comes within the timeout."""
RECENT = "2d"
"""Where the latest reading is looked for first: reading newest-first without a bound opens every shard there is."""
RUN_GAP_SECONDS = 7 * 86400
RUN_POINTS = 5000
_SERIAL = re.compile(r"[0-9A-Za-z]{1,32}\Z")


class InfluxReadingStore:
    """A :class:`~cenergyd.readings.store.ReadingStore` in InfluxDB.

    If :meth:`open` raises StoreUnavailable the store is usable all the same: later calls succeed once InfluxDB is back, and
    create the database if it is missing.

    :param url: see :func:`~cenergyd.readings.influxtext.parse_address`; raises ConfigError.
    :param retention_policy: where to write and read; '' is the database's default one.
    :param threads: for all requests; half of them, rounded up, write.
    :param timeout_seconds: how long to wait for a connection, and for an answer.
    """

    def __init__(
        self, reactor: Any, url: str, *, retention_policy: str = "", threads: int = 4, timeout_seconds: float = 10.0
    ) -> None:
        if any(char in retention_policy for char in '"\\\n'):
            raise ConfigError(f"retention_policy {retention_policy!r}: quotes and backslashes are not possible")
        self._policy = retention_policy
        self._influx = InfluxConnection(reactor, parse_address(url), retention_policy, threads, timeout_seconds)

    async def open(self) -> None:
        """Start the threads; create the database if it is missing and we may."""
        self._influx.start()
        await self.ping()

    async def close(self) -> None:
        """Wait for what runs (at most the timeout) and disconnect."""
        self._influx.stop()

    async def ping(self) -> None:
        """Send a write without any point: InfluxDB checks database and permission as for a real one."""
        await self._influx.check()

    async def write(self, batches: Sequence[SeriesReadings]) -> None:
        """See :class:`~cenergyd.readings.store.ReadingStore`.

        Readings older than the retention policy keeps are dropped by InfluxDB: that is the operator's decision, so the write
        counts as done, and a warning says how many.
        """
        check_series(*(batch.series for batch in batches))
        await self._influx.write(lambda: _lines(batches))

    async def replace(self, series: str, start: int, end: int, readings: Sequence[Reading]) -> None:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        await self.replace_many([(series, start, end, readings)])

    async def replace_many(self, items: Sequence[tuple[str, int, int, Sequence[Reading]]]) -> None:
        """Not atomic: after a failure between its steps, repeat it. See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(*(item[0] for item in items))
        wanted = [only(readings, start, end) for _, start, end, readings in items]
        stored = await self._paged([item[:3] for item in items], FIELDS, readings_of)
        deletes: list[str] = []
        batches: list[SeriesReadings] = []
        for (series, start, end, _), new in zip(items, wanted, strict=True):
            old = stored[series, start, end]
            plan = changes({r.time: fields_of(r) for r in old}, {time: fields_of(r) for time, r in new.items()})
            deletes += _deletion(series, plan.delete)
            batches.append(SeriesReadings(series, [new[time] for time in plan.write]))
        await self._delete(deletes)
        await self.write(batches)

    async def read(
        self, series: Sequence[str], start: int, end: int, limit: int | None = None
    ) -> dict[str, list[Reading]]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(*series)
        found = await self._paged([(name, start, end) for name in series], FIELDS, readings_of, limit=limit)
        return {name: readings for (name, *_), readings in found.items()}

    async def last(self, series: Sequence[str], before: int | None = None) -> dict[str, Reading]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        until = f"time < {nanoseconds(LATEST if before is None else before)}"
        since = f"now() - {RECENT}" if before is None else f"{nanoseconds(before)} - {RECENT}"
        found = await self._edge(series, f"{until} AND time >= {since}", "DESC")
        older = [name for name in series if name not in found]
        return found | await self._edge(older, until, "DESC")

    async def first(self, series: Sequence[str], since: int = 0) -> dict[str, Reading]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        return await self._edge(series, f"time >= {nanoseconds(since)}", "ASC")

    async def summarise(
        self, series: Sequence[str], start: int, end: int, resolution: int, channels: Sequence[str] = CHANNELS
    ) -> dict[str, list[Summary]]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(*series)
        check_resolution(resolution, channels, CHANNELS)
        kept = [channel for channel in CHANNELS if channel in channels]
        ask = partial(
            self._paged,
            tail=f" GROUP BY time({resolution}s) fill(none)",
            step=resolution,
            most=max(1, min(SERIES_AT_ONCE, SUMMARY_SECONDS // max(1, end - start))),
        )
        ranges = [(name, start, end) for name in series]
        found = await ask(ranges, summary_fields(kept), partial(summaries_of, kept))
        lacking = [asked for asked, summaries in found.items() if any(not s.readings for s in summaries)]
        if lacking:
            counted = await ask(lacking, count_fields(kept[1:]), counts_of)
            for asked, pairs in counted.items():
                counts = dict(pairs)
                found[asked] = [s if s.readings else s._replace(readings=counts[s.time]) for s in found[asked]]
        return {name: summaries for (name, *_), summaries in found.items()}

    async def series_of(self, serial: str) -> list[str]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        if not _SERIAL.match(serial):
            return []
        pattern = f"/^{serial}_([0-9]+|{MISSING_METER})$/"
        (answer,) = await self._query([f"SHOW MEASUREMENTS WITH MEASUREMENT =~ {pattern}"])
        return sorted(row[0] for part in answer for row in part["values"])

    async def write_points(self, series: str, points: Sequence[FieldPoint]) -> None:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(series)
        new = storable_points(points)
        for times in _runs(sorted(new)):
            old = {point.time: point for point in await self._points(series, times[0], times[-1] + 1)}
            await self._change_points(series, old, old | {time: new[time] for time in times})

    async def replace_points(self, series: str, start: int, end: int, points: Sequence[FieldPoint]) -> None:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        await self.replace_points_many([(series, start, end, points)])

    async def replace_points_many(self, items: Sequence[tuple[str, int, int, Sequence[FieldPoint]]]) -> None:
        """Not atomic: after a failure between its steps, repeat it. See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(*(item[0] for item in items))
        wanted = [only_points(points, start, end) for _, start, end, points in items]
        stored = await self._paged([item[:3] for item in items], "*", points_of)
        deletes: list[str] = []
        lines: list[tuple[str, list[FieldPoint]]] = []
        for (series, start, end, _), new in zip(items, wanted, strict=True):
            old = {point.time: point.fields for point in stored[series, start, end]}
            plan = changes(old, {time: point.fields for time, point in new.items()})
            deletes += _deletion(series, plan.delete)
            lines.append((series, [new[time] for time in plan.write]))
        await self._delete(deletes)
        await self._influx.write(lambda: (line for series, points in lines for line in point_lines(series, points)))

    async def read_points(self, series: str, start: int, end: int, limit: int | None = None) -> list[FieldPoint]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(series)
        return await self._points(series, start, end, limit)

    async def _paged(
        self,
        ranges: Iterable[Range],
        fields: str,
        parse: Callable[[Sequence[str], Rows], list[T]],
        *,
        tail: str = "",
        step: int = 1,
        limit: int | None = None,
        most: int = SERIES_AT_ONCE,
    ) -> dict[Range, list[T]]:
        """What ``parse`` makes of the rows of each range, at most ``limit`` rows of each.

        Goes in rounds: each takes a page of every range; those whose page was full go on ``step`` seconds after it.
        """
        found: dict[Range, list[T]] = {asked: [] for asked in ranges}
        cursors = {asked: asked[1] for asked in found}
        left = LATEST if limit is None else limit
        while cursors and left > 0:
            page = min(left, PAGE_ROWS, max(1, ANSWER_ROWS // min(len(cursors), SERIES_AT_ONCE)))
            full: dict[Range, int] = {}
            for asked, columns, rows in await self._page(cursors, fields, f"{tail} LIMIT {page}", most):
                found[asked] += parse(columns, rows)
                if len(rows) == page:
                    full[asked] = rows[-1][0] + step
            cursors = full
            left -= page
        return found

    async def _page(
        self, cursors: Mapping[Range, int], fields: str, tail: str, most: int
    ) -> list[tuple[Range, Sequence[str], Rows]]:
        """Ask for all ranges from their cursors on; those with the same bounds share statements."""
        together: dict[tuple[int, int], dict[str, Range]] = {}
        for asked, cursor in cursors.items():
            together.setdefault((cursor, asked[2]), {})[asked[0]] = asked
        asked_by: list[Mapping[str, Range]] = []
        statements: list[str] = []
        for (start, end), names in together.items():
            for some in batched(list(names), MAX_QUERY_CHARS // 2, most):
                asked_by.append(names)
                statements.append(select(fields, some, self._policy, f"WHERE {time_range(start, end)}{tail}"))
        answers = await self._query(statements, 1 if most < SERIES_AT_ONCE else SERIES_AT_ONCE)
        return [
            (names[part["name"]], part["columns"], part["values"])
            for names, answer in zip(asked_by, answers, strict=True)
            for part in answer
        ]

    async def _edge(self, series: Sequence[str], condition: str, order: str) -> dict[str, Reading]:
        check_series(*series)
        tail = f"WHERE {condition} ORDER BY time {order} LIMIT 1"
        statements = [
            select(FIELDS, some, self._policy, tail) for some in batched(series, MAX_QUERY_CHARS // 2, SERIES_AT_ONCE)
        ]
        answers = await self._query(statements)
        found = ((part["name"], readings_of(part["columns"], part["values"])) for answer in answers for part in answer)
        return {name: readings[0] for name, readings in found if readings}

    async def _points(self, series: str, start: int, end: int, limit: int | None = None) -> list[FieldPoint]:
        found = await self._paged([(series, start, end)], "*", points_of, limit=limit)
        return found[series, start, end]

    async def _change_points(self, series: str, old: Mapping[int, FieldPoint], new: Mapping[int, FieldPoint]) -> None:
        plan = changes({t: p.fields for t, p in old.items()}, {t: p.fields for t, p in new.items()})
        await self._delete(_deletion(series, plan.delete))
        points = [new[time] for time in plan.write]
        await self._influx.write(lambda: point_lines(series, points))

    async def _query(self, statements: Sequence[str], most: int = SERIES_AT_ONCE) -> list[Answer]:
        work = [self._influx.query(some) for some in batched(statements, MAX_QUERY_CHARS, most)]
        return [answer for answers in await in_turns(work, REQUESTS_AT_ONCE) for answer in answers]

    async def _delete(self, statements: Sequence[str]) -> None:
        for some in batched(statements, MAX_QUERY_CHARS, DELETES_AT_ONCE):
            await self._influx.change(some)


def _lines(batches: Sequence[SeriesReadings]) -> Iterator[str]:
    for series, readings in batches:
        yield from reading_lines(series, readings)


def _deletion(series: str, times: tuple[int, int] | None) -> list[str]:
    return [] if times is None else [delete(series, *times)]


def _runs(times: Sequence[int]) -> Iterator[Sequence[int]]:
    """Ascending times in runs without a long gap, so that the range around a run holds little else."""
    begin = 0
    for position, (before, time) in enumerate(pairwise(times), 1):
        if time - before > RUN_GAP_SECONDS or position - begin == RUN_POINTS:
            yield times[begin:position]
            begin = position
    if times:
        yield times[begin:]
