"""Concurrent calls merged: the same results, fewer round trips, and none fails because of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from cenergyd.errors import StoreRejected, StoreUnavailable
from cenergyd.readings.batching import LONG_BATCH, LONG_SECONDS, Batcher, BatchingReadingStore
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import FieldPoint, Reading, SeriesReadings
from cenergyd.readings.store import Summary

T0 = 1_750_000_000
DAY = 86400


class SlowReadingStore(MemoryReadingStore):
    """Counts calls, and answers when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.gates: list[Deferred[None]] = []

    async def _wait(self, name: str) -> None:
        self.calls.append(name)
        gate: Deferred[None] = Deferred()
        self.gates.append(gate)
        await gate

    def answer(self) -> None:
        self.gates.pop(0).callback(None)

    async def read(self, *asked: Any, **more: Any) -> dict[str, list[Reading]]:
        await self._wait("read")
        return await super().read(*asked, **more)

    async def replace_points_many(
        self, items: Sequence[tuple[str, int, int, Sequence[FieldPoint]]], field: str = ""
    ) -> None:
        await self._wait("replace")
        if any(point.fields.get("bad") for *_, points in items for point in points):
            raise StoreRejected("bad")
        await super().replace_points_many(items, field)


def outcome(deferred: Deferred[Any]) -> Any:
    """A result, an exception, or None while there is neither."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    if not found:
        return None
    return found[0].value if isinstance(found[0], Failure) else found[0]


def start(coroutine: Any) -> Deferred[Any]:
    return Deferred.fromCoroutine(coroutine)


@pytest.fixture
def batching() -> tuple[Clock, SlowReadingStore, BatchingReadingStore]:
    clock, store = Clock(), SlowReadingStore()
    start(store.write([SeriesReadings(f"A_{n}", [Reading(T0 + n, float(n))]) for n in range(1, 6)]))
    return clock, store, BatchingReadingStore(store, clock)


def test_reads_of_one_moment_and_range_are_one_call(
    batching: tuple[Clock, SlowReadingStore, BatchingReadingStore],
) -> None:
    clock, store, together = batching
    asked = [start(together.read([f"A_{n}", "A_1"], T0, T0 + 60)) for n in range(1, 4)]
    clock.advance(0)
    assert store.calls == ["read"]
    later = start(together.read(["A_4"], T0, T0 + 60))
    clock.advance(0)
    assert store.calls == ["read"], "it waits for the one under way"
    store.answer()
    answers = [outcome(each) for each in asked]
    assert [answer[f"A_{n}"][0].P for n, answer in enumerate(answers, 1)] == [1.0, 2.0, 3.0]
    assert all(set(answer) == {f"A_{n}", "A_1"} for n, answer in enumerate(answers, 1))
    store.answer()
    assert outcome(later) == {"A_4": [Reading(T0 + 4, 4.0)]}
    assert store.calls == ["read", "read"]


def test_first_and_last_readings_are_found_for_many_at_once(
    batching: tuple[Clock, SlowReadingStore, BatchingReadingStore],
) -> None:
    clock, store, together = batching
    calls: list[tuple[str, list[str], int | None]] = []
    for name in ("first", "last"):
        original = getattr(store, name)

        async def noted(series: list[str], time: int | None, name: str = name, original: Any = original) -> Any:
            calls.append((name, series, time))
            return await original(series, time)

        setattr(store, name, noted)
    asked = [start(together.last([f"A_{n}", "A_9"], T0 + 60)) for n in range(1, 4)]
    asked += [start(together.last(["A_1"])), start(together.first(["A_5"], T0)), start(together.first(["A_9"], T0))]
    clock.advance(0)
    assert [outcome(each) for each in asked] == [
        *({f"A_{n}": Reading(T0 + n, float(n))} for n in range(1, 4)),
        {"A_1": Reading(T0 + 1, 1.0)},
        {"A_5": Reading(T0 + 5, 5.0)},
        {},
    ]
    assert calls == [
        ("last", ["A_1", "A_9", "A_2", "A_3"], T0 + 60),
        ("last", ["A_1"], None),
        ("first", ["A_5", "A_9"], T0),
    ]


def test_points_read_at_once_are_read_together(batching: tuple[Clock, SlowReadingStore, BatchingReadingStore]) -> None:
    clock, store, together = batching
    start(store.write_points("A_1_1h", [FieldPoint(T0, {"P": 1.0, "Q": 3.0}), FieldPoint(T0 + 60, {"P": 2.0})]))
    calls: list[tuple[Sequence[tuple[str, int, int]], Sequence[str]]] = []
    read_points_many = store.read_points_many

    async def counted(ranges: Sequence[tuple[str, int, int]], fields: Sequence[str] = ()) -> list[list[FieldPoint]]:
        calls.append((ranges, fields))
        return await read_points_many(ranges, fields)

    store.read_points_many = counted  # type: ignore[method-assign]
    asked = [start(together.read_points(name, T0, T0 + 60)) for name in ("A_1_1h", "A_2_1h")]
    limited = start(together.read_points("A_1_1h", T0, T0 + 120, 1))
    of_fields = [start(together.read_points_many([("A_1_1h", T0, end)], ["Q"])) for end in (T0 + 60, T0)]
    clock.advance(0)
    whole = FieldPoint(T0, {"P": 1.0, "Q": 3.0})
    assert [outcome(each) for each in asked] == [[whole], []]
    assert outcome(limited) == [whole]
    assert [outcome(each) for each in of_fields] == [[[FieldPoint(T0, {"Q": 3.0})]], [[]]]
    assert calls == [
        ([("A_1_1h", T0, T0 + 60), ("A_2_1h", T0, T0 + 60)], ()),
        ([("A_1_1h", T0, T0 + 60), ("A_1_1h", T0, T0)], ("Q",)),
    ]


def test_a_long_range_goes_alone(batching: tuple[Clock, SlowReadingStore, BatchingReadingStore]) -> None:
    _, store, together = batching
    for _ in range(2):
        start(together.read(["A_1"], T0, T0 + LONG_SECONDS + 1))
    assert store.calls == ["read", "read"]


def test_two_months_of_days_are_summarised_for_some_sites_at_once_and_of_minutes_alone(
    batching: tuple[Clock, SlowReadingStore, BatchingReadingStore],
) -> None:
    clock, store, together = batching
    calls: list[tuple[list[str], int]] = []
    summarise = store.summarise

    async def counted(series: Sequence[str], *asked: Any, **more: Any) -> dict[str, list[Summary]]:
        calls.append((list(series), asked[2]))
        return await summarise(series, *asked, **more)

    store.summarise = counted  # type: ignore[method-assign]
    start_of_day = T0 // DAY * DAY
    months = start_of_day - 30 * DAY, start_of_day + 31 * DAY
    names = [f"A_{n}" for n in range(1, LONG_BATCH + 2)]
    days = [start(together.summarise([name], *months, DAY, ["P"])) for name in names]
    minutes = start(together.summarise(["A_1"], *months, 60, ["P"]))
    clock.advance(0)
    assert calls == [(["A_1"], 60), (names[:LONG_BATCH], DAY), (names[LONG_BATCH:], DAY)]
    for n, answer in enumerate(days, 1):
        expected = [Summary(start_of_day, 1, {"P": (float(n),) * 3})] if n <= 5 else []
        assert outcome(answer) == {f"A_{n}": expected}
    assert [each.time for each in outcome(minutes)["A_1"]] == [(T0 + 1) // 60 * 60]


def test_a_rejected_replacement_costs_nobody_else_anything(
    batching: tuple[Clock, SlowReadingStore, BatchingReadingStore],
) -> None:
    clock, store, together = batching
    asked = [
        start(together.replace_points_many([(f"A_{n}_1h", T0, T0 + 60, [FieldPoint(T0, {"bad": n == 2})])]))
        for n in range(1, 4)
    ]
    clock.advance(0)
    for _ in range(4):
        store.answer()
    assert [type(outcome(each)) for each in asked] == [type(None), StoreRejected, type(None)]
    assert outcome(start(store.read_points("A_1_1h", T0, T0 + 60))) == [FieldPoint(T0, {"bad": False})]
    assert outcome(start(store.read_points("A_2_1h", T0, T0 + 60))) == []


def test_replacements_of_one_series_are_never_in_one_call(
    batching: tuple[Clock, SlowReadingStore, BatchingReadingStore],
) -> None:
    clock, store, together = batching
    asked = [
        start(together.replace_points(series, T0, T0 + 60, [FieldPoint(T0, {"kwh": value})]))
        for series, value in (("A_1_1h", 1.0), ("A_1_1h", 2.0), ("A_2_1h", 3.0))
    ]
    clock.advance(0)
    store.answer()
    assert [each.called for each in asked] == [True, False, True]
    store.answer()
    assert outcome(start(store.read_points("A_1_1h", T0, T0 + 60))) == [FieldPoint(T0, {"kwh": 2.0})]


def test_a_store_that_is_down_is_reported_to_all(
    batching: tuple[Clock, SlowReadingStore, BatchingReadingStore],
) -> None:
    clock, store, together = batching
    asked = [start(together.read([f"A_{n}"], T0, T0 + 60)) for n in range(1, 4)]
    clock.advance(0)
    store.down = "down"
    store.answer()
    assert [type(outcome(each)) for each in asked] == [StoreUnavailable] * 3
    store.down = None
    again = start(together.read(["A_1"], T0, T0 + 60))
    clock.advance(0)
    store.answer()
    assert outcome(again) == {"A_1": [Reading(T0 + 1, 1.0)]}


def test_who_is_cancelled_is_left_out_or_not_answered(
    batching: tuple[Clock, SlowReadingStore, BatchingReadingStore],
) -> None:
    clock, store, together = batching
    first = start(together.read(["A_1"], T0, T0 + 60))
    clock.advance(0)
    waiting, other = (start(together.read([f"A_{n}"], T0, T0 + 60)) for n in (2, 3))
    first.cancel()
    waiting.cancel()
    store.answer()
    store.answer()
    assert isinstance(outcome(first), CancelledError)
    assert isinstance(outcome(waiting), CancelledError)
    assert outcome(other) == {"A_3": [Reading(T0 + 3, 3.0)]}


def test_a_result_list_of_the_wrong_length_fails_its_batch_and_no_other() -> None:
    clock = Clock()
    results = [[1], [], [1, 2, 3], [4]]

    async def serve(requests: Sequence[str]) -> list[int]:
        return results.pop(0)

    batcher: Batcher[str, int] = Batcher(serve, clock)
    for wrong in (2, 1, 2):
        submitted = [batcher.submit("x") for _ in range(wrong)]
        clock.advance(0)
        assert all(isinstance(outcome(each), RuntimeError) for each in submitted)
    after = batcher.submit("x")
    clock.advance(0)
    assert outcome(after) == 4


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 200), st.lists(st.sampled_from("abc"), max_size=2)), max_size=90))
def test_everybody_gets_his_own_answer_in_order(asks: list[tuple[int, list[str]]]) -> None:
    clock = Clock()
    served: list[list[tuple[int, list[str]]]] = []

    async def serve(items: Sequence[tuple[int, list[str]]]) -> list[int]:
        served.append(list(items))
        if any(number > 190 for number, _ in items):
            raise StoreRejected("too large")
        return [2 * number for number, _ in items]

    batcher: Batcher[tuple[int, list[str]], int] = Batcher(serve, clock, lambda request: request[1])
    answers = [batcher.submit(each) for each in asks]
    clock.advance(0)
    for (number, _), answer in zip(asks, answers, strict=True):
        found = outcome(answer)
        assert isinstance(found, StoreRejected) if number > 190 else found == 2 * number
    for group in served:
        names = [name for _, named in group for name in set(named)]
        assert len(names) == len(set(names)), "no name twice in one call"
    for name in "abc":
        order = [each for group in served for each in group if name in each[1]]
        assert list(dict.fromkeys(map(repr, order))) == list(
            dict.fromkeys(map(repr, (a for a in asks if name in a[1])))
        )
