"""Where a point comes from, and why there is none."""

from __future__ import annotations

import pytest

from cenergyd.customers.model import Customer
from cenergyd.derivation.explain import MAX_MINUTES, explanations
from cenergyd.derivation.provenance import Explanation, SourceTime
from cenergyd.errors import InvalidField
from cenergyd.readings.model import Reading
from tests.derivation.memory import START, Site, customer, settle, site


def explained(daemon: Site, minutes: int = 10, who: Customer | None = None) -> list[Explanation]:
    return settle(
        daemon.clock,
        explanations(
            daemon.readings, who or daemon.customers["a"], START, START + 60 * minutes, tolerance=30, formula="physical"
        ),
    )


def put(daemon: Site, meter: str, *readings: Reading) -> None:
    settle(daemon.clock, daemon.came("a", meter, readings))


def whys(daemon: Site, minutes: int) -> list[str]:
    return [each.why for each in explained(daemon, minutes)]


def test_a_computed_point_names_its_sources() -> None:
    daemon = site(customer())
    put(daemon, "1", Reading(START + 5, 1.0, 0.9, 120.0, 0.5))
    put(daemon, "2", Reading(START + 2, 1.0, 0.9, 120.0, 0.5))
    daemon.tick()
    (point,) = explained(daemon, 1)
    assert point == Explanation(
        START + 2, "computed", "load", "00A_missing_meter",
        (SourceTime("utility", "00A_1", START + 5), SourceTime("solar", "00A_2", START + 2)),
        "physical/1", "computed from two measured readings",
    )  # fmt: skip


def test_every_reason() -> None:
    daemon = site(customer())
    full = {"L1_PF": 0.9, "L1_V": 120.0}
    put(
        daemon, "1",
        Reading(START, 1.0, Q=0.5), Reading(START + 60, 1.0, **full), Reading(START + 120, None, **full),
        Reading(START + 180, 1.0), Reading(START + 300, 1.0),
    )  # fmt: skip
    put(
        daemon, "2",
        Reading(START, 1.0, Q=0.5), Reading(START + 60, 1.0, **full), Reading(START + 120, 1.0),
        Reading(START + 180 + 40, 1.0), Reading(START + 420, 1.0),
    )  # fmt: skip
    daemon.tick()
    assert whys(daemon, 8) == [
        "computed", "estimated", "no_power", "not_aligned", "no_readings", "missing", "no_readings", "waiting",
    ]  # fmt: skip


def test_an_outage_and_one_that_waits() -> None:
    daemon = site(customer())
    put(daemon, "1", *(Reading(START + 60 * i, 1.0) for i in range(6)))
    put(daemon, "2", *(Reading(START + 60 * i, 1.0) for i in (0, 1, 4)))
    daemon.tick()
    found = explained(daemon, 6)
    assert [each.why for each in found] == ["computed", "computed", "missing", "missing", "computed", "waiting"]
    assert found[2].sources == (SourceTime("utility", "00A_1", START + 120), SourceTime("solar", "00A_2", None))
    assert "solar" in found[2].text
    assert "solar" in found[5].text


def test_pending() -> None:
    daemon = site(customer())
    put(daemon, "1", Reading(START, 1.0))
    put(daemon, "2", Reading(START, 1.0))
    assert whys(daemon, 2) == ["pending", "no_readings"]


def test_a_reading_used_in_the_minute_before_is_no_gap_of_its_own() -> None:
    daemon = site(customer())
    put(daemon, "1", Reading(START + 59, 1.0))
    put(daemon, "2", Reading(START + 65, 1.0))
    daemon.tick()
    assert whys(daemon, 2) == ["computed", "no_readings"]


def test_nothing_is_missing_nothing_to_explain() -> None:
    daemon = site(customer(load="3"))
    assert explained(daemon) == []


@pytest.mark.parametrize("minutes", [0, -1, MAX_MINUTES + 1])
def test_ranges_are_bounded(minutes: int) -> None:
    daemon = site(customer())
    with pytest.raises(InvalidField):
        explained(daemon, minutes)
