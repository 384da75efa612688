"""What is kept long enough is freed, in steps, and never what still waits to be derived."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.task import Clock

from cenergyd.daemon import retention
from cenergyd.daemon.retention import Retention
from cenergyd.errors import ConfigError, StoreUnavailable
from cenergyd.readings.model import FieldPoint, Reading, SeriesReadings
from cenergyd.readings.retention import DAY, MARGIN_DAYS, computed_since, freed_before
from cenergyd.settings.loader import load_settings
from cenergyd.settings.sections import Settings
from cenergyd.storage.sqlite.readings import SqliteReadingStore
from tests.daemon_process import RunningDaemon

NOW = 1_800_000_000
KEEP = {"raw": 100, "1m": 60, "longer": 400}


def days_ago(days: float) -> int:
    return int(NOW - days * DAY)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(retention, "STEP_ROWS", 7)


class FixedTimeReactor:
    """The reactor's timers at a fixed time."""

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def seconds(self) -> float:
        return float(NOW)


@pytest_twisted.async_yield_fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteReadingStore]:
    """Readings and rollups of a day each, of two loggers, 0 to 499 days old."""
    made = SqliteReadingStore(reactor, tmp_path / "readings.sqlite")
    await made.open()
    times = [days_ago(days) for days in range(500)]
    for name in ("A_1", "A_missing_meter", "B_2"):
        await made.write([SeriesReadings(name, [Reading(time, 1.0) for time in times])])
        for resolution in ("1m", "1h", "energy_1h"):
            await made.write_points(f"{name}_{resolution}", [FieldPoint(time, {"P": 1.0}) for time in times])
    yield made
    await made.close()


def waiting(times: list[int | None]) -> Any:
    async def oldest() -> int | None:
        return times.pop(0) if len(times) > 1 else times[0]

    return oldest


async def free(store: SqliteReadingStore, keep: dict[str, int], oldest: list[int | None]) -> Retention:
    service = Retention(FixedTimeReactor(), store.old_rows, keep, [waiting([None]), waiting(oldest)])
    service.running = True  # without its loop: one pass is called by hand
    await service.free_old()
    return service


async def left(store: SqliteReadingStore) -> dict[str, int]:
    """Age in days of the oldest that is left of each kind."""
    found = {"raw": [], "1m": [], "longer": []}  # type: dict[str, list[int]]
    for name in ("A_1", "A_missing_meter", "B_2"):
        found["raw"] += [reading.time for reading in (await store.read([name], 0, NOW + 1))[name]]
        for resolution, kind in (("1m", "1m"), ("1h", "longer"), ("energy_1h", "longer")):
            found[kind] += [point.time for point in await store.read_points(f"{name}_{resolution}", 0, NOW + 1)]
    assert all(times.count(NOW) in (3, 6) for times in found.values()), "the newest are there"
    return {kind: (NOW - min(times)) // DAY for kind, times in found.items()}


@pytest_twisted.ensureDeferred
async def test_each_kind_is_kept_for_its_days_and_a_margin(store: SqliteReadingStore) -> None:
    service = await free(store, KEEP, [None])
    assert await left(store) == {kind: days + MARGIN_DAYS for kind, days in KEEP.items()}
    assert service.freed == {
        "raw": 3 * (499 - 100 - MARGIN_DAYS),
        "1m": 3 * (499 - 60 - MARGIN_DAYS),
        "longer": 6 * (499 - 400 - MARGIN_DAYS),
    }
    assert service.reusable_bytes is not None
    await service.free_old()
    assert service.freed.total() == 3 * 366 + 3 * 406 + 6 * 66


@pytest_twisted.ensureDeferred
async def test_what_is_not_named_is_kept_for_ever(store: SqliteReadingStore) -> None:
    assert (await free(store, {}, [None])).freed == {}
    assert (await free(store, {"1m": 60}, [None])).freed.keys() == {"1m"}
    assert await left(store) == {"raw": 499, "1m": 93, "longer": 499}


@pytest_twisted.ensureDeferred
async def test_nothing_is_freed_while_something_that_old_waits(store: SqliteReadingStore) -> None:
    service = await free(store, KEEP, [days_ago(100) - 1])
    assert (service.freed, (await left(store))["raw"]) == ({}, 499)
    assert "still wait" in service.reason
    # What waits is newer than all that could be needed: the look back ends a margin before it.
    service = await free(store, KEEP, [days_ago(100)])
    assert (await left(store))["raw"] == 133
    assert service.reason == ""


@pytest_twisted.ensureDeferred
async def test_a_late_upload_between_two_steps_stops_it(store: SqliteReadingStore) -> None:
    service = await free(store, {"raw": 100}, [None, None, days_ago(300)])
    assert service.freed == {"raw": 14}, "two steps of seven rows"


@pytest_twisted.ensureDeferred
async def test_a_store_that_does_not_answer_is_tried_again_later(store: SqliteReadingStore) -> None:
    async def down() -> int | None:
        raise StoreUnavailable("down")

    service = Retention(FixedTimeReactor(), store.old_rows, KEEP, [down])
    service.running = True
    with pytest.raises(StoreUnavailable):
        await service.free_old()
    assert (await left(store))["raw"] == 499


def test_a_server_frees_by_itself() -> None:
    clock = Clock()
    service = Retention(clock, None, KEEP, [])
    service.startService()
    clock.advance(2000)
    service.stopService()
    assert service.freed == {}


@given(st.integers(60, 36500), st.integers(0, 4_000_000_000))
def test_what_is_freed_lies_a_margin_before_what_is_computed(days: int, now: int) -> None:
    since = computed_since({"raw": days}, now)
    assert since is not None
    assert since - freed_before(days, now) == MARGIN_DAYS * DAY
    assert computed_since({"1m": days}, now) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("raw=59", "60 to 36500"),
        ("raw=x", "60 to 36500"),
        ("weeks=100", "only raw, 1m, longer"),
        ("longer=400", "longer must not be less than raw"),
        ("raw=400 longer=399", "longer must not be less than raw"),
    ],
)
def test_settings_that_would_lose_something_are_refused(text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        load_settings(Settings, None, {"readings.keep_days": text})


def test_influxdb_needs_a_policy_to_make() -> None:
    with pytest.raises(ConfigError, match="retention_policy"):
        load_settings(Settings, None, {"readings.keep_days": "raw=60", "readings.url": "influxdb://h:8086/x"})


def test_figures_of_a_daemon(tmp_path: Path) -> None:
    daemon = RunningDaemon(tmp_path, {"readings.keep_days": "raw=800 longer=4000"})
    daemon.start()
    try:
        text = daemon.get("/metrics")[1].decode()
        assert 'cenergyd_store_bytes{store="readings"}' in text
        token = daemon.run("token", "add", "x", "--operator").stdout.strip()
        status, body = daemon.get("/api/v1/stores", {"Authorization": f"Bearer {token}"})
        assert status == 200
        assert b'"keep_days":{"raw":800,"longer":4000}' in body
    finally:
        assert daemon.stop() == 0
