"""Readings in InfluxDB 1.x, or in any engine that offers its API, by the official ``influxdb`` client.

The client is synchronous, so it runs in a bounded pool of threads, some for writing and some for reading: long reads never delay a
write. Nothing is retried here: errors are raised at once, and callers decide what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise

from cenergyd.errors import ConfigError
from cenergyd.readings.checks import (
    LATEST,
    check_fields,
    check_series,
    check_summary_request,
    points_to_keep,
    readings_to_keep,
    slices,
    storable_points,
)
from cenergyd.readings.model import CHANNELS, MISSING_METER, FieldPoint, Reading, SeriesReadings
from cenergyd.readings.store import Summary
from cenergyd.readings.write_probes import probe_times
from cenergyd.runtime.clock import Reactor
from cenergyd.storage.influxdb.address import parse_address
from cenergyd.storage.influxdb.connection import DEFAULT_POLICY, InfluxConnection, Policy
from cenergyd.storage.influxdb.line_protocol import (
    FIELDS,
    MAX_QUERY_CHARS,
    Changes,
    batched,
    changes,
    count_fields,
    counts_of,
    delete,
    fields_of,
    nanoseconds,
    point_lines,
    points_of,
    reading_lines,
    readings_of,
    select,
    summaries_of,
    summary_fields,
)
from cenergyd.storage.influxdb.pages import SERIES_AT_ONCE, PagedQueries, SeriesRange

DELETES_AT_ONCE = 10
"""Maximum DELETEs in one request. Each takes tens of milliseconds; more might exceed the timeout."""
SUMMARY_SECONDS = 120 * 86400
"""Seconds of range times number of series in one request for summaries. InfluxDB takes about a second for a year of minutes of four
channels, so each request ends well within the timeout, and several requests use all of the server's processors."""
SUMMARY_SLICE_SECONDS = 40 * 86400
SUMMARY_SLICES = 64
"""At most this many slices, however long the range is."""
RECENT = "2d"
"""The range searched first for the latest or earliest reading: without a limit, InfluxDB opens every shard."""
RUN_GAP_SECONDS = 7 * 86400
RUN_POINTS = 5000
_SERIAL = re.compile(r"[0-9A-Za-z]{1,32}\Z")


THREADS = 4
"""Threads for the synchronous client; half of them write."""


class InfluxReadingStore:
    """A :class:`~cenergyd.readings.store.ReadingStore` in InfluxDB.

    If :meth:`open` raises StoreUnavailable the store can still be used: later calls succeed once InfluxDB is back, and create the
    database if it is missing.

    :param url: see :func:`~cenergyd.storage.influxdb.address.parse_address`; raises ConfigError.
    :param policy: the policy of readings.
    :param points_policy: the policy of points (rollups, energy); None: the same. A DELETE affects all policies, but the series have different names.
    :param threads: number of threads for requests; half of them, rounded up, write.
    :param timeout_seconds: how long to wait for a connection, and for a response.
    """

    def __init__(
        self,
        reactor: Reactor,
        url: str,
        *,
        policy: Policy = DEFAULT_POLICY,
        points_policy: Policy | None = None,
        threads: int = THREADS,
        timeout_seconds: float = 10.0,
    ) -> None:
        if any(char in policy.name for char in '"\\\n'):
            raise ConfigError(f"retention_policy {policy.name!r}: quotes and backslashes are not possible")
        self._policies = (policy,) if points_policy is None else (policy, points_policy)
        self._readings_in, self._points_in = self._policies[0].name, self._policies[-1].name
        self._influx = InfluxConnection(reactor, parse_address(url), threads, timeout_seconds)
        self._pages = PagedQueries(self._influx, reactor)

    async def open(self) -> None:
        """Create the database if it is missing and the user may."""
        for policy in self._policies:
            await self._influx.ensure_policy(policy)
        await self.ping()

    async def close(self) -> None:
        """Wait for running requests (at most the timeout) and disconnect."""
        self._influx.stop()

    async def ping(self) -> None:
        """Send a write without points: InfluxDB checks the database and the permission as for a real write."""
        for policy in self._policies:
            await self._influx.check(policy.name)

    async def write(self, batches: Sequence[SeriesReadings]) -> None:
        """See :class:`~cenergyd.readings.store.ReadingStore`.

        InfluxDB drops readings that are older than the retention policy allows. That is the operator's decision, so the write
        succeeds, and a warning says how many were dropped.
        """
        check_series(*(batch.series for batch in batches))
        points = sum(len(batch.readings) for batch in batches)
        await self._influx.write(self._readings_in, points, lambda: _lines(batches))

    async def replace(self, series: str, start: int, end: int, readings: Sequence[Reading]) -> None:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        await self.replace_many([(series, start, end, readings)])

    async def replace_many(self, items: Sequence[tuple[str, int, int, Sequence[Reading]]]) -> None:
        """Not atomic: after a failure between its steps, repeat it. See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(*(item[0] for item in items))
        wanted = [readings_to_keep(readings, start, end) for _, start, end, readings in items]
        stored = await self._pages.rows(self._readings_in, [item[:3] for item in items], FIELDS, readings_of)
        deletes: list[str] = []
        batches: list[SeriesReadings] = []
        for (series, start, end, _), new in zip(items, wanted, strict=True):
            old = stored[series, start, end]
            plan = changes({r.time: fields_of(r) for r in old}, {time: fields_of(r) for time, r in new.items()})
            deletes += _deletion(series, plan.delete)
            batches.append(SeriesReadings(series, [new[time] for time in _written(plan, new)]))
        await self._delete(deletes)
        await self.write(batches)

    async def read(
        self, series: Sequence[str], start: int, end: int, limit: int | None = None
    ) -> dict[str, list[Reading]]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(*series)
        found = await self._pages.rows(
            self._readings_in, [(name, start, end) for name in series], FIELDS, readings_of, limit=limit
        )
        return {name: readings for (name, *_), readings in found.items()}

    async def last(self, series: Sequence[str], before: int | None = None) -> dict[str, Reading]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        until = f"time < {nanoseconds(LATEST if before is None else before)}"
        since = f"now() - {RECENT}" if before is None else f"{nanoseconds(before)} - {RECENT}"
        return await self._edge(series, until, f"{until} AND time >= {since}", "DESC")

    async def first(self, series: Sequence[str], since: int = 0) -> dict[str, Reading]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        start = f"time >= {nanoseconds(since)}"
        return await self._edge(series, start, f"{start} AND time < {nanoseconds(since)} + {RECENT}", "ASC")

    async def summarise(
        self,
        series: Sequence[str],
        start: int,
        end: int,
        resolution: int,
        channels: Sequence[str] = CHANNELS,
        *,
        offset: int = 0,
    ) -> dict[str, list[Summary]]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(*series)
        check_summary_request(resolution, channels, CHANNELS)
        kept = [channel for channel in CHANNELS if channel in channels]
        longest = max(SUMMARY_SLICE_SECONDS, (end - start) // SUMMARY_SLICES)
        parts = list(slices(start, end, resolution, longest, offset))
        ask = partial(
            self._pages.rows,
            self._readings_in,
            tail=f" GROUP BY time({resolution}s, {offset % resolution}s) fill(none)",
            window=resolution,
            most=max(1, min(SERIES_AT_ONCE - 1, SUMMARY_SECONDS // min(longest, max(1, end - start)))),
        )
        ranges = [(name, *part) for name in series for part in parts]
        answers = await ask(ranges, summary_fields(kept), partial(summaries_of, kept))
        lacking = [asked for asked, summaries in answers.items() if any(not s.readings for s in summaries)]
        if lacking:
            counted = await ask(lacking, count_fields(kept[1:]), counts_of)
            for asked, pairs in counted.items():
                counts = dict(pairs)
                answers[asked] = [s if s.readings else s._replace(readings=counts[s.time]) for s in answers[asked]]
        found: dict[str, list[Summary]] = {name: [] for name in series}
        for (name, *_), summaries in answers.items():
            found[name] += summaries
        return found

    async def series_of(self, serial: str) -> list[str]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        if not _SERIAL.match(serial):
            return []
        pattern = f"/^{serial}_([0-9]+|{MISSING_METER})$/"
        (answer,) = await self._pages.query([f"SHOW MEASUREMENTS WITH MEASUREMENT =~ {pattern}"])
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

    async def replace_points_many(
        self, items: Sequence[tuple[str, int, int, Sequence[FieldPoint]]], field: str = ""
    ) -> None:
        """Not atomic: after a failure between its steps, repeat it. See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(*(item[0] for item in items))
        wanted = [points_to_keep(points, start, end) for _, start, end, points in items]
        stored = await self._stored_points([item[:3] for item in items], field)
        deletes: list[str] = []
        lines: list[tuple[str, list[FieldPoint]]] = []
        for (series, start, end, _), new in zip(items, wanted, strict=True):
            old = {point.time: point.fields for point in stored[series, start, end]}
            plan = changes(old, {time: point.fields for time, point in new.items()})
            deletes += _deletion(series, plan.delete)
            lines.append((series, [new[time] for time in _written(plan, new)]))
        await self._delete(deletes)
        await self._write_points(lines)

    async def _stored_points(self, ranges: Sequence[SeriesRange], field: str) -> dict[SeriesRange, list[FieldPoint]]:
        """The points of each range, looked for by a field that each has."""
        found: dict[SeriesRange, list[FieldPoint]] = {asked: [] for asked in ranges}
        if field:
            known = await self._pages.rows(self._points_in, ranges, _selected([field]), points_of)
            ranges = [asked for asked in ranges if known[asked]]
        return {**found, **await self._pages.rows(self._points_in, ranges, "*", points_of)}

    async def merge_points_many(self, items: Sequence[tuple[str, Sequence[FieldPoint]]]) -> None:
        """One write: InfluxDB merges the fields of a time by itself. See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(*(series for series, _ in items))
        new = [(series, list(storable_points(points).values())) for series, points in items]
        if any(points for _, points in new):
            await self._write_points(new)

    async def read_points(self, series: str, start: int, end: int, limit: int | None = None) -> list[FieldPoint]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(series)
        return await self._points(series, start, end, limit)

    async def read_points_many(
        self, ranges: Sequence[SeriesRange], fields: Sequence[str] = ()
    ) -> list[list[FieldPoint]]:
        """See :class:`~cenergyd.readings.store.ReadingStore`."""
        check_series(*(series for series, *_ in ranges))
        found = await self._pages.rows(self._points_in, ranges, _selected(fields), points_of)
        return [found[series, start, end] for series, start, end in ranges]

    async def _edge(self, series: Sequence[str], condition: str, nearby: str, order: str) -> dict[str, Reading]:
        """The first reading of each series in an order. The whole range is searched only for series without a reading in ``nearby``."""
        check_series(*series)
        found: dict[str, Reading] = {}
        for where in (nearby, condition):
            tail = f"WHERE {where} ORDER BY time {order} LIMIT 1"
            names = [name for name in series if name not in found]
            answers = await self._pages.query(
                [
                    select(FIELDS, some, self._readings_in, tail)
                    for some in batched(names, MAX_QUERY_CHARS // 2, SERIES_AT_ONCE)
                ]
            )
            for part in (part for answer in answers for part in answer):
                found.update((part["name"], reading) for reading in readings_of(part["columns"], part["values"]))
        return found

    async def _points(self, series: str, start: int, end: int, limit: int | None = None) -> list[FieldPoint]:
        found = await self._pages.rows(self._points_in, [(series, start, end)], "*", points_of, limit=limit)
        return found[series, start, end]

    async def _change_points(self, series: str, old: Mapping[int, FieldPoint], new: Mapping[int, FieldPoint]) -> None:
        plan = changes({t: p.fields for t, p in old.items()}, {t: p.fields for t, p in new.items()})
        await self._delete(_deletion(series, plan.delete))
        points = [new[time] for time in _written(plan, new)]
        await self._write_points([(series, points)])

    async def _write_points(self, items: Sequence[tuple[str, Sequence[FieldPoint]]]) -> None:
        count = sum(len(points) for _, points in items)
        await self._influx.write(
            self._points_in, count, lambda: (line for series, points in items for line in point_lines(series, points))
        )

    async def _delete(self, statements: Sequence[str]) -> None:
        for some in batched(statements, MAX_QUERY_CHARS, DELETES_AT_ONCE):
            await self._influx.change(some)


def _lines(batches: Sequence[SeriesReadings]) -> Iterator[str]:
    for series, readings in batches:
        yield from reading_lines(series, readings)


def _selected(fields: Sequence[str]) -> str:
    """The fields of a query; none: all. InfluxDB opens a cursor for each field of each series, so three of ten cost a third."""
    check_fields(fields)
    return ", ".join(f'"{name}"' for name in fields) or "*"


def _deletion(series: str, times: tuple[int, int] | None) -> list[str]:
    return [] if times is None else [delete(series, *times)]


def _written(plan: Changes, new: Mapping[int, object]) -> list[int]:
    """Times to write: those that differ and one write probe for each other day."""
    return sorted([*plan.write, *probe_times(sorted(new), plan.write)])


def _runs(times: Sequence[int]) -> Iterator[Sequence[int]]:
    """Ascending times, split at long gaps, so that the range of each run holds few other times."""
    begin = 0
    for position, (before, time) in enumerate(pairwise(times), 1):
        if time - before > RUN_GAP_SECONDS or position - begin == RUN_POINTS:
            yield times[begin:position]
            begin = position
    if times:
        yield times[begin:]
