"""Does a meter measure the grid or the load? On simulated sites, named right and wrong."""

from __future__ import annotations

from collections import Counter

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.customers.model import Role
from cenergyd.jobs.doctor.grid_or_load import check_grid_or_load, slope_of
from cenergyd.tools.simulator.site import make_sites
from tests.jobs.conftest import JobsUnderTest
from tests.jobs.doctor.test_doctor import DAYS, Case, by_code, truth

OTHER: dict[Role, Role] = {"utility": "load", "load": "utility"}


@pytest.mark.parametrize("step", [60, 300])
def test_a_day_of_a_site_shows_which_it_is_or_nothing(step: int) -> None:
    said: Counter[str] = Counter()
    for site in make_sites(8, 7):
        real = truth(site, DAYS[1], step=step)
        for role, other in OTHER.items():
            right = check_grid_or_load({role: real[role], "solar": real["solar"]})
            wrong = check_grid_or_load({other: real[role], "solar": real["solar"]})
            assert [each.severity for each in right] in ([], ["ok"])
            assert [each.severity for each in wrong] in ([], ["warning"])
            assert len(right) == len(wrong)
            said[role] += len(right)
    # The grid's meter of a site that feeds in is always known; a load is sometimes too restless for one day.
    assert said["utility"] == 8
    assert said["load"] >= (4 if step == 60 else 1)


def test_what_is_not_clear_is_not_reported() -> None:
    real = truth(next(make_sites(1, 7)), DAYS[1], step=300)
    assert check_grid_or_load({"utility": real["utility"]}) == []
    assert check_grid_or_load({"utility": real["utility"], "load": real["load"]}) == []
    assert check_grid_or_load(real) == []
    dark = dict.fromkeys(real["solar"], 0.0)
    assert check_grid_or_load({"load": real["load"], "solar": dark}) == []
    assert check_grid_or_load({"load": {}, "solar": {}}) == []


@given(st.dictionaries(st.integers(0, 200).map(lambda n: n * 60), st.floats(-50, 50), max_size=200))
def test_a_grid_meter_has_slope_minus_one_whatever_the_sun_does(sun: dict[int, float]) -> None:
    slope = slope_of({time: 100.0 - value for time, value in sun.items()}, sun, 60)
    assert slope is None or slope.error == float("inf") or slope.value == pytest.approx(-1.0)


@pytest_twisted.ensureDeferred
async def test_the_report_says_that_the_facility_meter_looks_like_the_load(jobs: JobsUnderTest) -> None:
    case = Case(jobs)
    await case.store({"1": "load", "2": "solar"}, Q=1.0)
    await case.heard()
    found = by_code(await case.report())["grid_or_load"]
    assert (found.severity, found.field, found.evidence["looks_like"]) == ("warning", "facility", "load")
    assert "appears to measure the load, not the grid" in found.message
    assert "migrate --facility-is load" in found.advice


@pytest_twisted.ensureDeferred
async def test_the_report_says_that_a_meter_negative_at_noon_is_no_load(jobs: JobsUnderTest) -> None:
    case = Case(jobs)
    await case.store({"1": "utility", "2": "solar"}, Q=1.0)
    await case.heard()
    found = by_code(await case.report(facility="", load="1", solar="2"))["grid_or_load"]
    assert (found.severity, found.field) == ("warning", "load")
    assert "negative in" in found.message and "enter it as the utility meter" in found.advice
