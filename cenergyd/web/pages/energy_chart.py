"""Energy as stacked bars: from the grid and own solar upwards, to the grid downwards. Pure: coordinates only."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import NamedTuple

from cenergyd.jobs.energy.periods import EnergyWindow

WIDTH, HEIGHT = 1000, 300
COMPLETE = 0.98
"""A window known for at least this share of its time is shown as complete."""
_NOTHING = 1e-9
"""kWh; a scale of less would divide by almost zero."""
_TICKS = 5
_GAP = 0.2


class Rect(NamedTuple):
    """A part of a bar."""

    style: str
    x: float
    y: float
    width: float
    height: float


class EnergyBar(NamedTuple):
    """One hour, day or month."""

    rects: tuple[Rect, ...]
    before: Rect | None
    """Load of the period that it is compared with, shown as an outline."""
    label: str
    """Below the bar; empty if there is no room."""
    text: str
    """The bar as text."""
    incomplete: bool


class Chart(NamedTuple):
    """A chart of windows."""

    bars: tuple[EnergyBar, ...]
    ticks: tuple[str, ...]
    """kWh, from top to bottom, evenly spaced."""
    zero: float
    """Vertical position of zero."""


class EnergySplit(NamedTuple):
    """The parts of a bar, kWh; None: not known."""

    imported: float | None
    own: float | None
    """Solar that was used here."""
    exported: float | None
    load: float | None


def bar_parts(window: EnergyWindow) -> EnergySplit:
    """A window's energies."""
    utility, solar, load = (window.roles.get(role) for role in ("utility", "solar", "load"))
    exported = utility.export_kwh if utility else None
    own = max(0.0, solar.import_kwh - exported) if solar and exported is not None else None
    return EnergySplit(utility.import_kwh if utility else None, own, exported, load.import_kwh if load else None)


def chart_of(
    windows: Sequence[EnergyWindow], before: Sequence[EnergyWindow], labels: Sequence[str], names: Sequence[str]
) -> Chart:
    """Bars of windows, with those that they are compared with behind them.

    :param labels: below the bars.
    :param names: of the windows, in full.
    """
    parts = [bar_parts(window) for window in windows]
    loads = [bar_parts(window).load or 0.0 for window in before]
    up = max([*((each.imported or 0) + (each.own or 0) for each in parts), *loads], default=0.0)
    down = max((each.exported or 0 for each in parts), default=0.0)
    step = _tick_step((up + down) / _TICKS)
    top, bottom = max(1, ceil(up / step - 1e-9)), ceil(down / step - 1e-9)
    scale = HEIGHT / ((top + bottom) * step)
    zero = top * step * scale
    each_width = WIDTH / max(1, len(windows))
    bars = []
    for index, (window, part) in enumerate(zip(windows, parts, strict=True)):
        x, width = (index + _GAP / 2) * each_width, each_width * (1 - _GAP)
        known = min((window.complete(role) for role in window.roles), default=0.0)
        incomplete = bool(window.roles) and known < COMPLETE
        rects = _rects(window, part, _Place(x, width, zero, scale), hatched=incomplete)
        ghost = None
        if index < len(loads) and loads[index]:
            ghost = Rect("before", x, zero - loads[index] * scale, width, loads[index] * scale)
        bars.append(
            EnergyBar(rects, ghost, labels[index], f"{names[index]}: {bar_text(window, part, known)}", incomplete)
        )
    ticks = tuple(_tick(number * step, step) for number in range(top, -bottom - 1, -1))
    return Chart(tuple(bars), ticks, zero)


def bar_text(window: EnergyWindow, part: EnergySplit, known: float) -> str:
    """A bar as text."""
    if not window.roles:
        return "no readings" if window.due_seconds else "not yet"
    named = (
        (part.imported, "from the grid"),
        (part.own, "own solar used"),
        (part.exported, "to the grid"),
        (part.load, "load"),
    )
    text = ", ".join(f"{value:.1f} kWh {what}" for value, what in named if value is not None)
    return text if known >= COMPLETE else f"{text}; {known * 100:.0f} % of the time is known"


class _Place(NamedTuple):
    x: float
    width: float
    zero: float
    scale: float
    """Units per kWh."""


def _rects(window: EnergyWindow, part: EnergySplit, place: _Place, *, hatched: bool) -> tuple[Rect, ...]:
    found = []
    x, width, zero, scale = place
    height = 0.0
    for value, style, role in ((part.own, "own", "solar"), (part.imported, "imported", "utility")):
        if value:
            size = value * scale
            computed = _is_computed(window, role)
            found.append(Rect(f"{style}{' computed' if computed else ''}", x, zero - height - size, width, size))
            height += size
    sunk = (part.exported or 0.0) * scale
    if sunk:
        found.append(Rect(f"exported{' computed' if _is_computed(window, 'utility') else ''}", x, zero, width, sunk))
    if hatched and (height or sunk):
        found.append(Rect("hatched", x, zero - height, width, height + sunk))
    return tuple(found)


def _is_computed(window: EnergyWindow, role: str) -> bool:
    energy = window.roles.get(role)  # type: ignore[call-overload]
    return bool(energy and energy.computed_seconds > energy.covered_seconds / 2)


def _tick_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, ... (and their tenths) that is not less than ``least``, kWh."""
    if least <= _NOTHING:
        return 1.0
    power = 10.0 ** floor(log10(least))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9)))


def _tick(value: float, step: float) -> str:
    digits = max(0, -floor(log10(step)))
    text = f"{abs(value):.{digits}f}"
    return f"\u2212{text}" if value < 0 else text
