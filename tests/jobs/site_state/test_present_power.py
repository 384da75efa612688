"""The present power: of one time, of now, or marked as old, whatever the reason, also of a logger whose upload interval is not known yet."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.model import Role
from cenergyd.jobs.site_state.evaluate import LEAST_LACK, SETTLING, evaluate
from cenergyd.jobs.site_state.fleet import FleetQuery, list_page
from cenergyd.jobs.site_state.issue_text import good_text, issue_text
from cenergyd.jobs.site_state.model import PRESENT_SECONDS, PendingRange, SiteFacts, SiteState, SumFacts
from cenergyd.jobs.site_state.summary import summary_of
from cenergyd.web.pages.overview import row_of
from cenergyd.web.pages.power_flow import Flow, flows_of
from tests.jobs.site import run
from tests.jobs.site_state.test_evaluate import CUSTOMER, DAY, HOUR, NOW, any_facts, site

ROLES: tuple[Role, ...] = ("utility", "load", "solar")


def present(facts: SiteFacts, now: int = NOW) -> dict[Role, bool]:
    return {each.role: each.present_power(now) is not None for each in evaluate(facts, now).roles}


def overview_powers(state: SiteState, now: int) -> dict[Role, float | None]:
    """The row and the totals of the list of sites."""
    summary = summary_of(CUSTOMER, state, energy_day="", energy=(), alerts=0)
    row = row_of(summary, now)
    totals = run(list_page([summary], FleetQuery(), now)).totals
    assert totals.power == {role: row.cells[role] for role in ROLES if row.cells[role] is not None}
    return {role: row.cells[role] for role in ROLES}


@pytest.mark.parametrize("gap", [None, 900, HOUR, DAY])
@pytest.mark.parametrize("seconds", [10, SETTLING + 10])
def test_a_meter_that_is_hours_behind_gives_no_present_power(gap: int | None, seconds: int) -> None:
    old = NOW - 5 * HOUR
    facts = site(
        uploaded=NOW - seconds,
        gap=gap,
        utility={"power": 5.97},
        solar={"last_time": old, "power": 0.0},
        computed={"last_time": old, "power": 1.75},
    )
    state = evaluate(facts, NOW)
    assert overview_powers(state, NOW) == {"utility": 5.97, "load": None, "solar": None}
    flows = flows_of(state, NOW)
    assert flows["summary"] == "Sun: not known now; Grid: 5.97 kW from the grid; Site: not known now."
    solar = flows["solar"]
    assert isinstance(solar, Flow)
    assert (solar.text, solar.stale) == ("5 h ago", True)
    if gap != DAY or seconds > SETTLING:  # a log of the day may follow the other meter's
        assert state.level in ("warn", "bad")


@pytest.mark.parametrize("gap", [None, HOUR, DAY])
@pytest.mark.parametrize("seconds", [10, SETTLING + 10])
def test_a_meter_that_is_an_hour_behind_gives_no_present_power(gap: int | None, seconds: int) -> None:
    behind: dict[str, Any] = {"last_time": NOW - HOUR, "power": 1.0}
    facts = site(uploaded=NOW - seconds, gap=gap, solar=behind, computed=behind)
    assert overview_powers(evaluate(facts, NOW), NOW) == {"utility": 1.0, "load": None, "solar": None}


@pytest.mark.parametrize("seconds", [10, SETTLING + 10])
def test_a_first_upload_of_old_readings_is_not_the_present(seconds: int) -> None:
    old: dict[str, Any] = {"last_time": NOW - 5 * HOUR}
    facts = site(uploaded=NOW - seconds, gap=None, utility=old, solar=old, computed=old)
    state = evaluate(facts, NOW)
    assert (state.kind, state.issues[0].reason) == ("computing", "stored_logs")
    assert overview_powers(state, NOW) == dict.fromkeys(ROLES)


@pytest.mark.parametrize("gap", [None, 900, HOUR, DAY])
def test_a_logger_that_sends_nothing_has_no_present_power_after_two_hours(gap: int | None) -> None:
    facts = site(uploaded=NOW, gap=gap)
    assert present(facts) == dict.fromkeys(ROLES, True)
    later = evaluate(facts, NOW + PRESENT_SECONDS)
    assert overview_powers(later, NOW + PRESENT_SECONDS) == dict.fromkeys(ROLES)


def test_a_new_logger_without_a_second_upload_is_not_good() -> None:
    facts = site(uploaded=NOW, gap=None)
    before, after = evaluate(facts, NOW + PRESENT_SECONDS - 1), evaluate(facts, NOW + PRESENT_SECONDS)
    assert (before.kind, after.kind, after.level) == ("good", "waiting", "warn")
    text = issue_text(after.issues[0], after, NOW + PRESENT_SECONDS, ZoneInfo("UTC"))
    assert text.title == "Waiting for the next upload"
    assert "has sent nothing since 15:06" in text.text


def test_a_logger_that_uploads_once_a_day_is_good_and_says_how_old_its_readings_are() -> None:
    later = NOW + 5 * HOUR
    state = evaluate(site(uploaded=NOW, gap=DAY), later)
    assert state.kind == "good"
    text = good_text(state, later, ZoneInfo("UTC"))
    assert text == "No upload is overdue. The newest readings: utility 15:05, load 15:05, solar 15:05."
    row = row_of(summary_of(CUSTOMER, state, energy_day="", energy=(), alerts=0), later)
    assert row.text == good_text(state, later, ZoneInfo(CUSTOMER.time_zone))
    assert good_text(evaluate(site(), NOW), NOW, ZoneInfo("UTC")) == "Every meter is current."


def test_a_computed_value_before_a_backlog_is_not_the_present() -> None:
    for behind in (HOUR, 15 * DAY):
        backlog = PendingRange(NOW - 30 * DAY, NOW, NOW - behind)
        facts = site(gap=HOUR, backlog=backlog, computed={"last_time": NOW - behind})
        assert present(facts) == {"utility": True, "load": False, "solar": True}


def test_a_sum_that_is_behind_its_meters_is_not_the_present() -> None:
    facts = site(gap=HOUR, sums=(SumFacts(role="solar", last_time=NOW - HOUR, power=4.0),))
    assert present(facts) == {"utility": True, "load": False, "solar": False}


def test_a_stored_state_shows_no_power_once_its_readings_are_old() -> None:
    """An evaluation may be late, or impossible while a store is down."""
    state = evaluate(site(), NOW)
    assert None not in overview_powers(state, NOW).values()
    assert overview_powers(state, NOW + PRESENT_SECONDS) == dict.fromkeys(ROLES)
    assert flows_of(state, NOW + PRESENT_SECONDS)["summary"] == (
        "Sun: not known now; Grid: not known now; Site: not known now."
    )


@given(any_facts(), st.integers(0, 3 * DAY))
def test_present_powers_are_of_one_time_and_of_now(facts: SiteFacts, later: int) -> None:
    facts = attrs.evolve(facts, meters=tuple(attrs.evolve(each, power=1.0) for each in facts.meters))
    if facts.computed is not None:
        facts = attrs.evolve(facts, computed=attrs.evolve(facts.computed, power=1.0))
    times = [each.time for each in evaluate(facts, NOW + later).roles if each.present_power(NOW + later) is not None]
    tolerated = max(LEAST_LACK, *(3 * (meter.interval or 900) for meter in facts.meters))
    known = [time for time in times if time is not None]
    assert len(known) == len(times)
    assert all(NOW + later - time <= PRESENT_SECONDS for time in known)
    assert not known or max(known) - min(known) <= tolerated
