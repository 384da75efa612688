"""Group commit: shared writes, an answer for each upload, no upload fails because of another."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from hypothesis import strategies as st
from influxdb import InfluxDBClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from cenergyd.errors import Overloaded, StoredTypeConflict, StoreRejected, StoreUnavailable
from cenergyd.ingest.group_commit import (
    BUSY_UPLOADS,
    FULL_GROUP,
    GROUP_SECONDS,
    LONG_READINGS,
    GroupCommit,
    split_writes,
)
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings
from cenergyd.readings.store import ReadingStore
from cenergyd.storage.influxdb.readings import InfluxReadingStore
from cenergyd.storage.sqlite.readings import SqliteReadingStore
from tests.properties import for_all
from tests.servers import PATIENT_SECONDS, RunningInflux

T0 = 1_577_836_800
LIMITS = {"max_queued_uploads": 100, "max_queued_readings": 1000, "max_write_readings": 100}


class SlowStore:
    """Each write waits until the test lets it end."""

    def __init__(self) -> None:
        self.writes: list[tuple[list[SeriesReadings], Deferred[None]]] = []

    async def write(self, batches: Sequence[SeriesReadings]) -> None:
        done: Deferred[None] = Deferred()
        self.writes.append((list(batches), done))
        await done

    def names(self, index: int) -> list[str]:
        return [batch.series for batch in self.writes[index][0]]

    def finish(self, index: int, error: Exception | None = None) -> None:
        done = self.writes[index][1]
        done.callback(None) if error is None else done.errback(error)


class GroupCommitOnClock:
    """A group commit on a clock, over a slow store, that records its marks."""

    def __init__(self, store: Any = None, **limits: int) -> None:
        self.clock = Clock()
        self.store = store or SlowStore()
        self.marks: list[list[str]] = []
        self.marking: Callable[[], Deferred[None]] = lambda: succeed(None)
        self.took: list[tuple[str, float]] = []
        self.commit = GroupCommit[str](
            self.store, self.clock, self._mark, took=lambda *each: self.took.append(each), **{**LIMITS, **limits}
        )
        self.answers: dict[str, str] = {}

    async def _mark(self, marks: Sequence[str]) -> None:
        self.marks.append(list(marks))
        await self.marking()

    def upload(self, name: str, readings: int = 1, series: str | None = None) -> Deferred[None]:
        batch = SeriesReadings(series or f"{name}_1", [Reading(T0 + k, 1.0) for k in range(readings)])
        answer = self.commit.commit(batch, name)

        def record(result: Any) -> None:
            assert name not in self.answers
            self.answers[name] = result.type.__name__ if isinstance(result, Failure) else "ok"

        answer.addBoth(record)
        return answer

    def turn(self) -> None:
        self.clock.advance(0)


def test_on_a_busy_daemon_a_group_waits_for_more_uploads_but_not_for_long() -> None:
    commits = GroupCommitOnClock()
    for k in range(BUSY_UPLOADS - 1):
        commits.upload(f"u{k}")
        commits.turn()
        commits.store.finish(-1)
        commits.turn()
        commits.clock.advance(0.9 / BUSY_UPLOADS)
    before = len(commits.store.writes)
    for k in range(2):
        commits.upload(f"late{k}")
        commits.turn()
    assert len(commits.store.writes) == before
    commits.clock.advance(GROUP_SECONDS)
    assert len(commits.store.writes) == before + 1
    commits.store.finish(-1)
    commits.turn()
    assert commits.answers["late0"] == commits.answers["late1"] == "ok"
    for k in range(FULL_GROUP):
        commits.upload(f"full{k}")
    commits.turn()
    assert len(commits.store.writes) == before + 2
    commits.store.finish(-1)
    commits.turn()
    commits.upload("last")
    stopped = Deferred.fromCoroutine(commits.commit.stop())
    commits.turn()
    commits.store.finish(-1)
    commits.turn()
    assert stopped.called
    assert commits.answers["last"] == "ok"


def test_uploads_of_one_turn_share_a_write_and_so_do_those_that_come_meanwhile() -> None:
    commits = GroupCommitOnClock(max_in_flight=1)
    for name in ("a", "b"):
        commits.upload(name)
    assert not commits.store.writes
    commits.turn()
    assert commits.store.names(0) == ["a_1", "b_1"]
    for name in ("c", "d", "e"):
        commits.upload(name)
        commits.turn()
    assert len(commits.store.writes) == 1
    assert commits.answers == {}
    commits.store.finish(0)
    commits.turn()
    assert commits.answers == {"a": "ok", "b": "ok"}
    assert commits.store.names(1) == ["c_1", "d_1", "e_1"]
    commits.store.finish(1)
    assert commits.answers == dict.fromkeys("abcde", "ok")
    assert commits.marks == [["a", "b"], ["c", "d", "e"]]
    assert commits.commit.groups == 2
    assert commits.commit.queued_uploads == commits.commit.queued_readings == commits.commit.in_flight == 0


def test_the_answer_comes_after_the_write_and_then_the_mark() -> None:
    commits = GroupCommitOnClock()
    marked: Deferred[None] = Deferred()
    commits.marking = lambda: marked
    commits.upload("a")
    commits.turn()
    assert commits.marks == []
    commits.clock.advance(3)
    commits.store.finish(0)
    assert commits.marks == [["a"]]
    assert commits.answers == {}
    commits.clock.advance(2)
    marked.callback(None)
    assert commits.answers == {"a": "ok"}
    assert commits.took == [("write", 3.0), ("mark", 2.0)]


@pytest.mark.parametrize("error", [StoreUnavailable("the customer store is down"), StoreRejected("document too large")])
def test_a_mark_that_fails_means_no_acknowledgement(error: Exception) -> None:
    """Nor is it ever the upload's fault: the readings were fine."""
    commits = GroupCommitOnClock()
    marked: Deferred[None] = Deferred()
    commits.marking = lambda: marked
    commits.upload("a")
    commits.upload("b")
    commits.turn()
    commits.store.finish(0)
    marked.errback(error)
    assert commits.answers == {"a": "StoreUnavailable", "b": "StoreUnavailable"}


def test_an_upload_without_a_mark_or_without_readings() -> None:
    commits = GroupCommitOnClock()
    plain = commits.commit.commit([SeriesReadings("a_1", [Reading(T0, 1.0)])])
    empty = commits.commit.commit([SeriesReadings("b_1", [])], "b")
    commits.turn()
    assert commits.store.names(0) == ["a_1"]
    commits.store.finish(0)
    assert plain.called
    assert empty.called
    assert commits.marks == [["b"]]


@pytest.mark.parametrize("error", [StoreUnavailable("down"), Overloaded("full"), RuntimeError("a fault of ours")])
def test_a_store_that_is_down_fails_the_group_and_nothing_later(error: Exception) -> None:
    commits = GroupCommitOnClock(max_in_flight=1)
    commits.upload("a")
    commits.upload("b")
    commits.turn()
    commits.upload("c")
    commits.store.finish(0, error)
    assert commits.answers == dict.fromkeys("ab", type(error).__name__)
    commits.turn()
    commits.store.finish(1)
    assert commits.answers["c"] == "ok"
    assert commits.marks == [["c"]]


def test_a_rejected_upload_is_isolated() -> None:
    commits = GroupCommitOnClock()
    for name in "abcd":
        commits.upload(name)
    commits.turn()
    bad = "c_1"
    index = 0
    while index < len(commits.store.writes):
        commits.store.finish(index, StoreRejected("wrong type") if bad in commits.store.names(index) else None)
        index += 1
    assert commits.answers == {"a": "ok", "b": "ok", "c": "StoreRejected", "d": "ok"}
    assert commits.marks == [["a", "b", "d"]]


def test_a_store_that_goes_down_while_a_group_is_taken_apart() -> None:
    commits = GroupCommitOnClock()
    for name in "abcd":
        commits.upload(name)
    commits.turn()
    commits.store.finish(0, StoreRejected("some of it"))
    assert commits.store.names(1) == ["a_1", "b_1"]
    commits.store.finish(1)
    commits.store.finish(2, StoreUnavailable("down"))
    assert commits.answers == {"a": "ok", "b": "ok", "c": "StoreUnavailable", "d": "StoreUnavailable"}
    assert commits.marks == [["a", "b"]]


def test_bounds_answer_at_once() -> None:
    commits = GroupCommitOnClock(max_queued_uploads=3, max_queued_readings=10)
    commits.upload("a", 6)
    commits.upload("b", 5)
    assert commits.answers == {"b": "Overloaded"}
    commits.upload("c", 2)
    commits.upload("d", 2)
    commits.upload("e", 0)
    assert commits.answers == {"b": "Overloaded", "e": "Overloaded"}
    commits.turn()
    commits.upload("f", 1)  # in flight counts as not answered
    assert commits.answers["f"] == "Overloaded"
    commits.store.finish(0)
    commits.upload("g", 50)  # larger than the bound, but nothing else waits: it could never go otherwise
    commits.turn()
    commits.store.finish(1)
    assert commits.answers["g"] == "ok"


def test_a_series_is_never_in_two_groups_at_once() -> None:
    commits = GroupCommitOnClock(max_in_flight=2)
    commits.upload("a", series="S_1")
    commits.turn()
    commits.upload("b", series="S_1")
    commits.upload("c")
    commits.turn()
    assert [commits.store.names(k) for k in range(2)] == [["S_1"], ["c_1"]]
    commits.store.finish(1)
    commits.turn()
    assert len(commits.store.writes) == 2
    commits.store.finish(0)
    commits.turn()
    assert commits.store.names(2) == ["S_1"]
    commits.store.finish(2)
    assert commits.answers == dict.fromkeys("abc", "ok")


def test_a_backlog_goes_in_pieces_and_delays_nobody() -> None:
    commits = GroupCommitOnClock(max_write_readings=10, max_in_flight=2)
    commits.upload("big", 25)
    commits.upload("huge", 30)
    commits.upload("small", 2)
    commits.turn()
    sizes = [[len(batch.readings) for batch in batches] for batches, _ in commits.store.writes]
    assert sizes == [[10], [2]]
    commits.store.finish(1)
    assert commits.answers == {"small": "ok"}
    commits.upload("late", 1)
    commits.turn()
    assert commits.store.names(2) == ["late_1"]
    commits.store.finish(2)
    for index in (0, 3, 4):
        assert commits.store.names(index) == ["big_1"]
        commits.store.finish(index)
    commits.turn()
    for index in (5, 6, 7):
        commits.store.finish(index)
    assert commits.answers == dict.fromkeys(("small", "late", "big", "huge"), "ok")


def test_short_uploads_need_not_wait_for_long_ones_and_each_progresses() -> None:
    commits = GroupCommitOnClock(max_queued_readings=10_000, max_write_readings=3 * LONG_READINGS, max_in_flight=2)
    long = LONG_READINGS + 1
    for name, size in (("s1", 1), ("l1", long), ("l2", long), ("l3", long), ("s2", LONG_READINGS), ("s3", 1)):
        commits.upload(name, size)
    commits.turn()
    assert [commits.store.names(k) for k in range(2)] == [["s1_1", "s2_1", "s3_1"], ["l1_1", "l2_1"]]
    commits.upload("s4", 1)
    commits.upload("after", 1, series="l3_1")
    commits.store.finish(0)
    commits.turn()
    assert commits.store.names(2) == ["s4_1"], "a later upload for the same series waits for the long one"
    commits.upload("s5", 1)
    commits.store.finish(2)
    commits.turn()
    assert commits.store.names(3) == ["s5_1"]
    commits.store.finish(1)
    commits.turn()
    assert commits.store.names(4) == ["l3_1"]
    for index in (3, 4):
        commits.store.finish(index)
        commits.turn()
    commits.store.finish(5)
    commits.turn()
    assert set(commits.answers.values()) == {"ok"}
    assert len(commits.answers) == 9


def test_long_uploads_are_not_overtaken_for_ever() -> None:
    commits = GroupCommitOnClock(max_queued_readings=10_000, max_write_readings=LONG_READINGS + 1, max_in_flight=1)
    commits.upload("s0")
    commits.turn()
    commits.upload("long", LONG_READINGS + 1)
    for k in range(3):
        commits.upload(f"s{k + 1}")
    commits.store.finish(0)
    commits.turn()
    assert commits.store.names(1) == ["long_1"]
    commits.store.finish(1)
    commits.turn()
    assert commits.store.names(2) == ["s1_1", "s2_1", "s3_1"]


def test_groups_hold_what_fits_into_one_write() -> None:
    commits = GroupCommitOnClock(max_write_readings=10, max_in_flight=1)
    for name, size in (("a", 4), ("b", 4), ("c", 4), ("d", 2)):
        commits.upload(name, size)
    commits.turn()
    commits.store.finish(0)
    commits.turn()
    commits.store.finish(1)
    assert [commits.store.names(k) for k in range(2)] == [["a_1", "b_1"], ["c_1", "d_1"]]


def test_stop_drains_and_takes_no_more() -> None:
    commits = GroupCommitOnClock(max_in_flight=1)
    commits.upload("a")
    commits.turn()
    commits.upload("b")
    stopped = Deferred.fromCoroutine(commits.commit.stop())
    commits.upload("c")
    assert commits.answers == {"c": "StoreUnavailable"}
    commits.store.finish(0)
    assert not stopped.called
    commits.turn()
    commits.store.finish(1)
    assert commits.answers == {"a": "ok", "b": "ok", "c": "StoreUnavailable"}
    assert stopped.called
    assert Deferred.fromCoroutine(commits.commit.stop()).called


def test_stop_gives_up_what_still_waits_after_its_grace() -> None:
    commits = GroupCommitOnClock(max_in_flight=1)
    commits.upload("a")
    commits.turn()
    commits.upload("b")
    stopped = Deferred.fromCoroutine(commits.commit.stop(20))
    commits.clock.advance(19)
    assert commits.answers == {}
    commits.clock.advance(1)
    assert commits.answers == {"b": "StoreUnavailable"}
    assert not stopped.called
    commits.store.finish(0)
    assert commits.answers["a"] == "ok"
    assert stopped.called
    commits.turn()
    assert not commits.clock.getDelayedCalls()


def test_stop_within_its_grace_leaves_no_timer() -> None:
    commits = GroupCommitOnClock()
    commits.upload("a")
    commits.turn()
    stopped = Deferred.fromCoroutine(commits.commit.stop(20))
    commits.store.finish(0)
    commits.turn()
    assert stopped.called
    assert not commits.clock.getDelayedCalls()


def test_a_client_that_went_away_changes_nothing_for_others() -> None:
    commits = GroupCommitOnClock()
    gone = commits.upload("a")
    commits.upload("b")
    commits.turn()
    gone.cancel()
    commits.store.finish(0)
    assert commits.answers == {"a": "CancelledError", "b": "ok"}
    assert commits.marks == [["a", "b"]]  # its readings are stored all the same
    assert commits.commit.queued_uploads == 0


@for_all(max_examples=60, size=st.integers(1, 24), bad=st.sets(st.integers(0, 23)), data=st.data())
async def test_exactly_the_bad_uploads_fail(size: int, bad: set[int], data: st.DataObject) -> None:
    writes = 0
    stored: set[str] = set()

    class RejectingStore:
        async def write(self, batches: Sequence[SeriesReadings]) -> None:
            nonlocal writes
            writes += 1
            if any(int(batch.series[1:-2]) in bad for batch in batches):
                raise StoreRejected("no")
            stored.update(batch.series for batch in batches)

    commits = GroupCommitOnClock(RejectingStore(), max_in_flight=data.draw(st.integers(1, 3)))
    for k in range(size):
        commits.upload(f"u{k}")
    commits.turn()
    guilty = bad & set(range(size))
    assert {name for name, answer in commits.answers.items() if answer == "ok"} == {f"u{k}" for k in range(size)} - {
        f"u{k}" for k in guilty
    }
    assert {commits.answers[f"u{k}"] for k in guilty} <= {"StoreRejected"}
    assert stored == {f"u{k}_1" for k in range(size) if k not in guilty}
    assert writes < 2 * size + 1
    assert writes <= 1 + 2 * len(guilty) * size.bit_length()


@for_all(
    max_examples=60,
    uploads=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), max_size=20),
    in_flight=st.integers(1, 3),
    rng=st.randoms(use_true_random=False),
)
async def test_the_store_ends_as_if_each_upload_had_been_written_in_turn(
    uploads: list[tuple[int, int]], in_flight: int, rng: random.Random
) -> None:
    """Whatever the order in which writes end: the later upload of a series wins."""
    stored, expected = MemoryReadingStore(), MemoryReadingStore()

    class Delayed:
        def __init__(self) -> None:
            self.waiting: list[Deferred[None]] = []

        async def write(self, batches: Sequence[SeriesReadings]) -> None:
            done: Deferred[None] = Deferred()
            self.waiting.append(done)
            await done
            await stored.write(batches)

    store = Delayed()
    commits = GroupCommitOnClock(store, max_write_readings=8, max_in_flight=in_flight)
    answers = []
    for number, (series, size) in enumerate(uploads):
        batch = SeriesReadings(f"S{series}_1", [Reading(T0 + k, float(number)) for k in range(size)])
        answers.append(commits.commit.commit(batch))
        await expected.write([batch])
        if rng.random() < 0.5:
            commits.turn()
        if store.waiting and rng.random() < 0.5:
            store.waiting.pop(rng.randrange(len(store.waiting))).callback(None)
    for _ in range(1000):
        commits.clock.advance(GROUP_SECONDS)  # on a busy daemon the last group waits for more
        if not store.waiting:
            break
        store.waiting.pop(rng.randrange(len(store.waiting))).callback(None)
    assert all(answer.called for answer in answers)
    names = [f"S{k}_1" for k in range(4)]
    assert await stored.read(names, 0, T0 * 2) == await expected.read(names, 0, T0 * 2)


@for_all(
    max_examples=100,
    sizes=st.lists(st.integers(0, 25), max_size=8),
    size=st.integers(1, 10),
)
async def test_pieces_hold_everything_in_order(sizes: list[int], size: int) -> None:
    batches = [SeriesReadings(f"S_{k}", [Reading(k * 100 + j, 1.0) for j in range(n)]) for k, n in enumerate(sizes)]
    found = list(split_writes(batches, size))
    assert [r for part in found for batch in part for r in batch.readings] == [r for b in batches for r in b.readings]
    assert all(0 < sum(len(batch.readings) for batch in part) <= size for part in found)
    assert all(len(p) > 0 for p in found[:-1])
    assert all(sum(len(batch.readings) for batch in part) == size for part in found[:-1])


# --- with real stores


async def no_marks(marks: Sequence[object]) -> None:
    """No marks."""


def group_commit(store: ReadingStore, marks: Any = no_marks) -> GroupCommit[str]:
    return GroupCommit(
        store, reactor, marks, max_queued_uploads=10_000, max_queued_readings=100_000, max_write_readings=2_000
    )


@pytest_twisted.ensureDeferred
async def test_many_uploads_through_each_store(store: ReadingStore, serial: str) -> None:
    commit = group_commit(store)
    batches = {f"{serial}{k}_1": [Reading(T0 + j, k + j / 4) for j in range(1 + k % 5)] for k in range(400)}
    results = await DeferredList(
        [commit.commit(SeriesReadings(name, readings), name) for name, readings in batches.items()]
    )
    assert all(success for success, _ in results)
    assert commit.groups < 20
    assert await store.read(list(batches), 0, T0 * 2) == batches
    await commit.stop()


@pytest_twisted.ensureDeferred
async def test_one_wrong_upload_among_many_in_influxdb(influx: RunningInflux, unique_name: str) -> None:
    store = InfluxReadingStore(reactor, f"{influx.url}/{unique_name}", timeout_seconds=PATIENT_SECONDS)
    await store.open()
    try:
        client = InfluxDBClient(port=influx.port)
        client.write([f'BAD_1 P="text" {T0}'], params={"db": unique_name, "precision": "s"}, protocol="line")
        commit = group_commit(store)
        names = [f"OK{k}_1" for k in range(20)]
        names.insert(7, "BAD_1")
        answers = await DeferredList(
            [commit.commit(SeriesReadings(name, [Reading(T0 + 1, 1.0)])) for name in names], consumeErrors=True
        )
        failed = {name: result.type for name, (success, result) in zip(names, answers, strict=True) if not success}
        assert failed == {"BAD_1": StoredTypeConflict}
        names.remove("BAD_1")
        assert await store.read(names, 0, T0 * 2) == {name: [Reading(T0 + 1, 1.0)] for name in names}
    finally:
        await store.close()


@pytest_twisted.ensureDeferred
async def test_what_was_acknowledged_survives_a_crash_of_influxdb(own_influx: Callable[..., RunningInflux]) -> None:
    server = own_influx()
    store = InfluxReadingStore(reactor, f"{server.url}/db", timeout_seconds=PATIENT_SECONDS)
    await store.open()
    try:
        acknowledged: list[str] = []
        refused: list[str] = []
        commit = group_commit(store)
        begun = time.monotonic()

        async def device(number: int) -> None:
            upload = 0
            while not refused and time.monotonic() - begun < 120:
                name = f"D{number}_{upload}"
                try:
                    await commit.commit(SeriesReadings(name, [Reading(T0, float(upload))]))
                except StoreUnavailable:
                    refused.append(name)
                else:
                    acknowledged.append(name)
                upload += 1
                if len(acknowledged) == 500:
                    server.kill()

        await DeferredList([Deferred.fromCoroutine(device(k)) for k in range(25)])
        assert refused
        assert len(acknowledged) >= 500
        server.start()
        found = await store.read(acknowledged, 0, T0 * 2)
        assert [name for name in acknowledged if len(found[name]) != 1] == []
    finally:
        await store.close()


@pytest_twisted.ensureDeferred
async def test_acknowledged_readings_are_in_the_file(tmp_path: Path) -> None:
    """Another connection, as after a crash, sees what was acknowledged, without a close."""
    path = tmp_path / "readings.sqlite"
    store, later = SqliteReadingStore(reactor, path), SqliteReadingStore(reactor, path)
    await store.open()
    try:
        await group_commit(store).commit(SeriesReadings("A_1", [Reading(T0, 1.0)]))
        await later.open()
        try:
            assert await later.read(["A_1"], 0, T0 * 2) == {"A_1": [Reading(T0, 1.0)]}
        finally:
            await later.close()
    finally:
        await store.close()
