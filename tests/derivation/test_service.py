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


def run(daemon: Site, work: Any) -> Any:
    return settle(daemon.clock, work)


def both(daemon: Site, key: str, readings: Sequence[Reading]) -> None:
    run(daemon, daemon.came(key, "1", readings))
    run(daemon, daemon.came(key, "2", readings))


def times(daemon: Site, key: str = "a") -> list[int]:
    return [each.time for each in run(daemon, daemon.computed(key))]


def sharing(daemon: Site) -> DerivationService:
    """Another daemon on the same stores."""
    return DerivationService(
        clock=daemon.clock, settings=daemon.settings.derivation, plugins=daemon.plugins, readings=daemon.readings,
        documents=daemon.documents, derivation_queue=daemon.queue, job_queue=daemon.jobs,
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
    daemon = site(customer())
    both(daemon, "a", minutes(3))
    daemon.tick()
    computed = run(daemon, daemon.computed("a"))
    assert [(each.time, each.P) for each in computed] == [(START + 60 * i, 2.0 + 2 * i) for i in range(3)]
    assert daemon.queue.pending == daemon.queue.working == {}
    assert daemon.status("a") == {
        "derived_until": START + 120, "waiting_for": None, "waiting_since": None, "missing": None, "failure": None,
        "no_plugin": False, "range": {"start": START, "end": START + 121, "done": START + 121},
    }  # fmt: skip
    assert daemon.service.status.derived_readings == 3


def test_jobs_are_notified_after_the_write() -> None:
    daemon = site(customer(), tolerance_seconds="30")
    both(daemon, "a", minutes(3))
    daemon.tick()
    assert daemon.jobs.pending == {"a": (START - 60, START + 121 + 30)}


@pytest.mark.parametrize("fields", [{"load": "3"}, {"solar": ""}, {"solar": "1"}, {"serial": ""}, {"facility": "a b"}])
def test_nothing_to_derive_but_jobs_to_do(fields: dict[str, str]) -> None:
    daemon = site(customer(**fields))
    run(daemon, daemon.queue.mark([PendingMark("a", START, START + 61)]))
    daemon.tick()
    assert daemon.queue.pending == daemon.queue.working == {}
    assert daemon.jobs.pending
    assert daemon.documents.kept == {}


def test_live_views_are_notified_of_changed_computed_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (backlog, batch):
        monkeypatch.setattr(module, "CHUNK_READINGS", 100)
    daemon = site(customer("a"), customer("b"))
    both(daemon, "a", minutes(3))
    run(daemon, daemon.came("b", "1", minutes(3)))
    daemon.tick()
    assert daemon.news == ["a"], "nothing is computed for b yet"
    both(daemon, "a", minutes(3))
    daemon.tick()
    assert daemon.news == ["a"], "the same readings once more change nothing"
    both(daemon, "b", minutes(1000))
    daemon.tick()
    while daemon.service.status.backlogs:
        daemon.clock.advance(0.05)
    assert set(daemon.news) == {"a", "b"}
    assert daemon.news.count("b") > 2, "a backlog tells of each segment"


def test_an_hour_that_arrives_late_is_derived_without_a_command() -> None:
    daemon = site(customer())
    hour, next_hour = minutes(60), minutes(60, start=START + 3600)
    both(daemon, "a", next_hour)
    daemon.tick()
    both(daemon, "a", hour)
    daemon.tick()
    assert times(daemon) == [each.time for each in (*hour, *next_hour)]
    assert daemon.status("a")["derived_until"] == next_hour[-1].time


def test_late_data_next_to_it_re_derives_a_neighbour() -> None:
    """The load reading at 40 paired with 60 until its true partner at 45 came."""
    daemon = site(customer(), tolerance_seconds="30")
    run(daemon, daemon.came("a", "1", [Reading(START + 40, 5.0)]))
    run(daemon, daemon.came("a", "2", [Reading(START + 60, 1.0)]))
    daemon.tick()
    assert [(each.time - START, each.P) for each in run(daemon, daemon.computed("a"))] == [(40, 6.0)]
    run(daemon, daemon.came("a", "2", [Reading(START + 35, 2.0)]))
    daemon.tick()
    assert [(each.time - START, each.P) for each in run(daemon, daemon.computed("a"))] == [(35, 7.0)]


def test_waiting_for_the_partner_then_not() -> None:
    daemon = site(customer())
    both(daemon, "a", minutes(2))
    run(daemon, daemon.came("a", "1", minutes(3, start=START + 120)))
    daemon.tick()
    status = daemon.status("a")
    assert (status["waiting_for"], status["waiting_since"], status["missing"]) == ("solar", START + 120, None)
    assert status["derived_until"] == START + 60
    run(daemon, daemon.came("a", "2", minutes(3, start=START + 120)))
    daemon.tick()
    status = daemon.status("a")
    assert (status["waiting_for"], status["waiting_since"], status["missing"]) == (None, None, None)


def test_an_outage_of_one_meter_is_missing_and_heals() -> None:
    daemon = site(customer())
    both(daemon, "a", minutes(2))
    run(daemon, daemon.came("a", "1", minutes(10, start=START + 120)))
    daemon.tick()
    both(daemon, "a", minutes(2, start=START + 720))
    daemon.tick()
    status = daemon.status("a")
    assert status["waiting_since"] is None
    assert times(daemon) == [START, START + 60, START + 720, START + 780]
    run(daemon, daemon.came("a", "1", minutes(10, start=START + 120)))  # sent again, as after a lost reply
    daemon.tick()
    assert daemon.status("a")["missing"] == {
        "role": "solar", "start": START + 120, "end": START + 661, "readings": 10,
    }  # fmt: skip
    run(daemon, daemon.came("a", "2", minutes(10, start=START + 120)))
    daemon.tick()
    assert daemon.status("a")["missing"] is None
    assert len(times(daemon)) == 14


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
    daemon = site(customer("bad"), *(customer(f"good{i}") for i in range(5)), extra=[("their-own", plugin)])
    for key in daemon.customers:
        both(daemon, key, minutes(3))
    daemon.tick(1)
    assert all(len(times(daemon, f"good{i}")) == 3 for i in range(5))
    assert all(daemon.status(f"good{i}")["failure"] is None for i in range(5))
    for _ in range(700):  # a timeout, if it is one
        daemon.clock.advance(0.05)
    assert times(daemon, "bad") == []
    assert daemon.status("bad")["failure"]["plugin"] == "their-own"
    assert daemon.service.status.failures == {"their-own": 1}
    assert "bad" in daemon.jobs.pending, "the measured readings are there for the jobs"
    reported = [event for event in logged if event.get("customer_id") == "bad"]
    assert len(reported) == 1
    assert reported[0]["plugin"] == "their-own"
    daemon.tick(1)
    assert len(plugin.asked) == 1, "not before its time"
    plugin.answer = lambda aligned: None
    daemon.clock.advance(60)
    daemon.tick(1)
    assert len(times(daemon, "bad")) == 3
    assert daemon.status("bad")["failure"] is None


def test_a_failing_plugin_floods_neither_the_log_nor_the_jobs(logged: list[dict[str, Any]]) -> None:
    daemon = site(customer(), extra=[("their-own", Plugin("a", _raises))])
    both(daemon, "a", minutes(3))
    for _ in range(10):
        daemon.tick(1)
        daemon.clock.advance(61)
    assert daemon.service.status.failures["their-own"] == 10
    assert len([event for event in logged if event.get("customer_id") == "a"]) == 1
    assert len(daemon.jobs.marked) == 1


def test_a_slow_plugin_answers_later_and_holds_up_nobody() -> None:
    answer: Deferred[Derived] = Deferred()
    daemon = site(customer("a"), customer("b"), extra=[("slow", Plugin("a", lambda aligned: answer))])
    both(daemon, "a", minutes(1))
    both(daemon, "b", minutes(1))
    daemon.tick(1)
    assert (times(daemon, "a"), times(daemon, "b")) == ([], [START])
    assert daemon.service.status.waiting_plugins == 1
    both(daemon, "b", minutes(1, start=START + 60))
    daemon.tick(1)
    assert len(times(daemon, "b")) == 2
    answer.callback([Reading(START, 42.0)])
    assert [each.P for each in run(daemon, daemon.computed("a"))] == [42.0]
    assert daemon.queue.working == {}
    assert daemon.service.status.waiting_plugins == 0


def test_a_batch_that_fails_leaves_alone_who_waits_for_a_slow_plugin() -> None:
    answer: Deferred[Derived] = Deferred()
    daemon = site(customer("a"), customer("b"), extra=[("slow", Plugin("a", lambda aligned: answer))])
    both(daemon, "a", minutes(1))
    both(daemon, "b", minutes(1))
    write = daemon.readings.write

    async def down(batches: Any) -> None:
        raise StoreUnavailable("connection refused")

    daemon.readings.write = down  # type: ignore[method-assign]
    daemon.tick(1)
    assert (daemon.queue.working.keys(), daemon.queue.pending.keys()) == ({"a"}, {"b"})
    daemon.readings.write = write  # type: ignore[method-assign]
    answer.callback([Reading(START, 42.0)])
    assert daemon.queue.working == {}
    assert [each.P for each in run(daemon, daemon.computed("a"))] == [42.0]


def test_slow_plugins_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        @hookimpl(tryfirst=True)
        def cenergyd_derive(self, aligned: Sequence[AlignedReading]) -> Any:
            return Deferred()

    monkeypatch.setattr(late_plugins, "MAX_WAITING_PLUGINS", 5)
    daemon = site(*(customer(f"c{i}") for i in range(20)), extra=[("slow", Slow())])
    for key in daemon.customers:
        both(daemon, key, minutes(1))
    daemon.tick(1)
    assert daemon.service.status.waiting_plugins == 5
    assert len(daemon.queue.working) == 5
    assert daemon.service.status.failures["slow"] == 15


class Replacement:
    """A plugin's formula for some customers."""

    @hookimpl(tryfirst=True)
    def cenergyd_derive(self, customer: Customer, role: Role, aligned: Sequence[AlignedReading]) -> Derived | None:
        if customer.id != "special":
            return None
        return [Reading(pair.time, 99.0) for pair in reversed(aligned)]


def test_a_third_party_may_replace_a_built_in_for_some_customers() -> None:
    daemon = site(customer("special"), customer("usual"), extra=[("special", Replacement())])
    both(daemon, "special", minutes(2))
    both(daemon, "usual", minutes(2))
    daemon.tick()
    assert [each.P for each in run(daemon, daemon.computed("special"))] == [99.0, 99.0]
    assert [each.P for each in run(daemon, daemon.computed("usual"))] == [2.0, 4.0]


def test_a_disabled_plugin_computes_nothing_and_deletes_nothing() -> None:
    daemon = site(customer(), disabled=["load"])
    run(daemon, daemon.readings.write([SeriesReadings("00A_missing_meter", [Reading(START, 5.0)])]))
    both(daemon, "a", minutes(2))
    daemon.tick()
    assert times(daemon) == [START]
    assert daemon.status("a")["no_plugin"] is True
    assert daemon.queue.working == daemon.queue.pending == {}


def test_what_is_right_already_is_not_written_again() -> None:
    daemon = site(customer())
    both(daemon, "a", minutes(3))
    daemon.tick()
    both(daemon, "a", minutes(3))
    with (
        patch.object(daemon.readings, "write", wraps=daemon.readings.write) as write,
        patch.object(daemon.readings, "replace_many") as replace,
    ):
        daemon.tick()
    (probes,) = (call.args[0] for call in write.call_args_list)
    assert [(each.series, len(each.readings)) for each in probes] == [("00A_missing_meter", 1)]  # the day's write probe
    assert not replace.called
    assert daemon.service.status.derived_readings == 6


def test_one_customer_whom_the_store_refuses_does_not_fail_the_others(logged: list[dict[str, Any]]) -> None:
    daemon = site(*(customer(f"c{i}") for i in range(7)))
    write = daemon.readings.write

    async def picky(batches: Sequence[SeriesReadings]) -> None:
        if any(batch.series == "00C3_missing_meter" for batch in batches):
            raise StoreRejected("field type conflict")
        await write(batches)

    for key in daemon.customers:
        both(daemon, key, minutes(1))
    daemon.readings.write = picky  # type: ignore[method-assign]
    daemon.tick()
    assert [len(times(daemon, key)) for key in daemon.customers] == [1, 1, 1, 0, 1, 1, 1]
    assert "field type conflict" in daemon.status("c3")["failure"]["message"]
    assert daemon.queue.pending.keys() == {"c3"}


def test_an_outage_of_the_readings_store_pauses_and_heals(
    logged: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "BATCH_CUSTOMERS", 10)
    daemon = site(*(customer(f"c{i}") for i in range(30)))
    for key in daemon.customers:
        both(daemon, key, minutes(1))
    daemon.readings.down = "connection refused"
    for _ in range(120):
        daemon.tick(1)
        daemon.clock.advance(5)
    assert daemon.service.status.store_troubles < 16, "ever longer pauses"
    assert len([event for event in logged if "connection refused" in str(event.get("reason"))]) < 16
    assert len(daemon.queue.pending) == 30
    daemon.readings.down = None
    for _ in range(15):
        daemon.clock.advance(5)
        daemon.tick(1)
    assert all(times(daemon, key) == [START] for key in daemon.customers)
    assert daemon.queue.pending == daemon.queue.working == {}


def test_an_outage_of_the_queue_pauses_and_heals() -> None:
    daemon = site(customer())
    both(daemon, "a", minutes(1))
    daemon.queue.down = "connection refused"
    daemon.tick()
    daemon.tick()
    assert daemon.service.status.store_troubles == 1
    daemon.queue.down = None
    daemon.clock.advance(5)
    daemon.tick()
    assert times(daemon) == [START]


def test_full_batches_are_followed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "BATCH_CUSTOMERS", 10)
    daemon = site(*(customer(f"c{i:02}") for i in range(25)))
    for key in daemon.customers:
        both(daemon, key, minutes(1))
    daemon.tick()
    assert daemon.service.status.derived_readings == 25
    assert daemon.queue.claims == 3


def test_it_reads_the_store_once_for_many() -> None:
    daemon = site(*(customer(f"c{i:02}") for i in range(50)))
    for key in daemon.customers:
        both(daemon, key, minutes(1))
    reads = []
    read = daemon.readings.read

    async def counted(series: Any, *args: Any) -> Any:
        reads.append(len(series))
        return await read(series, *args)

    daemon.readings.read = counted  # type: ignore[method-assign]
    daemon.tick()
    assert reads == [150]


def test_a_daemon_that_was_frozen_heals_what_it_wrote_over() -> None:
    """It read, was stopped, another daemon derived newer data; awake again it writes, finds its claim lost, and derives again."""
    daemon = site(customer())
    both(daemon, "a", minutes(1))
    read = daemon.readings.read
    answers: list[tuple[Deferred[Any], Any]] = []

    async def frozen(*args: Any) -> Any:
        result = await read(*args)
        gate: Deferred[Any] = Deferred()
        answers.append((gate, result))
        return await gate

    daemon.readings.read = frozen  # type: ignore[method-assign]
    Deferred.fromCoroutine(daemon.service.tick())
    assert len(answers) == 1
    daemon.readings.read = read  # type: ignore[method-assign]
    awake = attrs.evolve(daemon, service=sharing(daemon))
    # the measured reading is corrected, and the other daemon takes over the expired claim
    daemon.queue.working["a"] = (*daemon.queue.working["a"][:3], 0)
    run(daemon, daemon.came("a", "1", [Reading(START, 100.0, 1.0, 120.0, 0.0)]))
    awake.tick(1)
    assert [each.P for each in run(daemon, daemon.computed("a"))] == [101.0]
    gate, result = answers[0]
    gate.callback(result)
    assert [each.P for each in run(daemon, daemon.computed("a"))] == [2.0], "for a moment"
    daemon.tick(1)
    assert [each.P for each in run(daemon, daemon.computed("a"))] == [101.0]
    assert daemon.service.status.claims_lost == 1


def test_a_claim_that_is_not_fresh_is_renewed_before_writing_or_dropped() -> None:
    daemon = site(customer())
    both(daemon, "a", minutes(1))
    read, gate = daemon.readings.read, Deferred[None]()

    async def slow(*args: Any) -> Any:
        result = await read(*args)
        await gate
        return result

    daemon.readings.read = slow  # type: ignore[method-assign]
    Deferred.fromCoroutine(daemon.service.tick())
    daemon.clock.advance(61)
    assert len(run(daemon, daemon.queue.claim("another daemon", int(daemon.clock.seconds()), 60, 10))) == 1
    gate.callback(None)
    daemon.readings.read = read  # type: ignore[method-assign]
    assert times(daemon) == [], "the other daemon does it"
    assert daemon.service.status.claims_lost == 1


def test_stop_ends_the_running_batch_and_gives_back_the_rest() -> None:
    daemon = site(customer("a"), customer("b"), extra=[("slow", Plugin("a", lambda aligned: Deferred()))])
    both(daemon, "a", minutes(1))
    both(daemon, "b", minutes(1))
    daemon.service.startService()
    for _ in range(10):
        daemon.clock.advance(0.05)
    assert daemon.service.status.waiting_plugins == 1
    stopped = daemon.service.stopService()
    daemon.clock.advance(0.05)
    assert stopped.called
    assert times(daemon, "b") == [START]
    assert daemon.queue.pending.keys() == {"a"}
    assert daemon.queue.retry_at["a"] <= daemon.clock.seconds() + 1
    assert (bool(daemon.customers["a"].derivation), bool(daemon.customers["b"].derivation)) == (False, True), (
        "a stop is not a failure of the plugin"
    )


def test_it_runs_regularly_and_survives_surprises(logged: list[dict[str, Any]]) -> None:
    daemon = site(customer(), interval_seconds="5")
    daemon.service.startService()
    claim = daemon.queue.claim

    async def broken(*args: Any) -> Any:
        raise RuntimeError("a bug")

    daemon.queue.claim = broken  # type: ignore[method-assign]
    daemon.clock.advance(5)
    assert any("cannot be claimed" in str(event.get("log_format")) for event in logged)
    daemon.queue.claim = claim  # type: ignore[method-assign]
    both(daemon, "a", minutes(1))
    for _ in range(200):
        daemon.clock.advance(0.05)
    assert times(daemon) == [START]
    daemon.service.stopService()


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (backlog, batch):
        monkeypatch.setattr(module, "CHUNK_READINGS", 500)


@pytest.mark.usefixtures("short_chunks")
def test_a_backlog_goes_chunk_by_chunk_and_is_reported() -> None:
    daemon = site(customer())
    both(daemon, "a", minutes(3000))
    reads = []
    read = daemon.readings.read

    async def counted(series: Any, start: int, end: int, limit: int) -> Any:
        result = await read(series, start, end, limit)
        reads.append(max(len(found) for found in result.values()))
        return result

    daemon.readings.read = counted  # type: ignore[method-assign]
    daemon.tick()
    for _ in range(100):
        daemon.clock.advance(0.05)
    daemon.readings.read = read  # type: ignore[method-assign]
    assert times(daemon) == [each.time for each in minutes(3000)]
    assert max(reads) <= 500
    assert len(reads) >= 6
    assert daemon.service.status.derived_readings == 3000
    assert daemon.status("a")["range"] == {"start": START, "end": START + 2999 * 60 + 1, "done": START + 2999 * 60 + 1}
    assert daemon.jobs.pending["a"] == (START - 60, START + 2999 * 60 + 1 + 30)
    assert daemon.queue.pending == daemon.queue.working == {}


@pytest.mark.usefixtures("short_chunks")
def test_new_readings_do_not_wait_for_backlogs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "CONCURRENT_BACKLOGS", 1)
    daemon = site(*(customer(f"old{i}") for i in range(4)), customer("new"))
    for i in range(4):
        both(daemon, f"old{i}", minutes(3000, start=START - 3000 * 60))
    both(daemon, "new", minutes(1))
    daemon.tick(0.5)
    assert times(daemon, "new") == [START]
    assert daemon.service.status.backlogs == 1
    for _ in range(40):
        for _ in range(20):
            daemon.clock.advance(0.05)
        daemon.clock.advance(5)
        daemon.tick()
    assert [len(times(daemon, f"old{i}")) for i in range(4)] == [3000] * 4


@pytest.mark.usefixtures("short_chunks")
def test_a_backlog_that_loses_its_claim_stops() -> None:
    daemon = site(customer())
    both(daemon, "a", minutes(3000))
    daemon.tick(0.05)
    assert daemon.service.status.backlogs == 1
    daemon.queue.working["a"] = (*daemon.queue.working["a"][:2], "another daemon", 1 << 40)
    for _ in range(100):
        daemon.clock.advance(0.05)
    assert daemon.service.status.backlogs == 0
    assert 0 < len(times(daemon)) < 3000
    assert daemon.service.status.claims_lost == 1
    assert "a" in daemon.queue.pending, "what it wrote last is derived again"


@pytest.mark.usefixtures("short_chunks")
def test_a_backlog_is_given_back_on_stop_and_goes_on_where_it_was() -> None:
    daemon = site(customer())
    both(daemon, "a", minutes(3000))
    daemon.service.startService()
    assert daemon.service.status.backlogs == 1
    stopped = daemon.service.stopService()
    for _ in range(5):
        daemon.clock.advance(0.01)
    assert stopped.called
    done = len(times(daemon))
    assert 0 < done < 3000
    start, end = daemon.queue.pending["a"]
    assert start > START + 60 * (done - 10)
    assert end == START + 2999 * 60 + 1
    daemon.service.startService()
    for _ in range(200):
        daemon.clock.advance(0.05)
    assert len(times(daemon)) == 3000
    assert daemon.service.status.derived_readings < 3050
    daemon.service.stopService()


@pytest.mark.usefixtures("short_chunks")
def test_a_plugin_that_fails_in_a_backlog_keeps_what_was_done() -> None:
    def fails_late(aligned: Sequence[AlignedReading]) -> Any:
        if aligned[-1].time > START + 2000 * 60:
            raise ValueError("no more")
        return None

    plugin = Plugin("a", fails_late)
    daemon = site(customer(), extra=[("picky", plugin)])
    both(daemon, "a", minutes(3000))
    daemon.tick()
    for _ in range(100):
        daemon.clock.advance(0.05)
    done = len(times(daemon))
    assert 1000 < done <= 2000
    assert daemon.queue.pending["a"][0] > START + 60 * (done - 10)
    plugin.answer = lambda aligned: None
    daemon.clock.advance(61)
    daemon.tick()
    for _ in range(100):
        daemon.clock.advance(0.05)
    assert len(times(daemon)) == 3000


def test_denser_data_than_expected_become_a_backlog() -> None:
    """A reading a second for ten minutes is more than a grouped read is made for."""
    daemon = site(customer("dense"), customer("usual"))
    both(daemon, "dense", minutes(600, every=1))
    both(daemon, "usual", minutes(10))
    daemon.tick()
    for _ in range(100):
        daemon.clock.advance(0.05)
    assert (len(times(daemon, "dense")), len(times(daemon, "usual"))) == (600, 10)


@pytest.mark.usefixtures("short_chunks")
def test_a_store_that_fails_during_a_backlog_costs_only_time() -> None:
    daemon = site(customer())
    both(daemon, "a", minutes(3000))
    read, calls = daemon.readings.read, []

    async def sometimes(*args: Any) -> Any:
        calls.append(args)
        if len(calls) % 3 == 2:
            raise StoreUnavailable("timeout")
        return await read(*args)

    daemon.readings.read = sometimes  # type: ignore[method-assign]
    for _ in range(300):
        daemon.tick()
        daemon.clock.advance(1)
    daemon.readings.read = read  # type: ignore[method-assign]
    assert times(daemon) == [each.time for each in minutes(3000)]
    assert daemon.queue.pending == daemon.queue.working == {}


def test_clock_is_the_only_time() -> None:
    """Nothing is left scheduled after a stop."""
    daemon = site(customer())
    daemon.service.startService()
    both(daemon, "a", minutes(1))
    daemon.clock.advance(5)
    daemon.service.stopService()
    daemon.clock.advance(0.1)
    assert isinstance(daemon.clock, Clock)
    assert daemon.clock.getDelayedCalls() == []


def test_a_window_of_several_slices_is_derived_in_its_batch() -> None:
    """Its result comes after a turn of the reactor, within the batch's patience."""
    daemon = site(customer())
    both(daemon, "a", minutes(1440))
    daemon.tick()
    assert len(times(daemon)) == 1440
    assert daemon.queue.pending == daemon.queue.working == {}


def test_a_status_of_an_earlier_version_is_read_rightly() -> None:
    """Its range was stored as `window`, with an inclusive end."""
    daemon = site(customer())
    both(daemon, "a", minutes(3))
    gap = {"role": "solar", "since": START + 600, "until": START + 660, "readings": 2}
    window = {"since": START - 600, "until": START + 300, "done": START - 1}
    run(daemon, daemon.documents.put("derivation", "a", {"missing": gap, "window": window}, owner="a"))
    daemon.tick()
    status = daemon.status("a")
    assert status["missing"] == {"role": "solar", "start": START + 600, "end": START + 661, "readings": 2}
    assert status["range"] == {"start": START - 600, "end": START + 121, "done": START + 121}
