"""Tariffs: what is accepted, what is refused and where, and what holds when."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenergyd.customers.model import TimeRange
from cenergyd.errors import InvalidField
from cenergyd.jobs.tariff.model import Period, Tariff
from cenergyd.jobs.tariff.parsing import tariff_from_json, tariff_of, tariff_to_json
from cenergyd.jobs.windows import local_date
from tests.jobs.site import customer_in

NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
WEEKDAYS = ["mon", "tue", "wed", "thu", "fri"]
WEEKEND = ["sat", "sun", "holiday"]

FULL: dict[str, Any] = {
    "currency": "USD",
    "seasons": [
        {"name": "summer", "from": "06-01", "to": "09-30"},
        {"name": "winter", "from": "10-01", "to": "05-31"},
    ],
    "schedules": [
        {"season": "summer", "period": "off", "days": WEEKDAYS, "from": "00:00", "to": "08:30"},
        {"season": "summer", "period": "peak", "days": WEEKDAYS, "from": "08:30", "to": "18:00"},
        {"season": "summer", "period": "off", "days": WEEKDAYS, "from": "18:00", "to": "24:00"},
        {"season": "summer", "period": "off", "days": WEEKEND},
        {"season": "winter", "period": "off", "days": [*WEEKDAYS, "sat", "sun"]},
    ],
    "holidays": [
        "2026-08-14",
        {"month": 7, "day": 4, "observed": True},
        {"month": 1, "day": 1, "observed": True},
        {"month": 9, "weekday": "mon", "nth": 1},
        {"month": 6, "weekday": "mon", "nth": -1},
    ],
    "energy": [
        {"season": "summer", "period": "peak", "import_per_kwh": "0.30", "export_per_kwh": "0.08"},
        {"season": "summer", "period": "off", "import_per_kwh": 0.1},
        {"season": "winter", "period": "off", "import_per_kwh": "0.12", "export_per_kwh": "0.05"},
    ],
    "demand": [{"season": "summer", "per_kw": "12.00"}],
    "peak_demand": [{"season": "summer", "period": "peak", "per_kw": "8"}],
    "fixed": "25",
    "billing": {"day_of_month": 15},
}


def at(text: str, zone: ZoneInfo = NEW_YORK, fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp())


def test_a_tariff_comes_back_from_its_json() -> None:
    once = tariff_to_json(tariff_from_json(FULL))
    assert tariff_to_json(tariff_from_json(once)) == once
    assert once["energy"][1] == {
        "season": "summer",
        "period": "off",
        "import_per_kwh": "0.1",
        "export_per_kwh": "0",
    }


def test_an_empty_tariff_has_one_season_and_period() -> None:
    tariff = tariff_from_json({})
    assert tariff.period_at(at("2026-02-03T04:05"), NEW_YORK) == Period("all", "all")
    assert tariff.billing_period_at(at("2026-02-03T04:05"), NEW_YORK) == (at("2026-02-01"), at("2026-03-01"))
    assert (tariff.energy, tariff.fixed) == ((), Decimal(0))


@pytest.mark.parametrize(
    ("text", "period"),
    [
        ("2026-06-03T08:29", ("summer", "off")),
        ("2026-06-03T08:30", ("summer", "peak")),
        ("2026-06-03T17:59:59", ("summer", "peak")),
        ("2026-06-03T18:00", ("summer", "off")),
        ("2026-06-06T12:00", ("summer", "off")),  # Saturday
        ("2026-05-31T23:59", ("winter", "off")),
        ("2026-10-01T12:00", ("winter", "off")),
        ("2026-01-01T12:00", ("winter", "off")),
        ("2026-07-03T12:00", ("summer", "off")),  # the 4th is a Saturday, so observed on Friday
        ("2026-08-14T12:00", ("summer", "off")),  # a listed holiday, a Friday
        ("2026-08-21T12:00", ("summer", "peak")),
        ("2026-09-07T12:00", ("summer", "off")),  # Labor Day
        ("2026-06-29T12:00", ("summer", "off")),  # the last Monday of June
        ("2026-06-22T12:00", ("summer", "peak")),
    ],
)
def test_what_holds_when(text: str, period: tuple[str, str]) -> None:
    assert tariff_from_json(FULL).period_at(at(text), NEW_YORK) == period


def test_an_observed_new_year_lies_in_the_year_before() -> None:
    tariff = tariff_from_json(FULL)
    assert tariff.is_holiday(date(2027, 12, 31))  # 1 January 2028 is a Saturday
    assert not tariff.is_holiday(date(2028, 1, 1))
    assert tariff.is_holiday(date(2029, 1, 1))


def test_the_wall_clock_counts_on_days_on_which_it_changes() -> None:
    # Both 01:30 of 1 November belong to the same period; 02:00 to 03:00 of 8 March is not there.
    body = {"schedules": [
        {"season": "all", "period": "night", "days": [*WEEKDAYS, "sat", "sun"], "to": "02:00"},
        {"season": "all", "period": "day", "days": [*WEEKDAYS, "sat", "sun"], "from": "02:00"},
    ]}  # fmt: skip
    tariff = tariff_from_json(body)
    start = at("2026-11-01T00:00")
    assert [
        (p.end - p.start, p.label.period) for p in tariff.labelled(TimeRange(start, start + 25 * 3600), NEW_YORK)
    ] == [
        (3 * 3600, "night"),
        (22 * 3600, "day"),
    ]
    start = at("2026-03-08T00:00")
    assert [
        (p.end - p.start, p.label.period) for p in tariff.labelled(TimeRange(start, start + 23 * 3600), NEW_YORK)
    ] == [
        (2 * 3600, "night"),
        (21 * 3600, "day"),
    ]


@settings(max_examples=50, deadline=None)
@given(st.integers(1_750_000_000, 1_800_000_000), st.integers(1, 200_000), st.sampled_from([NEW_YORK, LORD_HOWE]))
def test_pieces_cover_a_window_and_hold_one_label_each(start: int, length: int, zone: ZoneInfo) -> None:
    tariff = tariff_from_json(FULL)
    parts = list(tariff.labelled(TimeRange(start, start + length), zone))
    assert (parts[0].start, parts[-1].end) == (start, start + length)
    assert all(one.end == other.start and one.label != other.label for one, other in pairwise(parts))
    for part in parts:
        for time in (part.start, (part.start + part.end) // 2, part.end - 1):
            assert tariff.period_at(time, zone) == part.label


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set one value of a tariff, ``schedules.2.from``; None removes it."""

    def apply(body: dict[str, Any]) -> None:
        *ways, last = path.split(".")
        place: Any = body
        for way in ways:
            place = place[int(way)] if isinstance(place, list) else place[way]
        if isinstance(place, list):
            place[int(last) :] = [] if value is None else [value, *place[int(last) + 1 :]]
        elif value is None:
            del place[last]
        else:
            place[last] = value

    return apply


@pytest.mark.parametrize(
    ("path", "value", "field", "message"),
    [
        ("surprise", 1, "surprise", "no such key"),
        ("currency", "dollar", "currency", "three capital letters"),
        ("seasons", {}, "seasons", "a list"),
        ("seasons.1.to", "05-30", "seasons", "05-31 belongs to no season"),
        ("seasons.1.to", "06-01", "seasons[1]", "06-01 belongs to summer and to winter"),
        ("seasons.1.name", "summer", "seasons[1].name", "already"),
        ("seasons.0.from", "02-30", "seasons[0].from", "MM-DD"),
        ("seasons.0.from", "6-1", "seasons[0].from", "MM-DD"),
        ("seasons.0.name", " ", "seasons[0].name", "a name"),
        ("seasons.0.name", 5, "seasons[0].name", "a name"),
        ("schedules.1.from", "08:15", "schedules[1]", "summer, mon: another period already covers 08:15"),
        ("schedules.1.from", "08:45", "schedules", "summer, mon: no period covers 08:30 to 08:45"),
        ("schedules.2.to", "23:45", "schedules", "no period covers 23:45 to 24:00"),
        ("schedules.3.days", ["sat", "holiday"], "schedules", "summer, sun: no period covers 00:00 to 24:00"),
        ("schedules.1.from", "08:20", "schedules[1].from", "quarter"),
        ("schedules.1.from", "25:00", "schedules[1].from", "HH:MM"),
        ("schedules.1.from", 8, "schedules[1].from", "HH:MM"),
        ("schedules.1.to", "08:30", "schedules[1].to", "after"),
        ("schedules.1.season", "spring", "schedules[1].season", "summer, winter"),
        ("schedules.1.days", ["monday"], "schedules[1].days[0]", "mon"),
        ("schedules.1.days", [], "schedules[1].days", "mon"),
        ("schedules.4", None, "schedules", "winter, mon: no period"),
        ("holidays.0", "2026-02-30", "holidays[0]", "YYYY-MM-DD"),
        ("holidays.0", "20260814", "holidays[0]", "YYYY-MM-DD"),
        ("holidays.1.month", 13, "holidays[1].month", "1 to 12"),
        ("holidays.1.day", 32, "holidays[1].day", "1 to 31"),
        ("holidays.1.observed", "yes", "holidays[1].observed", "true or false"),
        ("holidays.1.nth", 1, "holidays[1]", "either"),
        ("holidays.3.nth", 0, "holidays[3].nth", "from the end"),
        ("holidays.3.weekday", "holiday", "holidays[3].weekday", "mon"),
        ("energy.0.import_per_kwh", "cheap", "energy[0].import_per_kwh", "a price"),
        ("energy.0.import_per_kwh", -1, "energy[0].import_per_kwh", "a price"),
        ("energy.0.import_per_kwh", float("nan"), "energy[0].import_per_kwh", "a price"),
        ("energy.0.import_per_kwh", True, "energy[0].import_per_kwh", "a price"),
        ("energy.0.import_per_kwh", None, "energy[0].import_per_kwh", "a price"),
        ("energy.0.export_per_kwh", "1e9", "energy[0].export_per_kwh", "a price"),
        ("energy.0.period", "night", "energy[0].period", "off, peak"),
        ("energy.1.period", "peak", "energy[1]", "already"),
        ("energy.2", None, "energy", "no price for winter, off"),
        ("demand.0.season", "spring", "demand[0].season", "summer"),
        ("demand.0.per_kw", [], "demand[0].per_kw", "a price"),
        ("peak_demand.0.period", "night", "peak_demand[0].period", "off, peak"),
        ("fixed", "-0.01", "fixed", "a price"),
        ("billing", 15, "billing", "an object"),
        ("billing.day_of_month", 0, "billing.day_of_month", "1 to 31"),
        ("billing.day_of_month", 1.5, "billing.day_of_month", "1 to 31"),
        ("billing.dates", ["2026-01-01"], "billing", "either"),
        ("billing", {"dates": []}, "billing.dates", "at least one"),
        ("billing", {"dates": ["2026-02-01", "2026-01-01"]}, "billing.dates[1]", "ascending"),
    ],
)
def test_what_is_wrong_is_named(path: str, value: Any, field: str, message: str) -> None:
    body = copy.deepcopy(FULL)
    change(path, value)(body)
    with pytest.raises(InvalidField) as caught:
        tariff_from_json(body)
    assert caught.value.field == f"tariff.{field}"
    assert message in str(caught.value)


@pytest.mark.parametrize("body", [None, [], "x", 1, {"energy": [1]}, {"holidays": [[]]}, {"demand": [{}] * 501}])
def test_anything_else_is_refused_as_well(body: Any) -> None:
    with pytest.raises(InvalidField):
        tariff_from_json(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FULL, "from", "to"]), inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FULL)), json_values)
def test_any_json_is_taken_or_refused_by_name(key: str, value: Any) -> None:
    try:
        tariff = tariff_from_json({**FULL, key: value})
    except InvalidField as error:
        assert error.field.startswith("tariff")
    else:
        assert isinstance(tariff, Tariff)


def periods_of(billing: dict[str, Any], first: str, last: str) -> list[str]:
    tariff = tariff_from_json({"billing": billing})
    found = tariff.billing_periods(at(first), at(last), NEW_YORK)
    return [local_date(window.start, NEW_YORK).isoformat() for window in found]


def test_billing_periods_by_day_of_the_month() -> None:
    assert periods_of({"day_of_month": 15}, "2026-01-01", "2026-03-01") == ["2025-12-15", "2026-01-15", "2026-02-15"]
    assert periods_of({"day_of_month": 31}, "2026-01-31", "2026-05-01") == [
        "2026-01-31",
        "2026-02-28",
        "2026-03-31",
        "2026-04-30",
    ]


def test_billing_periods_by_dates_go_on_beyond_the_list() -> None:
    dates = {"dates": ["2026-01-14", "2026-02-16", "2026-03-13"]}
    assert periods_of(dates, "2025-12-01", "2026-05-14") == [
        "2025-11-14",
        "2025-12-14",
        "2026-01-14",
        "2026-02-16",
        "2026-03-13",
        "2026-04-13",
        "2026-05-13",
    ]


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1_700_000_000, 1_900_000_000),
    st.one_of(
        st.integers(1, 31).map(lambda day: {"day_of_month": day}),
        st.lists(st.dates(date(2024, 1, 1), date(2029, 1, 1)), min_size=1, max_size=6, unique=True).map(
            lambda dates: {"dates": [day.isoformat() for day in sorted(dates)]}
        ),
    ),
)
def test_billing_periods_neither_overlap_nor_leave_a_hole(time: int, billing: dict[str, Any]) -> None:
    tariff = tariff_from_json({"billing": billing})
    window = tariff.billing_period_at(time, NEW_YORK)
    assert window.start <= time < window.end
    assert tariff.billing_period_at(window.start, NEW_YORK) == window
    assert tariff.billing_period_at(window.end - 1, NEW_YORK) == window
    assert tariff.billing_period_at(window.end, NEW_YORK).start == window.end
    assert tariff.billing_period_at(window.start - 1, NEW_YORK).end == window.start


def test_a_customers_tariff() -> None:
    assert tariff_of(customer_in("UTC")) is None
    tariff = tariff_of(customer_in("UTC", extensions={"tariff": FULL}))
    assert tariff is not None
    assert tariff.fixed == 25
    with pytest.raises(InvalidField):
        tariff_of(customer_in("UTC", extensions={"tariff": {"fixed": "x"}}))


def test_the_example_in_the_guide_is_a_tariff() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "rollups.md").read_text(encoding="utf-8")
    example = json.loads(guide.split("```json tariff\n")[1].split("```")[0])
    tariff = tariff_from_json(example)
    assert tariff.period_at(at("2026-07-06T12:00"), NEW_YORK) == Period("summer", "peak")
    assert tariff.period_at(at("2026-11-26T12:00"), NEW_YORK) == Period("winter", "off-peak")
