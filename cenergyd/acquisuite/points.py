"""Finds the channels among a meter's points by name and unit, for meters that no table knows.

Better no channel than a wrong one: where two points fit equally well, neither is taken; minima, maxima, demands of the past and
single phases are no totals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from cenergyd.acquisuite.layouts import FIRST_POINT, Layout


class Point(NamedTuple):
    """One column of a log as the device describes it."""

    number: int
    """nn of POINTnn; the log's column is 4 + nn."""
    name: str
    units: str


_KW: Final = {"kw": 1.0, "kilowatt": 1.0, "kilowatts": 1.0, "w": 0.001, "watt": 0.001, "watts": 0.001, "mw": 1000.0,
              "megawatt": 1000.0, "megawatts": 1000.0}  # fmt: skip
_KVAR: Final = {"kvar": 1.0, "kvars": 1.0, "kvr": 1.0, "var": 0.001, "vars": 0.001, "mvar": 1000.0, "mvars": 1000.0}
_VOLTS: Final = {"v": 1.0, "volt": 1.0, "volts": 1.0, "vac": 1.0, "kv": 1000.0}
_PF_UNITS: Final = {"": 1.0, "-": 1.0, "pf": 1.0, "none": 1.0, "ratio": 1.0, "%": 0.01, "percent": 0.01}
_Score = Callable[[Point], tuple[int, float]]
_WORD: Final = re.compile(r"[a-z0-9]+")
_NEVER: Final = frozenset(
    [
        "min",
        "max",
        "minimum",
        "maximum",
        "mininum",
        "peak",
        "low",
        "high",
        "predicted",
        "previous",
        "last",
        "thd",
        "harmonic",
        "angle",
        "unbalance",
        "imbalance",
    ]
)
_PHASES: Final = frozenset(["a", "b", "c", "an", "bn", "cn", "ab", "bc", "ca", "pha", "phb", "phc", "neutral"])
_PARTS: Final = frozenset(
    [
        "import",
        "imported",
        "export",
        "exported",
        "delivered",
        "received",
        "consumed",
        "generated",
        "q1",
        "q2",
        "q3",
        "q4",
        "quadrant",
    ]
)
_TOTALS: Final = frozenset(["total", "tot", "sum", "system", "net", "overall"])
_THREE_PHASE: Final = re.compile(r"\b3[ -]?(?:ph|phase|p)\b|\bthree[ -]phase\b")
_LINES: Final = re.compile(r"\b[lv][123]\b|\b(?:phase|ph|line|leg)[ -]?[123]\b")
_PHASE_A_N: Final = re.compile(
    r"\ba[ -]?n\b|\ba to n\b|\bv?an\b|\bl1[ -]?n\b|\bphase a\b(?![ -]*(?:[-b]|to b|to c))|\bv[1a][ -]?n\b|\bv ?l1\b(?![ -]*l)"
)
_POWER_FACTOR: Final = re.compile(r"\bpower factor\b|\bpowerfactor\b|\bpf\b|\bcos ?phi\b")
_OTHER_QUANTITY: Final = re.compile(r"\breactive\b|\bapparent\b")


def find_layout(name: str, points: Iterable[Point]) -> Layout | None:
    """The layout that names and units tell; None where no channel is found.

    :param name: what the layout is called.
    """
    known = list(points)
    chosen = {
        "P": _best(known, _power_score),
        "L1_PF": _best(known, _power_factor_score),
        "L1_V": _best(known, _volts_score),
        "Q": _best(known, _reactive_score),
    }
    columns = {channel: FIRST_POINT + found[0].number for channel, found in chosen.items() if found}
    scales = {f"{channel}_scale": found[1] for channel, found in chosen.items() if found}
    return Layout(name, **columns, **scales) if columns else None  # type: ignore[arg-type]


def learned_layout(name: str, points: Iterable[Point], otherwise: Layout) -> Layout:
    """The layout for a meter whose points are known: what they tell, if they tell where real power is.

    If not, ``otherwise``, without the columns that the points say hold something else.
    """
    known = {point.number: point for point in points}
    found = find_layout(name, known.values())
    if found is not None and found.P is not None:
        return found
    columns = {
        channel: column
        for channel, column in otherwise.columns.items()
        if _may_be(channel, known.get(column - FIRST_POINT))
    }
    scales = {f"{channel}_scale": getattr(otherwise, f"{channel}_scale") for channel in columns}
    return Layout(otherwise.name, **columns, **scales)


def _may_be(channel: str, point: Point | None) -> bool:
    """Whether a column may hold a channel, as far as its unit tells; no description tells nothing."""
    if point is None or not point.units.strip(" -"):
        return True
    units: Mapping[str, Mapping[str, float]] = {"P": _KW, "L1_PF": _PF_UNITS, "L1_V": _VOLTS, "Q": _KVAR}
    return _unit(point) in units[channel]


def _best(points: list[Point], score: _Score) -> tuple[Point, float] | None:
    """The point of the highest score and its scale; None where none fits or the best is not alone."""
    fitting = [(rank, point, scale) for point in points for rank, scale in (score(point),) if scale]
    if not fitting:
        return None
    top = max(rank for rank, _, _ in fitting)
    best = [(point, scale) for rank, point, scale in fitting if rank == top]
    return best[0] if len(best) == 1 else None


def _unit(point: Point) -> str:
    return point.units.strip().lower().replace(" ", "")


def _rank(point: Point) -> int | None:
    """How likely a point is a total of now; None where it is not."""
    name = point.name.lower()
    words = set(_WORD.findall(name))
    if words & _NEVER:
        return None
    total = bool(words & _TOTALS) or bool(_THREE_PHASE.search(name))
    if not total and (words & _PHASES or _LINES.search(name)):
        return None
    rank = 4 if total else 0
    if "instantan" in name:
        rank += 2
    if "demand" in words:
        rank -= 4
    if words & _PARTS and "net" not in words:
        rank -= 6
    if words & {"avg", "average", "mean", "displacement"}:
        rank -= 1
    return rank


def _power_score(point: Point) -> tuple[int, float]:
    rank = _rank(point)
    name = point.name.lower()
    if rank is None or _OTHER_QUANTITY.search(name) or _POWER_FACTOR.search(name):
        return 0, 0.0
    return rank + (1 if re.search(r"\b(?:real|active|true)\b", name) else 0), _KW.get(_unit(point), 0.0)


def _reactive_score(point: Point) -> tuple[int, float]:
    rank = _rank(point)
    return (0, 0.0) if rank is None else (rank, _KVAR.get(_unit(point), 0.0))


def _power_factor_score(point: Point) -> tuple[int, float]:
    rank = _rank(point)
    if rank is None or not _POWER_FACTOR.search(point.name.lower()):
        return 0, 0.0
    return rank, _PF_UNITS.get(_unit(point), 0.0)


def _volts_score(point: Point) -> tuple[int, float]:
    name = point.name.lower()
    words = set(_WORD.findall(name))
    if words & _NEVER or words & {"avg", "average"} or not _PHASE_A_N.search(name):
        return 0, 0.0
    return -4 if "demand" in words else 0, _VOLTS.get(_unit(point), 0.0)
