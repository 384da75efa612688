"""Backfill: by the daemon, with its progress shown, and without a daemon."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from cenergyd.customers.model import Customer
from cenergyd.derivation import backfill
from cenergyd.derivation.backfill import Progress
from cenergyd.derivation.derive import Deriver
from cenergyd.documents.body import body_of, body_text
from cenergyd.errors import NotFound
from cenergyd.readings.model import Reading
from tests.derivation.memory import START, Site, customer, minutes, settle, site

COUNT = 3000
END = START + 60 * (COUNT - 1) + 1


@attrs.define
class Customers:
    """As much of a customer store as a backfill needs."""

    daemon: Site

    @property
    def derivation_queue(self) -> Any:
        return self.daemon.queue

    @property
    def job_queue(self) -> Any:
        return self.daemon.jobs

    async def get(self, customer_id: str) -> Customer | None:
        found = self.daemon.customers.get(customer_id)
        start, end = self.daemon.queue.pending.get(customer_id, (None, None))
        return attrs.evolve(found, pending_start=start, pending_end=end) if found else None


def derived_once() -> Site:
    """A site with derived data, then the wrong meter corrected."""
    daemon = site(customer())
    for meter in ("1", "2", "3"):
        settle(daemon.clock, daemon.came("a", meter, minutes(COUNT, P=float(meter))))
    daemon.tick()
    for _ in range(100):
        daemon.clock.advance(0.05)
    daemon.customers["a"] = attrs.evolve(daemon.customers["a"], solar="3")
    daemon.jobs.pending.clear()
    return daemon


def first(daemon: Site) -> Reading:
    return settle(daemon.clock, daemon.computed("a"))[0]


def by_hand(daemon: Site, report: Any = lambda progress: None) -> Progress:
    deriver = Deriver(plugins=daemon.plugins, formula="physical", tolerance=30, timeout=5, clock=daemon.clock)
    return settle(
        daemon.clock,
        backfill.run_backfill(
            daemon.customers["a"], START, END, readings=daemon.readings, documents=daemon.documents,
            customers=Customers(daemon), deriver=deriver, limit=500, report=report,
        ),
    )  # fmt: skip


def test_without_a_daemon() -> None:
    daemon = derived_once()
    seen: list[Progress] = []
    assert first(daemon).P == 3.0
    result = by_hand(daemon, seen.append)
    assert result == Progress(START, END, END, COUNT, COUNT)
    assert first(daemon).P == 4.0
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert len(fractions) > 5
    assert daemon.jobs.pending["a"] == (START - 60, END + 30)
    assert daemon.queue.pending == {}
    assert by_hand(daemon).written == 0


def test_without_knowing_of_a_daemon_that_works_too() -> None:
    daemon = derived_once()

    def meanwhile(progress: Progress) -> None:
        if progress.done > START:
            settle(daemon.clock, daemon.queue.store_results({"a": '{"derived_until":1}'}))

    by_hand(daemon, meanwhile)
    assert daemon.queue.pending == {"a": (START, END)}


def test_what_an_interrupted_one_has_written_is_marked() -> None:
    daemon = derived_once()

    def interrupt(progress: Progress) -> None:
        if progress.done > START:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        by_hand(daemon, interrupt)
    assert first(daemon).P == 4.0
    start, end = daemon.jobs.pending["a"]
    written = [each.time for each in settle(daemon.clock, daemon.computed("a")) if each.P == 4.0]
    assert start <= written[0]
    assert written[-1] < end < END


def followed(daemon: Site, seen: list[Progress], key: str = "a") -> list[Any]:
    results: list[Any] = []
    work = backfill.follow(
        key, START, END, customers=Customers(daemon), tolerance=30,
        report=seen.append, clock=daemon.clock,
    )  # fmt: skip
    Deferred.fromCoroutine(work).addBoth(results.append)
    return results


def test_by_the_daemon() -> None:
    daemon = derived_once()
    seen: list[Progress] = []
    results = followed(daemon, seen)
    for _ in range(30):
        daemon.clock.advance(0.1)
    assert not results, "no daemon runs yet; what it did before does not count"
    assert seen[-1].done == START
    daemon.tick()
    for _ in range(100):
        daemon.clock.advance(0.1)
    assert results == [Progress(START, END, END)]
    assert first(daemon).P == 4.0


def test_nothing_to_compute_ends_at_once() -> None:
    daemon = site(customer(load="3"))
    results = followed(daemon, [])
    assert results == [Progress(START, END, END)]


def test_an_unknown_customer() -> None:
    daemon = site(customer())
    (result,) = followed(daemon, [], "nobody")
    with pytest.raises(NotFound):
        result.raiseException()


def test_a_failure_is_reported_and_what_was_derived_before_does_not_count() -> None:
    daemon = derived_once()
    seen: list[Progress] = []
    results = followed(daemon, seen)
    before = body_of(daemon.customers["a"].derivation)
    assert before["range"]["end"] >= END
    daemon.queue.pending.clear()  # claimed by a daemon
    failure = {"plugin": "x", "message": "it failed", "since": START}
    settle(daemon.clock, daemon.queue.store_results({"a": body_text({**before, "failure": failure})}))
    for _ in range(30):
        daemon.clock.advance(0.1)
    assert not results
    assert (seen[-1].done, seen[-1].failure) == (START, "it failed")
    settle(daemon.clock, daemon.queue.store_results({"a": body_text(before)}))
    for _ in range(30):
        daemon.clock.advance(0.1)
    assert results == [Progress(START, END, END)]
