"""A reading store that merges concurrent calls into one call of the store behind it.

The jobs of a fleet make similar calls: they read the same hours of different series and replace small ranges. A round trip costs far
more than one call's data, so calls made while another is in progress are collected and share the next round trip.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from cenergyd.errors import StoreRejected
from cenergyd.readings.corrected import ever_corrected, scaled_ranges
from cenergyd.readings.model import CHANNELS, FieldPoint, Reading, SeriesReadings
from cenergyd.readings.store import ReadingStore, Summary

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")
RestT = TypeVar("RestT")
ItemT = TypeVar("ItemT")

MAX_BATCH = 64
"""Requests in one batch."""
LONG_SECONDS = 4 * 86400
"""A longer range is read on its own, so that short requests do not wait for a backlog and one result stays bounded."""
LONG_BATCH = 8
"""Summaries of long ranges in one batch: a month around a register's implausible step is asked for by many sites whenever an hour ends."""
LONG_WINDOWS = 96
"""A summary of a long range with more windows is made on its own."""


class Scheduler(Protocol):
    """The reactor, or :class:`twisted.internet.task.Clock` in tests."""

    def callLater(self, delay: float, callable: Callable[[], None]) -> object:  # noqa: N802
        """Call after ``delay`` seconds."""
        ...


class Batcher(Generic[RequestT, ResultT]):
    """Collects requests made in the same turn of the reactor, or while a batch is in progress, and serves them as one batch.

    :param serve: requests -> their results, in the same order. If it raises StoreRejected for several requests, each is
        served alone, so that none fails because of another's data; any other error fails the whole batch.
    :param names: the names that a request touches. Two requests with a name in common are never in one batch; they are
        served in the order they were made.
    :param most: maximum requests in one batch.
    """

    def __init__(
        self,
        serve: Callable[[Sequence[RequestT]], Awaitable[Sequence[ResultT]]],
        clock: Scheduler,
        names: Callable[[RequestT], Sequence[str]] | None = None,
        most: int = MAX_BATCH,
    ) -> None:
        self._serve = serve
        self._clock = clock
        self._names = names
        self._most = most
        self._waiting: list[tuple[RequestT, Deferred[ResultT]]] = []
        self._busy = False

    def submit(self, request: RequestT) -> Deferred[ResultT]:
        """Fires with the result; may be cancelled."""
        result: Deferred[ResultT] = Deferred(self._forget)
        self._waiting.append((request, result))
        if not self._busy:
            self._busy = True
            self._clock.callLater(0, self._start)
        return result

    def _forget(self, result: Deferred[ResultT]) -> None:
        self._waiting = [each for each in self._waiting if each[1] is not result]

    def _start(self) -> None:
        Deferred.fromCoroutine(self._serve_all())

    async def _serve_all(self) -> None:
        while self._waiting:
            batch = self._next_batch()
            for (_, waiting), result in zip(batch, await self._results([r for r, _ in batch]), strict=True):
                if not waiting.called:  # not cancelled meanwhile
                    waiting.callback(result)  # a Failure makes it an errback
        self._busy = False

    async def _results(self, requests: Sequence[RequestT]) -> Sequence[ResultT | Failure]:
        """One result or Failure for each request; raises nothing, because then no further batch would be served."""
        try:
            results = await self._serve(requests)
            if len(results) != len(requests):
                raise RuntimeError(f"{len(requests)} requests got {len(results)} results")
            return results
        except StoreRejected as error:
            if len(requests) == 1:
                return [Failure(error)]
            return [(await self._results([request]))[0] for request in requests]
        except Exception as error:
            return [Failure(error)] * len(requests)

    def _next_batch(self) -> list[tuple[RequestT, Deferred[ResultT]]]:
        batch: list[tuple[RequestT, Deferred[ResultT]]] = []
        left: list[tuple[RequestT, Deferred[ResultT]]] = []
        seen: set[str] = set()
        for each in self._waiting:
            names = self._names(each[0]) if self._names else ()
            if len(batch) < self._most and seen.isdisjoint(names):
                batch.append(each)
            else:
                left.append(each)
            seen.update(names)
        self._waiting = left
        return batch


class _ReadRange(NamedTuple):
    start: int
    end: int
    limit: int | None


class _SummaryRange(NamedTuple):
    start: int
    end: int
    resolution: int
    channels: tuple[str, ...]
    offset: int


_Read = tuple[Sequence[str], _ReadRange]
_Summarise = tuple[Sequence[str], _SummaryRange]


_Range = tuple[str, int, int]
_ReadPoints = tuple[Sequence[_Range], tuple[str, ...]]
"""Ranges, and the fields to read; none: all."""
_Replacement = tuple[str, int, int, Sequence[FieldPoint]]


class BatchingReadingStore:
    """A :class:`~cenergyd.readings.store.ReadingStore` in front of another one; merges concurrent calls."""

    def __init__(self, store: ReadingStore, clock: Scheduler) -> None:
        self._store = store
        self._reads: Batcher[_Read, dict[str, list[Reading]]] = Batcher(self._read, clock)
        self._summaries: Batcher[_Summarise, dict[str, list[Summary]]] = Batcher(self._summarise, clock)
        self._long_summaries: Batcher[_Summarise, dict[str, list[Summary]]] = Batcher(
            self._summarise, clock, most=LONG_BATCH
        )
        self._points: Batcher[_ReadPoints, list[list[FieldPoint]]] = Batcher(self._read_points, clock)
        self._replacements: Batcher[tuple[Sequence[_Replacement], str], None] = Batcher(
            self._replace_points, clock, lambda asked: [series for series, *_ in asked[0]]
        )
        self._lasts: Batcher[tuple[Sequence[str], int | None], dict[str, Reading]] = Batcher(self._last, clock)
        self._firsts: Batcher[tuple[Sequence[str], int], dict[str, Reading]] = Batcher(self._first, clock)
        self._merges: Batcher[Sequence[tuple[str, Sequence[FieldPoint]]], None] = Batcher(
            self._merge_points, clock, lambda items: [series for series, _ in items]
        )

    async def read(
        self, series: Sequence[str], start: int, end: int, limit: int | None = None
    ) -> dict[str, list[Reading]]:
        """Read; merged with other reads of the same range."""
        if end - start > LONG_SECONDS:
            return await self._store.read(series, start, end, limit)
        return await self._reads.submit((series, _ReadRange(start, end, limit)))

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
        """Summarise; merged with others of the same range, resolution, channels and offset."""
        short = end - start <= LONG_SECONDS
        if not short and (end - start) // resolution > LONG_WINDOWS:
            return await self._store.summarise(series, start, end, resolution, channels, offset=offset)
        batcher = self._summaries if short else self._long_summaries
        return await batcher.submit((series, _SummaryRange(start, end, resolution, tuple(channels), offset)))

    async def read_points(self, series: str, start: int, end: int, limit: int | None = None) -> list[FieldPoint]:
        """Read points; merged with any other read of points if the range is short and there is no limit."""
        if limit is not None or end - start > LONG_SECONDS:
            return await self._store.read_points(series, start, end, limit)
        (found,) = await self._points.submit(([(series, start, end)], ()))
        return found

    async def read_points_many(self, ranges: Sequence[_Range], fields: Sequence[str] = ()) -> list[list[FieldPoint]]:
        """Read points; merged with any other read of the same fields of points."""
        if any(end - start > LONG_SECONDS for _, start, end in ranges):
            return await self._store.read_points_many(ranges, fields)
        return await self._points.submit((ranges, tuple(fields)))

    async def replace_points_many(self, items: Sequence[_Replacement], field: str = "") -> None:
        """Replace points; merged with replacements of other series whose points have the same field."""
        await self._replacements.submit((items, field))

    async def replace_points(self, series: str, start: int, end: int, points: Sequence[FieldPoint]) -> None:
        """Replace points; merged with replacements of other series."""
        await self._replacements.submit(([(series, start, end, points)], ""))

    async def merge_points_many(self, items: Sequence[tuple[str, Sequence[FieldPoint]]]) -> None:
        """Merge points; one call with those of other series."""
        await self._merges.submit(items)

    async def _merge_points(self, requests: Sequence[Sequence[tuple[str, Sequence[FieldPoint]]]]) -> list[None]:
        await self._store.merge_points_many([item for items in requests for item in items])
        return [None] * len(requests)

    async def _read(self, requests: Sequence[_Read]) -> list[dict[str, list[Reading]]]:
        return await _by_range(lambda series, rest: self._store.read(series, *rest), requests, _lists)

    async def _summarise(self, requests: Sequence[_Summarise]) -> list[dict[str, list[Summary]]]:
        def summarise(series: Sequence[str], asked: _SummaryRange) -> Awaitable[dict[str, list[Summary]]]:
            return self._store.summarise(series, *asked[:4], offset=asked.offset)

        return await _by_range(summarise, requests, _lists)

    async def _read_points(self, requests: Sequence[_ReadPoints]) -> list[list[list[FieldPoint]]]:
        found: dict[tuple[str, ...], Iterator[list[FieldPoint]]] = {}
        for fields in dict.fromkeys(fields for _, fields in requests):
            every = [each for ranges, other in requests if other == fields for each in ranges]
            found[fields] = iter(await self._store.read_points_many(every, fields))
        return [[next(found[fields]) for _ in ranges] for ranges, fields in requests]

    async def _replace_points(self, requests: Sequence[tuple[Sequence[_Replacement], str]]) -> list[None]:
        for field in dict.fromkeys(field for _, field in requests):
            every = [item for items, other in requests if other == field for item in items]
            await self._store.replace_points_many(every, field)
        return [None] * len(requests)

    async def ever_corrected(self, series: Sequence[str]) -> frozenset[str]:
        """As the store does."""
        return await ever_corrected(self._store, series)

    async def scaled_ranges(self, series: str, start: int, end: int) -> list[tuple[int, int]]:
        """As the store does."""
        return await scaled_ranges(self._store, series, start, end)

    async def open(self) -> None:
        """As the store does."""
        await self._store.open()

    async def close(self) -> None:
        """As the store does."""
        await self._store.close()

    async def ping(self) -> None:
        """As the store does."""
        await self._store.ping()

    async def write(self, batches: Sequence[SeriesReadings]) -> None:
        """As the store does."""
        await self._store.write(batches)

    async def replace(self, series: str, start: int, end: int, readings: Sequence[Reading]) -> None:
        """As the store does."""
        await self._store.replace(series, start, end, readings)

    async def replace_many(self, items: Sequence[tuple[str, int, int, Sequence[Reading]]]) -> None:
        """As the store does."""
        await self._store.replace_many(items)

    async def last(self, series: Sequence[str], before: int | None = None) -> dict[str, Reading]:
        """Find the last readings; merged with other calls with the same ``before``."""
        return await self._lasts.submit((series, before))

    async def first(self, series: Sequence[str], since: int = 0) -> dict[str, Reading]:
        """Find the first readings; merged with other calls with the same ``since``."""
        return await self._firsts.submit((series, since))

    async def _last(self, requests: Sequence[tuple[Sequence[str], int | None]]) -> list[dict[str, Reading]]:
        return await _by_range(self._store.last, requests, _that_exists)

    async def _first(self, requests: Sequence[tuple[Sequence[str], int]]) -> list[dict[str, Reading]]:
        return await _by_range(self._store.first, requests, _that_exists)

    async def series_of(self, serial: str) -> list[str]:
        """As the store does."""
        return await self._store.series_of(serial)

    async def write_points(self, series: str, points: Sequence[FieldPoint]) -> None:
        """As the store does."""
        await self._store.write_points(series, points)


async def _by_range(
    read: Callable[[Sequence[str], RestT], Awaitable[dict[str, ItemT]]],
    requests: Sequence[tuple[Sequence[str], RestT]],
    select: Callable[[dict[str, ItemT], Sequence[str]], dict[str, ItemT]],
) -> list[dict[str, ItemT]]:
    """One call for all requests that differ only in their series; ``select`` picks each request's part of the result."""
    found: dict[RestT, dict[str, ItemT]] = {}
    for rest in dict.fromkeys(rest for _, rest in requests):
        names = dict.fromkeys(name for series, other in requests if other == rest for name in series)
        found[rest] = await read(list(names), rest)
    return [select(found[rest], series) for series, rest in requests]


def _lists(found: dict[str, list[ItemT]], series: Sequence[str]) -> dict[str, list[ItemT]]:
    """A request's series, each with a list of its own: two requests may name the same series."""
    return {name: list(found[name]) for name in series}


def _that_exists(found: dict[str, Reading], series: Sequence[str]) -> dict[str, Reading]:
    return {name: found[name] for name in series if name in found}
