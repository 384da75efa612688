"""Corrections on real stores: everything computed from the readings follows them, and undoing restores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from cenergyd.customers import meter_history
from cenergyd.customers.model import ROLES, Customer, TimeRange
from cenergyd.daemon.plugins import build_plugin_manager
from cenergyd.derivation import corrector as module
from cenergyd.derivation.corrector import CorrectionRequest, Corrector, Listed
from cenergyd.derivation.reconfigure import change_customer
from cenergyd.documents.kinds import CORRECTIONS
from cenergyd.errors import Incompatible, InvalidField, NotFound, StoreUnavailable
from cenergyd.jobs.energy.read import EnergyReader
from cenergyd.jobs.rollups.read import read_rollup
from cenergyd.jobs.service import JobService
from cenergyd.jobs.windows import RESOLUTIONS
from cenergyd.readings.corrected import as_measured
from cenergyd.readings.correction_cache import CorrectionCache, corrections_in
from cenergyd.readings.corrections import MAX_ACTIVE
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import FieldPoint, Reading
from cenergyd.runtime.gather import gather_limited
from cenergyd.runtime.plugin_threads import PluginThreads
from cenergyd.settings.sections import Settings
from cenergyd.storage.open import Stores, open_stores
from tests.derivation.test_real_stores import came, daemon, idle, stores, until
from tests.near import all_near

__all__ = ["stores"]

START = 1_700_002_800
"""A full hour."""
HOUR = 3600
NOW = START + 12 * HOUR
ALL = (0, 1 << 32)

Pair = tuple[Settings, Stores]


def day(power: float, hours: int = 6) -> list[Reading]:
    return [
        Reading(START + 60 * k, power + k % 7, 0.9, 230.0, 0.5, E_import=1000.0 + k * power / 60)
        for k in range(60 * hours)
    ]


async def a_site(opened: Stores, **more: Any) -> Customer:
    """Utility 1 is computed from load 2 and solar 3."""
    customer = await opened.customers.add(
        Customer(id="", load="2", solar="3", logger_serial_number="001EC6009999", logger_password="x", **more)
    )
    await came(opened, customer, "2", day(5.0))
    await came(opened, customer, "3", day(2.0))
    return customer


def corrector(opened: Stores) -> Corrector:
    return Corrector(customers=opened.customers, readings=opened.readings, documents=opened.documents)


def void(start: int, end: int, meter: str = "2", **more: Any) -> CorrectionRequest:
    return CorrectionRequest(**{"meter": meter, "kind": "void", "start": start, "end": end, "reason": "a test", **more})


async def settled(pair: Pair) -> None:
    """Derivation and jobs do all that is pending."""
    settings, opened = pair
    service = daemon(settings, opened)

    async def derived() -> bool:
        await service.tick()
        return await idle(opened)

    await until(derived)
    await service.stopService()

    async def notify(_: Any) -> None:
        raise AssertionError("nobody is to be notified")

    jobs = JobService(
        clock=reactor, settings=settings, plugins=build_plugin_manager(), readings=opened.readings,  # type: ignore[arg-type]
        documents=opened.documents, customers=opened.customers, notify=notify, threads=PluginThreads(reactor),  # type: ignore[arg-type]
    )  # fmt: skip
    await jobs.tick()
    assert not jobs.status.failures
    await jobs.stopService()


async def everything(opened: Stores, serial: str) -> dict[str, Any]:
    """All readings and results of a logger, as a fresh look sees them."""
    names = [f"{serial}_{meter}" for meter in ("2", "3", "missing_meter")]
    found: dict[str, Any] = dict(await opened.readings.read(names, *ALL))
    customer = await opened.customers.by_serial(serial)
    assert customer is not None
    reader = EnergyReader(customer, opened.readings, NOW)
    for role in ROLES:
        async for place, points in reader.points(role, *ALL, 1 << 40):
            found[f"{place.series}_energy_1h"] = points
    for name in names:
        for resolution in RESOLUTIONS:
            # As the API gives it: the stored point of an unfinished window is not used.
            reported = await read_rollup(opened.readings, name, resolution, TimeRange(*ALL), ZoneInfo("UTC"))
            found[f"{name}_{resolution}"] = reported
    return found


def assert_same(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, points in wanted.items():
        assert [point.time for point in found[name]] == [point.time for point in points], name
        for ours, theirs in zip(found[name], points, strict=True):
            if isinstance(theirs, FieldPoint):
                assert all_near(ours.fields, theirs.fields, rel=1e-9, abs=1e-9), (name, ours, theirs)
            else:
                assert ours == theirs, name


@pytest_twisted.ensureDeferred
async def test_a_void_range_from_correction_to_undo(stores: Pair) -> None:
    _, opened = stores
    customer = await a_site(opened)
    serial = customer.logger_serial_number
    await settled(stores)
    before = await everything(opened, serial)
    assert len(before[f"{serial}_missing_meter"]) == 360

    start, end = START + HOUR, START + 2 * HOUR + 1800
    made = await corrector(opened).add(customer, void(start, end), "a tester", NOW)
    await settled(stores)
    after = await everything(opened, serial)
    for name in (f"{serial}_2", f"{serial}_missing_meter"):
        assert [r.time for r in after[name]] == [r.time for r in before[name] if not start <= r.time < end]
    assert after[f"{serial}_3"] == before[f"{serial}_3"]
    # The meter's registers at both ends tell the energy of the gap, and it says so.
    (hour,) = [point.fields for point in after[f"{serial}_2_energy_1h"] if point.time == start]
    assert hour["bridged_seconds"] == hour["covered_seconds"] == HOUR
    for resolution in ("5m", "1h"):
        assert not [p for p in after[f"{serial}_2_{resolution}"] if start <= p.time < end - RESOLUTIONS[resolution]]
        stored = await opened.readings.read_points(f"{serial}_2_{resolution}", start, end - RESOLUTIONS[resolution])
        assert stored == []
    # The meter's own values are still there.
    original = await as_measured(opened.readings).read([f"{serial}_2"], *ALL)
    assert original[f"{serial}_2"] == before[f"{serial}_2"]

    # A resent log changes nothing; a late one is void as well.
    await came(opened, customer, "2", [*day(5.0)[60:150], Reading(start + 30, 99.0)])
    await settled(stores)
    assert_same(await everything(opened, serial), after)
    (listed,) = await corrector(opened).listed(customer)
    assert listed == made
    assert (listed.correction.by, listed.correction.at, listed.correction.reason) == ("a tester", NOW, "a test")

    await as_measured(opened.readings).replace(f"{serial}_2", start + 30, start + 31, [])
    await corrector(opened).undo(customer, made.id, "another", NOW + 5)
    await settled(stores)
    assert_same(await everything(opened, serial), before)
    (listed,) = await corrector(opened).listed(customer)
    assert (listed.correction.undone_by, listed.correction.undone_at) == ("another", NOW + 5)


@pytest.mark.parametrize(
    "wanted",
    [
        void(START + 1000, START + 9000, kind="scale", factor=2.0),
        void(START + 1000, START + 9000, kind="scale", factor=-0.5),
        void(START + 4 * HOUR, START + 6 * HOUR, kind="shift", seconds=2 * HOUR + 20),
        void(START, START + HOUR, kind="shift", seconds=-5 * HOUR),
        void(START + 5 * HOUR, START + 100 * HOUR),  # the latest readings
        void(0, 1 << 33),
    ],
    ids=["scale", "reverse", "later", "earlier", "latest", "all"],
)
@pytest_twisted.ensureDeferred
async def test_all_results_are_those_of_the_corrected_readings(stores: Pair, wanted: CorrectionRequest) -> None:
    _, opened = stores
    customer = await a_site(opened)
    serial = customer.logger_serial_number
    await settled(stores)
    before = await everything(opened, serial)
    made = await corrector(opened).add(customer, wanted, "a tester", NOW)
    await settled(stores)
    found = await everything(opened, serial)

    other = await opened.customers.add(attrs.evolve(customer, id="", logger_serial_number="001EC6008888"))
    for meter in "23":
        if rows := found[f"{serial}_{meter}"]:
            await came(opened, other, meter, rows)
    await settled(stores)
    fresh = await everything(opened, "001EC6008888")
    assert_same({k.replace(serial, "001EC6008888"): v for k, v in found.items()}, fresh)

    await corrector(opened).undo(customer, made.id, "a tester", NOW)
    await settled(stores)
    assert_same(await everything(opened, serial), before)


@pytest_twisted.ensureDeferred
async def test_late_readings_of_a_shifted_range_are_derived_at_their_new_times(stores: Pair) -> None:
    _, opened = stores
    customer = await a_site(opened)
    serial = customer.logger_serial_number
    await settled(stores)
    ago = 40 * 86400
    wanted = void(START - ago, START - ago + HOUR, kind="shift", seconds=ago - HOUR)
    await corrector(opened).add(customer, wanted, "a tester", NOW)
    await settled(stores)
    late = [Reading(START - ago + 60 * k, 7.0) for k in range(30)]
    await came(opened, customer, "2", late)
    await came(opened, customer, "3", [r._replace(time=r.time + ago - HOUR, P=1.0) for r in late])
    await settled(stores)
    found = (await opened.readings.read([f"{serial}_missing_meter"], 0, START))[f"{serial}_missing_meter"]
    assert [(r.time, r.P) for r in found] == [(START - HOUR + 60 * k, 6.0) for k in range(30)]


@pytest_twisted.ensureDeferred
async def test_another_daemon_derives_with_the_correction_at_once(stores: Pair) -> None:
    settings, opened = stores
    other = await open_stores(settings, reactor)  # type: ignore[arg-type]
    try:
        customer = await a_site(opened)
        await settled((settings, other))  # it remembers: no corrections
        made = await corrector(opened).add(customer, void(START, START + HOUR), "a tester", NOW)
        await settled((settings, other))
        name = f"{customer.logger_serial_number}_missing_meter"
        assert len((await other.readings.read([name], *ALL))[name]) == 300
        await corrector(opened).undo(customer, made.id, "a tester", NOW)
        await settled((settings, other))
        assert len((await other.readings.read([name], *ALL))[name]) == 360
    finally:
        await other.close()


@pytest_twisted.ensureDeferred
async def test_a_change_that_stopped_half_way_is_finished(stores: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    _, opened = stores
    customer = await a_site(opened)
    await settled(stores)

    async def down(*_: object) -> None:
        raise StoreUnavailable("just now")

    monkeypatch.setattr(module, "announce_corrections", down)
    with pytest.raises(StoreUnavailable):
        await corrector(opened).add(customer, void(START, START + HOUR), "a tester", NOW)
    monkeypatch.undo()
    assert await corrector(opened).finish(NOW + 30) == 0
    assert await corrector(opened).finish(NOW + 61) == 1
    assert await corrector(opened).finish(NOW + 1000) == 0
    await settled(stores)
    name = f"{customer.logger_serial_number}_missing_meter"
    assert len((await opened.readings.read([name], *ALL))[name]) == 300


@pytest_twisted.ensureDeferred
async def test_what_is_refused(stores: Pair) -> None:
    _, opened = stores
    customer = await a_site(opened)
    other = await opened.customers.add(Customer(id="", load="2", solar="3", logger_serial_number="001EC6007777"))
    await came(opened, other, "2", day(1.0, 1))
    mend = corrector(opened)

    async def refused(field: str, wanted: CorrectionRequest) -> None:
        with pytest.raises(InvalidField) as caught:
            await mend.add(customer, wanted, "a tester", NOW)
        assert caught.value.field == field

    await refused("logger_serial_number", void(START, NOW, serial="001EC6007777"))
    await refused("logger_serial_number", void(START, NOW, serial="NOBODYS"))
    await refused("meter", void(START, NOW, "missing_meter"))
    await refused("meter", void(START, NOW, "2_1h"))
    await refused("meter", void(START, NOW, "9"))
    await refused("seconds", void(START, NOW, kind="shift", seconds=20 * HOUR + 86400))
    with pytest.raises(Incompatible, match="the meter has other readings"):
        await mend.add(customer, void(START, START + HOUR, kind="shift", seconds=HOUR), "a tester", NOW)
    await mend.add(customer, void(START + HOUR, START + 2 * HOUR), "a tester", NOW)
    shifted = await mend.add(customer, void(START, START + HOUR, kind="shift", seconds=HOUR), "a tester", NOW)
    assert await mend.listed(other) == []
    with pytest.raises(NotFound):
        await mend.undo(other, shifted.id, "a thief", NOW)
    for wrong in ("", "x", f"{shifted.series}.99", f"{shifted.series}.1.1", "001EC6007777_2.1"):
        with pytest.raises(NotFound):
            await mend.undo(customer, wrong, "a tester", NOW)
    with pytest.raises(Incompatible, match="already undone"):
        await mend.undo(customer, shifted.id, "a tester", NOW)
        await mend.undo(customer, shifted.id, "a tester", NOW)


@pytest_twisted.ensureDeferred
async def test_corrections_are_bounded(stores: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, opened = stores
    # As many as there may be on one pair of stores; on the other a lower bound shows the same in a tenth of the time.
    most = MAX_ACTIVE if settings.customers.url.startswith("sqlite") else 10
    monkeypatch.setattr(module, "MAX_ACTIVE", most)
    customer = await a_site(opened)
    mend = corrector(opened)
    made: list[Listed] = []
    for number in range(most):
        made.append(await mend.add(customer, void(START + number, START + number + 1, "23"[number % 2]), "x", NOW))
    with pytest.raises(Incompatible, match=f"{most} corrections are active, the maximum"):
        await mend.add(customer, void(START, NOW), "x", NOW)
    await mend.undo(customer, made[0].id, "x", NOW)
    await mend.add(customer, void(START, NOW), "x", NOW)


@pytest_twisted.ensureDeferred
async def test_a_correction_ends_with_the_ownership_of_the_logger(stores: Pair) -> None:
    _, opened = stores
    customer = await a_site(opened)
    serial = customer.logger_serial_number
    mend = corrector(opened)
    await mend.add(customer, void(START + HOUR, 1 << 33), "a tester", NOW)
    await mend.add(customer, void(START, START + 60, kind="shift", seconds=-HOUR), "a tester", NOW)
    leaving = meter_history.dated_change(customer, NOW, {"logger_serial_number": "001EC6005555"}, NOW)
    await change_customer(opened.customers, opened.readings, customer.id, leaving, NOW)
    following = await opened.customers.add(Customer(id="", load="2", solar="3"))
    change = {"logger_serial_number": serial}
    await change_customer(opened.customers, opened.readings, following.id, change, NOW)
    following = (await opened.customers.get_many([following.id]))[following.id]
    last = START + 6 * HOUR - 60
    await came(opened, following, "2", [Reading(last + 60, 4.0)])
    assert (await opened.readings.last([f"{serial}_2"]))[f"{serial}_2"] == Reading(last + 60, 4.0)
    document = await opened.documents.get(CORRECTIONS, f"{serial}_2")
    assert [each.end for each in corrections_in(document)] == [last + 1, START + 60]
    assert await mend.listed(following) == []
    with pytest.raises(InvalidField, match="not this customer's"):
        await mend.add(following, void(last, NOW), "the new one", NOW)
    await mend.add(following, void(last + 1, NOW), "the new one", NOW)
    old = (await opened.customers.get_many([customer.id]))[customer.id]
    assert {each.correction.by for each in await mend.listed(old)} == {"a tester"}


class Counting:
    """A documents store that counts."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        self.calls += 1
        return getattr(self.store, name)


@pytest_twisted.ensureDeferred
async def test_series_without_corrections_cost_no_query(stores: Pair) -> None:
    _, opened = stores
    counting: Any = Counting(opened.documents)
    time = [0.0]
    cache = CorrectionCache(counting, lambda: time[0])
    assert await cache.maps(["A_1", "A_2"]) == {}
    asked = counting.calls
    for number in range(100):
        assert await cache.maps([f"B{number}_1"]) == {}
    assert counting.calls == asked
    time[0] = 6.0
    await cache.maps(["A_1"])
    assert counting.calls == asked + 1


@pytest_twisted.ensureDeferred
async def test_many_who_ask_while_the_changes_are_read_share_that_read(stores: Pair) -> None:
    _, opened = stores
    counting: Any = Counting(opened.documents)
    time = [0.0]
    cache = CorrectionCache(counting, lambda: time[0])
    await cache.maps(["A_1"])
    asked = counting.calls
    time[0] = 6.0
    assert await gather_limited([cache.maps([f"B{number}_1"]) for number in range(500)], 500) == [{}] * 500
    assert counting.calls == asked + 1
    await gather_limited([cache.refresh() for _ in range(3)], 3)  # each has to see what was stored before it
    assert counting.calls == asked + 4


def test_a_failed_read_of_the_changes_fails_for_none_that_can_read_again() -> None:
    class Answers:
        """A documents store whose answers are given later."""

        def __init__(self) -> None:
            self.waiting: list[Deferred[None]] = []

        def get(self, kind: str, key: str) -> Deferred[None]:
            self.waiting.append(Deferred())
            return self.waiting[-1]

        async def find(self, *_: Any, **__: Any) -> list[Any]:
            return []

    documents: Any = Answers()
    cache = CorrectionCache(documents, lambda: 0.0)
    asked = [Deferred.fromCoroutine(cache.maps(["A_1"])) for _ in range(4)]
    asked[1].addErrback(lambda failure: failure.trap(CancelledError))
    asked[1].cancel()
    (first,) = documents.waiting
    failed: list[Failure] = []
    asked[0].addErrback(failed.append)
    first.errback(StoreUnavailable("it does not answer"))
    assert [failure.type for failure in failed] == [StoreUnavailable]
    assert len(documents.waiting) == 2, "one of those that wait reads again, for the others as well"
    documents.waiting[1].callback(None)
    found: list[object] = []
    for each in asked[2:]:
        each.addCallback(found.append)
    assert found == [{}, {}]


@pytest_twisted.ensureDeferred
async def test_a_mark_outside_of_shifts_is_left_alone(stores: Pair) -> None:
    _, opened = stores
    customer = await a_site(opened)
    await corrector(opened).add(customer, void(START, START + 60), "x", NOW)
    works = await opened.customers.derivation_queue.claim("test", NOW, 60, 10)
    assert await module.widened(works, opened.readings, opened.customers.derivation_queue) == works
    assert await module.widened(works, MemoryReadingStore(), opened.customers.derivation_queue) == works
