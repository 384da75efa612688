"""Which column of a log holds which channel, by kind of meter."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Protocol

import attrs

FIRST_POINT: Final = 4
"""POINTnn is column 4 + nn: time, error, low alarm and high alarm come first."""
MAX_COLUMN: Final = 1023


@attrs.frozen(slots=True)
class Layout:
    """Columns of the channels, counted from 0 with time = 0; None where the meter has no such channel.

    A ``_scale`` is what a value is multiplied by to be in kW, 1, V and kvar.
    """

    name: str
    P: int | None = None
    L1_PF: int | None = None
    L1_V: int | None = None
    Q: int | None = None
    P_scale: float = 1.0
    L1_PF_scale: float = 1.0
    L1_V_scale: float = 1.0
    Q_scale: float = 1.0

    @property
    def columns(self) -> dict[str, int]:
        """channel -> column, for the channels that there are."""
        found = {"P": self.P, "L1_PF": self.L1_PF, "L1_V": self.L1_V, "Q": self.Q}
        return {channel: column for channel, column in found.items() if column is not None}


class LayoutSection(Protocol):
    """One ``[layout:NAME]`` section of the ini, as texts."""

    @property
    def device_classes(self) -> tuple[str, ...]: ...
    @property
    def P(self) -> str: ...  # noqa: N802
    @property
    def L1_PF(self) -> str: ...  # noqa: N802
    @property
    def L1_V(self) -> str: ...  # noqa: N802
    @property
    def Q(self) -> str: ...  # noqa: N802


VERIS: Final = Layout("veris-e5x", P=14, L1_PF=17, L1_V=70, Q=15)
"""Veris E50/E51, also every meter that nothing else is known of."""
SHARK: Final = Layout(
    "shark", P=FIRST_POINT + 9, L1_PF=FIRST_POINT + 12, L1_V=FIRST_POINT + 0, Q=FIRST_POINT + 10
)  # fmt: skip
ION6200: Final = Layout("ion6200", P=FIRST_POINT + 2, L1_PF=FIRST_POINT + 13, Q=FIRST_POINT + 7)
BUILT_IN: Final[Mapping[str, Layout]] = {"35": SHARK, "10": ION6200}
"""MODBUSDEVICECLASS -> layout."""


def layout_from_columns(name: str, columns: Mapping[str, int | str]) -> Layout:
    """A layout from channel -> column; an empty text or an absent channel means none.

    :raises ValueError: a column that is not a whole number from 4 to 1023, or no channel at all.
    """
    found: dict[str, int] = {}
    for channel in ("P", "L1_PF", "L1_V", "Q"):
        given = str(columns.get(channel, "")).strip()
        if not given:
            continue
        if not (given.isascii() and given.isdigit()) or not FIRST_POINT <= int(given) <= MAX_COLUMN:
            raise ValueError(f"layout {name}, {channel}: {given!r} is not a column from {FIRST_POINT} to {MAX_COLUMN}")
        found[channel] = int(given)
    if not found:
        raise ValueError(f"layout {name} names no column at all")
    return Layout(name, **found)


class LayoutTable:
    """Layouts by device class: the ini's first, then the built-in ones, then Veris.

    :param custom: name -> section of the ini.
    :raises ValueError: a section with a wrong column, or two for one device class; the message names it.
    """

    def __init__(self, custom: Mapping[str, LayoutSection] | None = None) -> None:
        self._by_class: dict[str, Layout] = {}
        owners: dict[str, str] = {}
        for name, section in (custom or {}).items():
            layout = layout_from_columns(
                name, {"P": section.P, "L1_PF": section.L1_PF, "L1_V": section.L1_V, "Q": section.Q}
            )
            for given in section.device_classes:
                key = _class_key(given)
                if key in owners:
                    raise ValueError(f"layouts {owners[key]} and {name} both name device class {key}")
                owners[key] = name
                self._by_class[key] = layout

    def for_class(self, device_class: str | int | None) -> Layout:
        """The layout of a MODBUSDEVICECLASS: the ini's, a built-in one, or Veris for all others."""
        return self.from_ini(device_class) or BUILT_IN.get(_class_key(device_class)) or VERIS

    def from_ini(self, device_class: str | int | None) -> Layout | None:
        """The layout that the ini itself gives a device class; it wins over what a meter's config file says."""
        return self._by_class.get(_class_key(device_class))


@lru_cache(1024)
def _class_key(device_class: str | int | None) -> str:
    text = str(device_class if device_class is not None else "").strip()
    return text.lstrip("0") or text[:1]
