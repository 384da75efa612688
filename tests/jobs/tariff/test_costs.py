"""Charges like with like, the estimated end of a period, and what solar saved."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cenergyd.customers.model import TimeRange
from cenergyd.jobs.tariff.costs import charges_csv, charges_overview, same_day, solar_saving
from cenergyd.jobs.tariff.parsing import tariff_from_json
from cenergyd.readings.memory import MemoryReadingStore
from tests.jobs.rollups.test_report import computed, every
from tests.jobs.site import customer_in, run
from tests.jobs.tariff.test_tariff import NEW_YORK, at

DAY = 86400
UTC = ZoneInfo("UTC")
FLAT = {
    "currency": "EUR",
    "energy": [{"season": "all", "period": "all", "import_per_kwh": "0.50", "export_per_kwh": "0.10"}],
    "fixed": "10",
}
PRICED: Any = {"tariff": FLAT}


def test_the_last_periods_are_shown_to_the_day_that_this_one_has_reached() -> None:
    customer = customer_in("America/New_York", extensions=PRICED)
    now = at("2026-07-08T12:30")
    log = every(15, at("2026-06-01"), now, 2.0)
    report = run(charges_overview(customer, computed(customer, utility=log), now))
    cut = report["to_same_day"]["last"]
    assert (cut["first_day"], cut["until"]) == ("2026-06-01", at("2026-06-08T12:00"))
    assert sum(line["import_kwh"] for line in cut["energy"]) == pytest.approx(7.5 * 24 * 2)
    assert cut["total"] == "190.00"
    assert sum(line["import_kwh"] for line in report["last"]["energy"]) == pytest.approx(30 * 24 * 2)
    assert report["to_same_day"]["last_year"]["total"] is None  # nothing is known of it, and 10.00 would be a lie
    assert json.loads(json.dumps(report)) == report


@pytest.mark.parametrize(
    ("this", "other", "now", "expected"),
    [
        (("2026-03-01", "2026-04-01"), ("2026-02-01", "2026-03-01"), "2026-03-31T12:00", "2026-03-01"),
        # The hour that is skipped is no hour of that day, and 23 hours are a whole day.
        (("2026-04-08", "2026-05-08"), ("2026-03-08", "2026-04-08"), "2026-04-08T23:59", "2026-03-09"),
        (("2026-07-15", "2026-08-15"), ("2026-06-15", "2026-07-15"), "2026-07-15T00:10", "2026-06-15"),
    ],
)
def test_the_same_day(this: Any, other: Any, now: str, expected: str) -> None:
    windows = [TimeRange(*map(at, pair)) for pair in (this, other)]
    assert same_day(windows[0], windows[1], at(now), NEW_YORK) == at(expected)


def test_the_end_of_the_period_is_estimated_by_each_prices_mean() -> None:
    """Day 0.30 from 8 to 20 o'clock at 4 kW, night 0.10 at 1 kW: ten days known of thirty."""
    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    tariff = {
        "schedules": [
            {"season": "all", "period": period, "days": days, "from": first, "to": last}
            for period, first, last in (("night", "00:00", "08:00"), ("day", "08:00", "20:00"), ("night", "20:00", "24:00"))
        ],
        "energy": [
            {"season": "all", "period": "day", "import_per_kwh": "0.30"},
            {"season": "all", "period": "night", "import_per_kwh": "0.10"},
        ],
        "fixed": "5",
    }  # fmt: skip
    customer = customer_in("UTC", extensions={"tariff": tariff})
    start = 1782864000  # 1 July 2026
    log = [
        each._replace(P=4.0 if 8 <= each.time % DAY // 3600 < 20 else 1.0)
        for each in every(15, start, start + 10 * DAY, 1.0)
    ]
    store = computed(customer, utility=log)
    end = run(charges_overview(customer, store, start + 10 * DAY))["projected"]
    assert end["import_kwh"] == pytest.approx(31 * 12 * 5, rel=0.01)
    assert float(end["total"]) == pytest.approx(31 * 12 * (4 * 0.3 + 0.1) + 5, rel=0.01)
    assert run(charges_overview(customer, store, start + 2 * DAY))["projected"] is None


def test_a_period_with_gaps_is_not_estimated() -> None:
    customer = customer_in("UTC", extensions=PRICED)
    start = 1782864000
    log = every(15, start, start + 4 * DAY, 1.0)
    report = run(charges_overview(customer, computed(customer, utility=log), start + 10 * DAY))
    assert report["projected"] is None
    assert report["today"]["total"] is None


def test_what_solar_saved_over_the_hours_that_are_known_of_both() -> None:
    customer = customer_in("UTC", extensions=PRICED)
    start = 1782864000
    # 4 h: load 3 kW, of which 1 from the grid; then 2 h of export of 1 kW at a load of 3.
    utility = [
        each._replace(P=1.0 if each.time < start + 4 * 3600 else -1.0) for each in every(5, start, start + 6 * 3600, 1)
    ]
    store = computed(customer, utility=utility, load=every(5, start, start + 6 * 3600, 3.0),
                     solar=every(5, start, start + 6 * 3600, 2.0))  # fmt: skip
    window = TimeRange(start, start + DAY)
    found = run(solar_saving(customer, store, tariff_from_json(FLAT), window, start + 7 * 3600))
    assert found is not None
    # The hour in which the line goes from 1 to -1 kW has 5 minutes of slope.
    assert found["avoided_kwh"] == pytest.approx(4 * 2 + 2 * 3, abs=0.1)
    assert found["hours"] == 6
    assert found["energy_from"] == "power"
    assert Decimal(found["total"]) == Decimal(found["avoided_charge"]) + Decimal(found["export_credit"])
    assert float(found["total"]) == pytest.approx(14 * 0.5 + 2 * 0.1, abs=0.1)
    assert run(solar_saving(customer, MemoryReadingStore(), tariff_from_json(FLAT), window, start + DAY)) is None
    assert run(solar_saving(customer, store, tariff_from_json({}), window, start + DAY)) is None


def test_the_download_has_a_row_per_line_and_empty_cells_for_what_is_not_known() -> None:
    customer = customer_in("UTC", extensions=PRICED)
    start = 1782864000
    store = computed(customer, utility=every(15, start, start + 5 * DAY, 1.0))
    report = run(charges_overview(customer, store, start + 5 * DAY))
    rows = list(csv.DictReader(io.StringIO(charges_csv(report))))
    totals = {row["compared"]: row["amount"] for row in rows if row["line"] == "total"}
    assert totals["this"] == report["this"]["total"]
    assert totals["last"] == totals["last_year_to_same_day"] == ""
    assert totals["this_projected"] == report["projected"]["total"]


@pytest.mark.parametrize("name", ['=HYPERLINK("http://evil.example","bill")', "+1+1", "-2+3", "@SUM(A1)"])
def test_a_name_is_no_formula_in_the_table(name: str) -> None:
    """A customer names the periods, and an operator's spreadsheet opens the file."""
    prices = [{"season": "all", "period": name, "import_per_kwh": "0.50", "export_per_kwh": "0.10"}]
    always = [{"season": "all", "period": name, "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday"]}]
    customer = customer_in("UTC", extensions={"tariff": {**FLAT, "energy": prices, "schedules": always}})
    now = at("2026-07-08T12:00")
    report = run(charges_overview(customer, computed(customer, utility=every(15, at("2026-07-01"), now, -2.0)), now))
    rows = list(csv.reader(io.StringIO(charges_csv(report))))
    assert any(f"'{name}" in row for row in rows)
    for row in rows[1:]:
        for cell in row:
            assert cell.lstrip()[:1] not in ("=", "+", "@"), row
            assert not cell.startswith("-") or float(cell) <= 0
