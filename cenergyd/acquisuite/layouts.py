"""Which column of a log holds which value: layouts, the built-in table of meters, and the ini's sections."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

import attrs

from cenergyd.acquisuite.points import FIRST_POINT
from cenergyd.readings.model import VALUES

MAX_COLUMN: Final = 1023


@attrs.frozen(slots=True)
class Layout:
    """The column of each value of a reading, counted from 0 (the time). The meter has no value that is not in ``columns``."""

    name: str
    columns: Mapping[str, int] = attrs.field(factory=dict)
    """Value (``P``, ``L1_PF``, ``E_net``, ...) -> column, in the order of :data:`~cenergyd.readings.model.VALUES`."""
    scales: Mapping[str, float] = attrs.field(factory=dict)
    """Value -> factor that converts the column to kW, kvar, V, 1 or kWh; absent if it is 1."""

    @classmethod
    def of(cls, name: str, **columns: int) -> Layout:
        """A layout whose columns are already in kW, kvar, V and kWh."""
        return cls(name, columns)

    @property
    def last_column(self) -> int:
        """The last column that holds a value; the error column if none does."""
        return max(self.columns.values(), default=1)


class LayoutSection(Protocol):
    """One ``[layout:NAME]`` section of the ini; the columns are texts, '' for none."""

    @property
    def device_classes(self) -> tuple[str, ...]: ...


class KnownMeter(NamedTuple):
    """A meter model whose columns are known: a log matches by class or type, and by its number of points."""

    layout: Layout
    classes: frozenset[str]
    """MODBUSDEVICECLASS values."""
    type_text: re.Pattern[str]
    """Texts that MODBUSDEVICETYPE may contain."""
    points: frozenset[int] = frozenset()
    """Possible numbers of points in its logs. Empty if unknown: then any number that reaches the layout's last column."""

    def fits(self, device_class: str, device_type: str, points: int) -> bool:
        """Whether class or type, and the number of points, match."""
        if class_key(device_class) not in self.classes and not self.type_text.search(device_type):
            return False
        return points in self.points if self.points else FIRST_POINT + points > self.layout.last_column


VERIS: Final = Layout.of("veris-e5x", P=14, L1_PF=17, L1_V=70, Q=15, E_net=4, E_import=5, E_export=6)
"""Veris E50 and E51, full data set."""
H8036: Final = Layout.of("veris-h8036", P=5, L1_PF=8, L1_V=21, Q=6, E_net=4)
SHARK: Final = Layout.of("shark", P=13, L1_PF=16, L1_V=4, Q=14)
PAC3200: Final = Layout.of("siemens-pac3200", P=46, L1_V=14, Q=47, E_net=4)
PM210: Final = Layout.of("schneider-pm210", P=8, L1_V=16, E_net=9)
PM620: Final = Layout.of("square-d-pm620", P=14, L1_V=9, E_net=15)

TABLE: Final = (
    # Some firmware leaves out the last of the 72 points; the columns before it are the same.
    KnownMeter(VERIS, frozenset(["48"]), re.compile(r"\bE5[01](?:[A-Z]\d)?\b", re.IGNORECASE), frozenset([71, 72])),
    KnownMeter(H8036, frozenset(["2"]), re.compile(r"\bH8036\b", re.IGNORECASE), frozenset([26])),
    KnownMeter(H8036, frozenset(["5"]), re.compile(r"\bH8163(?:-CB)?\b", re.IGNORECASE), frozenset([29])),
    KnownMeter(SHARK, frozenset(["35"]), re.compile(r"\bShark ?[12]00", re.IGNORECASE), frozenset([116])),
    KnownMeter(PAC3200, frozenset(["82"]), re.compile(r"\bPAC ?3200\b", re.IGNORECASE)),
    KnownMeter(PM210, frozenset(["4025"]), re.compile(r"\bPM ?210\b", re.IGNORECASE)),
    KnownMeter(PM620, frozenset(["4045"]), re.compile(r"\bPM ?620\b", re.IGNORECASE)),
)
"""Sources: the config files of E51C2 and H8036, and Oregon State University's energy dashboard."""

NOT_POWER_METERS: Final[Mapping[str, str]] = {
    "17": "ModHopper R9120 (pulses)",
    "27": "A8812 internal inputs",
    "1010": "radio sensors",
    "4444": "flow meter",
}
"""Device class -> what it is. Such a device may still describe a power column; otherwise its logs give no readings."""

BUILT_IN: Final[Mapping[str, Layout]] = {known.layout.name: known.layout for known in TABLE}
"""Layouts by name, for ``[upload] unknown_meters``."""


def layout_from_columns(name: str, columns: Mapping[str, int | str]) -> Layout:
    """A layout from value -> column; an empty text or an absent value means no column.

    :raises ValueError: a column that is not a whole number from 4 to 1023, or no column at all.
    """
    found: dict[str, int] = {}
    for value in VALUES:
        given = str(columns.get(value, "")).strip()
        if not given:
            continue
        if not is_column(given):
            raise ValueError(f"layout {name}, {value}: {given!r} is not a column from {FIRST_POINT} to {MAX_COLUMN}")
        found[value] = int(given)
    if not found:
        raise ValueError(f"layout {name} names no column at all")
    return Layout(name, found)


def is_column(text: str) -> bool:
    """Whether a text is the number of a column that can hold a value."""
    return text.isascii() and text.isdigit() and len(text) <= 4 and FIRST_POINT <= int(text) <= MAX_COLUMN


class LayoutTable:
    """The layouts of the ini's sections and of the built-in table.

    :param unknown_meters: ``hold``, or the name of a section or of a built-in layout for meters that match nothing else.
    :raises ValueError: a section with a wrong column, two for one device class, or no such layout; the message names it.
    """

    def __init__(self, sections: Mapping[str, LayoutSection] | None = None, unknown_meters: str = "hold") -> None:
        self._by_class: dict[str, Layout] = {}
        layouts = dict(BUILT_IN)
        owners: dict[str, str] = {}
        for name, section in (sections or {}).items():
            layout = layout_from_columns(name, {value: getattr(section, value) for value in VALUES})
            layouts[name] = layout
            for given in section.device_classes:
                key = class_key(given)
                if key in owners:
                    raise ValueError(f"layouts {owners[key]} and {name} both name device class {key}")
                owners[key] = name
                self._by_class[key] = layout
        if unknown_meters != "hold" and unknown_meters not in layouts:
            raise ValueError(f"unknown_meters: {unknown_meters!r} is neither hold nor one of {', '.join(layouts)}")
        self.for_unknown = None if unknown_meters == "hold" else layouts[unknown_meters]
        """The layout for meters that match nothing else; None if their logs are held."""

    def section_for(self, device_class: str) -> Layout | None:
        """The layout of the ini's section that names a device class."""
        return self._by_class.get(class_key(device_class))


def built_in(device_class: str, device_type: str, points: int | None) -> Layout | None:
    """The table's layout if class or type and the number of points match exactly one; otherwise None."""
    if points is None:
        return None
    found = list(_fitting(device_class, device_type, points))
    return found[0] if len(found) == 1 else None


def _fitting(device_class: str, device_type: str, points: int) -> Iterator[Layout]:
    for known in TABLE:
        if known.fits(device_class, device_type, points):
            yield known.layout


@lru_cache(1024)
def class_key(device_class: str) -> str:
    """A MODBUSDEVICECLASS without leading zeros."""
    text = device_class.strip()
    return text.lstrip("0") or text[:1]
