"""Which channels add up and which do not."""

from __future__ import annotations

from math import isfinite, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenergyd.derivation.formulas import DIGITS, difference, reactive_power, rounded, total
from cenergyd.derivation.plugin_result import BadResult, checked_result
from cenergyd.hookspecs import AlignedReading
from cenergyd.readings.model import Reading

any_float = st.none() | st.floats()
powers = st.floats(-1e4, 1e4)
channels = st.builds(Reading, st.just(60), any_float, any_float, any_float, any_float)


def one(role: str, formula: str, **present: Reading) -> Reading | None:
    pair = AlignedReading(60, present.get("utility"), present.get("load"), present.get("solar"))
    if role == "load":
        found = total([pair], "solar", "utility", formula)
    else:
        found = difference([pair], "load", "utility" if role == "solar" else "solar", formula)
    return found[0] if found else None


def test_the_worked_example() -> None:
    """Load 1000 W at PF 0.928 less PV 500 W at PF 1: the grid's PF is 0.781, not -0.07."""
    load, solar = Reading(60, 1.0, 0.928, 120.0, 0.4), Reading(60, 0.5, 1.0, 122.0, 0.0)
    grid = one("utility", "physical", load=load, solar=solar)
    assert grid == Reading(60, 0.5, pytest.approx(0.781, abs=5e-4), 121.0, 0.4, False)
    assert one("utility", "literal", load=load, solar=solar) == Reading(60, 0.5, -0.072, -2.0, 0.4)


def test_the_worked_example_without_measured_Q() -> None:
    load, solar = Reading(60, 1.0, 0.928, 120.0), Reading(60, 0.5, 1.0, 122.0)
    grid = one("utility", "physical", load=load, solar=solar)
    assert grid is not None
    assert grid.estimated
    assert pytest.approx(sqrt(1 - 0.928**2) / 0.928) == grid.Q
    assert pytest.approx(0.781, abs=2e-3) == grid.L1_PF  # 0.928 is itself rounded


@pytest.mark.parametrize(("role", "expected"), [("load", 3.0 + 1.0), ("utility", 3.0 - 1.0), ("solar", 3.0 - 1.0)])
def test_the_site_equation(role: str, expected: float) -> None:
    first, second = {"load": ("solar", "utility"), "utility": ("load", "solar"), "solar": ("load", "utility")}[role]
    found = one(
        role, "physical", **{first: Reading(60, 3.0, None, None, 2.0), second: Reading(60, 1.0, None, None, 1.0)}
    )
    assert found is not None
    assert (expected, 3.0 if role == "load" else 1.0) == (found.P, found.Q)


def test_export_is_negative_and_its_power_factor_is_not() -> None:
    found = one("utility", "physical", load=Reading(60, 1.0, 1.0), solar=Reading(60, 4.0, 1.0))
    assert found == Reading(60, -3.0, 1.0, None, 0.0, True)


def test_no_power_no_power_factor() -> None:
    """The rounding error of 0.1 + 0.2 - 0.3 is not power."""
    found = one(
        "load", "physical", solar=Reading(60, 0.1 + 0.2, 1.0, 120.0, 0.0), utility=Reading(60, -0.3, 1.0, None, 0.0)
    )
    assert found == Reading(60, 0.0, None, 120.0, 0.0, False)


@pytest.mark.parametrize("formula", ["physical", "literal"])
def test_no_P_is_a_gap(formula: str) -> None:
    assert one("load", formula, solar=Reading(60, None, 1.0, 120.0, 1.0), utility=Reading(60, 1.0)) is None


def test_missing_power_factor_keeps_P() -> None:
    found = one("load", "physical", solar=Reading(60, 1.0, 0.9), utility=Reading(60, 1.0))
    assert found == Reading(60, 2.0)


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        (Reading(60, 4.0, 0.8), (3.0, True)),
        (Reading(60, 4.0, -0.8), (3.0, True)),
        (Reading(60, -4.0, 0.8), (3.0, True)),
        (Reading(60, 4.0, 0.8, None, -1.0), (-1.0, False)),
        (Reading(60, 0.0, 0.0), (0.0, True)),
        (Reading(60, 4.0, 0.0), (None, False)),
        (Reading(60, 4.0, None), (None, False)),
        (Reading(60, 4.0, 1.004), (0.0, True)),
        (Reading(60, 4.0, 93.0), (None, False)),
        (Reading(60, 4.0, float("nan")), (None, False)),
    ],
)
def test_reactive_power(reading: Reading, expected: tuple[float | None, bool]) -> None:
    Q, estimated = reactive_power(reading)
    assert (None if Q is None else pytest.approx(Q), estimated) == expected


@given(channels, channels, st.sampled_from(["load", "utility", "solar"]), st.sampled_from(["physical", "literal"]))
def test_only_finite_values_come_out(first: Reading, second: Reading, role: str, formula: str) -> None:
    roles = [each for each in ("utility", "load", "solar") if each != role]
    found = one(role, formula, **dict(zip(roles, (first, second), strict=True)))
    if found is None:
        assert (
            first.P is None
            or second.P is None
            or not (isfinite(first.P) and isfinite(second.P))
            or abs(first.P) > 1e300
            or abs(second.P) > 1e300
        )
        return
    assert checked_result([AlignedReading(60, None, None, None)], [found]) == [found]
    if formula == "physical":
        assert found.L1_PF is None or 0 <= found.L1_PF <= 1


@given(powers, powers, powers, powers)
def test_computed_and_measured_give_back_the_third(P: float, Q: float, p: float, q: float) -> None:
    load, solar = Reading(60, P, None, None, Q), Reading(60, p, None, None, q)
    grid = one("utility", "physical", load=load, solar=solar)
    assert grid is not None
    again = one("load", "physical", utility=grid, solar=solar)
    assert again is not None
    assert (pytest.approx(P, abs=1e-8), pytest.approx(Q, abs=1e-8)) == (again.P, again.Q)


ASKED = [AlignedReading(time, None, None, None) for time in (60, 120, 180)]


@pytest.mark.parametrize(
    "returned",
    [
        None, 7, "text", [None], [(60, 1.0)], [Reading(61, 1.0)], [Reading(60, 1.0), Reading(60, 1.0)],
        [Reading(60, float("nan"))], [Reading(60, 1.0, float("inf"))], [Reading(60, "1")], [Reading(60, True)],
        [Reading(60)], [Reading(60.0, 1.0)], [Reading(60, 10**400)], [Reading(60, 1.0, estimated=1)], {60: 1},
    ],
)  # fmt: skip
def test_nonsense_is_refused(returned: object) -> None:
    with pytest.raises(BadResult):
        checked_result(ASKED, returned)


def test_order_and_whole_numbers_are_forgiven() -> None:
    found = checked_result(ASKED, (Reading(180, 2), Reading(60, 1.5)))
    assert found == [Reading(60, 1.5), Reading(180, 2.0)]
    assert type(found[1].P) is float


@given(
    st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(-40_000, 40_000)
    | st.integers(-(10**12), 10**12).map(
        lambda number: number * 5e-10
    )  # among them nearly all ties of the ninth decimal
    | st.tuples(st.integers(-(10**7), 10**7), st.integers(-(10**7), 10**7)).map(lambda two: two[0] / 1e3 - two[1] / 1e3)
)
def test_rounding_is_that_of_python(value: float) -> None:
    assert repr(rounded(value)) == repr(round(value, DIGITS) + 0.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_has_no_rounded_value(value: float) -> None:
    assert rounded(value) is None
