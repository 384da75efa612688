"""Meters that change with time."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.meter_history import (
    MAX_HISTORY,
    RoleSegment,
    change_times,
    dated_change,
    role_segments,
    setup_periods,
    without_change,
)
from cenergyd.customers.model import Customer, MeterSetup, Role
from cenergyd.errors import InvalidField

NOW = 10_000
SITE = Customer(
    id="a", facility="1", solar="2", logger_serial_number="00A",
    extensions={"meters": {"reversed": ["solar"]}, "tariff": {"x": 1}},
)  # fmt: skip


def apply(customer: Customer, update: dict) -> Customer:  # type: ignore[type-arg]
    """As a customer store does it."""
    fields = dict(update)
    extensions = {**customer.extensions, **fields.pop("extensions")}
    kept = {key: value for key, value in extensions.items() if value is not None}
    return attrs.evolve(customer, **fields, extensions=kept)


def setups(customer: Customer, start: int, end: int) -> list[tuple[int, int, MeterSetup]]:
    return [(period.start, period.end, period.setup) for period in setup_periods(customer, start, end)]


def series(customer: Customer, role: Role) -> list[tuple[int, int, str]]:
    return [segment[:3] for segment in role_segments(customer, role, 0, NOW)]


def test_without_history_all_is_as_now() -> None:
    assert setups(SITE, 5, 9) == [(5, 9, SITE.current)]
    assert setups(SITE, 9, 9) == []


def test_a_change_keeps_what_was() -> None:
    later = apply(SITE, dated_change(SITE, 1000, {"facility": "7", "reversed": []}, NOW))
    assert later.facility == "7"
    assert later.extensions["tariff"] == {"x": 1}
    (start, end, old), (start2, end2, new) = setups(later, 0, NOW)
    assert (start, end, start2, end2) == (0, 1000, 1000, NOW)
    assert (old.utility, old.solar, old.reversed_roles) == ("1", "2", {"solar"})
    assert (new.utility, new.solar, new.reversed_roles, new.effective_from) == ("7", "2", frozenset(), 1000)
    assert [(span.start, span.end) for span in setup_periods(later, 999, 1001)] == [(999, 1000), (1000, 1001)]


def test_the_latest_change_is_taken_back() -> None:
    later = apply(SITE, dated_change(SITE, 1000, {"facility": "7", "reversed": []}, NOW))
    back = apply(later, without_change(later, 1000))
    assert "history" not in back.extensions
    assert (back.facility, back.solar, back.current.reversed_roles) == ("1", "2", {"solar"})
    assert setups(back, 0, NOW) == [(0, NOW, SITE.current)]
    assert back.extensions["tariff"] == {"x": 1}


def test_an_earlier_change_is_taken_back_and_the_later_one_stays() -> None:
    later = apply(SITE, dated_change(SITE, 1000, {"logger_serial_number": "00B"}, NOW))
    later = apply(later, dated_change(later, 2000, {"facility": "7"}, NOW))
    assert change_times(later) == [1000, 2000]
    back = apply(later, without_change(later, 1000))
    assert change_times(back) == [2000]
    assert series(back, "utility") == [(0, 2000, "00A_1"), (2000, NOW, "00B_7")]
    with pytest.raises(InvalidField):
        without_change(back, 1000)
    assert change_times(SITE) == []


@given(st.lists(st.tuples(st.integers(1, NOW), st.sampled_from("123456789")), min_size=1, max_size=6), st.data())
def test_taking_a_change_back_leaves_the_others_where_they_are(
    changes: list[tuple[int, str]], data: st.DataObject
) -> None:
    customer = SITE
    for since, meter in sorted(dict(changes).items()):
        customer = apply(customer, dated_change(customer, since, {"facility": meter}, NOW))
    at = data.draw(st.sampled_from(change_times(customer)))
    back = apply(customer, without_change(customer, at))
    assert change_times(back) == [time for time in change_times(customer) if time != at]
    for start, end, setup in setups(back, 0, NOW):
        assert setups(customer, start, end)[0][2].utility == setup.utility


def test_a_new_logger_keeps_the_old_series() -> None:
    later = apply(SITE, dated_change(SITE, 1000, {"logger_serial_number": "00B"}, NOW))
    assert series(later, "utility") == [(0, 1000, "00A_1"), (1000, NOW, "00B_1")]
    assert series(later, "load") == [(0, 1000, "00A_missing_meter"), (1000, NOW, "00B_missing_meter")]


def test_the_missing_role_may_change() -> None:
    later = apply(SITE, dated_change(SITE, 1000, {"load": "3", "solar": ""}, NOW))
    assert series(later, "load") == [(0, 1000, "00A_missing_meter"), (1000, NOW, "00A_3")]
    assert series(later, "solar") == [(0, 1000, "00A_2"), (1000, NOW, "00A_missing_meter")]
    assert series(later, "utility") == [(0, NOW, "00A_1")]


def test_what_changes_for_a_role_cuts_it_and_nothing_else_does() -> None:
    later = apply(SITE, dated_change(SITE, 1000, {"reversed": []}, NOW))
    latest = apply(later, dated_change(later, 2000, {"load": "3", "facility": ""}, NOW))
    assert role_segments(latest, "solar", 500, 3000) == [
        RoleSegment(500, 1000, "00A_2", computed=False, reversed=True),
        RoleSegment(1000, 3000, "00A_2", computed=False, reversed=False),
    ]
    assert role_segments(latest, "load", 500, 3000) == [
        RoleSegment(500, 2000, "00A_missing_meter", computed=True, reversed=False),
        RoleSegment(2000, 3000, "00A_3", computed=False, reversed=False),
    ]


def test_a_later_change_overrules_from_its_time_on() -> None:
    once = apply(SITE, dated_change(SITE, 3000, {"facility": "7"}, NOW))
    twice = apply(once, dated_change(once, 1000, {"facility": "8"}, NOW))
    assert [(a, b, each.utility) for a, b, each in setups(twice, 0, NOW)] == [
        (0, 1000, "1"),
        (1000, NOW, "8"),
    ]
    always = apply(twice, dated_change(twice, 0, {"facility": "9"}, NOW))
    assert "history" not in always.extensions
    assert [each.utility for *_, each in setups(always, 0, NOW)] == ["9"]


@pytest.mark.parametrize(
    ("since", "changes", "field"),
    [(NOW + 1, {}, "effective_from"), (-1, {}, "effective_from"), (5, {"name": "x"}, "name"), (5, {"reversed": ["grid"]}, "reversed")],
)  # fmt: skip
def test_what_cannot_be_is_refused(since: int, changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        dated_change(SITE, since, changes, NOW)
    assert caught.value.field == field


def test_history_is_bounded() -> None:
    entries = [{"until": 10 + i, "facility": str(i)} for i in range(MAX_HISTORY)]
    full = attrs.evolve(SITE, extensions={"history": entries})
    with pytest.raises(InvalidField):
        dated_change(full, NOW, {"facility": "3"}, NOW)


@pytest.mark.parametrize("history", [7, "x", [None, 3, {}, {"until": "x"}, {"until": -5}], {"until": 4}])
def test_a_damaged_history_is_ignored(history: object) -> None:
    damaged = attrs.evolve(SITE, extensions={"history": history})
    assert [(a, b, each.utility) for a, b, each in setups(damaged, 0, 9)] == [(0, 9, "1")]
