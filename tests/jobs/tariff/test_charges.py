"""Charges, worked by hand."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.model import TimeRange
from cenergyd.jobs.tariff.charges import ChargesSum, PeriodEnergy, QuarterHour, season_shares
from cenergyd.jobs.tariff.model import Period, Tariff
from cenergyd.jobs.tariff.parsing import tariff_from_json
from tests.jobs.tariff.test_tariff import FULL, NEW_YORK, at

PEAK, OFF, WINTER = Period("summer", "peak"), Period("summer", "off"), Period("winter", "off")
JULY = TimeRange(at("2026-07-15"), at("2026-08-15"))


def charges_of(tariff: Tariff, window: TimeRange, parts: list[PeriodEnergy], quarters: list[QuarterHour]):  # type: ignore[no-untyped-def]
    total = ChargesSum(tariff, NEW_YORK, window, window.end)
    total.add_energy(parts)
    total.add_net_load(quarters)
    return total.result()


def test_a_summer_bill() -> None:
    parts = [
        PeriodEnergy(PEAK, 100.0, 10.0, 3600),
        PeriodEnergy(PEAK, 23.45, 0.0, 3600),
        PeriodEnergy(OFF, 333.33, 4.0, 7200),
    ]
    quarters = [
        QuarterHour(JULY.start, OFF, 50.0, 1.0),
        QuarterHour(JULY.start + 900, PEAK, 41.5, 1.0),
        QuarterHour(JULY.start + 1800, PEAK, 41.5, 1.0),  # the same again: the first counts
        QuarterHour(JULY.start + 2700, PEAK, 99.0, 0.4),  # too few readings to be a mean
        QuarterHour(JULY.start + 3600, OFF, -20.0, 1.0),
    ]
    bill = charges_of(tariff_from_json(FULL), JULY, parts, quarters)
    lines = {(line.season, line.period): line for line in bill.energy}
    peak, off = lines[PEAK], lines[OFF]
    assert (peak.import_kwh, peak.export_kwh) == (123.45, 10.0)
    assert (peak.import_charge, peak.export_credit) == (Decimal("37.04"), Decimal("0.80"))  # 123.45 * 0.30 = 37.035
    assert (off.import_charge, off.export_credit) == (Decimal("33.33"), Decimal("0.00"))  # 333.33 * 0.1 = 33.333
    (demand,) = bill.demand
    assert (demand.kw, demand.time, demand.share, demand.charge) == (50.0, JULY.start, 1, Decimal("600.00"))
    (peak_demand,) = bill.peak_demand
    assert (peak_demand.kw, peak_demand.time) == (41.5, JULY.start + 900)
    assert peak_demand.charge == Decimal("332.00")
    assert bill.fixed == Decimal("25.00")
    # 37.04 - 0.80 + 33.33 + 600.00 + 332.00 + 25.00
    assert bill.total == Decimal("1026.57")
    assert bill.final
    assert bill.highest is not None
    assert (bill.highest.P, bill.highest.start) == (50.0, JULY.start)
    assert bill.energy_complete == pytest.approx(14400 / (31 * 86400))
    assert bill.demand_complete == pytest.approx(4 * 900 / (31 * 86400))


def test_a_period_over_two_seasons_pays_each_demand_by_its_days() -> None:
    body = {**FULL, "demand": [{"season": "summer", "per_kw": "12"}, {"season": "winter", "per_kw": "6"}]}
    tariff = tariff_from_json(body)
    window = TimeRange(at("2026-09-15"), at("2026-10-15"))  # 16 days of summer, 14 of winter
    assert season_shares(tariff, window, NEW_YORK) == {"summer": Decimal(16) / 30, "winter": Decimal(14) / 30}
    quarters = [
        QuarterHour(window.start, OFF, 30.0, 1.0),
        QuarterHour(window.end - 900, WINTER, 45.0, 1.0),
    ]
    bill = charges_of(tariff, window, [], quarters)
    assert [line.charge for line in bill.demand] == [Decimal("192.00"), Decimal("126.00")]  # 30*12*16/30, 45*6*14/30
    assert [(line.kw, line.time, line.charge) for line in bill.peak_demand] == [(0.0, None, Decimal("0.00"))]


def test_export_alone_is_no_demand_but_is_reported() -> None:
    bill = charges_of(tariff_from_json(FULL), JULY, [], [QuarterHour(JULY.start, OFF, -3.0, 1.0)])
    assert (bill.demand[0].kw, bill.demand[0].time, bill.demand[0].charge) == (0.0, None, Decimal("0.00"))
    assert bill.highest is not None
    assert bill.highest.P == -3.0


def test_a_credit_may_outweigh_the_charges() -> None:
    tariff = tariff_from_json(
        {"energy": [{"season": "all", "period": "all", "import_per_kwh": "0.1", "export_per_kwh": "0.2"}]}
    )
    bill = charges_of(tariff, JULY, [PeriodEnergy(Period("all", "all"), 10.0, 100.0, 1.0)], [])
    assert bill.total == Decimal("-19.00")


def test_a_tariff_without_prices_still_shows_the_energy() -> None:
    bill = charges_of(tariff_from_json({}), JULY, [PeriodEnergy(Period("all", "all"), 10.0, 1.0, 1.0)], [])
    assert [(line.import_kwh, line.import_charge) for line in bill.energy] == [(10.0, None)]
    assert bill.total == 0


def test_the_present_period_counts_until_now() -> None:
    total = ChargesSum(tariff_from_json(FULL), NEW_YORK, JULY, JULY.start + 7200)
    total.add_energy([PeriodEnergy(OFF, 1.0, 0.0, 3600)])
    bill = total.result()
    assert (bill.final, bill.until, bill.energy_complete) == (False, JULY.start + 7200, 0.5)
    at_once = ChargesSum(tariff_from_json(FULL), NEW_YORK, JULY, JULY.start).result()
    assert (at_once.energy_complete, at_once.demand_complete) == (0.0, 0.0)


@given(
    st.lists(
        st.builds(
            PeriodEnergy,
            st.sampled_from([PEAK, OFF]),
            st.floats(0, 1000),
            st.floats(0, 1000),
            st.floats(0, 3600),
        ),
        max_size=20,
    ),
    st.lists(
        st.builds(
            QuarterHour,
            st.integers(0, 2000).map(lambda k: JULY.start + 900 * k),
            st.sampled_from([PEAK, OFF]),
            st.sampled_from([-5.0, 1.0, 2.0, 3.0]),
            st.sampled_from([0.2, 0.5, 1.0]),
        ),
        max_size=20,
        unique_by=lambda quarter: quarter.start,
    ),
    st.randoms(),
)
def test_the_order_of_pieces_does_not_matter(
    parts: list[PeriodEnergy], quarters: list[QuarterHour], random: Random
) -> None:
    tariff = tariff_from_json(FULL)
    bill = charges_of(tariff, JULY, parts, quarters)
    random.shuffle(parts)
    random.shuffle(quarters)
    assert charges_of(tariff, JULY, parts, quarters) == bill


def test_days_are_the_customers() -> None:
    tariff = tariff_from_json(FULL)
    window = TimeRange(at("2026-09-30", ZoneInfo("Asia/Tokyo")), at("2026-10-02", ZoneInfo("Asia/Tokyo")))
    assert season_shares(tariff, window, ZoneInfo("Asia/Tokyo")) == {
        "summer": Decimal("0.5"),
        "winter": Decimal("0.5"),
    }
