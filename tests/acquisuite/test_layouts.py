"""Layouts by device class, from the ini, and which of several is taken."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from cenergyd.acquisuite.layouts import ION6200, SHARK, VERIS, Layout, LayoutTable, layout_from_columns


class Section(NamedTuple):
    """What the settings hold of one [layout:NAME]."""

    device_classes: tuple[str, ...]
    P: str = ""
    L1_PF: str = ""
    L1_V: str = ""
    Q: str = ""


def test_built_in() -> None:
    table = LayoutTable()
    assert table.for_class("35") is table.for_class(35) is table.for_class(" 035 ") is SHARK
    assert table.for_class("10") is ION6200
    for unknown in (None, "", "0", "2", "99", "Veris E51"):
        assert table.for_class(unknown) is VERIS
    assert VERIS.columns == {"P": 14, "L1_PF": 17, "L1_V": 70, "Q": 15}
    assert SHARK.columns == {"P": 13, "L1_PF": 16, "L1_V": 4, "Q": 14}
    assert ION6200.columns == {"P": 6, "L1_PF": 17, "Q": 11}


def test_the_ini_adds_and_replaces() -> None:
    table = LayoutTable({"mine": Section(("99", "35"), P="20", Q=" 21 ")})
    assert table.for_class("99") == table.for_class("35") == Layout("mine", P=20, Q=21)
    assert table.from_ini("10") is None
    assert table.for_class("10") is ION6200


@pytest.mark.parametrize("column", ["3", "-1", "1024", "x", "4.5", "١٢"])
def test_wrong_columns_are_named(column: str) -> None:
    with pytest.raises(ValueError, match="layout mine, L1_V"):
        LayoutTable({"mine": Section(("99",), P="4", L1_V=column)})


def test_an_empty_layout_and_two_of_one_class_are_wrong() -> None:
    with pytest.raises(ValueError, match="no column"):
        layout_from_columns("x", {})
    with pytest.raises(ValueError, match="one and two both name device class 9"):
        LayoutTable({"one": Section(("9",), P="4"), "two": Section(("09",), P="5")})
