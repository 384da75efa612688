"""A reading store for many askers at once: what they ask in the same moment goes to the store as one call.

The jobs of a fleet ask alike: the same hours of other series, small pieces replaced. A round trip costs far more than what
one of them carries, so calls that come while another is under way are gathered and share the next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from cenergyd.errors import StoreRejected
from cenergyd.readings.model import CHANNELS, FieldPoint, Reading, SeriesReadings
from cenergyd.readings.store import ReadingStore, Summary

AskT = TypeVar("AskT")
AnswerT = TypeVar("AnswerT")
ItemT = TypeVar("ItemT")

MAX_BATCH = 64
"""Calls that share one."""
LONG_SECONDS = 4 * 86400
"""A longer range is asked for by itself, so that nobody waits for a backlog and no answer holds several."""


class Batcher(Generic[AskT, AnswerT]):
    """Serves what is asked in the same turn of the reactor, or while an answer is awaited, by one call.

    :param serve: asks -> their answers in the same order. If it raises StoreRejected for several, each is served alone, so
        that nobody fails for another one's data; any other error is everybody's.
    :param names: names in an ask; two asks that share one are not served by the same call, but in the order they came.
    """

    def __init__(
        self,
        serve: Callable[[Sequence[AskT]], Awaitable[Sequence[AnswerT]]],
        clock: Any,
        names: Callable[[AskT], Sequence[str]] | None = None,
    ) -> None:
        self._serve = serve
        self._clock = clock  # IReactorTime
        self._names = names
        self._waiting: list[tuple[AskT, Deferred[AnswerT]]] = []
        self._busy = False

    def ask(self, item: AskT) -> Deferred[AnswerT]:
        """The answer; may be cancelled."""
        answer: Deferred[AnswerT] = Deferred(self._forget)
        self._waiting.append((item, answer))
        if not self._busy:
            self._busy = True
            self._clock.callLater(0, self._go)
        return answer

    def _forget(self, answer: Deferred[AnswerT]) -> None:
        self._waiting = [each for each in self._waiting if each[1] is not answer]

    def _go(self) -> None:
        Deferred.fromCoroutine(self._work())

    async def _work(self) -> None:
        while self._waiting:
            taken = self._next()
            try:
                answers: Sequence[AnswerT | Failure] = await self._serve([item for item, _ in taken])
            except StoreRejected as error:
                answers = [Failure(error)] if len(taken) == 1 else [await self._alone(item) for item, _ in taken]
            except Exception as error:
                answers = [Failure(error)] * len(taken)
            for (_, waiting), answer in zip(taken, answers, strict=True):
                if not waiting.called:  # not cancelled meanwhile
                    waiting.callback(answer)  # a Failure makes it an errback
        self._busy = False

    async def _alone(self, item: AskT) -> AnswerT | Failure:
        try:
            return (await self._serve([item]))[0]
        except Exception as error:
            return Failure(error)

    def _next(self) -> list[tuple[AskT, Deferred[AnswerT]]]:
        taken: list[tuple[AskT, Deferred[AnswerT]]] = []
        left: list[tuple[AskT, Deferred[AnswerT]]] = []
        seen: set[str] = set()
        for each in self._waiting:
            names = self._names(each[0]) if self._names else ()
            if len(taken) < MAX_BATCH and seen.isdisjoint(names):
                taken.append(each)
            else:
                left.append(each)
            seen.update(names)
        self._waiting = left
        return taken


class _Read(NamedTuple):
    series: Sequence[str]
    start: int
    end: int
    limit: int | None


class _Summaries(NamedTuple):
    series: Sequence[str]
    start: int
    end: int
    resolution: int
    channels: tuple[str, ...]


_Range = tuple[str, int, int]
_Replacement = tuple[str, int, int, Sequence[FieldPoint]]


class BatchingReadingStore:
    """A :class:`~cenergyd.readings.store.ReadingStore` in front of another one, which gathers what costs a round trip each."""

    def __init__(self, store: ReadingStore, clock: Any) -> None:
        self._store = store
        self._reads: Batcher[_Read, dict[str, list[Reading]]] = Batcher(self._read, clock)
        self._summaries: Batcher[_Summaries, dict[str, list[Summary]]] = Batcher(self._summarise, clock)
        self._points: Batcher[Sequence[_Range], list[list[FieldPoint]]] = Batcher(self._read_points, clock)
        self._replacements: Batcher[Sequence[_Replacement], None] = Batcher(
            self._replace_points, clock, lambda items: [series for series, *_ in items]
        )

    async def read(
        self, series: Sequence[str], start: int, end: int, limit: int | None = None
    ) -> dict[str, list[Reading]]:
        """Gathered with others of the same range."""
        if end - start > LONG_SECONDS:
            return await self._store.read(series, start, end, limit)
        return await self._reads.ask(_Read(series, start, end, limit))

    async def summarise(
        self, series: Sequence[str], start: int, end: int, resolution: int, channels: Sequence[str] = CHANNELS
    ) -> dict[str, list[Summary]]:
        """Gathered with others of the same range and resolution."""
        if end - start > LONG_SECONDS:
            return await self._store.summarise(series, start, end, resolution, channels)
        return await self._summaries.ask(_Summaries(series, start, end, resolution, tuple(channels)))

    async def read_points(self, series: str, start: int, end: int, limit: int | None = None) -> list[FieldPoint]:
        """As the store does."""
        return await self._store.read_points(series, start, end, limit)

    async def read_points_many(self, ranges: Sequence[_Range]) -> list[list[FieldPoint]]:
        """Gathered with any others."""
        if any(end - start > LONG_SECONDS for _, start, end in ranges):
            return await self._store.read_points_many(ranges)
        return await self._points.ask(ranges)

    async def replace_points_many(self, items: Sequence[_Replacement]) -> None:
        """Gathered with others of other series."""
        await self._replacements.ask(items)

    async def replace_points(self, series: str, start: int, end: int, points: Sequence[FieldPoint]) -> None:
        """Gathered with others of other series."""
        await self._replacements.ask([(series, start, end, points)])

    async def _read(self, asks: Sequence[_Read]) -> list[dict[str, list[Reading]]]:
        return await _by_range(self._store.read, asks)

    async def _summarise(self, asks: Sequence[_Summaries]) -> list[dict[str, list[Summary]]]:
        return await _by_range(self._store.summarise, asks)

    async def _read_points(self, asks: Sequence[Sequence[_Range]]) -> list[list[list[FieldPoint]]]:
        answers = iter(await self._store.read_points_many([asked for ranges in asks for asked in ranges]))
        return [[next(answers) for _ in ranges] for ranges in asks]

    async def _replace_points(self, asks: Sequence[Sequence[_Replacement]]) -> list[None]:
        await self._store.replace_points_many([item for items in asks for item in items])
        return [None] * len(asks)

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
        """As the store does."""
        return await self._store.last(series, before)

    async def first(self, series: Sequence[str], since: int = 0) -> dict[str, Reading]:
        """As the store does."""
        return await self._store.first(series, since)

    async def series_of(self, serial: str) -> list[str]:
        """As the store does."""
        return await self._store.series_of(serial)

    async def write_points(self, series: str, points: Sequence[FieldPoint]) -> None:
        """As the store does."""
        await self._store.write_points(series, points)


async def _by_range(
    call: Callable[..., Awaitable[dict[str, list[ItemT]]]], asks: Sequence[tuple[Any, ...]]
) -> list[dict[str, list[ItemT]]]:
    """One call for all asks that differ in nothing but their series, which come first."""
    found: dict[tuple[Any, ...], dict[str, list[ItemT]]] = {}
    for rest in dict.fromkeys(ask[1:] for ask in asks):
        names = dict.fromkeys(name for ask in asks if ask[1:] == rest for name in ask[0])
        found[rest] = await call(list(names), *rest)
    # Lists of their own: two may ask for the same series.
    return [{name: list(found[ask[1:]][name]) for name in ask[0]} for ask in asks]
