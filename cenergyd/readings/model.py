"""A meter's reading, and the names under which readings are stored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

CHANNELS = ("P", "L1_PF", "L1_V", "Q")
"""Values that a meter measures at a point in time."""
REGISTERS = ("E_net", "E_import", "E_export")
"""Energy registers of a meter, kWh."""
VALUES = CHANNELS + REGISTERS
"""All values of a reading; each is a field of this name in the stores."""
MAX_VALUE = 1e30
"""The largest plausible value. A larger one is corrupt, and sums of such values might not be finite."""
MISSING_METER = "missing_meter"
SUM = "sum"
_COMPUTED = re.compile(rf"({MISSING_METER}|[a-z]+_{SUM})\Z")
_SERIES = re.compile(r"[0-9A-Za-z]{1,32}_[0-9A-Za-z_]{1,48}\Z")


class Reading(NamedTuple):
    """One reading. A channel or register without a value is None: a gap, never zero.

    A NamedTuple and not an attrs class because a backlog makes tens of thousands of them a second.
    Field order is what the stores and the parser rely on.
    """

    time: int
    """UTC, whole seconds since 1970."""
    P: float | None = None
    """Real power, kW. Import from the grid is positive."""
    L1_PF: float | None = None
    """Power factor, -1..1."""
    L1_V: float | None = None
    """Voltage phase A to neutral, V."""
    Q: float | None = None
    """Reactive power, kvar."""
    estimated: bool = False
    """True if a computed reading is based on an estimated Q."""
    E_net: float | None = None
    """The meter's net energy register as displayed, kWh: import less export. It counts down while the site exports."""
    E_import: float | None = None
    """The meter's import register, kWh."""
    E_export: float | None = None
    """The meter's export register, kWh."""

    @property
    def values(self) -> tuple[float | None, ...]:
        """In the order of :data:`VALUES`."""
        return self[1:5] + self[6:9]

    @classmethod
    def of_values(cls, time: int, values: Sequence[float | None], estimated: bool = False) -> Reading:
        """The inverse of :attr:`values`."""
        p, pf, v, q, net, imported, exported = values
        return cls(time, p, pf, v, q, estimated, net, imported, exported)


new_reading: Final = partial(tuple.__new__, Reading)
"""Makes a Reading from a tuple of all its fields without a call in Python."""


class SeriesReadings(NamedTuple):
    """Readings of one series, in any order."""

    series: str
    readings: Sequence[Reading]


class FieldPoint(NamedTuple):
    """A stored result that is not a reading (a rollup, an hour's energy): a time and named values."""

    time: int
    """UTC seconds; the start of the window that the values describe."""
    fields: dict[str, float | int | str | bool]


def series_name(serial: str, meter: str) -> str:
    """``<serial>_<meter id>``; raises ValueError if that is not a safe series name."""
    name = f"{serial}_{meter}"
    if not _SERIES.match(name):
        raise ValueError(f"{name!r} is not a series name: letters and digits only")
    return name


def missing_series(serial: str) -> str:
    """The computed meter's series, ``<serial>_missing_meter``."""
    return series_name(serial, MISSING_METER)


def sum_series(serial: str, role: str) -> str:
    """The series of a role that is a sum of meters: ``<serial>_<role>_sum``."""
    return series_name(serial, f"{role}_{SUM}")


def is_computed(series: str) -> bool:
    """Whether the readings of a series are computed from other series (the missing meter, or a sum). Such readings may be removed again."""
    return bool(_COMPUTED.match(series.partition("_")[2]))


def is_series_name(name: str) -> bool:
    """Whether a name from outside may be used as a series."""
    return bool(_SERIES.match(name))
