import pytest
import site_corrections

from cenergyd.testing import PluginTest, aligned, make_customer, simulate_day

NAMES_IT = {"derivation": {"plugin": "site_corrections"}}


def plugin(**options):
    return PluginTest(site_corrections, "site_corrections", options=options)


def test_a_customer_that_does_not_name_it_is_left_to_others():
    assert plugin().derive(make_customer("load"), "load", aligned(utility=[1.0], solar=[2.0])) is None


def test_the_ct_ratio_corrects_the_meter_and_so_what_is_computed():
    customer = make_customer("load", extensions=NAMES_IT)
    corrected = plugin(meter="utility", ct_ratio="2").derive(customer, "load", aligned(utility=[1.0], solar=[3.0]))
    assert [reading.P for reading in corrected] == [5.0]


def test_at_night_no_sun_shines():
    customer = make_customer("load", extensions=NAMES_IT)
    computed = plugin().derive(customer, "load", aligned(utility=[1.0, 1.0], solar=[-0.004, 2.0]))
    assert [reading.P for reading in computed] == [1.0, 3.0]
    customer = make_customer("solar", extensions=NAMES_IT)
    computed = plugin().derive(customer, "solar", aligned(utility=[1.0, -1.0], load=[1.01, 1.0]))
    assert [reading.P for reading in computed] == [0.0, 2.0]


def test_a_day_of_a_site_with_a_meter_that_shows_half():
    day = simulate_day("load")
    halved = [reading._replace(P=reading.P / 2, Q=reading.Q / 2) for reading in day.readings["utility"]]
    wrong = [pair._replace(utility=reading) for pair, reading in zip(day.aligned, halved, strict=True)]
    customer = make_customer("load", extensions=NAMES_IT)
    computed = plugin(meter="utility", ct_ratio="2", night_kw="0").derive(customer, "load", wrong)
    assert [reading.P for reading in computed] == pytest.approx([reading.P for reading in day.readings["load"]])


def test_wrong_options_are_refused():
    with pytest.raises(Exception, match="ct_ratio = '0'"):
        plugin(ct_ratio="0")
