"""Known, other or unknown: the order of the sources, and that nothing is completed from a table."""

from __future__ import annotations

from typing import Any

import pytest

from cenergyd.acquisuite.layouts import H8036, VERIS, Layout, LayoutTable
from cenergyd.acquisuite.points import Point
from cenergyd.acquisuite.resolve import ConfigPoints, MeterFacts, Resolution, resolve, with_choice
from tests.acquisuite.test_layouts import Section

POWER = (Point(0, "Energy Consumption", "kWh"), Point(1, "Real Power", "kW"))
LABELS = (Point(0, "Main building", "kW"), Point(1, "Annex", "kW"))
WATER = (Point(0, "Water", "Gallons"),)
TABLE = LayoutTable({"mine": Section(("99", "2"), P="30")})


def config(points: tuple[Point, ...], count: int = 26, device_class: str = "") -> ConfigPoints:
    return ConfigPoints(points=points, count=count, device_class=device_class)


def columns(resolution: Resolution) -> dict[str, int]:
    assert (resolution.state, resolution.layout is None) == ("known", False)
    assert resolution.layout is not None
    return dict(resolution.layout.columns)


H8036_FACTS: dict[str, Any] = {"device_class": "2", "points": 26}


def test_the_first_that_says_something_decides() -> None:
    header = (Point(5, "kW total", "kW"),)
    named = (Point(6, "Real Power", "kW"),)
    facts = MeterFacts(**H8036_FACTS, header=header, named=named)
    assert columns(resolve(facts, config(POWER), TABLE)) == {"P": 5, "E_net": 4}
    assert columns(resolve(facts, None, TABLE)) == {"P": 9}
    assert columns(resolve(MeterFacts(**H8036_FACTS, named=named), None, TABLE)) == {"P": 10}
    assert columns(resolve(MeterFacts(**H8036_FACTS), None, TABLE)) == {"P": 30}
    assert columns(resolve(MeterFacts(**H8036_FACTS), None, LayoutTable())) == H8036.columns


def test_points_without_names_say_nothing() -> None:
    nothing = (Point(0, "-", ""), Point(1, "", "-"))
    facts = MeterFacts(**H8036_FACTS, header=nothing, named=nothing)
    assert resolve(facts, config(nothing), LayoutTable()).layout is H8036


def test_a_description_without_power_is_not_completed_from_a_table() -> None:
    water = resolve(MeterFacts(**H8036_FACTS), config(WATER), LayoutTable())
    assert (water.state, water.layout) == ("other", None)
    voltage = resolve(MeterFacts(**H8036_FACTS), config((Point(3, "Volts A-N", "V"),)), LayoutTable())
    assert columns(voltage) == {"L1_V": 7}


def test_a_doubtful_power_is_reported_and_holds_the_log() -> None:
    found = resolve(MeterFacts(**H8036_FACTS), config((*LABELS, Point(5, "Volts A-N", "V"))), LayoutTable())
    assert (found.state, found.layout) == ("unknown", None)
    assert "Main building" in found.doubts[0]


def test_other_doubts_are_reported_only() -> None:
    found = resolve(MeterFacts(), config((*POWER, Point(2, "Power Factor Ave", ""))), LayoutTable())
    assert columns(found) == {"P": 5, "E_net": 4}
    assert "Power Factor Ave" in found.doubts[0]


@pytest.mark.parametrize(("count", "device_class"), [(26, "48"), (20, "2"), (20, "")])
def test_a_config_file_of_another_meter_does_not_count(count: int, device_class: str) -> None:
    """A meter was replaced: its logs come before its config file does."""
    facts = MeterFacts(device_class="2", points=26)
    assert resolve(facts, config(POWER, count, device_class), LayoutTable()).layout is H8036
    unknown = resolve(MeterFacts(device_class="2", points=27), config(POWER, count, device_class), LayoutTable())
    assert (unknown.state, unknown.layout) == ("unknown", None)


@pytest.mark.parametrize(("count", "device_class"), [(26, "2"), (26, "02"), (26, ""), (40, "2")])
def test_a_config_file_of_this_meter_counts(count: int, device_class: str) -> None:
    facts = MeterFacts(device_class="2", points=26)
    assert columns(resolve(facts, config(POWER, count, device_class), LayoutTable())) == {"P": 5, "E_net": 4}


@pytest.mark.parametrize("device_class", ["17", "27", "1010", "4444"])
def test_devices_that_measure_no_power(device_class: str) -> None:
    assert resolve(MeterFacts(device_class=device_class, points=8), None, LayoutTable()).state == "other"
    # Neither its config file nor [upload] unknown_meters changes that.
    assert (
        resolve(MeterFacts(device_class=device_class, points=80), None, LayoutTable({}, "veris-e5x")).state == "other"
    )
    assert resolve(MeterFacts(device_class=device_class, points=8), config(POWER), LayoutTable()).state == "known"


@pytest.mark.parametrize(
    "facts",
    [
        MeterFacts(),
        MeterFacts(device_class="98", points=72),
        MeterFacts(device_class="48", points=26),  # too narrow
        MeterFacts(device_class="48"),
    ],
)
def test_nothing_is_guessed(facts: MeterFacts) -> None:
    found = resolve(facts, None, LayoutTable())
    assert (found.state, found.layout) == ("unknown", None)
    assert "not in the table" in found.reason
    assert resolve(facts, None, LayoutTable({}, "veris-e5x")).layout is VERIS


def test_a_choice_goes_before_everything() -> None:
    known = Resolution(state="known", layout=Layout("x", {"P": 5, "Q": 6}, {"P": 0.001, "Q": 0.001}), reason="x")
    chosen = with_choice(known, {"P": 20, "L1_V": 9})
    assert columns(chosen) == {"P": 20, "Q": 6, "L1_V": 9}
    assert chosen.layout is not None
    assert chosen.layout.scales == {"Q": 0.001}
    assert with_choice(known, {}) is known


@pytest.mark.parametrize("state", ["unknown", "other"])
def test_a_choice_makes_a_meter_known_only_with_its_real_power(state: Any) -> None:
    unknown = Resolution(state=state, reason="x", doubts=("y",))
    assert columns(with_choice(unknown, {"P": 20})) == {"P": 20}
    assert with_choice(unknown, {"P": 20}).doubts == ()
    assert with_choice(unknown, {"Q": 20}) is unknown
