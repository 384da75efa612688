"""Finds the values of a reading among a meter's points, by name and unit.

A point is used only if its name means the whole quantity and its unit fits: no demand, no minimum or maximum, no single phase instead of
a total. If two points match equally well, or a name is ambiguous, none is used and the description says so: then a person decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import attrs

from cenergyd.acquisuite.point_words import (
    ENERGY,
    GROSS,
    IN,
    KVAR,
    KW,
    KWH,
    LINES,
    NET,
    NEUTRAL,
    NOT_POWER,
    OTHER,
    OUT,
    PARTS,
    PF_UNITS,
    PHASE_A_N,
    PHASES,
    POWER,
    POWER_FACTOR,
    REACTIVE,
    SHARK_HOURS,
    THREE_PHASE,
    TOTAL,
    TRAILING_UNIT,
    UNCLEAR,
    UNITS,
    VOLTS,
    WORD,
)

FIRST_POINT: Final = 4
"""POINTnn is column 4 + nn: time, error, low alarm and high alarm come first."""


class Point(NamedTuple):
    """One column of a log as the device describes it. Name and units are untrusted text."""

    number: int
    """nn of POINTnn; the log's column is 4 + nn."""
    name: str
    units: str


@attrs.frozen(slots=True, kw_only=True)
class Description:
    """The columns that a meter's points describe."""

    columns: Mapping[str, int] = attrs.field(factory=dict)
    """Value of a reading (``P``, ``E_net``, ...) -> column."""
    scales: Mapping[str, float] = attrs.field(factory=dict)
    """Value -> factor that converts the column to kW, kvar, V, 1 or kWh; absent if it is 1."""
    doubts: Mapping[str, str] = attrs.field(factory=dict)
    """Value -> why no point was used although some may match, in words."""


class _Match(NamedTuple):
    """A point that may hold a quantity."""

    point: Point
    scale: float
    rank: tuple[int, ...]
    """Higher is better. Empty: the name is too vague."""


_Matcher = Callable[[Point], "_Match | None"]


@lru_cache(4096)
def describe_columns(points: tuple[Point, ...]) -> Description:
    """The columns by names and units; empty if no point is electrical. Cached, because meters of one model have the same points."""
    known = [_tidied(point) for point in points]
    taken: dict[str, _Match] = {}
    doubts: dict[str, str] = {}
    for value, words, matcher in (
        ("P", "real power", _real_power),
        ("L1_PF", "power factor", _power_factor),
        ("L1_V", "voltage phase A to neutral", _volts),
        ("Q", "reactive power", _reactive_power),
        ("E_import", "imported energy", _imported),
        ("E_export", "exported energy", _exported),
        ("E_net", "energy", _net_energy),
    ):
        best, doubt = _choose(words, [match for point in known if (match := matcher(point))])
        if best is not None:
            taken[value] = best
        elif doubt:
            doubts[value] = doubt
    _settle_energy(taken, doubts, known)
    return Description(
        columns={value: FIRST_POINT + match.point.number for value, match in taken.items()},
        scales={value: match.scale for value, match in taken.items() if match.scale != 1.0},
        doubts=doubts,
    )


def header_point(number: int, text: str) -> Point:
    """The point of a log's header field such as ``'ION6200 demand (kW)'``. Parentheses without a unit stay in the name."""
    text = text.strip().strip("'\"").strip()
    found = TRAILING_UNIT.search(text)
    if found is None or _unit(found[1]) in ("", "instantaneous", "demand", "total", "net", "average", "avg", "rate"):
        return Point(number, text, "")
    return Point(number, text[: found.start()].strip(), found[1].strip())


def _choose(words: str, matches: list[_Match]) -> tuple[_Match | None, str]:
    """The single best match, or why there is none, in words."""
    certain = [match for match in matches if match.rank]
    if certain:
        top = max(match.rank for match in certain)
        best = [match for match in certain if match.rank == top]
        if len(best) == 1:
            return best[0], ""
        return None, f"{words}: {_listed(best)} fit equally well"
    if matches:
        return None, f"{words}: {_listed(matches)} may be it, but the name or unit does not say so"
    return None, ""


def _listed(matches: list[_Match]) -> str:
    shown = [f'"{match.point.name}" in column {FIRST_POINT + match.point.number}' for match in matches[:4]]
    more = f" and {len(matches) - 4} more" if len(matches) > 4 else ""
    return ", ".join(shown) + more


def _tidied(point: Point) -> Point:
    """The point with the unit at the end of its name if it has no other."""
    if not _unit(point.units):
        found = TRAILING_UNIT.search(point.name)
        if found is not None and _unit(found[1]) in UNITS:
            return Point(point.number, point.name[: found.start()].strip(), found[1])
    return point


def _unit(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalpha() or character == "%")


def _text(point: Point) -> str:
    return " ".join(point.name.lower().replace("_", " ").replace(",", " ").split())


def _words(text: str) -> set[str]:
    return set(WORD.findall(text))


def _scale(point: Point, units: Mapping[str, float], words: set[str]) -> float | None:
    """The factor of the point's unit or, if it has none, of the unit in its name."""
    unit = _unit(point.units)
    if unit:
        return units.get(unit)
    named = [units[word] for word in words if word in units and len(word) > 1]
    return named[0] if len(named) == 1 else None


def _is_single_phase(text: str, words: set[str]) -> bool:
    total = bool(words & TOTAL) or bool(THREE_PHASE.search(text))
    return not total and bool(words & PHASES or LINES.search(text))


def _rank(text: str, words: set[str]) -> tuple[int, ...]:
    unlabelled = not any(word not in NEUTRAL for word in words)
    total = bool(words & TOTAL) or bool(THREE_PHASE.search(text))
    return 1, int(unlabelled), int(total), int("instantan" in text), int(bool(words & {"real", "active", "true"}))


def _total(point: Point, units: Mapping[str, float], says_so: Callable[[str, set[str]], bool]) -> _Match | None:
    """A match for a total of real or reactive power."""
    text = _text(point)
    words = _words(text)
    if words & OTHER or _is_single_phase(text, words):
        return None
    scale = _scale(point, units, words)
    said = says_so(text, words)
    if scale is None:
        # A known name without a unit is reported as a candidate. With the unit of another quantity it is not this quantity.
        return _Match(point, 1.0, ()) if said and not _unit(point.units) else None
    unclear = bool(words & UNCLEAR) or (bool(words & PARTS) and not NET.search(text))
    return _Match(point, scale, _rank(text, words) if said and not unclear else ())


def _rate(text: str) -> bool:
    """Whether the name is Obvius' for the present value of a pulse input or an AcquiLite's channel."""
    return "rate" in text and "instantan" in text


def _real_power(point: Point) -> _Match | None:
    if _words(_text(point)) & NOT_POWER:
        return None
    return _total(point, KW, lambda text, words: bool(words & POWER) or _rate(text))


def _reactive_power(point: Point) -> _Match | None:
    if _words(_text(point)) & {"apparent", "factor", "energy", "accumulated", "hours"}:
        return None
    return _total(point, KVAR, lambda text, words: bool(words & REACTIVE) or _rate(text))


def _power_factor(point: Point) -> _Match | None:
    text = _text(point)
    words = _words(text)
    if words & OTHER or _is_single_phase(text, words) or not POWER_FACTOR.search(text):
        return None
    scale = PF_UNITS.get(_unit(point.units))
    if scale is None:
        return None
    return _Match(point, scale, () if words & UNCLEAR else _rank(text, words))


def _volts(point: Point) -> _Match | None:
    text = _text(point)
    words = _words(text)
    if words & (OTHER | UNCLEAR) or not PHASE_A_N.search(text):
        return None
    scale = _scale(point, VOLTS, words)
    return _Match(point, scale, (1,)) if scale is not None else None


def _energy(point: Point) -> tuple[str, set[str], float] | None:
    """Text, words and scale of a point that counts real energy of all phases."""
    text = _text(point)
    words = _words(text)
    if words & OTHER or words & {"reactive", "apparent", "q1", "q2", "q3", "q4"} or _is_single_phase(text, words):
        return None
    if GROSS.search(text):
        return None
    scale = _scale(point, KWH, words)
    return None if scale is None else (text, words, scale)


def _imported(point: Point) -> _Match | None:
    return _directional(point, IN, "received")


def _exported(point: Point) -> _Match | None:
    return _directional(point, OUT, "delivered")


def _directional(point: Point, direction: frozenset[str], shark_word: str) -> _Match | None:
    found = _energy(point)
    if found is None or NET.search(found[0]):
        return None
    text, words, scale = found
    if SHARK_HOURS.search(text):
        # A Shark counts from the load's point of view: received is import. The sign of delivered energy depends on its setup.
        certain = shark_word == "received"
        return _Match(point, scale, (1,) if certain else ()) if shark_word in words else None
    return _Match(point, scale, (1,)) if words & direction else None


def _net_energy(point: Point) -> _Match | None:
    """The net register, or one that names no direction (rank 0: only if there is no other)."""
    found = _energy(point)
    if found is None:
        return None
    text, words, scale = found
    if NET.search(text):
        return _Match(point, scale, (2,))
    if words & (IN | OUT) or (SHARK_HOURS.search(text) and words & TOTAL):
        return None
    return _Match(point, scale, (1,) if words & ENERGY else ())


def _settle_energy(taken: dict[str, _Match], doubts: dict[str, str], points: list[Point]) -> None:
    """Use a register without direction only if it is the only one, and one with a bare label only if the power has the same label."""
    net = taken.get("E_net")
    if net is not None and net.rank == (1,) and ("E_import" in taken or "E_export" in taken):
        del taken["E_net"]
    if "E_net" in taken or "E_import" in taken or "P" not in taken:
        return
    power = _text(taken["P"].point)
    same = [match for match in _bare_registers(points) if power.startswith(_text(match.point) + " ")]
    if len(same) == 1:
        taken["E_net"] = same[0]
        doubts.pop("E_net", None)


def _bare_registers(points: list[Point]) -> Iterator[_Match]:
    for point in points:
        match = _net_energy(point)
        if match is not None and not match.rank:
            yield match
