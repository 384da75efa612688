"""The nine states of a site and good: what each comes from, and what it must not come from."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.model import Customer
from cenergyd.ingest.upload_interval import SETTLING
from cenergyd.jobs.site_state.evaluate import (
    COMPUTING_TIME,
    LATE_ALWAYS,
    LEAST_LACK,
    UNKNOWN_GAP,
    evaluate,
    silence_limit,
)
from cenergyd.jobs.site_state.model import (
    KINDS,
    ComputedFacts,
    HeldSummary,
    LoggedError,
    LoggerFacts,
    MeterStatus,
    Outage,
    PendingRange,
    Refusal,
    SiteFacts,
)

NOW = 1_750_000_000
HOUR, DAY = 3600, 86400
CUSTOMER = Customer(
    id="1", name="Main Street 5", time_zone="America/Denver", facility="1", solar="2", logger_serial_number="001EC6001433",
    logger_password="x",
)  # fmt: skip


def site(
    *,
    uploaded: int = NOW - 300,
    gap: int | None = 900,
    utility: Any = None,
    solar: Any = None,
    computed: Any = None,
    **more: Any,
) -> SiteFacts:
    """A good site whose logger uploads every quarter of an hour and logs every minute; its parts can be changed."""
    meter: dict[str, Any] = {"last_time": uploaded - 60, "last_upload": uploaded, "interval": 60, "power": 1.0}
    return SiteFacts(
        customer=more.pop("customer", CUSTOMER),
        logger=LoggerFacts(last_upload=uploaded, usual_gap=gap, outage=more.pop("outage", None)),
        meters=(
            MeterStatus(role="utility", meter="1", **{**meter, **(utility or {})}),
            MeterStatus(role="solar", meter="2", **{**meter, **(solar or {})}),
        ),
        computed=ComputedFacts(role="load", **{"last_time": uploaded - 60, "power": 2.0, **(computed or {})}),
        **more,
    )


def test_a_good_site() -> None:
    state = evaluate(site(), NOW)
    assert (state.kind, state.level, state.issues, state.lag_seconds) == ("good", "ok", (), 0)
    assert [(each.role, each.computed, each.stale) for each in state.roles] == [
        ("utility", False, False), ("load", True, False), ("solar", False, False),
    ]  # fmt: skip


def test_a_solar_meter_that_stopped_twelve_hours_ago_is_not_good() -> None:
    died = NOW - 12 * HOUR
    state = evaluate(site(solar={"last_time": died, "last_upload": died}, computed={"last_time": died}), NOW)
    assert (state.kind, state.level) == ("meter_stopped", "bad")
    (issue,) = state.issues
    assert (issue.role, issue.meter, issue.since) == ("solar", "2", died)
    assert [each.stale for each in state.roles] == [False, True, True]  # load rests on solar
    assert state.lag_seconds == 12 * HOUR - 360, "the lag counts from the newer meter"


@pytest.mark.parametrize("gap", [None, 900])
def test_old_readings_of_a_new_logger_are_no_fault_before_its_other_meter_has_sent_any(gap: int | None) -> None:
    seen = {"last_time": NOW - 3 * DAY, "last_upload": NOW - 10}
    unseen = {"last_time": None, "last_upload": None, "interval": None, "power": None}
    facts = site(uploaded=NOW - 10, gap=gap, utility=seen, solar=unseen, computed={"last_time": None, "power": None})
    sending = ("computing", None, NOW - 3 * DAY)
    assert [(each.kind, each.role, each.since) for each in evaluate(facts, NOW).issues] == [sending]
    later = evaluate(facts, NOW - 10 + SETTLING)
    assert [(each.kind, each.role, each.since) for each in later.issues] == [("waiting", "solar", None), sending]


def test_a_meter_in_error_is_reported_with_its_code() -> None:
    died = NOW - 2 * HOUR
    error = LoggedError(139, NOW - 360)
    state = evaluate(site(solar={"last_time": died, "error": error}, computed={"last_time": died}), NOW)
    assert (state.kind, state.issues[0].role, state.issues[0].code, state.issues[0].since) == (
        "meter_error", "solar", 139, died,
    )  # fmt: skip


def test_one_bad_row_is_no_error_of_the_meter() -> None:
    assert evaluate(site(solar={"error": LoggedError(139, NOW - 300)}), NOW).kind == "good"


def test_a_silent_logger_by_its_own_rhythm() -> None:
    for gap in (900, HOUR, DAY):
        limit = silence_limit(LoggerFacts(usual_gap=gap))
        uploaded = NOW - limit
        assert evaluate(site(uploaded=uploaded, gap=gap), NOW - 1).kind == "good"
        state = evaluate(site(uploaded=uploaded, gap=gap), NOW)
        assert (state.kind, state.issues[0].since) == ("logger_silent", uploaded)
        assert all(each.stale for each in state.roles)
    assert silence_limit(LoggerFacts(usual_gap=900)) == 2 * 900 + LATE_ALWAYS
    assert silence_limit(LoggerFacts(usual_gap=DAY)) < 1.5 * DAY
    assert silence_limit(LoggerFacts()) == UNKNOWN_GAP


def test_a_customer_s_own_limit_counts_where_it_is_shorter() -> None:
    assert silence_limit(LoggerFacts(usual_gap=DAY, own_limit=HOUR)) == HOUR
    assert silence_limit(LoggerFacts(usual_gap=900, own_limit=DAY)) == 2 * 900 + LATE_ALWAYS
    uploaded = NOW - 2000
    facts = site(uploaded=uploaded)
    own = attrs.evolve(facts, logger=attrs.evolve(facts.logger, own_limit=1200))
    assert (evaluate(facts, NOW).kind, evaluate(own, NOW).kind) == ("good", "logger_silent")
    assert evaluate(own, uploaded + 1000).next_change == uploaded + 1200


def test_a_good_site_changes_without_news_only_when_its_logger_falls_silent() -> None:
    uploaded = NOW - 10
    facts = site(uploaded=uploaded)
    changes = evaluate(facts, NOW).next_change
    assert changes is not None
    assert changes > uploaded + COMPUTING_TIME
    behind = site(uploaded=uploaded, solar={"last_time": NOW - HOUR})
    assert evaluate(behind, NOW).next_change == uploaded + SETTLING
    uncomputed = site(uploaded=uploaded, computed={"last_time": NOW - 2 * HOUR})
    assert evaluate(uncomputed, NOW).next_change == uploaded + COMPUTING_TIME


def test_why_a_logger_is_silent_where_it_is_refused() -> None:
    state = evaluate(site(uploaded=NOW - DAY, refusal=Refusal(NOW - 60, "wrong password")), NOW)
    assert (state.kind, state.issues[0].reason) == ("logger_silent", "wrong password")
    before = evaluate(site(uploaded=NOW - DAY, refusal=Refusal(NOW - 2 * DAY, "wrong password")), NOW)
    assert before.issues[0].reason == ""


def test_a_logger_that_never_uploaded() -> None:
    state = evaluate(SiteFacts(customer=CUSTOMER, refusal=Refusal(NOW, "wrong password")), NOW)
    assert (state.kind, state.level, state.issues[0].reason) == ("never_uploaded", "idle", "wrong password")


def test_a_meter_that_is_not_understood() -> None:
    held = HeldSummary(since=NOW - HOUR, logs=4)
    state = evaluate(site(solar={"last_time": None, "held": held}, computed={"last_time": None}), NOW)
    assert (state.kind, state.issues[0].role) == ("meter_not_understood", "solar")
    assert evaluate(site(solar={"held": HeldSummary(since=NOW - DAY, logs=4)}), NOW).kind == "good"


def test_waiting_for_a_meter_that_nothing_came_from() -> None:
    facts = site(solar={"last_time": None, "last_upload": None, "power": None}, computed={"last_time": None})
    state = evaluate(facts, NOW)
    assert (state.kind, state.issues[0].role, state.issues[0].since) == ("waiting", "solar", None)
    just_now = site(
        uploaded=NOW - 60, solar={"last_time": None, "last_upload": None, "power": None}, computed={"last_time": None}
    )
    assert evaluate(just_now, NOW).kind == "good", "the logger may still be sending"


def test_waiting_for_the_meter_that_is_behind() -> None:
    behind = NOW - 300 - 1500
    state = evaluate(site(solar={"last_time": behind}, computed={"last_time": behind}), NOW)
    assert (state.kind, state.issues[0].role, state.issues[0].since) == ("waiting", "solar", behind)


def test_a_backlog_is_being_computed() -> None:
    facts = site(backlog=PendingRange(NOW - 30 * DAY, NOW, NOW - 15 * DAY), computed={"last_time": NOW - 15 * DAY})
    state = evaluate(facts, NOW)
    assert (state.kind, state.level, state.progress) == ("computing", "idle", 0.5)
    assert evaluate(site(backlog=PendingRange(NOW - HOUR, NOW, NOW - HOUR)), NOW).kind == "good", (
        "a short one is no news"
    )
    assert evaluate(site(backlog=PendingRange(NOW - 30 * DAY, NOW, NOW)), NOW).kind == "good", "it is done"


def test_a_logger_that_sends_what_it_stored() -> None:
    old = NOW - 2 * DAY
    both: dict[str, Any] = {"last_time": old}
    state = evaluate(site(utility=both, solar=both, computed=both), NOW)
    assert (state.kind, state.issues[0].since) == ("computing", old)


def after_outage(since: int, **more: Any) -> SiteFacts:
    """A site whose logger uploads again since some seconds, after five hours without; the solar meter's stored logs have not come yet."""
    began = NOW - since - 5 * HOUR
    solar = {"last_time": began - 60, "last_upload": began} | more.pop("solar", {})
    facts = {"uploaded": NOW - 1, "solar": solar, "computed": {"last_time": began - 60}}
    return site(**{**facts, "outage": Outage(began, NOW - since, NOW - 1), **more})


def test_the_logs_of_one_meter_may_follow_those_of_another_after_an_outage() -> None:
    facts = after_outage(20)
    assert [(each.kind, each.role) for each in evaluate(facts, NOW).issues] == [("waiting", "solar")]
    assert evaluate(facts, NOW).next_change == NOW - 1 + SETTLING
    assert evaluate(facts, NOW - 1 + SETTLING).kind == "meter_stopped", "they would have come"
    sending = after_outage(20, solar={"last_time": NOW - 2 * HOUR, "last_upload": NOW - 1})
    assert evaluate(sending, NOW).kind == "waiting", "its stored logs follow"


def test_a_meter_that_had_stopped_before_an_outage_stays_stopped() -> None:
    began = NOW - 20 - 5 * HOUR
    facts = after_outage(20, solar={"last_time": began - 2 * HOUR, "last_upload": began - 2 * HOUR})
    assert evaluate(facts, NOW).kind == "meter_stopped"


def test_no_log_may_follow_long_after_an_outage() -> None:
    assert evaluate(after_outage(HOUR // 2 - 1), NOW).kind == "waiting", "a logger that uploads all the time"
    assert evaluate(after_outage(HOUR // 2), NOW).kind == "meter_stopped"
    paused = after_outage(900, outage=Outage(NOW - 900 - 5 * HOUR, NOW - 900, NOW - 880))
    assert evaluate(paused, NOW).kind == "meter_stopped", "it was not in the first uploads, and this is a later one"


def test_what_is_not_computed() -> None:
    for computed, reason in (
        ({"last_time": NOW - 5 * HOUR}, ""),
        ({"last_time": None}, ""),
        ({"no_plugin": True}, "no_plugin"),
        ({"failing_plugin": "mine", "failing_since": NOW - HOUR}, ""),
    ):
        state = evaluate(site(uploaded=NOW - 1000, computed=computed), NOW)
        assert (state.kind, state.issues[0].role, state.issues[0].reason) == ("not_computed", "load", reason)
        assert state.issues[0].plugin == computed.get("failing_plugin", "")
    soon = evaluate(site(uploaded=NOW - 600, computed={"last_time": NOW - 5 * HOUR}), NOW)
    assert soon.kind == "good", "it takes its time after an upload"


def test_settings_that_lack_something() -> None:
    state = evaluate(site(customer=attrs.evolve(CUSTOMER, logger_password="")), NOW)
    assert (state.kind, state.level, state.issues[0].field) == ("settings_incomplete", "warn", "logger_password")
    nothing = evaluate(SiteFacts(customer=Customer(id="1")), NOW)
    assert nothing.kind == "settings_incomplete"
    foreign = evaluate(site(customer=attrs.evolve(CUSTOMER, time_zone="Mars/Olympus")), NOW)
    assert (foreign.kind, foreign.issues[0].field) == ("settings_incomplete", "time_zone")


def test_no_solar_power_by_day() -> None:
    state = evaluate(site(solar_zero_since=NOW - 3 * HOUR), NOW)
    assert (state.kind, state.issues[0].role) == ("solar_zero", "solar")


def test_three_measured_meters_need_nothing_computed() -> None:
    customer = attrs.evolve(CUSTOMER, load="3")
    facts = attrs.evolve(site(customer=customer), computed=None)
    assert evaluate(facts, NOW).kind == "good"


times = st.none() | st.integers(NOW - 40 * DAY, NOW + HOUR)


def _outage(before: int, length: int, since: int) -> Outage:
    return Outage(NOW - before - length, NOW - before, NOW - before + since)


@st.composite
def any_facts(draw: st.DrawFn) -> SiteFacts:
    def meter(role: Any, number: str) -> MeterStatus:
        return MeterStatus(
            role=role, meter=number, last_time=draw(times), last_upload=draw(times), interval=draw(st.none() | st.integers(1, HOUR)),
            error=draw(st.none() | st.builds(LoggedError, st.integers(1, 255), st.integers(NOW - 40 * DAY, NOW))),
            held=draw(st.none() | st.builds(HeldSummary, st.integers(NOW - 40 * DAY, NOW), st.integers(1, 9))),
        )  # fmt: skip

    return SiteFacts(
        customer=CUSTOMER,
        logger=LoggerFacts(
            last_upload=draw(times),
            usual_gap=draw(st.none() | st.integers(46, 2 * DAY)),
            outage=draw(st.none() | st.builds(_outage, *[st.integers(0, DAY)] * 3)),
        ),
        meters=(meter("utility", "1"), meter("solar", "2")),
        computed=draw(st.none() | st.builds(ComputedFacts, role=st.just("load"), last_time=times)),
        backlog=draw(
            st.none()
            | st.builds(
                PendingRange,
                st.integers(NOW - DAY, NOW),
                st.integers(NOW - DAY, NOW),
                st.integers(NOW - 2 * DAY, NOW + DAY),
            )
        ),
    )


@given(any_facts())
def test_good_is_only_said_where_something_was_seen(facts: SiteFacts) -> None:
    state = evaluate(facts, NOW)
    assert state.kind in KINDS
    assert list(state.issues) == sorted(state.issues, key=lambda issue: KINDS.index(issue.kind))
    assert (state.kind == "good") == (not state.issues)
    if state.kind == "good":
        assert facts.logger.last_upload is not None
        assert facts.logger.last_upload + silence_limit(facts.logger) > NOW
    assert state.progress is None or 0 <= state.progress <= 1


@given(any_facts(), st.integers(0, 3 * DAY))
def test_nothing_changes_before_the_time_that_is_announced(facts: SiteFacts, later: int) -> None:
    state = evaluate(facts, NOW)
    assert state.next_change is None or state.next_change > NOW
    if state.next_change is None or NOW + later < state.next_change:
        after = evaluate(facts, NOW + later)
        assert (after.kind, after.issues) == (state.kind, state.issues)
        assert [each.stale for each in after.roles] == [each.stale for each in state.roles]


@pytest.mark.parametrize("interval", [60, 300, HOUR])
def test_what_a_meter_may_lack_follows_its_interval(interval: int) -> None:
    lack = max(LEAST_LACK, 3 * interval)
    for missed, kind in ((900 + lack, "good"), (900 + lack + 1, "meter_stopped")):
        last = NOW - 300 - missed
        facts = site(
            utility={"interval": interval},
            solar={"interval": interval, "last_time": last, "last_upload": last},
            computed={"last_time": last},
        )
        facts = attrs.evolve(facts, meters=facts.meters[1:])  # the other one apart: no waiting
        assert evaluate(facts, NOW).kind == kind
