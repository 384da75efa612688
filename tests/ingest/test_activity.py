"""Activity of loggers: written soon, but not with every upload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cenergyd.documents.kinds import LOGGER, METER, REJECTED
from cenergyd.documents.store import NewDocument
from cenergyd.errors import StoreUnavailable
from cenergyd.ingest import activity_record
from cenergyd.ingest.activity import LoggerActivity
from cenergyd.readings.model import Reading
from tests.derivation.memory import MemoryDocumentStore

SERIES = "A00_1"


class UploadingLogger:
    """Activity on a Clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.documents = MemoryDocumentStore()
        self.activity = LoggerActivity(self.documents, self.clock, interval_seconds=5, repeat_seconds=30)  # type: ignore[arg-type]
        self.activity.startService()

    def upload(self, value: float) -> None:
        self.activity.uploaded("A00", "192.0.2.1", "Roof")
        self.activity.meter("A00", SERIES, {"name": "Main"}, [Reading(int(self.clock.seconds()), value)])

    def shown(self) -> Any:
        meter = self.meter()
        return meter["last"]["P"] if meter else None

    def meter(self) -> Any:
        document = self.documents.kept.get((LOGGER, "A00"))
        return document.body["meters"].get(SERIES) if document else None


def test_the_first_upload_is_written_soon_and_further_ones_less_often() -> None:
    logger = UploadingLogger()
    for second in range(61):
        logger.upload(float(second))
        logger.clock.advance(1)
    version = logger.documents.kept[LOGGER, "A00"].version
    assert version == 2, "after 5 and 35 seconds"
    assert logger.shown() > 30
    logger.clock.advance(60)
    assert logger.shown() == 60.0, "the last one is written though none follows"
    assert logger.documents.kept[LOGGER, "A00"].version == version + 1


def test_all_is_written_at_the_end() -> None:
    logger = UploadingLogger()
    logger.upload(1.0)
    logger.clock.advance(5)
    logger.upload(2.0)
    logger.clock.advance(5)
    assert logger.shown() == 1.0
    logger.activity.stopService()
    assert logger.shown() == 2.0


def test_what_could_not_be_written_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = UploadingLogger()

    async def down(*_: Any) -> None:
        raise StoreUnavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(logger.documents, "replace_many", down)
        logger.upload(1.0)
        logger.clock.advance(5)
        assert logger.shown() is None
    logger.clock.advance(5)
    assert logger.shown() == 1.0


def test_the_upload_interval_is_learned_across_restarts() -> None:
    logger = UploadingLogger()
    for _ in range(4):
        logger.upload(1.0)
        logger.clock.advance(900)
    assert [gap for _, gap in logger.documents.kept[LOGGER, "A00"].body["gaps"]] == [900]
    restarted = LoggerActivity(logger.documents, logger.clock)  # type: ignore[arg-type]
    restarted.uploaded("A00", "192.0.2.1", "Roof")
    logger.clock.advance(10)
    restarted.uploaded("A00", "192.0.2.1", "Roof")  # the next file of the same upload
    Deferred.fromCoroutine(restarted.flush())
    body = logger.documents.kept[LOGGER, "A00"].body
    assert [gap for _, gap in body["gaps"]] == [900]
    assert set(body) == {"loop_name", "address", "last_upload", "gaps", "meters"}


def test_an_outage_is_kept_with_the_uploads_that_follow_it() -> None:
    logger = UploadingLogger()
    for pause in (900, 5 * 3600, 60, 900, 60):
        logger.upload(1.0)
        logger.clock.advance(pause)
    before, first, last = logger.documents.kept[LOGGER, "A00"].body["outage"]
    assert (first - before, last - first) == (5 * 3600, 60)


def test_interval_and_error_of_a_meter_are_kept() -> None:
    logger = UploadingLogger()
    now = int(logger.clock.seconds())
    logger.activity.meter(
        "A00", SERIES, {}, [Reading(now - 600 + 60 * n, 1.0) for n in range(10)], (now - 30, 139), other_rows=2
    )
    logger.clock.advance(5)
    body = logger.meter()
    assert body["other_rows"] == {"rows": 2, "time": now}
    assert (body["interval"], body["error"], body["last_time"]) == (60, {"time": now - 30, "code": 139}, now - 60)
    logger.activity.meter("A00", SERIES, {}, [Reading(now - 7200, 2.0)], (now - 7000, 138))  # late files
    logger.activity.meter("A00", SERIES, {}, [])
    logger.clock.advance(60)
    late = logger.meter()
    assert late["last_upload"] == now + 5
    assert {**late, "last_upload": 0} == {**body, "last_upload": 0}


def test_rejected_serials_outlast_a_store_that_is_down() -> None:
    logger = UploadingLogger()
    put_many, down = logger.documents.put_many, True

    async def failing(kind: str, documents: Sequence[NewDocument]) -> None:
        if down:
            raise StoreUnavailable("down")
        await put_many(kind, documents)

    logger.documents.put_many = failing  # type: ignore[method-assign]
    logger.activity.rejected("B00", "192.0.2.1", "unknown")
    logger.clock.advance(5)
    logger.activity.rejected("B00", "192.0.2.2", "unknown")
    logger.activity.rejected("C00", "192.0.2.3", "unknown")
    logger.clock.advance(5)
    down = False
    logger.clock.advance(5)
    found = {key: document.body for (kind, key), document in logger.documents.kept.items() if kind == REJECTED}
    assert {key: (body["count"], body["address"]) for key, body in found.items()} == {
        "B00": (2, "192.0.2.2"),
        "C00": (1, "192.0.2.3"),
    }


def test_two_daemons_with_uploads_of_one_logger_keep_what_both_received(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = UploadingLogger()
    other = LoggerActivity(logger.documents, logger.clock)  # type: ignore[arg-type]
    other.uploaded("A00", "192.0.2.1", "Roof")
    other.meter("A00", "A00_2", {"name": "Sun"}, [Reading(5, 2.0)])
    replace_many = logger.documents.replace_many

    async def overtaken(kind: str, documents: Any) -> list[bool]:
        monkeypatch.setattr(logger.documents, "replace_many", replace_many)
        await other.flush()
        return await replace_many(kind, documents)

    monkeypatch.setattr(logger.documents, "replace_many", overtaken)
    logger.upload(1.0)
    logger.clock.advance(5)
    meters = logger.documents.kept[LOGGER, "A00"].body["meters"]
    assert {series: meter["last"]["P"] for series, meter in meters.items()} == {SERIES: 1.0, "A00_2": 2.0}


def test_meters_of_earlier_versions_move_into_their_loggers_document() -> None:
    logger = UploadingLogger()
    old = {"name": "Sun", "last_time": 7, "last": {"P": 3.0}, "interval": 60, "error": None, "last_upload": 9}
    Deferred.fromCoroutine(logger.documents.put(METER, "A00_2", old, owner="A00"))
    Deferred.fromCoroutine(logger.documents.put(LOGGER, "A00", {"last_upload": 9, "gaps": [[1, 900]]}, due=9))
    logger.upload(1.0)
    logger.clock.advance(5)
    document = logger.documents.kept[LOGGER, "A00"]
    assert document.body["meters"]["A00_2"] == old
    assert document.body["gaps"][0] == [1, 900]
    assert document.due == document.body["last_upload"] == int(logger.clock.seconds()) - 5


def test_a_new_meter_is_stored_before_its_upload_is_answered() -> None:
    logger = UploadingLogger()
    logger.upload(1.0)
    Deferred.fromCoroutine(logger.activity.store_new_meter("A00", SERIES))
    assert logger.shown() == 1.0
    version = logger.documents.kept[LOGGER, "A00"].version
    logger.upload(2.0)
    Deferred.fromCoroutine(logger.activity.store_new_meter("A00", SERIES))
    assert logger.documents.kept[LOGGER, "A00"].version == version


@pytest.mark.parametrize("error", [None, StoreUnavailable("down")], ids=["written", "failed"])
def test_a_new_meter_that_is_being_written_is_stored_before_its_upload_is_answered(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """A manifest did not name a meter whose first log came while the periodic write had taken its record."""
    logger, answer, answered = UploadingLogger(), Deferred[None](), list[object]()
    replace_many = logger.documents.replace_many

    async def slow(kind: str, documents: Any) -> list[bool]:
        monkeypatch.setattr(logger.documents, "replace_many", replace_many)
        await answer
        return await replace_many(kind, documents)

    monkeypatch.setattr(logger.documents, "replace_many", slow)
    logger.upload(1.0)
    logger.clock.advance(5)
    Deferred.fromCoroutine(logger.activity.store_new_meter("A00", SERIES)).addBoth(answered.append)
    assert answered == []
    answer.errback(error) if error else answer.callback(None)
    assert answered == [None]
    assert logger.shown() == 1.0


def test_a_logger_keeps_only_so_many_meters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity_record, "MAX_METERS", 2)
    logger = UploadingLogger()
    for meter in range(4):
        logger.activity.meter("A00", f"A00_{meter}", {}, [])
        logger.clock.advance(60)
    assert sorted(logger.documents.kept[LOGGER, "A00"].body["meters"]) == ["A00_2", "A00_3"]


def rejected_serials(logger: UploadingLogger) -> set[str]:
    return {key for kind, key in logger.documents.kept if kind == REJECTED}


def test_a_rejected_logger_is_forgotten_once_it_has_uploaded() -> None:
    logger = UploadingLogger()
    for serial in ("A00", "B00"):
        logger.activity.rejected(serial, "192.0.2.1", "wrong password")
    logger.clock.pump([5] * 30)
    assert rejected_serials(logger) == {"A00", "B00"}
    logger.upload(1.0)
    logger.clock.pump([5] * 13)
    assert rejected_serials(logger) == {"B00"}, "it uploads now; the other one has not"
    logger.activity.rejected("A00", "192.0.2.9", "wrong password")
    logger.clock.pump([5] * 30)
    assert rejected_serials(logger) == {"A00", "B00"}, "the attempt is later than the upload"


def test_another_daemon_s_upload_counts_too_and_its_new_attempt_as_well() -> None:
    logger = UploadingLogger()
    logger.activity.rejected("A00", "192.0.2.1", "wrong password")
    logger.clock.advance(5)
    elsewhere = LoggerActivity(logger.documents, logger.clock, interval_seconds=5, repeat_seconds=30)  # type: ignore[arg-type]
    elsewhere.uploaded("A00", "192.0.2.1", "Roof")
    logger.clock.advance(1)
    Deferred.fromCoroutine(elsewhere.flush())
    delete, late = logger.documents.delete, [True]

    async def delete_late(kind: str, key: str, *, expected_version: int | None = None) -> bool:
        if late:
            late.clear()
            elsewhere.rejected("A00", "192.0.2.1", "wrong password")
            await elsewhere.flush()
        return await delete(kind, key, expected_version=expected_version)

    logger.documents.delete = delete_late  # type: ignore[method-assign]
    logger.clock.pump([5] * 13)
    assert not late
    assert rejected_serials(logger) == {"A00"}, "what was written between is not deleted with the old entry"
