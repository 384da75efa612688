"""The points that are kept in memory are those of the store, whoever writes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from cenergyd.readings.model import FieldPoint, Reading, SeriesReadings
from cenergyd.readings.recent import MAX_POINTS_AGE_SECONDS
from tests.jobs.site import run
from tests.readings.test_recent import NOW, ONE, SERIAL, Site, both, new_site, work_a_quarter

HOURS = f"{SERIAL}_1_energy_1h"
TODAY = (HOURS, NOW - 86400, NOW + 86400)
FIELDS = ("import_kwh",)


def hour(energy: float) -> FieldPoint:
    return FieldPoint(NOW, {"import_kwh": energy, "seconds": 3600.0})


def energy_read(site: Site) -> list[float]:
    """The energy as the first daemon's memory has it."""
    (points,) = run(site.daemons[0].view.read_points_many([TODAY], FIELDS))
    assert all(set(point.fields) == set(FIELDS) for point in points)
    return [float(point.fields["import_kwh"]) for point in points]


def site_with_energy(daemons: int = 1) -> Site:
    """A site whose first daemon has the energy of a day in memory."""
    site = new_site(daemons)
    work_a_quarter(site, NOW - 900)
    run(site.daemons[0].write_points(HOURS, [hour(1.0)]))
    assert energy_read(site) == [1.0]
    return site


def test_some_fields_of_points_are_kept_until_others_are_asked_for_or_they_are_old() -> None:
    site = site_with_energy()
    run(site.store.write_points(HOURS, [hour(2.0)]))  # by other means: nobody can know
    assert energy_read(site) == [1.0]
    view = site.daemons[0].view
    for fields in ((), ("seconds",)):
        assert run(view.read_points_many([TODAY], fields)) == run(site.store.read_points_many([TODAY], fields))
    other = (HOURS, NOW, NOW + 3600)
    assert run(view.read_points_many([other, TODAY], FIELDS))[0] == [FieldPoint(NOW, {"import_kwh": 2.0})]
    assert energy_read(site) == [2.0]
    run(site.store.write_points(HOURS, [hour(3.0)]))
    site.clock.advance(MAX_POINTS_AGE_SECONDS)
    assert energy_read(site) == [3.0]


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.write_points(HOURS, [hour(2.0)]),
        lambda store: store.replace_points(HOURS, NOW, NOW + 3600, [hour(2.0)]),
        lambda store: store.replace_points_many([(HOURS, NOW, NOW + 3600, [hour(2.0)])], "import_kwh"),
        lambda store: store.merge_points_many([(HOURS, [hour(2.0)])]),
    ],
)
def test_points_are_read_again_after_each_kind_of_write(write: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    site = site_with_energy()
    run(write(site.daemons[0]))
    assert energy_read(site) == [2.0]


def test_points_that_are_written_while_they_are_read_are_not_kept() -> None:
    site = site_with_energy()
    run(site.daemons[0].write_points(HOURS, [hour(2.0)]))
    late: Deferred[None] = Deferred()
    read = site.store.read_points_many

    async def slow(*arguments: Any) -> list[list[FieldPoint]]:
        found = await read(*arguments)
        await late
        return found

    site.store.read_points_many = slow  # type: ignore[method-assign]
    answers: list[Any] = []
    view = site.daemons[0].view
    Deferred.fromCoroutine(view.read_points_many([TODAY], FIELDS)).addCallback(answers.append)
    run(site.daemons[0].write_points(HOURS, [hour(3.0)]))
    late.callback(None)
    assert answers == [[[FieldPoint(NOW, {"import_kwh": 2.0})]]]  # as the store answered
    assert energy_read(site) == [3.0]


@pytest.mark.parametrize("by", ["derivation", "jobs"])
def test_points_that_another_daemon_may_have_written_are_read_again(by: str) -> None:
    site = site_with_energy(2)
    if by == "jobs":
        site.command(NOW, lambda store: store.write_points(HOURS, [hour(2.0)]), jobs=True)
        site.run_jobs()
    else:
        site.upload(1, [SeriesReadings(ONE, [Reading(NOW - 30, 99.0)])])
        assert site.derive(1)
        run(site.daemons[1].write_points(HOURS, [hour(2.0)]))
        site.end()
    assert not site.daemons[0].is_current(site.customer())
    site.upload(0, both(NOW))
    assert site.derive(0)
    assert energy_read(site) == [2.0]


def test_points_in_memory_are_counted_and_the_first_to_go() -> None:
    site = site_with_energy()
    recent = site.daemons[0]
    size = recent.size
    run(recent.write_points(HOURS, [hour(2.0)]))
    assert recent.size < size
    assert energy_read(site) == [2.0]
    assert recent.size == size
    recent._max_bytes = size - 1
    site.upload(0, both(NOW))
    assert recent.cached_points(TODAY, FIELDS) is None
    assert recent.cached(ONE) is not None
    assert recent.size < size
