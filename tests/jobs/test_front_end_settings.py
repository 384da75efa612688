"""Alerts and tariffs as the front end that is replaced keeps them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.model import Customer
from cenergyd.jobs.alerts.rules import alerts_of
from cenergyd.jobs.front_end_check import problems_of
from cenergyd.jobs.front_end_settings import existing_alerts, existing_tariff, is_existing
from cenergyd.jobs.tariff.parsing import tariff_of

WEEK, WEEKEND = range(5), (5, 6)


def times(days: Any, start: str, end: str) -> list[dict[str, Any]]:
    return [{"day_of_week": day, "start": start, "end": end} for day in days]


EXISTING: dict[str, Any] = {
    "one_minute_netload_avg_threshold": 120.5, "power_factor_threshold": 0.85, "voltage_threshold": 6.0,
    "alerts_emails": ["a@example.org"], "alerts_phones": ["(555) 123-4567".replace("555", "415"), "+436641234567"],
    "alert_frequency_in_minutes": 15,
    "holidays": ["2014-11-27T00:00:00", "2014-12-25T00:00:00"],
    "read_cycle": {"name": "V", "rate_tariff": "AG-5E", "billing_periods": [
        {"name": "JAN", "start": "2013-12-17T00:00:00", "end": "2014-01-16T00:00:00", "number_of_days": 30},
        {"name": "FEB", "start": "2014-01-16T00:00:00", "end": "2014-02-18T00:00:00", "number_of_days": 33},
    ]},
    "seasons": [
        {"name": "Winter", "start": "2014-11-01T00:00:00", "end": "2015-05-01T00:00:00", "peak_periods": [
            {"name": "partpeak", "energy_charge": 0.1, "demand_charge": 4.58, "schedule": times(WEEK, "08:30:00", "21:29:59")},
            {"name": "offpeak", "energy_charge": 0.07, "demand_charge": 4.58,
             "schedule": times(WEEK, "21:30:00", "08:29:59") + times(WEEKEND, "00:00:00", "23:59:59")},
        ]},
        {"name": "Summer", "start": "2014-05-01T00:00:00", "end": "2014-11-01T00:00:00", "peak_periods": [
            {"name": "onpeak", "energy_charge": 0.19, "demand_charge": 8.72, "peak_demand_charge": 21.46,
             "schedule": times(WEEK, "12:00:00", "17:59:59")},
            {"name": "offpeak", "energy_charge": 0.08, "demand_charge": 12.74,
             "schedule": times(WEEK, "18:00:00", "11:59:59") + times(WEEKEND, "00:00:00", "23:59:59")},
        ]},
    ],
}  # fmt: skip
CUSTOMER = Customer(id="a", existing=EXISTING)


def test_alerts_mean_what_they_meant() -> None:
    settings = alerts_of(CUSTOMER)
    assert settings is not None
    assert (settings.net_load.enabled, settings.net_load.threshold_kw) == (True, 120.5)
    assert (settings.power_factor.enabled, settings.power_factor.below) == (True, 0.85)
    assert (settings.voltage.enabled, settings.voltage.nominal_voltage, settings.voltage.percent) == (True, 120.0, 5.0)
    assert settings.alert_frequency_in_minutes == 15
    assert [channel["to"] for channel in settings.channels] == ["a@example.org", "+14151234567", "+436641234567"]
    assert not settings.silent_logger.enabled


def test_the_tariff_has_its_seasons_periods_and_prices() -> None:
    tariff = tariff_of(CUSTOMER)
    assert tariff is not None
    assert [(season.name, season.first, season.last) for season in tariff.seasons] == [
        ("Winter", (11, 1), (4, 30)), ("Summer", (5, 1), (10, 31)),
    ]  # fmt: skip
    assert {(s.season, s.period, s.days[0], s.start, s.end) for s in tariff.schedules if s.period == "offpeak"} == {
        ("Winter", "offpeak", "mon", 0, 510), ("Winter", "offpeak", "mon", 1290, 1440), ("Winter", "offpeak", "sat", 0, 1440),
        ("Summer", "offpeak", "mon", 0, 720), ("Summer", "offpeak", "mon", 1080, 1440), ("Summer", "offpeak", "sat", 0, 1440),
    }  # fmt: skip
    assert {(e.season, e.period): float(e.import_per_kwh) for e in tariff.energy} == {
        ("Winter", "partpeak"): 0.1, ("Winter", "offpeak"): 0.07, ("Summer", "onpeak"): 0.19, ("Summer", "offpeak"): 0.08,
    }  # fmt: skip
    # One price in all periods of a season is that of its highest demand at any time.
    assert [(each.season, float(each.per_kw)) for each in tariff.demand] == [("Winter", 4.58)]
    assert {(each.season, each.period, float(each.per_kw)) for each in tariff.peak_demand} == {
        ("Summer", "onpeak", 30.18), ("Summer", "offpeak", 12.74),
    }  # fmt: skip
    assert [day.isoformat() for day in tariff.billing.dates] == ["2013-12-17", "2014-01-16", "2014-02-18"]
    assert len(tariff.holidays) == 2


def test_what_is_set_here_comes_first() -> None:
    own = Customer(id="a", existing=EXISTING, extensions={"alerts": {}, "tariff": {}})
    settings, tariff = alerts_of(own), tariff_of(own)
    assert settings is not None and not settings.net_load.enabled
    assert tariff is not None and not tariff.energy
    assert [is_existing(CUSTOMER, name) for name in ("alerts", "tariff")] == [True, True]
    assert [is_existing(own, name) for name in ("alerts", "tariff")] == [False, False]
    assert not problems_of(own)
    assert existing_alerts(Customer(id="b")).value is existing_tariff(Customer(id="b")).value is None


@pytest.mark.parametrize(
    ("existing", "note"),
    [
        ({"alerts_phones": ["12"], "voltage_threshold": 5}, "alerts_phones"),
        ({"voltage_threshold": 500}, "voltage_threshold"),
        ({"power_factor_threshold": "low"}, "power_factor_threshold"),
        ({"seasons": [{"name": "x"}]}, "cannot be converted"),
        ({"seasons": "summer"}, "seasons"),
        ({"too_large": True}, "too large"),
    ],
)
def test_what_cannot_be_understood_is_said(existing: dict[str, Any], note: str) -> None:
    assert any(note in each for each in problems_of(Customer(id="a", existing=existing)))


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "start", "end", "peak_periods", "schedule", "billing_periods"]), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(sorted(EXISTING)), anything))
def test_no_existing_value_breaks_anything(existing: dict[str, Any]) -> None:
    customer = Customer(id="a", existing=existing)
    alerts_of(customer)
    tariff_of(customer)
    for problem in problems_of(customer):
        assert problem
