"""Channels by name and unit."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenergyd.acquisuite.configfiles import parse_points
from cenergyd.acquisuite.layouts import ION6200, VERIS, Layout
from cenergyd.acquisuite.points import Point, find_layout, learned_layout

SAMPLES = Path(__file__).parent.parent / "samples"


def points(*described: tuple[str, str]) -> list[Point]:
    return [Point(number, name, units) for number, (name, units) in enumerate(described)]


def names(layout: Layout | None, known: list[Point]) -> dict[str, str]:
    return {} if layout is None else {channel: known[column - 4].name for channel, column in layout.columns.items()}


def test_the_real_config_file() -> None:
    found = find_layout("x", parse_points((SAMPLES / "mb-001.ini").read_bytes()))
    assert found is not None
    assert found.columns == {"P": 4 + 2, "L1_PF": 4 + 13, "Q": 4 + 7} == ION6200.columns


VERIS_POINTS = points(
    ("Net Energy Consumption", "kWh"), ("Total Net Instantaneous Real Power", "kW"),
    ("Total Net Instantaneous Reactive Power", "kVAR"), ("Total Net Instantaneous Apparent Power", "kVA"),
    ("Total Power Factor", ""), ("Voltage, L-L, 3p Average", "Volts"), ("Voltage, L-N, 3p Average", "Volts"),
    ("Total Real Power Present Demand", "kW"), ("Total Real Power Max Demand Import", "kW"), ("Real Power, Phase A", "kW"),
    ("Real Power, Phase B", "kW"), ("Reactive Power, Phase A", "kVAR"), ("Power Factor, Phase A", ""),
    ("Voltage, Phase A-B", "Volts"), ("Voltage, Phase A-N", "Volts"), ("Voltage, Phase B-N", "Volts"),
)  # fmt: skip


def test_a_veris() -> None:
    assert names(find_layout("x", VERIS_POINTS), VERIS_POINTS) == {
        "P": "Total Net Instantaneous Real Power",
        "L1_PF": "Total Power Factor",
        "L1_V": "Voltage, Phase A-N",
        "Q": "Total Net Instantaneous Reactive Power",
    }


def test_a_shark() -> None:
    known = points(
        ("Volts A-N", "Volts"), ("Volts B-N", "Volts"), ("Volts A-B", "Volts"), ("Amps A", "Amps"),
        ("Watts, 3-Ph total", "kW"), ("VARs, 3-Ph total", "kVAR"), ("VAs, 3-Ph total", "kVA"),
        ("Power Factor, 3-Ph total", ""), ("Watts, Phase A", "kW"), ("Power Factor, Phase A", ""),
    )  # fmt: skip
    assert names(find_layout("x", known), known) == {
        "P": "Watts, 3-Ph total",
        "L1_PF": "Power Factor, 3-Ph total",
        "L1_V": "Volts A-N",
        "Q": "VARs, 3-Ph total",
    }


def test_a_h8036_with_its_demands() -> None:
    known = points(
        ("Energy Consumption", "kWh"), ("Real Power", "kW"), ("Reactive Power", "kVAR"), ("Apparent Power", "kVA"),
        ("Power Factor", ""), ("Voltage, line to line", "Volts"), ("Real Power phase A", "kW"), ("Power Factor phase A", ""),
        ("Voltage phase A-N", "Volts"), ("Average Demand", "kW"), ("Minimum Demand", "kW"), ("Maximum Demand", "kW"),
    )  # fmt: skip
    assert names(find_layout("x", known), known) == {
        "P": "Real Power", "L1_PF": "Power Factor", "L1_V": "Voltage phase A-N", "Q": "Reactive Power"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("units", "scale"),
    [("kW", 1), ("KW", 1), ("W", 0.001), ("Watts", 0.001), ("MW", 1000), ("k W", 1), ("kilowatts", 1)],
)
def test_units_of_power(units: str, scale: float) -> None:
    layout = find_layout("x", points(("Real Power", units)))
    assert layout is not None
    assert layout.P_scale == pytest.approx(scale)


@pytest.mark.parametrize(
    ("units", "scale"), [("kVAR", 1), ("KVAR", 1), ("VAR", 0.001), ("vars", 0.001), ("MVAR", 1000)]
)
def test_units_of_reactive_power(units: str, scale: float) -> None:
    layout = find_layout("x", points(("Reactive Power", units)))
    assert layout is not None
    assert (layout.Q, layout.Q_scale) == (4, pytest.approx(scale))


def test_power_factor_in_percent() -> None:
    layout = find_layout("x", points(("System power factor", "%")))
    assert layout is not None
    assert (layout.L1_PF, layout.L1_PF_scale) == (4, 0.01)


@pytest.mark.parametrize(
    "described",
    [
        [("Circuit 1", "kW"), ("Circuit 2", "kW")],  # which?
        [("Real Power, Phase A", "kW"), ("Real Power, Phase B", "kW"), ("Real Power, Phase C", "kW")],
        [("Max Demand", "kW"), ("Min Demand", "kW"), ("Peak", "kW")],
        [("Real Energy", "kWh"), ("Apparent Power", "kVA"), ("Apparent power", "kW"), ("Reactive power", "kW")],
        [("Real Power", "Gallons"), ("Power L1", "kW")],
        [("-", "-"), ("", "")],
        [],
    ],
)
def test_better_none_than_a_wrong_one(described: list[tuple[str, str]]) -> None:
    assert find_layout("x", points(*described)) is None


def test_import_and_export_are_parts() -> None:
    known = points(("Real power import", "kW"), ("Real power", "kW"), ("Real power export", "kW"))
    assert names(find_layout("x", known), known) == {"P": "Real power"}


def test_points_that_tell_nothing_leave_the_table_its_say() -> None:
    assert learned_layout("x", points(("-", "-")), VERIS) == VERIS
    assert learned_layout("x", [Point(10, "Umsatz", "")], VERIS) == VERIS


def test_points_that_contradict_the_table_win() -> None:
    known = [Point(10, "Water", "Gallons"), Point(13, "Gas", "CF"), Point(66, "Something", "V")]
    assert learned_layout("x", known, VERIS).columns == {"L1_V": 70, "Q": 15}


def test_points_that_tell_where_power_is_replace_the_table() -> None:
    assert learned_layout("x", VERIS_POINTS, ION6200) == find_layout("x", VERIS_POINTS)


@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.text(max_size=30), st.sampled_from(["kW", "", "V", "kVAR", "%", "x"])),
        max_size=12,
    )
)
@settings(max_examples=60)
def test_any_points(described: list[tuple[int, str, str]]) -> None:
    layout = learned_layout("x", [Point(*one) for one in described], VERIS)
    assert all(4 <= column <= 204 for column in layout.columns.values())
