"""States of sites are kept: after a change, when due, and for customers that come and go elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from cenergyd.customers.model import Customer
from cenergyd.documents.kinds import LOGGER, METER, SITE
from cenergyd.documents.loggers import CUSTOMER, logger_of
from cenergyd.errors import StoreUnavailable
from cenergyd.ingest.activity_record import CURRENT, ActivityRecord
from cenergyd.ingest.regular_uploads import RegularUploads
from cenergyd.jobs.energy.hours import energy_series
from cenergyd.jobs.site_state.fleet import OLDEST, FleetQuery, FleetReader
from cenergyd.jobs.site_state.gather import site_states
from cenergyd.jobs.site_state.service import (
    CALM_SECONDS,
    COMPARE_EVERY,
    PASS_SECONDS,
    SECOND_EVALUATION,
    SiteEvaluation,
    SiteStateService,
)
from cenergyd.jobs.site_state.summary import DayEnergy, SiteSummary, summary_from_json
from cenergyd.readings.model import FieldPoint, Reading, SeriesReadings
from cenergyd.storage.sqlite.customers import SqliteCustomerStore
from cenergyd.storage.sqlite.documents import SqliteDocumentStore
from cenergyd.storage.sqlite.readings import SqliteReadingStore
from tests.web.harness import SettableClock

SERIAL = "001EC6001433"


class SiteStatesUnderTest:
    """Stores in a folder, and a service whose clock is set by the test."""

    def __init__(self, folder: Path) -> None:
        self.clock = SettableClock()
        self.clock.offset = 43200 - self.clock.now % 86400  # at noon: no day ends within a test
        self.customers = SqliteCustomerStore(reactor, folder / "c.sqlite")
        self.documents = SqliteDocumentStore(reactor, folder / "c.sqlite")
        self.readings: Any = SqliteReadingStore(reactor, folder / "r.sqlite")
        self.evaluated: list[SiteEvaluation] = []

        async def evaluated(evaluations: Sequence[SiteEvaluation]) -> Mapping[str, int]:
            self.evaluated += evaluations
            return {each.customer.id: 2 for each in evaluations if each.state.kind == "logger_silent"}

        self.service = SiteStateService(
            clock=self.clock,
            customers=self.customers,
            documents=self.documents,
            readings=self.readings,
            evaluated=evaluated,
        )
        self.fleet = FleetReader(self.documents, self.clock)

    async def site(self, number: int = 1) -> Customer:
        """A customer whose logger has just uploaded both meters."""
        now, serial = self.clock.now, f"{SERIAL}{number}"
        customer = await self.customers.add(
            Customer(
                id="", name=f"Site {number}", facility="1", solar="2", logger_serial_number=serial, logger_password="x"
            )
        )
        await self.documents.put(LOGGER, serial, {"last_upload": now, "gaps": [[1, 900]]}, due=now)
        for meter in ("1", "2"):
            body = {"last_time": now - 60, "last_upload": now, "interval": 60, "last": {"P": 1.5}, "error": None}
            await self.documents.put(METER, f"{serial}_{meter}", body, owner=serial)
        await self.readings.write([SeriesReadings(f"{serial}_missing_meter", [Reading(now - 60, 3.0)])])
        return customer

    async def version(self, customer: Customer) -> int:
        document = await self.documents.get(SITE, customer.id)
        assert document is not None
        return document.version

    async def stored(self, customer: Customer) -> tuple[SiteSummary, int]:
        document = await self.documents.get(SITE, customer.id)
        assert document is not None
        summary = summary_from_json(document.body)
        assert summary is not None
        assert document.owner == summary.state.kind
        return summary, document.due or 0


@pytest_twisted.async_yield_fixture
async def states(tmp_path: Path) -> AsyncIterator[SiteStatesUnderTest]:
    states = SiteStatesUnderTest(tmp_path)
    stores = (states.customers, states.documents, states.readings)
    for store in stores:
        await store.open()
    yield states
    for store in stores:
        await store.close()


@pytest_twisted.ensureDeferred
async def test_a_site_is_evaluated_after_its_news_have_been_written_down(states: SiteStatesUnderTest) -> None:
    customer = await states.site()
    await states.service.evaluate([customer.id])
    states.evaluated.clear()
    states.service.site_changed(customer.id)
    await states.service.tick()
    assert states.evaluated == []
    states.clock.offset += PASS_SECONDS
    await states.service.tick()
    summary, due = await states.stored(customer)
    assert (summary.state.kind, summary.name, summary.serial) == ("good", "Site 1", f"{SERIAL}1")
    assert [(each.role, each.power) for each in summary.state.roles] == [
        ("utility", 1.5),
        ("load", 3.0),
        ("solar", 1.5),
    ]
    assert due > states.clock.now
    states.evaluated.clear()
    await states.service.tick()
    assert states.evaluated == [], "a change counts once"
    states.clock.offset += SECOND_EVALUATION
    await states.service.tick()
    assert len(states.evaluated) == 1, "then rollups and energy are there, too"


@pytest_twisted.ensureDeferred
async def test_new_numbers_alone_are_stored_once_for_all_news_of_some_time(states: SiteStatesUnderTest) -> None:
    customer = await states.site()
    await states.service.evaluate([customer.id])
    version = await states.version(customer)
    states.service._stored = states.fleet.take
    await states.fleet.refresh()

    async def power(value: float) -> None:
        """A newer computed reading, its logger's upload, and a pass after that."""
        now = states.clock.now
        await states.documents.put(
            LOGGER, customer.logger_serial_number, {"last_upload": now, "gaps": [[1, 900]]}, due=now
        )
        reading = Reading(now - 60, value)
        series = [f"{customer.logger_serial_number}_{meter}" for meter in ("1", "2", "missing_meter")]
        await states.readings.write([SeriesReadings(name, [reading]) for name in series])
        states.service.site_changed(customer.id)
        states.clock.offset += PASS_SECONDS
        await states.service.tick()

    states.clock.offset += 120
    await power(5.0)
    assert await states.version(customer) == version, "its numbers are stored with those of the second look"
    (shown,) = await states.fleet.sites()
    assert shown.power("load", states.clock.now) == 5.0, "this daemon shows them at once"
    states.clock.offset += 30
    await power(6.0)
    assert await states.version(customer) == version
    states.clock.offset += SECOND_EVALUATION - 30
    await states.service.tick()
    assert await states.version(customer) == version + 1
    assert (await states.stored(customer))[0].power("load", states.clock.now) == 6.0


@pytest_twisted.ensureDeferred
async def test_a_good_site_is_stored_once_for_each_upload(states: SiteStatesUnderTest) -> None:
    customer = await states.site()
    await states.service.evaluate([customer.id])
    version = await states.version(customer)
    serial, uploaded = customer.logger_serial_number, states.clock.now
    for number in (1, 2):
        for second in range(0, 900, 5):
            states.clock.offset = uploaded + 900 * number + second - states.clock.now + states.clock.offset
            if not second:
                now = states.clock.now
                await states.documents.put(LOGGER, serial, {"last_upload": now, "gaps": [[1, 900]]}, due=now)
                series = [f"{serial}_{meter}" for meter in ("1", "2", "missing_meter")]
                await states.readings.write([SeriesReadings(name, [Reading(now - 60, number)]) for name in series])
                states.service.site_changed(customer.id)
            await states.service.tick()
        assert await states.version(customer) == version + number


@pytest_twisted.ensureDeferred
async def test_sites_share_a_pass(states: SiteStatesUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = await states.site(1), await states.site(2)
    await states.service.evaluate([first.id, second.id])
    asked: list[int] = []
    get_many = states.customers.get_many

    async def counted(ids: Sequence[str]) -> Mapping[str, Customer]:
        asked.append(len(ids))
        return await get_many(ids)

    monkeypatch.setattr(states.customers, "get_many", counted)
    states.service.site_changed(first.id)
    states.clock.offset += SECOND_EVALUATION - 5
    await states.service.tick()
    states.clock.offset += SECOND_EVALUATION - 5
    states.service.site_changed(second.id)
    await states.service.tick()
    states.clock.offset += PASS_SECONDS
    await states.service.tick()
    assert asked == [1, 2], "the second look at one site and the first at another"


@pytest_twisted.ensureDeferred
async def test_another_state_is_stored_at_once(states: SiteStatesUnderTest) -> None:
    customer = await states.site()
    await states.service.evaluate([customer.id])
    version = await states.version(customer)
    await states.customers.update(customer.id, {"solar": ""})
    states.service.site_changed(customer.id)
    states.clock.offset += PASS_SECONDS
    await states.service.tick()
    assert await states.version(customer) == version + 1
    assert (await states.stored(customer))[0].state.kind == "settings_incomplete"


@pytest_twisted.ensureDeferred
async def test_silence_is_noticed_by_time_alone(states: SiteStatesUnderTest) -> None:
    customer = await states.site()
    await states.service.evaluate([customer.id])
    assert (await states.stored(customer))[0].state.kind == "good"
    for _ in range(8):  # from one due time to the next
        states.clock.offset += (await states.stored(customer))[1] - states.clock.now
        await states.service.tick()
    summary, _ = await states.stored(customer)
    assert (summary.state.kind, summary.alerts) == ("logger_silent", 2)
    before = [each.before.state.kind if each.before else None for each in states.evaluated]
    assert before[0] is None
    assert "good" in before
    await states.fleet.refresh()
    assert states.fleet.counts()["logger_silent"] == 1


@pytest_twisted.ensureDeferred
async def test_a_new_site_is_not_evaluated_while_its_first_upload_is_being_stored(states: SiteStatesUnderTest) -> None:
    customer = await states.site()
    serial, now = customer.logger_serial_number, states.clock.now
    for meter in ("1", "2"):
        await states.readings.write([SeriesReadings(f"{serial}_{meter}", [Reading(now - 3 * 86400, 1.5)])])
        await states.documents.delete(METER, f"{serial}_{meter}")
    await states.documents.delete(LOGGER, serial)  # it and its meters are stored some seconds after the readings
    await states.service.tick()
    await states.documents.put(LOGGER, serial, {"last_upload": now, "gaps": []}, due=now)
    states.clock.offset += PASS_SECONDS
    await states.service.tick()
    kinds = [issue.kind for each in states.evaluated for issue in each.state.issues]
    assert len(states.evaluated) == 1
    assert not {"not_computed", "logger_silent"} & set(kinds), (
        "nothing is said about three days ago, because the logger uploads now"
    )


@pytest_twisted.ensureDeferred
async def test_customers_that_come_and_go_elsewhere(states: SiteStatesUnderTest) -> None:
    first, second = await states.site(1), await states.site(2)
    await states.service.tick()
    states.clock.offset += PASS_SECONDS
    await states.service.tick()
    assert {site.customer_id for site in await states.fleet.sites()} == {first.id, second.id}
    await states.customers.remove(first.id)
    states.clock.offset += COMPARE_EVERY
    await states.service.tick()
    states.clock.offset += PASS_SECONDS
    await states.service.tick()
    states.fleet.forget()
    assert [site.customer_id for site in await states.fleet.sites()] == [second.id]
    page = await states.fleet.page(FleetQuery(state="good"))
    assert (page.matching, page.totals.power) == (1, {"utility": 1.5, "load": 3.0, "solar": 1.5})


@pytest_twisted.ensureDeferred
async def test_energy_of_today_is_kept_while_the_readings_store_is_down(
    states: SiteStatesUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = await states.site()
    hour = states.clock.now - states.clock.now % 3600
    fields: dict[str, Any] = {"import_kwh": 2.5, "export_kwh": 0.5, "covered_seconds": 3600.0, "seconds": 3600}
    await states.readings.write_points(energy_series(f"{customer.logger_serial_number}_1"), [FieldPoint(hour, fields)])
    await states.service.evaluate([customer.id])
    summary, _ = await states.stored(customer)
    assert summary.energy == (DayEnergy("utility", 2.5, 0.5),)

    async def down(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("down")

    for name in ("last", "read_points", "read_points_many"):
        monkeypatch.setattr(states.readings, name, down)
    await states.service.evaluate([customer.id])
    again, _ = await states.stored(customer)
    assert again.energy == summary.energy
    assert again.state.kind == "good", "the documents say so"
    assert again.power("utility", states.clock.now) == 1.5


@pytest_twisted.ensureDeferred
async def test_an_unknown_zone_keeps_nobody_else_from_being_evaluated(states: SiteStatesUnderTest) -> None:
    foreign, other = await states.site(1), await states.site(2)
    await states.customers.update(foreign.id, {"time_zone": "Mars/Olympus"})
    await states.service.evaluate([foreign.id, other.id, "nobody"])
    assert (await states.stored(foreign))[0].state.kind == "settings_incomplete"
    assert (await states.stored(other))[0].state.kind == "good"


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_written_is_evaluated_again(
    states: SiteStatesUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = await states.site()
    await states.service.tick()
    states.service.site_changed(customer.id)
    states.clock.offset += PASS_SECONDS

    async def down(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(states.documents, "replace_many", down)
        with pytest.raises(StoreUnavailable):
            await states.service.tick()
    states.evaluated.clear()
    await states.service.tick()
    assert [each.customer.id for each in states.evaluated] == [customer.id]


@pytest_twisted.ensureDeferred
async def test_the_list_in_memory_follows_what_is_evaluated_here_and_elsewhere(states: SiteStatesUnderTest) -> None:
    first, second = await states.site(1), await states.site(2)
    await states.fleet.refresh()
    assert await states.fleet.sites() == []
    states.service._stored = states.fleet.take
    await states.service.evaluate([first.id])
    assert [site.customer_id for site in await states.fleet.sites()] == [first.id]
    other = SiteStateService(
        clock=states.clock, customers=states.customers, documents=states.documents, readings=states.readings
    )
    await other.evaluate([second.id])
    await states.fleet.refresh()
    assert len(await states.fleet.sites()) == 1, "another daemon's is read within a minute"
    states.clock.offset += OLDEST
    await states.fleet.refresh()
    assert {site.customer_id for site in await states.fleet.sites()} == {first.id, second.id}
    await states.customers.remove(first.id)
    await states.service.evaluate([first.id])
    assert [site.customer_id for site in await states.fleet.sites()] == [second.id]


@pytest_twisted.ensureDeferred
async def test_what_is_evaluated_while_all_are_read_is_not_lost(states: SiteStatesUnderTest) -> None:
    site = await states.site()
    await states.service.evaluate([site.id])
    found: Deferred[Any] = Deferred()
    find, stored = states.documents.find, await states.documents.find(SITE)

    async def slow(*_: Any, **__: Any) -> Any:
        await found
        return stored

    states.documents.find = slow  # type: ignore[method-assign]
    reading = Deferred.fromCoroutine(states.fleet.refresh())
    states.documents.find = find  # type: ignore[method-assign]
    changed = summary_from_json(stored[0].body)
    assert changed is not None
    states.fleet.take([msgspec.structs.replace(changed, name="Renamed")])
    found.callback(None)
    await reading
    assert [each.name for each in await states.fleet.sites()] == ["Renamed"]


@pytest_twisted.ensureDeferred
async def test_regular_uploads_of_several_daemons_are_stored_with_the_state(states: SiteStatesUnderTest) -> None:
    """The state is current though the logger's document is old; and what another daemon stores meanwhile is not lost."""
    customer = await states.site()
    serial, meters = customer.logger_serial_number, ("1", "2")
    now = states.clock.now
    bodies = {
        f"{serial}_{meter}": {
            "last_time": now - 60,
            "last_upload": now,
            "interval": 60,
            "last": {"P": 1.5},
            "error": None,
        }
        for meter in meters
    }
    body = {"last_upload": now, "gaps": [[1, 900]], "meters": bodies, CUSTOMER: customer.id, CURRENT: True}
    await states.documents.put(LOGGER, serial, body, due=now)
    states.clock.offset += 7200
    now = states.clock.now
    held = RegularUploads(), RegularUploads()
    for meter, mine in zip(meters, held, strict=True):
        reading = {"P": 2.5, "L1_PF": 1.0, "L1_V": 240.0, "Q": 0.0}
        upload = {"last_upload": now, "last_time": now - 60, "last": reading, "interval": 60}
        mine.hold(serial, ActivityRecord({CUSTOMER: customer.id}, now, now, {f"{serial}_{meter}": upload}), now)
        await states.readings.write([SeriesReadings(f"{serial}_{meter}", [Reading(now - 60, 2.5)])])
    first, second = (
        SiteStateService(
            clock=states.clock,
            customers=states.customers,
            documents=states.documents,
            readings=states.readings,
            uploads=mine,
        )
        for mine in held
    )
    replace_many = states.documents.replace_many

    async def overtaken(kind: str, documents: Any) -> list[bool]:
        states.documents.replace_many = replace_many  # type: ignore[method-assign]
        await second.evaluate([customer.id])
        return await replace_many(kind, documents)

    states.documents.replace_many = overtaken  # type: ignore[method-assign]
    await first.evaluate([customer.id])
    assert (await states.stored(customer))[0].state.kind == "good"
    assert [mine.unsaved(customer.id) for mine in held] == [None, None]
    logger = await logger_of(states.documents, serial)
    assert logger is not None
    assert logger.body["last_upload"] == now
    assert [each["last"]["P"] for each in logger.body["meters"].values()] == [2.5, 2.5]
    (state,) = await site_states([customer], states.documents, now)
    assert state.kind == "good", "from documents alone, as after a restart"
    (silent,) = await site_states([customer], states.documents, now + 3600)
    assert (silent.kind, silent.last_upload) == ("logger_silent", now)


@pytest_twisted.ensureDeferred
async def test_uploads_are_not_stored_with_the_state_where_another_daemon_has_changed_the_logger(
    states: SiteStatesUnderTest,
) -> None:
    customer = await states.site()
    serial, now = customer.logger_serial_number, states.clock.now
    series = f"{serial}_1"
    last = {"P": 1.5, "L1_PF": 1.0, "L1_V": 240.0, "Q": 0.0}
    meter = {"name": "A", "last_time": now - 60, "last_upload": now, "interval": 60, "last": last, "error": None}
    body = {"last_upload": now, "gaps": [[1, 900]], CUSTOMER: customer.id, CURRENT: True, "meters": {series: meter}}
    held = RegularUploads()
    service = SiteStateService(
        clock=states.clock,
        customers=states.customers,
        documents=states.documents,
        readings=states.readings,
        uploads=held,
    )
    for name, is_regular in (("A", True), ("B", False)):
        held.remember(serial, body)
        held.hold(serial, ActivityRecord({CUSTOMER: customer.id}, now, now, {series: meter}), now)
        await states.documents.put(LOGGER, serial, {**body, "meters": {series: {**meter, "name": name}}}, due=now)
        await service.evaluate([customer.id])
        assert held.overdue(now) == ([] if is_regular else [serial])
    assert held.take(serial) is not None, "it is written into the document of the logger, which has another name now"


@pytest_twisted.ensureDeferred
async def test_a_killed_daemon_s_last_upload_is_known_from_its_readings(states: SiteStatesUnderTest) -> None:
    customer = await states.site()
    serial, now = customer.logger_serial_number, states.clock.now
    await states.documents.put(LOGGER, serial, {"last_upload": now - 86400, "gaps": [[1, 900]], CURRENT: True}, due=now)
    last = {f"{serial}_1": Reading(now - 60, 1.0), f"{serial}_2": Reading(now - 60, 1.0)}
    (state,) = await site_states([customer], states.documents, now, last)
    assert (state.kind, state.last_upload) != ("logger_silent", now - 86400)
    assert state.last_upload == now - 60


@pytest_twisted.ensureDeferred
async def test_a_good_site_is_evaluated_once_after_its_jobs(states: SiteStatesUnderTest) -> None:
    customer = await states.site()
    held = RegularUploads()
    service = SiteStateService(
        clock=states.clock,
        customers=states.customers,
        documents=states.documents,
        readings=states.readings,
        uploads=held,
    )
    await service.evaluate([customer.id])
    version = await states.version(customer)
    for finished in (True, False):
        now = states.clock.now
        held.hold(customer.logger_serial_number, ActivityRecord({CUSTOMER: customer.id}, now, now, {}), now)
        service.site_changed(customer.id)
        states.clock.offset += PASS_SECONDS
        await service.tick()
        assert await states.version(customer) == version, "it waits for its jobs"
        if finished:
            service.finished(customer.id)
        states.clock.offset += CALM_SECONDS - PASS_SECONDS
        await service.tick()
        version += finished
        assert await states.version(customer) == version
        states.clock.offset += SECOND_EVALUATION
        await service.tick()
        version += not finished
        assert await states.version(customer) == version, "a second look, unless the jobs had run"


@pytest_twisted.ensureDeferred
async def test_a_site_that_another_daemon_has_evaluated_since_is_not_due(states: SiteStatesUnderTest) -> None:
    customer = await states.site()
    await states.service.evaluate([customer.id])
    _, due = await states.stored(customer)
    body = (await states.documents.get(SITE, customer.id)).body  # type: ignore[union-attr]
    await states.documents.put(SITE, customer.id, body, due=due + 900)
    states.evaluated.clear()
    states.clock.offset += due - states.clock.now
    await states.service.tick()
    assert states.evaluated == []
    states.clock.offset += 900
    await states.service.tick()
    assert len(states.evaluated) == 1
