"""The list of all sites: filters, orders, counts, totals."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.model import Customer
from cenergyd.jobs.site_state.fleet import SORTS, FleetQuery, energy_now, list_page
from cenergyd.jobs.site_state.model import KINDS, Issue, RoleState, SiteState
from cenergyd.jobs.site_state.summary import (
    DayEnergy,
    SiteSummary,
    summary_from_json,
    summary_of,
    summary_to_json,
)
from tests.jobs.site import run

NOW = 1_750_000_000  # 2025-06-15T15:06:40Z
TODAY = "2025-06-15"


def summary(
    number: int,
    kind: Any = "good",
    *,
    power: float | None = 1.0,
    stale: bool = False,
    name: str | None = None,
    **more: Any,
) -> SiteSummary:
    state = SiteState(
        kind=kind,
        issues=() if kind == "good" else (Issue(kind=kind, role="solar", since=NOW - 60),),
        roles=(RoleState(role="utility", computed=False, time=NOW, power=power, stale=stale),),
        last_upload=NOW - number,
        usual_gap=900,
    )
    customer = Customer(
        id=str(number), name=f"Site {number}" if name is None else name, logger_serial_number=f"AA{number:04}"
    )
    values = {"energy_day": TODAY, "energy": (DayEnergy("utility", float(number), 0.5),), "alerts": 0, **more}
    return summary_of(customer, state, **values)


def ids(sites: Any) -> list[str]:
    return [site.customer_id for site in sites]


SITES = [
    summary(1, name="zoo"),
    summary(2, "meter_stopped", power=None, stale=True),
    summary(3, "logger_silent", stale=True, power=7.0, energy_day="2025-06-14"),
    summary(4, name="Bakery"),
    summary(5, "computing"),
]


def test_problems_come_first_then_names() -> None:
    assert ids(run(list_page(SITES, FleetQuery(), NOW)).sites) == ["3", "2", "5", "4", "1"]


def test_filters() -> None:
    assert ids(run(list_page(SITES, FleetQuery(state="good"), NOW)).sites) == ["4", "1"]
    assert ids(run(list_page(SITES, FleetQuery(state="problems"), NOW)).sites) == ["3", "2"]
    found = run(list_page(SITES, FleetQuery(search="aa0004"), NOW))
    assert (ids(found.sites), found.matching, found.counts["good"]) == (["4"], 1, 1)
    assert ids(run(list_page(SITES, FleetQuery(search="bAKE"), NOW)).sites) == ["4"]
    every = run(list_page(SITES, FleetQuery(state="good", search="site"), NOW))
    assert (ids(every.sites), every.counts["meter_stopped"]) == ([], 1), "counts are of all states"


def test_what_is_old_is_not_counted_as_now() -> None:
    totals = run(list_page(SITES, FleetQuery(), NOW)).totals
    assert (totals.power["utility"], totals.current) == (3.0, 3)
    assert totals.energy["utility"] == DayEnergy("utility", 1.0 + 2.0 + 4.0 + 5.0, 2.0), "yesterday's is not today's"
    assert energy_now(SITES[2], NOW) == {}


def test_what_is_not_known_is_last_whichever_the_order() -> None:
    for descending, wanted in ((False, ["1", "2", "4", "5", "3"]), (True, ["5", "4", "2", "1", "3"])):
        query = FleetQuery(sort="import_today", descending=descending)
        assert ids(run(list_page(SITES, query, NOW)).sites) == wanted


def test_a_summary_is_kept_as_json() -> None:
    for site in SITES:
        assert summary_from_json(summary_to_json(site)) == site
    for other in ({"of": "another version"}, {"site": "[1]"}, {"site": "{"}, {"site": None}, {"site": 7}):
        assert summary_from_json(other) is None


@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.none() | st.floats(-9, 9), st.booleans()), max_size=30),
    st.sampled_from(SORTS), st.booleans(), st.integers(1, 7),
)  # fmt: skip
def test_pages_hold_every_site_once(sites: Any, sort: Any, descending: bool, limit: int) -> None:
    every = [summary(n, kind, power=power, stale=stale) for n, (kind, power, stale) in enumerate(sites)]
    query = FleetQuery(sort=sort, descending=descending, limit=limit)
    found: list[str] = []
    for offset in range(0, len(every) + limit, limit):
        page = run(list_page(every, attrs.evolve(query, offset=offset), NOW))
        assert page.matching == len(every)
        assert sum(page.counts.values()) == len(every)
        found += ids(page.sites)
    assert sorted(found) == sorted(ids(every))


@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.none() | st.integers(-2, 2)), max_size=30),
    st.sampled_from(SORTS), st.booleans(), st.integers(1, 5),
)  # fmt: skip
def test_a_list_made_in_small_steps_is_the_same(sites: Any, sort: Any, descending: bool, size: int) -> None:
    every = [summary(n, kind, power=power, stale=False) for n, (kind, power) in enumerate(sites)]
    query = FleetQuery(sort=sort, descending=descending, search="site")
    whole = run(list_page(every, query, NOW))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_SITES_OF_STEP", "_SORTED_AT_ONCE"):
            patch.setattr(f"{list_page.__module__}.{name}", size)
        assert run(list_page(every, query, NOW)) == whole
