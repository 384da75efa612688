"""Fleets, their report, and the comparison of a report with a store."""

from __future__ import annotations

import io
import json
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import Reading, SeriesReadings, missing_series
from cenergyd.tools.simulator.check import ReportError, compare, read_report
from cenergyd.tools.simulator.faults import parse_faults
from cenergyd.tools.simulator.fleet import Fleet, FleetPlan, FleetReport
from cenergyd.tools.simulator.http import Target, UploadResponse
from cenergyd.tools.simulator.site import make_sites
from tests.tools.simulator.server import Server

START = 1_780_000_200
SITES = list(make_sites(3, 1))


class FakeTarget:
    """Takes everything, at once, and remembers when."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.times: list[float] = []

    def post(self, headers: Any, body: bytes, **options: Any) -> Deferred[UploadResponse]:
        self.times.append(self.clock.seconds())
        return succeed(UploadResponse(200, b"SUCCESS\n"))


def plan(**changes: Any) -> FleetPlan:
    return attrs.evolve(FleetPlan(start=START, end=START + 3600, interval=60, upload_every=900), **changes)


def test_sessions_end_at_the_end() -> None:
    assert list(plan().sessions(0)) == [START + 900 * n for n in (1, 2, 3, 4)]
    assert list(plan().sessions(300)) == [START + 900 * n - 300 for n in (1, 2, 3, 4)] + [START + 3600]
    assert list(plan(end=START + 100).sessions(0)) == [START + 100]
    assert plan().sessions_per_site == 4


def test_at_full_speed_all_is_done_at_once_and_never_past_the_present() -> None:
    clock = Clock()
    clock.advance(START + 1800.0)
    target = FakeTarget(clock)
    fleet = Fleet(clock, plan(), target, SITES[:1], password="x")  # type: ignore[arg-type]
    done = Deferred.fromCoroutine(fleet.run())
    assert len(target.times) == 4  # two sessions of two logs lie in the past
    clock.pump([1.0] * 1799)
    assert not done.called
    clock.pump([1.0] * 2)
    assert done.called
    assert fleet.counts.acknowledged_readings == 2 * 60


def test_speed_sets_the_pace() -> None:
    clock = Clock()
    clock.advance(START + 86400.0)
    target = FakeTarget(clock)
    fleet = Fleet(clock, plan(speed=60), target, SITES[:1], password="x")  # type: ignore[arg-type]
    done = Deferred.fromCoroutine(fleet.run())
    clock.pump([0.5] * 130)
    assert done.called
    assert [time - START - 86400 for time in target.times] == [15, 15, 30, 30, 45, 45, 60, 60]


def test_a_plan_without_end_goes_on_until_it_is_cancelled() -> None:
    clock = Clock()
    clock.advance(START)
    target = FakeTarget(clock)
    fleet = Fleet(clock, plan(end=None), target, SITES[:1], password="x")  # type: ignore[arg-type]
    done = Deferred.fromCoroutine(fleet.run())
    clock.pump([900.0] * 10)
    assert len(target.times) == 20
    done.addErrback(lambda _: None)
    done.cancel()
    clock.pump([900.0] * 10)
    assert len(target.times) == 20
    assert clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_with_all_faults_everything_is_acknowledged_and_reported_once() -> None:
    server = Server()
    out = io.StringIO()
    report = FleetReport(out)
    report.begin(SITES)
    try:
        fleet = Fleet(
            reactor, plan(faults=parse_faults("all")), Target(reactor, server.url), SITES,
            password="x", acknowledged=report.acknowledged,
        )  # fmt: skip
        counts = await fleet.run()
    finally:
        await server.stop()
    assert fleet.unsent == 0
    found = read_report(out.getvalue().splitlines(keepends=True))
    assert set(found.sites) == {site.serial for site in SITES}
    assert found.readings == counts.acknowledged_readings
    # 3 sites, 2 meters, 60 minutes; a few rows are gaps.
    assert 340 <= counts.acknowledged_readings <= 360


def report_lines(readings: dict[str, list[Reading]]) -> list[str]:
    site = SITES[0]  # lacks the utility meter; load is 2, solar is 3
    lines = [json.dumps({"site": site.serial, "missing": site.missing, **site.fields}) + "\n"]
    for meter, rows in readings.items():
        entry = {"series": f"{site.serial}_{meter}", "readings": [[row.time, *row.values] for row in rows]}
        lines.append(json.dumps(entry) + "\n")
    return lines


LOAD = [Reading(START + 60 * n, 3.0 + n, 0.9, 120.0, 0.5) for n in range(5)]
SOLAR = [Reading(START + 60 * n, 1.0, 1.0, 120.0, 0.0) for n in range(5)]


async def filled() -> MemoryReadingStore:
    store = MemoryReadingStore()
    serial = SITES[0].serial
    derived = [Reading(row.time, row.P - 1.0, 0.8, 120.0, 0.5) for row in LOAD if row.P is not None]
    await store.write(
        [
            SeriesReadings(f"{serial}_2", LOAD),
            SeriesReadings(f"{serial}_3", SOLAR),
            SeriesReadings(missing_series(serial), derived),
        ]
    )
    return store


@pytest_twisted.ensureDeferred
async def test_check_accepts_a_complete_store() -> None:
    found = await compare(read_report(report_lines({"2": LOAD, "3": SOLAR})), await filled())
    assert found.good
    assert (found.readings, found.derivable) == (10, 5)


@pytest_twisted.ensureDeferred
async def test_check_finds_a_lost_reading() -> None:
    store = await filled()
    await store.replace(f"{SITES[0].serial}_2", START, START + 60, [])
    found = await compare(read_report(report_lines({"2": LOAD, "3": SOLAR})), store)
    assert (found.lost, found.different) == (1, 0)
    assert not found.good


@pytest_twisted.ensureDeferred
async def test_check_finds_a_changed_reading() -> None:
    store = await filled()
    await store.write([SeriesReadings(f"{SITES[0].serial}_2", [Reading(START, 7.0)])])
    found = await compare(read_report(report_lines({"2": LOAD, "3": SOLAR})), store)
    assert (found.lost, found.different) == (0, 1)


@pytest_twisted.ensureDeferred
async def test_check_finds_what_is_not_or_wrongly_derived() -> None:
    store = await filled()
    missing = missing_series(SITES[0].serial)
    await store.replace(missing, START, START + 60, [])
    await store.write([SeriesReadings(missing, [Reading(START + 60, -1.0)])])
    found = await compare(read_report(report_lines({"2": LOAD, "3": SOLAR})), store)
    assert (found.not_derived, found.wrongly_derived) == (1, 1)


def test_a_report_cut_off_by_a_kill_is_read_up_to_there() -> None:
    lines = report_lines({"2": LOAD, "3": SOLAR})
    lines[-1] = lines[-1][:40]
    assert read_report(lines).readings == 5
    with pytest.raises(ReportError, match="line 2"):
        read_report([lines[0], lines[-1] + "\n", lines[1]])


def test_the_same_reading_acknowledged_twice_is_one() -> None:
    lines = report_lines({"2": LOAD})
    assert read_report([*lines, lines[-1]]).readings == 5
