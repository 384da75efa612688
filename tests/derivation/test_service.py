"""The service: batches, waiting and missing, late data, bad plugins, claims, outages, backlogs; on a Clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cenergyd.customers.model import Customer, PendingMark, Role
from cenergyd.derivation import backlog, batch, late_plugins, service
from cenergyd.derivation.service import DerivationService
from cenergyd.errors import StoreRejected, StoreUnavailable
from cenergyd.hookspecs import AlignedReading, Derived, hookimpl
from cenergyd.readings.model import Reading, SeriesReadings
from tests.derivation.memory import START, Site, customer, minutes, settle, site


def run(here: Site, work: Any) -> Any:
    return settle(here.clock, work)


def both(here: Site, key: str, readings: Sequence[Reading]) -> None:
    run(here, here.came(key, "1", readings))
    run(here, here.came(key, "2", readings))


def times(here: Site, key: str = "a") -> list[int]:
    return [each.time for each in run(here, here.computed(key))]


def sharing(here: Site) -> DerivationService:
    """Another daemon on the same stores."""
    return DerivationService(
        clock=here.clock, settings=here.settings.derivation, plugins=here.plugins, readings=here.readings,
        documents=here.documents, derivation_queue=here.queue, job_queue=here.jobs,
    )  # fmt: skip


class Plugin:
    """A plugin that returns for one customer what the test sets."""

    def __init__(self, customer_id: str, answer: Any) -> None:
        self.customer_id = customer_id
        self.answer = answer
        self.asked: list[Sequence[AlignedReading]] = []

    @hookimpl(tryfirst=True)
    def cenergyd_derive(self, customer: Customer, aligned: Sequence[AlignedReading]) -> Any:
        if customer.id != self.customer_id:
            return None
        self.asked.append(aligned)
        return self.answer(aligned)


def test_two_meters_make_three() -> None:
    here = site(customer())
    both(here, "a", minutes(3))
    here.tick()
    computed = run(here, here.computed("a"))
    assert [(each.time, each.P) for each in computed] == [(START + 60 * i, 2.0 + 2 * i) for i in range(3)]
    assert here.queue.pending == here.queue.working == {}
    assert here.status("a") == {
        "derived_until": START + 120, "waiting_for": None, "waiting_since": None, "missing": None, "failure": None,
        "no_plugin": False, "window": {"start": START, "end": START + 121, "done": START + 121},
    }  # fmt: skip
    assert here.service.status.derived_readings == 3


def test_jobs_are_notified_after_the_write() -> None:
    here = site(customer(), tolerance_seconds="30")
    both(here, "a", minutes(3))
    here.tick()
    assert here.jobs.pending == {"a": (START - 60, START + 121 + 30)}


@pytest.mark.parametrize("fields", [{"load": "3"}, {"solar": ""}, {"solar": "1"}, {"serial": ""}, {"facility": "a b"}])
def test_nothing_to_derive_but_jobs_to_do(fields: dict[str, str]) -> None:
    here = site(customer(**fields))
    run(here, here.queue.mark([PendingMark("a", START, START + 61)]))
    here.tick()
    assert here.queue.pending == here.queue.working == {}
    assert here.jobs.pending
    assert here.documents.kept == {}


def test_live_views_are_notified_of_changed_computed_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (backlog, batch):
        monkeypatch.setattr(module, "CHUNK_READINGS", 100)
    here = site(customer("a"), customer("b"))
    both(here, "a", minutes(3))
    run(here, here.came("b", "1", minutes(3)))
    here.tick()
    assert here.news == ["a"], "nothing is computed for b yet"
    both(here, "a", minutes(3))
    here.tick()
    assert here.news == ["a"], "the same readings once more change nothing"
    both(here, "b", minutes(1000))
    here.tick()
    while here.service.status.backlogs:
        here.clock.advance(0.05)
    assert set(here.news) == {"a", "b"}
    assert here.news.count("b") > 2, "a backlog tells of each segment"


def test_an_hour_that_arrives_late_is_derived_without_a_command() -> None:
    here = site(customer())
    hour, next_hour = minutes(60), minutes(60, start=START + 3600)
    both(here, "a", next_hour)
    here.tick()
    both(here, "a", hour)
    here.tick()
    assert times(here) == [each.time for each in (*hour, *next_hour)]
    assert here.status("a")["derived_until"] == next_hour[-1].time


def test_late_data_next_to_it_re_derives_a_neighbour() -> None:
    """The load reading at 40 paired with 60 until its true partner at 45 came."""
    here = site(customer(), tolerance_seconds="30")
    run(here, here.came("a", "1", [Reading(START + 40, 5.0)]))
    run(here, here.came("a", "2", [Reading(START + 60, 1.0)]))
    here.tick()
    assert [(each.time - START, each.P) for each in run(here, here.computed("a"))] == [(40, 6.0)]
    run(here, here.came("a", "2", [Reading(START + 35, 2.0)]))
    here.tick()
    assert [(each.time - START, each.P) for each in run(here, here.computed("a"))] == [(35, 7.0)]


def test_waiting_for_the_partner_then_not() -> None:
    here = site(customer())
    both(here, "a", minutes(2))
    run(here, here.came("a", "1", minutes(3, start=START + 120)))
    here.tick()
    status = here.status("a")
    assert (status["waiting_for"], status["waiting_since"], status["missing"]) == ("solar", START + 120, None)
    assert status["derived_until"] == START + 60
    run(here, here.came("a", "2", minutes(3, start=START + 120)))
    here.tick()
    status = here.status("a")
    assert (status["waiting_for"], status["waiting_since"], status["missing"]) == (None, None, None)


def test_an_outage_of_one_meter_is_missing_and_heals() -> None:
    here = site(customer())
    both(here, "a", minutes(2))
    run(here, here.came("a", "1", minutes(10, start=START + 120)))
    here.tick()
    both(here, "a", minutes(2, start=START + 720))
    here.tick()
    status = here.status("a")
    assert status["waiting_since"] is None
    assert times(here) == [START, START + 60, START + 720, START + 780]
    run(here, here.came("a", "1", minutes(10, start=START + 120)))  # sent again, as after a lost reply
    here.tick()
    assert here.status("a")["missing"] == {
        "role": "solar", "start": START + 120, "end": START + 661, "readings": 10,
    }  # fmt: skip
    run(here, here.came("a", "2", minutes(10, start=START + 120)))
    here.tick()
    assert here.status("a")["missing"] is None
    assert len(times(here)) == 14


def _raises(aligned: Any) -> Any:
    raise ZeroDivisionError("oh no")


def _exits(aligned: Any) -> Any:
    raise SystemExit(3)


async def _raises_later(aligned: Any) -> Any:
    raise ZeroDivisionError("oh no")


def _late_failure(aligned: Any) -> Any:
    deferred: Deferred[Derived] = Deferred()
    deferred.errback(ValueError("later"))
    return deferred


BAD = {
    "raises": _raises,
    "raises in a coroutine": _raises_later,
    "fails in a Deferred": _late_failure,
    "exits": _exits,
    "NaN": lambda aligned: [Reading(aligned[0].time, float("nan"))],
    "wrong time": lambda aligned: [Reading(aligned[0].time + 1, 1.0)],
    "twice": lambda aligned: [Reading(aligned[0].time, 1.0)] * 2,
    "no sequence": lambda aligned: 7,
    "never answers": lambda aligned: Deferred(),
}


@pytest.mark.parametrize("name", BAD)
def test_a_failing_plugin_affects_only_its_own_customer(name: str, logged: list[dict[str, Any]]) -> None:
    plugin = Plugin("bad", BAD[name])
    here = site(customer("bad"), *(customer(f"good{i}") for i in range(5)), extra=[("their-own", plugin)])
    for key in here.customers:
        both(here, key, minutes(3))
    here.tick(1)
    assert all(len(times(here, f"good{i}")) == 3 for i in range(5))
    assert all(here.status(f"good{i}")["failure"] is None for i in range(5))
    for _ in range(700):  # a timeout, if it is one
        here.clock.advance(0.05)
    assert times(here, "bad") == []
    assert here.status("bad")["failure"]["plugin"] == "their-own"
    assert here.service.status.failures == {"their-own": 1}
    assert "bad" in here.jobs.pending, "the measured readings are there for the jobs"
    reported = [event for event in logged if event.get("customer_id") == "bad"]
    assert len(reported) == 1
    assert reported[0]["plugin"] == "their-own"
    here.tick(1)
    assert len(plugin.asked) == 1, "not before its time"
    plugin.answer = lambda aligned: None
    here.clock.advance(60)
    here.tick(1)
    assert len(times(here, "bad")) == 3
    assert here.status("bad")["failure"] is None


def test_a_failing_plugin_floods_neither_the_log_nor_the_jobs(logged: list[dict[str, Any]]) -> None:
    here = site(customer(), extra=[("their-own", Plugin("a", _raises))])
    both(here, "a", minutes(3))
    for _ in range(10):
        here.tick(1)
        here.clock.advance(61)
    assert here.service.status.failures["their-own"] == 10
    assert len([event for event in logged if event.get("customer_id") == "a"]) == 1
    assert len(here.jobs.marked) == 1


def test_a_slow_plugin_answers_later_and_holds_up_nobody() -> None:
    answer: Deferred[Derived] = Deferred()
    here = site(customer("a"), customer("b"), extra=[("slow", Plugin("a", lambda aligned: answer))])
    both(here, "a", minutes(1))
    both(here, "b", minutes(1))
    here.tick(1)
    assert (times(here, "a"), times(here, "b")) == ([], [START])
    assert here.service.status.waiting_plugins == 1
    both(here, "b", minutes(1, start=START + 60))
    here.tick(1)
    assert len(times(here, "b")) == 2
    answer.callback([Reading(START, 42.0)])
    assert [each.P for each in run(here, here.computed("a"))] == [42.0]
    assert here.queue.working == {}
    assert here.service.status.waiting_plugins == 0


def test_a_batch_that_fails_leaves_alone_who_waits_for_a_slow_plugin() -> None:
    answer: Deferred[Derived] = Deferred()
    here = site(customer("a"), customer("b"), extra=[("slow", Plugin("a", lambda aligned: answer))])
    both(here, "a", minutes(1))
    both(here, "b", minutes(1))
    write = here.readings.write

    async def down(batches: Any) -> None:
        raise StoreUnavailable("connection refused")

    here.readings.write = down  # type: ignore[method-assign]
    here.tick(1)
    assert (here.queue.working.keys(), here.queue.pending.keys()) == ({"a"}, {"b"})
    here.readings.write = write  # type: ignore[method-assign]
    answer.callback([Reading(START, 42.0)])
    assert here.queue.working == {}
    assert [each.P for each in run(here, here.computed("a"))] == [42.0]


def test_slow_plugins_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        @hookimpl(tryfirst=True)
        def cenergyd_derive(self, aligned: Sequence[AlignedReading]) -> Any:
            return Deferred()

    monkeypatch.setattr(late_plugins, "MAX_WAITING_PLUGINS", 5)
    here = site(*(customer(f"c{i}") for i in range(20)), extra=[("slow", Slow())])
    for key in here.customers:
        both(here, key, minutes(1))
    here.tick(1)
    assert here.service.status.waiting_plugins == 5
    assert len(here.queue.working) == 5
    assert here.service.status.failures["slow"] == 15


class Replacement:
    """A plugin's formula for some customers."""

    @hookimpl(tryfirst=True)
    def cenergyd_derive(self, customer: Customer, role: Role, aligned: Sequence[AlignedReading]) -> Derived | None:
        if customer.id != "special":
            return None
        return [Reading(pair.time, 99.0) for pair in reversed(aligned)]


def test_a_third_party_may_replace_a_built_in_for_some_customers() -> None:
    here = site(customer("special"), customer("usual"), extra=[("special", Replacement())])
    both(here, "special", minutes(2))
    both(here, "usual", minutes(2))
    here.tick()
    assert [each.P for each in run(here, here.computed("special"))] == [99.0, 99.0]
    assert [each.P for each in run(here, here.computed("usual"))] == [2.0, 4.0]


def test_a_disabled_plugin_computes_nothing_and_deletes_nothing() -> None:
    here = site(customer(), disabled=["load"])
    run(here, here.readings.write([SeriesReadings("00A_missing_meter", [Reading(START, 5.0)])]))
    both(here, "a", minutes(2))
    here.tick()
    assert times(here) == [START]
    assert here.status("a")["no_plugin"] is True
    assert here.queue.working == here.queue.pending == {}


def test_what_is_right_already_is_not_written_again() -> None:
    here = site(customer())
    both(here, "a", minutes(3))
    here.tick()
    both(here, "a", minutes(3))
    with (
        patch.object(here.readings, "write", wraps=here.readings.write) as write,
        patch.object(here.readings, "replace_many") as replace,
    ):
        here.tick()
    (probes,) = (call.args[0] for call in write.call_args_list)
    assert [(each.series, len(each.readings)) for each in probes] == [("00A_missing_meter", 1)]  # the day's write probe
    assert not replace.called
    assert here.service.status.derived_readings == 6


def test_one_customer_whom_the_store_refuses_does_not_fail_the_others(logged: list[dict[str, Any]]) -> None:
    here = site(*(customer(f"c{i}") for i in range(7)))
    write = here.readings.write

    async def picky(batches: Sequence[SeriesReadings]) -> None:
        if any(batch.series == "00C3_missing_meter" for batch in batches):
            raise StoreRejected("field type conflict")
        await write(batches)

    for key in here.customers:
        both(here, key, minutes(1))
    here.readings.write = picky  # type: ignore[method-assign]
    here.tick()
    assert [len(times(here, key)) for key in here.customers] == [1, 1, 1, 0, 1, 1, 1]
    assert "field type conflict" in here.status("c3")["failure"]["message"]
    assert here.queue.pending.keys() == {"c3"}


def test_an_outage_of_the_readings_store_pauses_and_heals(
    logged: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "BATCH_CUSTOMERS", 10)
    here = site(*(customer(f"c{i}") for i in range(30)))
    for key in here.customers:
        both(here, key, minutes(1))
    here.readings.down = "connection refused"
    for _ in range(120):
        here.tick(1)
        here.clock.advance(5)
    assert here.service.status.store_troubles < 16, "ever longer pauses"
    assert len([event for event in logged if "connection refused" in str(event.get("reason"))]) < 16
    assert len(here.queue.pending) == 30
    here.readings.down = None
    for _ in range(15):
        here.clock.advance(5)
        here.tick(1)
    assert all(times(here, key) == [START] for key in here.customers)
    assert here.queue.pending == here.queue.working == {}


def test_an_outage_of_the_queue_pauses_and_heals() -> None:
    here = site(customer())
    both(here, "a", minutes(1))
    here.queue.down = "connection refused"
    here.tick()
    here.tick()
    assert here.service.status.store_troubles == 1
    here.queue.down = None
    here.clock.advance(5)
    here.tick()
    assert times(here) == [START]


def test_full_batches_are_followed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "BATCH_CUSTOMERS", 10)
    here = site(*(customer(f"c{i:02}") for i in range(25)))
    for key in here.customers:
        both(here, key, minutes(1))
    here.tick()
    assert here.service.status.derived_readings == 25
    assert here.queue.claims == 3


def test_it_reads_the_store_once_for_many() -> None:
    here = site(*(customer(f"c{i:02}") for i in range(50)))
    for key in here.customers:
        both(here, key, minutes(1))
    reads = []
    read = here.readings.read

    async def counted(series: Any, *args: Any) -> Any:
        reads.append(len(series))
        return await read(series, *args)

    here.readings.read = counted  # type: ignore[method-assign]
    here.tick()
    assert reads == [150]


def test_a_daemon_that_was_frozen_heals_what_it_wrote_over() -> None:
    """It read, was stopped, another daemon derived newer data; awake again it writes, finds its claim lost, and derives again."""
    here = site(customer())
    both(here, "a", minutes(1))
    read = here.readings.read
    answers: list[tuple[Deferred[Any], Any]] = []

    async def frozen(*args: Any) -> Any:
        result = await read(*args)
        gate: Deferred[Any] = Deferred()
        answers.append((gate, result))
        return await gate

    here.readings.read = frozen  # type: ignore[method-assign]
    Deferred.fromCoroutine(here.service.tick())
    assert len(answers) == 1
    here.readings.read = read  # type: ignore[method-assign]
    awake = attrs.evolve(here, service=sharing(here))
    # the measured reading is corrected, and the other daemon takes over the expired claim
    here.queue.working["a"] = (*here.queue.working["a"][:3], 0)
    run(here, here.came("a", "1", [Reading(START, 100.0, 1.0, 120.0, 0.0)]))
    awake.tick(1)
    assert [each.P for each in run(here, here.computed("a"))] == [101.0]
    gate, result = answers[0]
    gate.callback(result)
    assert [each.P for each in run(here, here.computed("a"))] == [2.0], "for a moment"
    here.tick(1)
    assert [each.P for each in run(here, here.computed("a"))] == [101.0]
    assert here.service.status.claims_lost == 1


def test_a_claim_that_is_not_fresh_is_renewed_before_writing_or_dropped() -> None:
    here = site(customer())
    both(here, "a", minutes(1))
    read, gate = here.readings.read, Deferred[None]()

    async def slow(*args: Any) -> Any:
        result = await read(*args)
        await gate
        return result

    here.readings.read = slow  # type: ignore[method-assign]
    Deferred.fromCoroutine(here.service.tick())
    here.clock.advance(61)
    assert len(run(here, here.queue.claim("another daemon", int(here.clock.seconds()), 60, 10))) == 1
    gate.callback(None)
    here.readings.read = read  # type: ignore[method-assign]
    assert times(here) == [], "the other daemon does it"
    assert here.service.status.claims_lost == 1


def test_stop_ends_the_running_batch_and_gives_back_the_rest() -> None:
    here = site(customer("a"), customer("b"), extra=[("slow", Plugin("a", lambda aligned: Deferred()))])
    both(here, "a", minutes(1))
    both(here, "b", minutes(1))
    here.service.startService()
    for _ in range(10):
        here.clock.advance(0.05)
    assert here.service.status.waiting_plugins == 1
    stopped = here.service.stopService()
    here.clock.advance(0.05)
    assert stopped.called
    assert times(here, "b") == [START]
    assert here.queue.pending.keys() == {"a"}
    assert here.queue.retry_at["a"] <= here.clock.seconds() + 1
    assert (bool(here.customers["a"].derivation), bool(here.customers["b"].derivation)) == (False, True), (
        "a stop is not a failure of the plugin"
    )


def test_it_runs_regularly_and_survives_surprises(logged: list[dict[str, Any]]) -> None:
    here = site(customer(), interval_seconds="5")
    here.service.startService()
    claim = here.queue.claim

    async def broken(*args: Any) -> Any:
        raise RuntimeError("a bug")

    here.queue.claim = broken  # type: ignore[method-assign]
    here.clock.advance(5)
    assert any("cannot be claimed" in str(event.get("log_format")) for event in logged)
    here.queue.claim = claim  # type: ignore[method-assign]
    both(here, "a", minutes(1))
    for _ in range(200):
        here.clock.advance(0.05)
    assert times(here) == [START]
    here.service.stopService()


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (backlog, batch):
        monkeypatch.setattr(module, "CHUNK_READINGS", 500)


@pytest.mark.usefixtures("short_chunks")
def test_a_backlog_goes_chunk_by_chunk_and_is_reported() -> None:
    here = site(customer())
    both(here, "a", minutes(3000))
    reads = []
    read = here.readings.read

    async def counted(series: Any, start: int, end: int, limit: int) -> Any:
        result = await read(series, start, end, limit)
        reads.append(max(len(found) for found in result.values()))
        return result

    here.readings.read = counted  # type: ignore[method-assign]
    here.tick()
    for _ in range(100):
        here.clock.advance(0.05)
    here.readings.read = read  # type: ignore[method-assign]
    assert times(here) == [each.time for each in minutes(3000)]
    assert max(reads) <= 500
    assert len(reads) >= 6
    assert here.service.status.derived_readings == 3000
    assert here.status("a")["window"] == {"start": START, "end": START + 2999 * 60 + 1, "done": START + 2999 * 60 + 1}
    assert here.jobs.pending["a"] == (START - 60, START + 2999 * 60 + 1 + 30)
    assert here.queue.pending == here.queue.working == {}


@pytest.mark.usefixtures("short_chunks")
def test_new_readings_do_not_wait_for_backlogs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "CONCURRENT_BACKLOGS", 1)
    here = site(*(customer(f"old{i}") for i in range(4)), customer("new"))
    for i in range(4):
        both(here, f"old{i}", minutes(3000, start=START - 3000 * 60))
    both(here, "new", minutes(1))
    here.tick(0.5)
    assert times(here, "new") == [START]
    assert here.service.status.backlogs == 1
    for _ in range(40):
        for _ in range(20):
            here.clock.advance(0.05)
        here.clock.advance(5)
        here.tick()
    assert [len(times(here, f"old{i}")) for i in range(4)] == [3000] * 4


@pytest.mark.usefixtures("short_chunks")
def test_a_backlog_that_loses_its_claim_stops() -> None:
    here = site(customer())
    both(here, "a", minutes(3000))
    here.tick(0.05)
    assert here.service.status.backlogs == 1
    here.queue.working["a"] = (*here.queue.working["a"][:2], "another daemon", 1 << 40)
    for _ in range(100):
        here.clock.advance(0.05)
    assert here.service.status.backlogs == 0
    assert 0 < len(times(here)) < 3000
    assert here.service.status.claims_lost == 1
    assert "a" in here.queue.pending, "what it wrote last is derived again"


@pytest.mark.usefixtures("short_chunks")
def test_a_backlog_is_given_back_on_stop_and_goes_on_where_it_was() -> None:
    here = site(customer())
    both(here, "a", minutes(3000))
    here.service.startService()
    assert here.service.status.backlogs == 1
    stopped = here.service.stopService()
    for _ in range(5):
        here.clock.advance(0.01)
    assert stopped.called
    done = len(times(here))
    assert 0 < done < 3000
    start, end = here.queue.pending["a"]
    assert start > START + 60 * (done - 10)
    assert end == START + 2999 * 60 + 1
    here.service.startService()
    for _ in range(200):
        here.clock.advance(0.05)
    assert len(times(here)) == 3000
    assert here.service.status.derived_readings < 3050
    here.service.stopService()


@pytest.mark.usefixtures("short_chunks")
def test_a_plugin_that_fails_in_a_backlog_keeps_what_was_done() -> None:
    def fails_late(aligned: Sequence[AlignedReading]) -> Any:
        if aligned[-1].time > START + 2000 * 60:
            raise ValueError("no more")
        return None

    plugin = Plugin("a", fails_late)
    here = site(customer(), extra=[("picky", plugin)])
    both(here, "a", minutes(3000))
    here.tick()
    for _ in range(100):
        here.clock.advance(0.05)
    done = len(times(here))
    assert 1000 < done <= 2000
    assert here.queue.pending["a"][0] > START + 60 * (done - 10)
    plugin.answer = lambda aligned: None
    here.clock.advance(61)
    here.tick()
    for _ in range(100):
        here.clock.advance(0.05)
    assert len(times(here)) == 3000


def test_denser_data_than_expected_become_a_backlog() -> None:
    """A reading a second for ten minutes is more than a grouped read is made for."""
    here = site(customer("dense"), customer("usual"))
    both(here, "dense", minutes(600, every=1))
    both(here, "usual", minutes(10))
    here.tick()
    for _ in range(100):
        here.clock.advance(0.05)
    assert (len(times(here, "dense")), len(times(here, "usual"))) == (600, 10)


@pytest.mark.usefixtures("short_chunks")
def test_a_store_that_fails_during_a_backlog_costs_only_time() -> None:
    here = site(customer())
    both(here, "a", minutes(3000))
    read, calls = here.readings.read, []

    async def sometimes(*args: Any) -> Any:
        calls.append(args)
        if len(calls) % 3 == 2:
            raise StoreUnavailable("timeout")
        return await read(*args)

    here.readings.read = sometimes  # type: ignore[method-assign]
    for _ in range(300):
        here.tick()
        here.clock.advance(1)
    here.readings.read = read  # type: ignore[method-assign]
    assert times(here) == [each.time for each in minutes(3000)]
    assert here.queue.pending == here.queue.working == {}


def test_clock_is_the_only_time() -> None:
    """Nothing is left scheduled after a stop."""
    here = site(customer())
    here.service.startService()
    both(here, "a", minutes(1))
    here.clock.advance(5)
    here.service.stopService()
    here.clock.advance(0.1)
    assert isinstance(here.clock, Clock)
    assert here.clock.getDelayedCalls() == []


def test_a_window_of_several_slices_is_derived_in_its_batch() -> None:
    """Its result comes after a turn of the reactor, within the batch's patience."""
    here = site(customer())
    both(here, "a", minutes(1440))
    here.tick()
    assert len(times(here)) == 1440
    assert here.queue.pending == here.queue.working == {}


def test_a_status_of_an_earlier_version_is_read_rightly() -> None:
    """Its windows had an inclusive end."""
    here = site(customer())
    both(here, "a", minutes(3))
    gap = {"role": "solar", "since": START + 600, "until": START + 660, "readings": 2}
    window = {"since": START - 600, "until": START + 300, "done": START - 1}
    run(here, here.documents.put("derivation", "a", {"missing": gap, "window": window}, owner="a"))
    here.tick()
    status = here.status("a")
    assert status["missing"] == {"role": "solar", "start": START + 600, "end": START + 661, "readings": 2}
    assert status["window"] == {"start": START - 600, "end": START + 121, "done": START + 121}
