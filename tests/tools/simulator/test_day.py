"""The day at a simulated site is plausible, consistent and the same for the same seed."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from cenergyd.customers.model import ROLES
from cenergyd.tools.simulator.day import RegisterTotals, site_moment, site_moments, sun_elevation_sine, totals_after
from cenergyd.tools.simulator.site import PLACES, SimulatedSite, make_sites

NOON_2026 = int(datetime(2026, 6, 21, 12, tzinfo=UTC).timestamp())
sites = st.builds(
    lambda seed, index: list(make_sites(index + 1, seed))[index], st.integers(0, 10**6), st.integers(0, 23)
)
times = st.integers(1_600_000_000, 1_900_000_000)


@given(sites, times)
def test_site_equation_holds_in_what_is_logged(site: SimulatedSite, time: int) -> None:
    now = site_moment(site, time)
    assert math.isclose(now.load.P, now.solar.P + now.utility.P, abs_tol=1e-9)
    assert math.isclose(now.load.Q, now.solar.Q + now.utility.Q, abs_tol=1e-9)


@given(sites, times)
def test_values_are_plausible(site: SimulatedSite, time: int) -> None:
    now = site_moment(site, time)
    assert -0.01 <= now.solar.P <= site.peak_solar_kw
    assert 0 < now.load.P < 10 * site.mean_load_kw
    assert 0.9 * site.nominal_volts < now.volts < 1.1 * site.nominal_volts
    for role in ROLES:
        factor = now.of(role).power_factor
        assert factor is None or 0 <= factor <= 1
    assert now.load.power_factor is not None
    assert now.load.power_factor > 0.7


@given(sites, times)
def test_no_sun_no_power(site: SimulatedSite, time: int) -> None:
    if sun_elevation_sine(site.place, time) <= 0:
        assert site_moment(site, time).solar.P <= 0


@given(sites, times)
def test_any_time_may_be_asked_in_any_order(site: SimulatedSite, time: int) -> None:
    alone = site_moment(site, time)
    site_moment(site, time - 12345)
    assert site_moment(site, time) == alone
    assert alone in list(site_moments(site, time - 30, time + 31, 1))


@given(st.sampled_from(PLACES), st.integers(0, 364))
@settings(max_examples=40)
def test_the_sun_is_highest_around_local_noon(place, day: int) -> None:
    zone = ZoneInfo(place.zone)
    start = datetime(2026, 1, 1, tzinfo=zone) + timedelta(days=day)
    heights = [sun_elevation_sine(place, int(start.timestamp()) + 600 * step) for step in range(144)]
    # Zones are up to two hours off the sun (Pune, summer time in Lisbon), never more.
    assert abs(heights.index(max(heights)) / 6 - 12) < 2.2


def test_summer_days_are_longer_away_from_the_equator() -> None:
    berlin = next(place for place in PLACES if place.town == "Berlin")
    adelaide = next(place for place in PLACES if place.town == "Adelaide")

    def hours_of_sun(place, month: int) -> float:
        start = int(datetime(2026, month, 21, tzinfo=UTC).timestamp())
        return sum(sun_elevation_sine(place, start + 600 * step) > 0 for step in range(144)) / 6

    assert 16 <= hours_of_sun(berlin, 6) <= 17.5
    assert 7 <= hours_of_sun(berlin, 12) <= 8.5
    assert hours_of_sun(adelaide, 12) > 13 > hours_of_sun(adelaide, 6)


def test_clouds_differ_from_day_to_day() -> None:
    site = next(make_sites(1, 5))
    noon = int(datetime(2026, 6, 1, 19, 30, tzinfo=UTC).timestamp())  # Phoenix
    output = [site_moment(site, noon + 86400 * day).solar.P for day in range(30)]
    assert max(output) > 2 * min(output)


def test_evening_load_is_above_the_night() -> None:
    site = next(make_sites(1, 3))
    zone = ZoneInfo(site.place.zone)

    def mean(hour: int) -> float:
        days = [datetime(2026, 3, day, hour, 0, tzinfo=zone) for day in range(1, 29)]
        return sum(site_moment(site, int(day.timestamp())).load.P for day in days) / len(days)

    assert mean(19) > 2 * mean(3)
    assert mean(7) > 1.3 * mean(3)


def test_sites_are_reproducible_and_differ() -> None:
    first, again, other = (list(make_sites(30, seed)) for seed in (1, 1, 2))
    assert first == again
    assert not {site.serial for site in first} & {site.serial for site in other}
    assert len({site.serial for site in first}) == 30
    assert [site.missing for site in first[:6]] == ["utility", "load", "solar"] * 2
    for site in first:
        assert len(site.roles) == 2
        assert sum(1 for meter in site.fields.values() if meter) == 2


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=20), st.integers(1, 3600))
def test_energy_counters_add_up_and_never_fall(powers: list[float], seconds: int) -> None:
    energy = RegisterTotals(0.0, 0.0)
    net = 0.0
    for before, now in pairwise(powers):
        after = totals_after(energy, before, now, seconds)
        assert after.imported >= energy.imported
        assert after.exported >= energy.exported
        energy = after
        net += (before + now) / 2 * seconds / 3600
    assert math.isclose(energy.imported - energy.exported, net, abs_tol=1e-6)
