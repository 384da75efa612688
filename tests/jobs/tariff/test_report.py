"""The charges of billing periods, as the API shows them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from cenergyd.customers.model import TimeRange
from cenergyd.jobs.energy.netload import net_load_series
from cenergyd.jobs.tariff.parsing import tariff_from_json
from cenergyd.jobs.tariff.report import charges_of, charges_report, compared_periods
from cenergyd.jobs.windows import local_date
from cenergyd.readings.memory import MemoryReadingStore
from cenergyd.readings.model import FieldPoint, Reading
from tests.jobs.rollups.test_report import computed, every
from tests.jobs.site import customer_in, run
from tests.jobs.tariff.test_tariff import FULL, NEW_YORK, at

SITE = {"tariff": FULL}


def test_a_bill_worked_by_hand() -> None:
    """A month at 10 kW, and a quarter hour of 40 kW on a peak afternoon."""
    customer = customer_in("America/New_York", extensions=SITE)
    start, end = at("2026-06-15"), at("2026-07-15")
    log = every(5, start, end, 10.0)
    spike = at("2026-06-17T14:00")
    log = [r._replace(P=40.0) if spike <= r.time < spike + 900 else r for r in log]
    store = computed(customer, utility=log)
    report = run(charges_report(customer, store, end + 5))
    bill = report["last"]
    assert (bill["first_day"], bill["last_day"], bill["final"]) == ("2026-06-15", "2026-07-14", True)
    # 22 weekdays less the last Monday of June and the 4th of July (observed on Friday) have 9.5 peak hours each. The spike: three
    # readings at 40 kW and the two slopes to them add 30 kW over 15 min.
    peak_hours = 20 * 9.5
    lines = {line["period"]: line for line in bill["energy"]}
    assert lines["peak"]["import_kwh"] == pytest.approx(peak_hours * 10 + 7.5)
    assert lines["off"]["import_kwh"] == pytest.approx((30 * 24 - peak_hours) * 10)
    assert lines["peak"]["import_charge"] == "572.25"  # 1907.5 * 0.30
    assert lines["off"]["import_charge"] == "530.00"
    assert bill["demand"] == [
        {"season": "summer", "period": None, "kw": 40.0, "time": spike, "share": 1.0, "charge": "480.00"}
    ]
    assert (bill["peak_demand"][0]["kw"], bill["peak_demand"][0]["charge"]) == (40.0, "320.00")
    assert bill["highest_net_load"] == {"kw": 40.0, "time": spike}
    assert Decimal(bill["total"]) == Decimal("572.25") + 530 + 480 + 320 + 25
    assert (bill["energy_complete"], bill["demand_complete"]) == (1.0, 1.0)
    assert report["this"]["first_day"] == "2026-07-15"
    assert report["this"]["final"] is False
    assert report["last_year"]["energy"] == []
    assert json.loads(json.dumps(report)) == report


def test_another_tariff_needs_no_new_energy() -> None:
    """What was stored under other labels, or none, is charged by the tariff of now, also where periods change within an hour."""
    start = at("2026-06-15")
    log = [Reading(start + k * 300, P=(k * 13 % 40) - 10.0) for k in range(3 * 288)]
    plain, priced = customer_in("America/New_York"), customer_in("America/New_York", extensions=SITE)
    tariff = tariff_from_json(FULL)
    window = TimeRange(start, at("2026-07-15"))
    labelled = run(charges_of(priced, computed(priced, utility=log), tariff, window, window.end))
    late = run(charges_of(priced, computed(plain, utility=log), tariff, window, window.end))
    assert late.total == labelled.total
    assert late.demand == labelled.demand
    for one, other in zip(late.energy, labelled.energy, strict=True):
        assert one.import_kwh == pytest.approx(other.import_kwh)
        assert one.export_kwh == pytest.approx(other.export_kwh)


def test_a_stored_quarter_hour_without_a_mean_power_counts_as_missing() -> None:
    customer = customer_in("America/New_York", extensions=SITE)
    start, end = at("2026-06-15"), at("2026-07-15")
    store = computed(customer, utility=every(5, start, start + 86400, 10.0))
    before = run(charges_report(customer, store, end + 5))["last"]
    old = FieldPoint(start + 86400 * 9, {"expected": 3.0, "complete": 1.0})
    run(store.write_points(net_load_series(customer.logger_serial_number), [old]))
    assert run(charges_report(customer, store, end + 5))["last"] == before


def test_without_a_tariff_energy_is_shown_per_month_without_amounts() -> None:
    customer = customer_in("UTC")
    now = at("2026-07-20")
    store = computed(customer, utility=every(15, now - 86400, now, 4.0))
    report = run(charges_report(customer, store, now))
    assert report["tariff"] is False
    assert (report["this"]["total"], report["this"]["currency"], report["this"]["fixed"]) == (None, None, None)
    assert report["this"]["first_day"] == "2026-07-01"
    assert report["this"]["energy"][0]["import_kwh"] == pytest.approx(96)
    assert report["this"]["energy"][0]["import_charge"] is None
    assert report["this"]["highest_net_load"]["kw"] == 4.0


@pytest.mark.parametrize(
    ("billing", "now", "days"),
    [
        ({"day_of_month": 15}, "2026-07-20", ["2026-07-15", "2026-06-15", "2025-07-15"]),
        ({"day_of_month": 1}, "2024-02-29", ["2024-02-01", "2024-01-01", "2023-02-01"]),
        ({"day_of_month": 31}, "2025-03-01", ["2025-02-28", "2025-01-31", "2024-02-29"]),
        (
            {"dates": ["2025-06-12", "2025-07-11", "2025-08-12", "2026-06-11", "2026-07-13", "2026-08-11"]},
            "2026-07-20",
            ["2026-07-13", "2026-06-11", "2025-07-11"],
        ),
    ],
)
def test_which_periods_are_compared(billing: dict[str, Any], now: str, days: list[str]) -> None:
    found = compared_periods(tariff_from_json({"billing": billing}), NEW_YORK, at(now))
    assert [local_date(found[name].start, NEW_YORK).isoformat() for name in ("this", "last", "last_year")] == days


def test_calendar_months_whatever_the_billing_dates() -> None:
    customer = customer_in("America/New_York", extensions=SITE)
    report = run(charges_report(customer, MemoryReadingStore(), at("2026-07-20"), "calendar"))
    assert [report[name]["first_day"] for name in ("this", "last", "last_year")] == [
        "2026-07-01",
        "2026-06-01",
        "2025-07-01",
    ]
