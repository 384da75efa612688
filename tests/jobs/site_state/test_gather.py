"""What is known of sites comes from documents, and from the newest readings where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import attrs
from twisted.internet.defer import Deferred

from cenergyd.customers.model import Customer
from cenergyd.documents.kinds import DERIVATION, HELD_METER, LOGGER, METER, REJECTED
from cenergyd.documents.store import Document
from cenergyd.jobs.site_state.evaluate import evaluate
from cenergyd.jobs.site_state.gather import gather, series_of_roles, site_states, with_refusals
from cenergyd.jobs.site_state.issue_text import issue_text
from cenergyd.jobs.site_state.model import HeldSummary, LoggedError, Outage, PendingRange, Refusal, SiteFacts, SiteState
from cenergyd.readings.model import Reading
from tests.derivation.memory import MemoryDocumentStore
from tests.jobs.site import run

NOW = 1_750_000_000
SERIAL = "001EC6001433"
CUSTOMER = Customer(
    id="1", facility="1", solar="2", logger_serial_number=SERIAL, logger_password="x",
    extensions={"meters": {"reversed": ["solar"]}},
)  # fmt: skip


def facts_of(customers: list[Customer], documents: MemoryDocumentStore, last: Any = None) -> list[SiteFacts]:
    found: list[list[SiteFacts]] = []
    Deferred.fromCoroutine(gather(customers, documents, last)).addCallback(found.append)
    return found[0]


def stored(**bodies: dict[str, Any]) -> MemoryDocumentStore:
    documents = MemoryDocumentStore()
    kinds = {"logger": (LOGGER, SERIAL), "utility": (METER, f"{SERIAL}_1"), "solar": (METER, f"{SERIAL}_2"),
             "derivation": (DERIVATION, "1"), "rejected": (REJECTED, SERIAL)}  # fmt: skip
    for name, body in bodies.items():
        kind, key = kinds[name]
        Deferred.fromCoroutine(documents.put(kind, key, body))
    return documents


METERS: dict[str, dict[str, Any]] = {
    "utility": {"last_time": NOW - 60, "last_upload": NOW - 30, "interval": 60, "last": {"P": 1.5}, "error": None},
    "solar": {"last_time": NOW - 600, "last_upload": NOW - 30, "interval": 300, "last": {"P": -2.0},
              "error": {"time": NOW - 40, "code": 139}},
}  # fmt: skip


def test_everything_from_documents() -> None:
    documents = stored(
        logger={"last_upload": NOW - 30, "gaps": [[1, 900]], "outage": [NOW - 9000, NOW - 50, NOW - 30]},
        rejected={"time": NOW - 5, "reason": "wrong"},
        **METERS,
    )
    (facts,) = facts_of([CUSTOMER], documents)
    assert (facts.logger.last_upload, facts.logger.usual_gap) == (NOW - 30, 900)
    assert facts.logger.outage == Outage(NOW - 9000, NOW - 50, NOW - 30)
    utility, solar = facts.meters
    assert (utility.role, utility.last_time, utility.power, utility.interval) == ("utility", NOW - 60, 1.5, 60)
    assert (solar.meter, solar.power, solar.error) == ("2", 2.0, LoggedError(139, NOW - 40)), "its CT is reversed"
    assert facts.computed is not None
    assert (facts.computed.role, facts.computed.last_time) == ("load", None)
    assert facts.backlog is None


def test_a_refused_upload_is_told_of_a_logger_that_does_not_upload() -> None:
    for uploaded, wanted in ((NOW - 30, None), (NOW - 9000, Refusal(NOW - 5, "wrong"))):
        documents = stored(
            logger={"last_upload": uploaded, "gaps": [[1, 900]]}, rejected={"time": NOW - 5, "reason": "wrong"}
        )
        found: list[Any] = []
        sites = facts_of([CUSTOMER], documents)
        Deferred.fromCoroutine(with_refusals(sites, documents, NOW)).addCallback(found.extend)
        assert [facts.refusal for facts in found] == [wanted]


def test_the_newest_readings_count_where_they_are_at_hand() -> None:
    last = {
        f"{SERIAL}_1": Reading(NOW - 10, 2.0),
        f"{SERIAL}_2": Reading(NOW - 900, -9.0),
        f"{SERIAL}_missing_meter": Reading(NOW - 70, 4.0),
    }
    (facts,) = facts_of([CUSTOMER], stored(**METERS), last)
    assert [(meter.last_time, meter.power) for meter in facts.meters] == [(NOW - 10, 2.0), (NOW - 600, 2.0)]
    assert facts.computed is not None
    assert (facts.computed.last_time, facts.computed.power) == (NOW - 70, 4.0)
    assert facts.logger.last_upload == NOW - 10, "a crash lost when it uploaded, not what"


def test_held_logs() -> None:
    for held, wanted in (
        ({"logs": 3, "since": NOW - 60}, HeldSummary(NOW - 60, 3)),
        ({"logs": 0, "since": NOW - 60}, None),
    ):
        documents = stored(**METERS)
        Deferred.fromCoroutine(documents.put(HELD_METER, f"{SERIAL}_2", held))
        (facts,) = facts_of([CUSTOMER], documents)
        assert [meter.held for meter in facts.meters] == [None, wanted]


def test_backlogs() -> None:
    window = {"start": NOW - 90000, "end": NOW + 1, "done": NOW - 44999}
    (facts,) = facts_of([CUSTOMER], stored(derivation={"derived_until": NOW - 45000, "window": window}))
    assert facts.backlog == PendingRange(NOW - 90000, NOW + 1, NOW - 44999)
    assert facts.computed is not None
    assert facts.computed.last_time == NOW - 45000
    (done,) = facts_of([CUSTOMER], stored(derivation={"window": {**window, "done": NOW + 1}}))
    assert done.backlog is None
    pending = attrs.evolve(CUSTOMER, pending_start=NOW - 90000, pending_end=NOW + 1)
    (waits,) = facts_of([pending], stored(derivation={"window": {**window, "done": NOW + 1}}))
    assert waits.backlog == PendingRange(NOW - 90000, NOW + 1, NOW - 90000)


def test_what_derivation_says() -> None:
    result = {"failure": {"plugin": "mine", "message": "secret", "since": NOW - 5}, "no_plugin": True}
    (facts,) = facts_of([CUSTOMER], stored(derivation=result))
    assert facts.computed is not None
    assert (facts.computed.failing_plugin, facts.computed.failing_since, facts.computed.no_plugin) == (
        "mine",
        NOW - 5,
        True,
    )


def test_customers_without_a_logger_need_no_documents() -> None:
    states: list[list[SiteState]] = []
    customers = [
        Customer(id="1"),
        CUSTOMER,
        Customer(id="3", facility="1", load="2", solar="3", logger_serial_number="B"),
    ]
    coroutine = site_states(customers, MemoryDocumentStore(), NOW)  # type: ignore[arg-type]
    Deferred.fromCoroutine(coroutine).addCallback(states.append)
    assert [state.kind for state in states[0]] == ["settings_incomplete", "never_uploaded", "settings_incomplete"]
    assert series_of_roles(customers) == [f"{SERIAL}_1", f"{SERIAL}_missing_meter", f"{SERIAL}_2", "B_1", "B_2", "B_3"]


def test_each_meter_of_a_sum_is_known_and_the_missing_one_named() -> None:
    customer = attrs.evolve(CUSTOMER, solar="2+4*0.5", extensions={})
    assert series_of_roles([customer]) == [
        f"{SERIAL}_1", f"{SERIAL}_missing_meter", f"{SERIAL}_solar_sum", f"{SERIAL}_2", f"{SERIAL}_4",
    ]  # fmt: skip
    documents = stored(logger={"last_upload": NOW - 300, "gaps": [[1, 900]]})
    for meter, ago in (("1", 360), ("2", 360), ("4", 9000)):
        body = {"last_time": NOW - ago, "last_upload": NOW - 300, "interval": 60, "last": {"P": 2.0}, "error": None}
        Deferred.fromCoroutine(documents.put(METER, f"{SERIAL}_{meter}", body))
    last = {f"{SERIAL}_solar_sum": Reading(NOW - 9000, 3.0)}
    (facts,) = facts_of([customer], documents, last)
    assert [(meter.role, meter.meter) for meter in facts.meters] == [("utility", "1"), ("solar", "2"), ("solar", "4")]
    state = evaluate(facts, NOW)
    assert [(issue.kind, issue.role, issue.meter) for issue in state.issues] == [("meter_stopped", "solar", "4")]
    assert "(meter 4)" in issue_text(state.issues[0], state, NOW, ZoneInfo("UTC")).text
    solar = next(each for each in state.roles if each.role == "solar")
    assert (solar.time, solar.power, solar.stale, solar.computed) == (NOW - 9000, 3.0, True, False)


def test_documents_of_earlier_versions_are_only_searched_for_where_there_may_be_some() -> None:
    searched: list[str] = []

    class CountingDocuments(MemoryDocumentStore):
        async def get_many(self, kind: str, keys: Sequence[str]) -> dict[str, Document]:
            searched.append(kind)
            return await super().get_many(kind, keys)

    documents = CountingDocuments()
    body = {"last_upload": NOW, "gaps": [[1, 900]], "meters": {}}
    Deferred.fromCoroutine(documents.put(LOGGER, SERIAL, body))
    facts_of([CUSTOMER], documents)
    assert METER not in searched, "the computed meter is none of the logger's"
    facts_of([attrs.evolve(CUSTOMER, logger_serial_number="001EC6009999")], documents)
    assert METER in searched


def test_a_fleet_is_evaluated_with_pauses() -> None:
    customers = [attrs.evolve(CUSTOMER, id=f"c{k}") for k in range(3)]
    pauses = 0

    async def pause() -> None:
        nonlocal pauses
        pauses += 1

    assert len(run(site_states(customers, stored(), NOW, pause=pause))) == 3
    assert pauses == 3
