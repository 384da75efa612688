"""Finding a reading's values among points, by name and unit."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cenergyd.acquisuite.config_files import parse_meter_config
from cenergyd.acquisuite.layouts import H8036, VERIS
from cenergyd.acquisuite.points import Description, Point, describe_columns, header_point
from cenergyd.readings.model import VALUES

SAMPLES = Path(__file__).parent.parent / "samples"
FIELD = Path(__file__).parent.parent / "field"
Described = list[tuple[str, str]]


def points(described: Described) -> tuple[Point, ...]:
    return tuple(Point(number, name, units) for number, (name, units) in enumerate(described))


def names(found: Description, known: tuple[Point, ...]) -> dict[str, str]:
    return {value: known[column - 4].name for value, column in found.columns.items()}


def test_the_config_file_of_an_acquilite() -> None:
    found = describe_columns(parse_meter_config((SAMPLES / "mb-001.ini").read_bytes()).points)
    assert found.columns == {"P": 4 + 2, "L1_PF": 4 + 13, "Q": 4 + 7, "E_net": 4}
    assert found.doubts == {}


def test_the_config_file_of_an_h8036_says_what_the_table_does() -> None:
    config = parse_meter_config((FIELD / "02-h8036.ini").read_bytes())
    assert (len(config.points), config.count) == (26, 26)
    assert describe_columns(config.points).columns == H8036.columns


# As a Veris E51C2 names its 72 points.
E51C2: Described = [
    ("Accumulated Real Energy Net", "kWh"), ("Real Energy Quadrants 1 & 4, Import", "kWh"),
    ("Real Energy Quadrants 2 & 3, Export", "kWh"), ("Reactive Energy Quadrant 1", "VARh"), ("Reactive Energy Quadrant 2", "VARh"),
    ("Reactive Energy Quadrant 3", "VARh"), ("Reactive Energy Quadrant 4", "VARh"), ("Apparent Energy Net", "VAh"),
    ("Apparent Energy Quadrants 1 & 4", "VAh"), ("Apparent Energy Quadrants 2 & 3", "VAh"),
    ("Total Net Instantaneous Real Power", "kW"), ("Total Net Instantaneous Reactive Power", "kVAR"),
    ("Total Net Instantaneous Apparent Power", "kVA"), ("Total Power Factor", ""), ("Voltage, L-L, 3p Ave", "Volts"),
    ("Voltage, L-N, 3p Ave", "Volts"), ("Current, 3p Ave", "Amps"), ("Frequency", "Hz"),
    ("Total Real Power Present Demand", "kW"), ("Total Reactive Power Present Demand", "kVAR"),
    ("Total Apparent Power Present Demand", "kVA"), ("Total Real Power Max Demand, Import", "kW"),
    ("Total Reactive Power Max Demand, Import", "kVAR"), ("Total Apparent Power Max Demand, Import", "kVA"),
    ("Total Real Power Max Demand, Export", "kW"), ("Total Reactive Power Max Demand, Export", "kVAR"),
    ("Total Apparent Power Max Demand, Export", "kVA"),
    *((f"Accumulated Real Energy, Phase {phase}, {way}", "kW") for way in ("Import", "Export") for phase in "ABC"),
    *((f"Accumulated Q{q} Reactive Energy, Phase {phase}, Import", "VARh") for q in (1, 2, 3, 4) for phase in "ABC"),
    *((f"Accumulated Apparent Energy, Phase {phase}, {way}", "VAh") for way in ("Import", "Export") for phase in "ABC"),
    *((f"Real Power, Phase {phase}", "kW") for phase in "ABC"), *((f"Reactive Power, Phase {phase}", "kVAR") for phase in "ABC"),
    *((f"Apparent Power, Phase {phase}", "kVA") for phase in "ABC"), *((f"Power Factor, Phase {phase}", "") for phase in "ABC"),
    ("Voltage, Phase A-B", "Volts"), ("Voltage, Phase B-C", "Volts"), ("Voltage, Phase A-C", "Volts"),
    ("Voltage, Phase A-N", "Volts"), ("Voltage, Phase B-N", "Volts"), ("Voltage, Phase C-N", "Volts"),
    *((f"Current, Phase {phase}", "Amps") for phase in "ABC"),
]  # fmt: skip


def test_an_e51c2_says_what_the_table_does() -> None:
    assert len(E51C2) == 72
    found = describe_columns(points(E51C2))
    assert (found.columns, found.scales, found.doubts) == (VERIS.columns, {}, {})


METERS: dict[str, tuple[Described, dict[str, str]]] = {
    "Shark": (
        [("Volts A-N", "Volts"), ("Volts B-N", "Volts"), ("Volts A-B", "Volts"), ("Amps A", "Amps"), ("Watts, 3-Ph total", "kW"),
         ("VARs, 3-Ph total", "kVAR"), ("VAs, 3-Ph total", "kVA"), ("Power Factor, 3-Ph total", ""), ("Watts, Phase A", "kW"),
         ("Power Factor, Phase A", ""), ("W-hours, Received", "kWh"), ("W-hours, Net", "kWh"), ("W-hours, Total", "kWh")],
        {"P": "Watts, 3-Ph total", "L1_PF": "Power Factor, 3-Ph total", "L1_V": "Volts A-N", "Q": "VARs, 3-Ph total",
         "E_net": "W-hours, Net", "E_import": "W-hours, Received"},
    ),
    "ION 7330": (
        [("I a", "Amps"), ("I1 THD", "%"), ("Vll ab", "Volts"), ("Vln a", "Volts"), ("Vln avg mx", "Volts"), ("kW tot", "kW"),
         ("kVA tot", "kVA"), ("kVAR tot", "kVAR"), ("kW td", "kW"), ("kW sd del-rec", "kW"), ("kW tot mx", "kW"), ("kW a", "kW"),
         ("PF sign tot", ""), ("PF sign a", ""), ("kWh del", "kWh"), ("kWh rec", "kWh"), ("kWh a del", "kWh"), ("kVAh d+rec", "kVAh"),
         ("kWh del+rec", "kWh"), ("I unbal", "%")],
        {"P": "kW tot", "L1_PF": "PF sign tot", "L1_V": "Vln a", "Q": "kVAR tot", "E_import": "kWh del", "E_export": "kWh rec"},
    ),
    "Dent": (
        [("kW System", "kW"), ("kW L1", "kW"), ("Volts L1 to Neutral", "Volts"), ("Volts L1 to L2", "Volts"), ("kWh System", "kWh"),
         ("kWh L1", "kWh")],
        {"P": "kW System", "L1_V": "Volts L1 to Neutral", "E_net": "kWh System"},
    ),
    "WattNode": (
        [("Energy Sum", "kWh"), ("Power Sum", "kW"), ("Power A", "kW"), ("Voltage A", "Volts"), ("Voltage A-B", "Volts"),
         ("Voltage A-C", "Volts"), ("Energy Pos Sum", "kWh"), ("Energy Neg Sum", "kWh"), ("Energy Pos A", "kWh"),
         ("Power Reactive Sum", "kVAR"), ("Power Apparent Sum", "kVA"), ("Demand", "kW"), ("Demand Max", "kW")],
        {"P": "Power Sum", "L1_V": "Voltage A", "Q": "Power Reactive Sum", "E_import": "Energy Pos Sum", "E_export": "Energy Neg Sum"},
    ),
    "inverter": ([("Power_AC", "W"), ("Power_DC", "W"), ("Voltage_AN", "V")], {"P": "Power_AC", "L1_V": "Voltage_AN"}),
    "names that hold the unit": (
        [("KW_total", ""), ("Volts A-N (Volts)", ""), ("vln_b", "V")], {"P": "KW_total", "L1_V": "Volts A-N (Volts)"}
    ),
    "H8035": ([("Energy Consumption", "kWh"), ("Real Power", "kW")], {"P": "Real Power", "E_net": "Energy Consumption"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", METERS)
def test_meters_of_the_field(kind: str) -> None:
    described, expected = METERS[kind]
    known = points(described)
    assert names(describe_columns(known), known) == expected


@pytest.mark.parametrize(
    ("units", "scale"),
    [("kW", 1), ("KW", 1), ("W", 0.001), ("Watts", 0.001), ("MW", 1000), ("k W", 1), ("kilowatts", 1)],
)
def test_units_of_power(units: str, scale: float) -> None:
    found = describe_columns(points([("Real Power", units)]))
    assert (found.columns, found.scales.get("P", 1.0)) == ({"P": 4}, pytest.approx(scale))


@pytest.mark.parametrize(
    ("name", "units", "value", "scale"),
    [
        ("Reactive Power", "KVAR", "Q", 1),
        ("Reactive Power", "VAR", "Q", 0.001),
        ("System power factor", "%", "L1_PF", 0.01),
        ("Voltage A-N", "kV", "L1_V", 1000),
        ("Energy", "Wh", "E_net", 0.001),
        ("Imported energy", "MWh", "E_import", 1000),
    ],
)
def test_other_units(name: str, units: str, value: str, scale: float) -> None:
    found = describe_columns(points([(name, units)]))
    assert (found.columns, found.scales.get(value, 1.0)) == ({value: 4}, pytest.approx(scale))


@pytest.mark.parametrize(
    "described",
    [
        [("kW tot mx", "kW"), ("I unbal", "%"), ("CT5 Makeup", ""), ("CT5 Makeup Ave Rate", "per minute")],
        [("Real Power, Phase A", "kW"), ("Real Power, Phase B", "kW"), ("Real Power, Phase C", "kW")],
        [("Max Demand", "kW"), ("Min Demand", "kW"), ("Peak", "kW"), ("kW mn", "kW"), ("Avg Demand", "kW")],
        [("Apparent Power", "kVA"), ("Apparent power", "kW"), ("Reactive power", "kW"), ("THD", "%")],
        [("Real Power", "Gallons"), ("Power L1", "kW"), ("Pulses", "kWh"), ("Power Factor, Phase A", "")],
        [("-", "-"), ("", "")],
        [],
    ],
)
def test_other_quantities_are_none(described: Described) -> None:
    assert describe_columns(points(described)) == Description()


@pytest.mark.parametrize(
    ("described", "value", "doubt"),
    [
        ([("Circuit 1 Real Power", "kW"), ("Circuit 2 Real Power", "kW")], "P", "fit equally well"),
        ([("Main building", "kW")], "P", '"Main building" in column 4 may be it'),
        ([("Real Power", "")], "P", "may be it, but the name or unit does not say so"),
        ([("Real power import", "kW"), ("Real power export", "kW")], "P", "may be it"),
        ([("Average Real Power", "kW")], "P", "may be it"),
        ([("Power Factor Ave", "")], "L1_PF", "may be it"),
        ([("W-hours, Delivered", "kWh")], "E_export", "may be it"),
        ([("vln_a", "V"), ("Voltage_AN", "V")], "L1_V", "fit equally well"),
        ([("Electric Main #1", "kWh")], "E_net", "may be it"),
    ],
)
def test_ties_and_doubtful_matches_are_reported_not_taken(described: Described, value: str, doubt: str) -> None:
    found = describe_columns(points(described))
    assert value not in found.columns
    assert doubt in found.doubts[value]


def test_the_whole_name_goes_before_a_labelled_one() -> None:
    known = points([("Chiller Real Power", "kW"), ("Real power import", "kW"), ("Real power", "kW")])
    assert names(describe_columns(known), known) == {"P": "Real power"}


@pytest.mark.parametrize(
    ("text", "name", "units"),
    [
        ("'ION6200 demand (kW)'", "ION6200 demand", "kW"),
        ("'ION6200 rate (instantaneous) (kW)'", "ION6200 rate (instantaneous)", "kW"),
        ("'Power Factor (instantaneous)'", "Power Factor (instantaneous)", ""),
        ("'Water (Gallons)'", "Water", "Gallons"),
        ("'-'", "-", ""),
    ],
)
def test_fields_of_a_header_row(text: str, name: str, units: str) -> None:
    assert header_point(3, text) == Point(3, name, units)


@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.text(max_size=30), st.sampled_from(["kW", "", "V", "kVAR", "%", "kWh", "x"])),
        max_size=12,
    )
)
@settings(max_examples=60)
def test_any_points(described: list[tuple[int, str, str]]) -> None:
    found = describe_columns(tuple(Point(*one) for one in described))
    assert set(found.columns) | set(found.doubts) <= set(VALUES)
    assert not set(found.columns) & set(found.doubts)
    assert all(4 <= column <= 204 for column in found.columns.values())
