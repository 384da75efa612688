"""The energy of an hour with even readings is exactly the one that lines give."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cenergyd.customers.meter_history import role_segments
from cenergyd.customers.model import ROLES, Customer, TimeRange
from cenergyd.jobs.energy.energy import Energy, energy
from cenergyd.jobs.energy.even_hour import even_hour
from cenergyd.jobs.energy.role_power import RolePowerReader
from cenergyd.jobs.neighbour_readings import ReadRows
from cenergyd.readings.model import Reading
from tests.jobs.site import LOAD, UTILITY, customer_in, run, store_with

HOUR = TimeRange(1_760_000_400, 1_760_004_000)
LONGEST = 5400


def by_lines(customer: Customer, rows: ReadRows) -> dict[str, Energy]:
    reader = RolePowerReader(customer, store_with(), LONGEST, HOUR.end + 86400)
    lines = run(reader.lines(rows, HOUR))
    return {
        segment.series: energy(lines[role], *HOUR) for role in ROLES for segment in role_segments(customer, role, *HOUR)
    }


def site(*turned: str, **more: Any) -> Customer:
    return attrs.evolve(customer_in("UTC", extensions={"meters": {"reversed": list(turned)}}), **more)


def rows_of(first: int, pause: int, *powers: list[float]) -> ReadRows:
    return {
        name: [Reading(HOUR.start + first + pause * k, P=power) for k, power in enumerate(mine)]
        for name, mine in zip((UTILITY, LOAD), powers, strict=True)
    }


POWERS = st.one_of(
    st.floats(0, 9), st.floats(-9, 0), st.floats(-9, 9), st.sampled_from([0.0, -0.0, 1e30, -1e30, 5e-324, -5e-324])
)


@st.composite
def even_logs(draw: st.DrawFn) -> ReadRows:
    count, pause = draw(st.integers(3, 90)), draw(st.sampled_from([1, 7, 60, 300, 900, 3600, 5400]))
    first = draw(st.integers(-pause * count - pause, 3700))
    sign = draw(st.sampled_from(["any", "import", "export"]))
    powers = [draw(st.lists(POWERS, min_size=count, max_size=count)) for _ in range(2)]
    if sign != "any":
        powers = [[abs(each) if sign == "import" else -abs(each) for each in some] for some in powers]
    return rows_of(first, pause, *powers)


@given(even_logs(), st.lists(st.sampled_from(["utility", "load"]), unique=True))
@example(rows_of(-30, 60, [1.0] * 90, [2.0] * 90), ["load"])
@example(rows_of(-5000, 5400, [1.0, -3.0, 4.0], [1.0, 2.0, 4.0]), [])
@example(rows_of(-1800, 5400, [-1.0, -3.0, -4.0], [1.0, 2.0, 4.0]), [])
def test_the_numbers_are_those_of_lines(rows: ReadRows, turned: list[str]) -> None:
    customer = site(*turned)
    assert repr(even_hour(customer, rows, HOUR, LONGEST)) == repr(by_lines(customer, rows))


EVEN = rows_of(-900, 60, [1.0] * 60, [2.0] * 60)


@pytest.mark.parametrize(
    ("customer", "rows"),
    [
        (site(), {UTILITY: [*EVEN[UTILITY][:20], *EVEN[UTILITY][21:]], LOAD: EVEN[LOAD]}),
        (site(), {UTILITY: EVEN[UTILITY], LOAD: EVEN[LOAD][:-15]}),
        (site(), {UTILITY: EVEN[UTILITY], LOAD: [*EVEN[LOAD][:-1], EVEN[LOAD][-1]._replace(P=None)]}),
        (site(), {UTILITY: EVEN[UTILITY], LOAD: [*EVEN[LOAD][:-1], EVEN[LOAD][-1]._replace(P=1e31)]}),
        (site(), {UTILITY: EVEN[UTILITY]}),
        (site(facility="1+3"), EVEN),
        (customer_in("UTC", extensions={"history": [{"until": HOUR.start - 86400, "facility": "2"}]}), EVEN),
    ],
    ids=["a lost row", "one is late", "no power", "implausible", "one is missing", "a sum", "a change"],
)
def test_any_other_hour_needs_lines(customer: Customer, rows: ReadRows) -> None:
    assert even_hour(customer, rows, HOUR, LONGEST) is None


def test_a_site_with_one_meter_has_the_energy_of_that_meter() -> None:
    customer = site(load="", solar="")
    assert even_hour(customer, EVEN, HOUR, LONGEST) == by_lines(customer, EVEN)
