"""Layouts: the built-in table by class or type and number of points, and the ini's sections."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from cenergyd.acquisuite.layouts import (
    H8036,
    PAC3200,
    PM210,
    PM620,
    SHARK,
    TABLE,
    VERIS,
    Layout,
    LayoutTable,
    built_in,
    layout_from_columns,
)


class Section(NamedTuple):
    """What the settings hold of one [layout:NAME]."""

    device_classes: tuple[str, ...]
    P: str = ""
    L1_PF: str = ""
    L1_V: str = ""
    Q: str = ""
    E_net: str = ""
    E_import: str = ""
    E_export: str = ""


@pytest.mark.parametrize(
    ("device_class", "device_type", "points", "layout"),
    [
        ("48", "", 72, VERIS),
        (" 048 ", "", 71, VERIS),
        ("27", "Veris E51C2", 71, VERIS),  # the type's text says it
        ("", "Veris E50C2 Power Meter, Full Data Set", 72, VERIS),
        ("2", "", 26, H8036),
        ("5", "H8163-CB", 29, H8036),
        ("35", "", 116, SHARK),
        ("", "Shark 200S", 116, SHARK),
        ("82", "", 43, None),  # a row too narrow for the layout
        ("82", "", 44, PAC3200),
        ("4025", "", 100, PM210),
        ("4045", "", 13, PM620),
    ],
)
def test_the_table(device_class: str, device_type: str, points: int, layout: Layout | None) -> None:
    assert built_in(device_class, device_type, points) is layout


@pytest.mark.parametrize(
    ("device_class", "device_type", "points"),
    [
        ("48", "", 26),
        ("48", "", 70),
        ("2", "", 72),  # a class of a narrower meter
        ("2", "", None),
        ("35", "", 28),
        ("10", "ION 6200", 61),
        ("", "", 72),
        ("99", "some E510 thing", 72),
        ("0", "Veris", 72),
    ],
)
def test_nothing_else_is_known(device_class: str, device_type: str, points: int | None) -> None:
    assert built_in(device_class, device_type, points) is None


def test_the_columns_of_the_table() -> None:
    assert VERIS.columns == {"P": 14, "L1_PF": 17, "L1_V": 70, "Q": 15, "E_net": 4, "E_import": 5, "E_export": 6}
    assert H8036.columns == {"P": 5, "L1_PF": 8, "L1_V": 21, "Q": 6, "E_net": 4}
    assert SHARK.columns == {"P": 13, "L1_PF": 16, "L1_V": 4, "Q": 14}
    for known in TABLE:
        assert all(4 + points > known.layout.last_column for points in known.points)


def test_the_ini_names_classes() -> None:
    table = LayoutTable({"mine": Section(("99", "35"), P="20", Q=" 21 ", E_import="4")})
    expected = Layout.of("mine", P=20, Q=21, E_import=4)
    assert table.section_for("99") == table.section_for("035") == expected
    assert table.section_for("10") is None
    assert table.section_for("") is None
    assert table.for_unknown is None


def test_unknown_meters_can_be_read_by_a_named_layout() -> None:
    assert LayoutTable({}, "veris-e5x").for_unknown is VERIS
    assert LayoutTable({"mine": Section((), P="20")}, "mine").for_unknown == Layout.of("mine", P=20)
    with pytest.raises(ValueError, match=r"unknown_meters: 'veris' is neither hold nor one of veris-e5x"):
        LayoutTable({}, "veris")


@pytest.mark.parametrize("column", ["3", "-1", "1024", "x", "4.5", "١٢", "9" * 5000])
def test_wrong_columns_are_named(column: str) -> None:
    with pytest.raises(ValueError, match="layout mine, L1_V"):
        LayoutTable({"mine": Section(("99",), P="4", L1_V=column)})


def test_an_empty_layout_and_two_of_one_class_are_wrong() -> None:
    with pytest.raises(ValueError, match="no column"):
        layout_from_columns("x", {})
    with pytest.raises(ValueError, match="one and two both name device class 9"):
        LayoutTable({"one": Section(("9",), P="4"), "two": Section(("09",), P="5")})
