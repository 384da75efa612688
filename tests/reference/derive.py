"""The missing meter, pair by pair. Slow and plain; nothing of cenergyd is used here."""

from __future__ import annotations

from math import hypot, sqrt
from typing import Any

TOLERANCE = 30
Row = dict[str, Any]
Setups = list[tuple[int, dict[str, tuple[str, bool]]]]


def missing_meter(setups: Setups, rows: dict[str, list[Row]]) -> list[Row]:
    """The computed rows, ascending: time, P, Q, L1_PF, L1_V, estimated."""
    found: list[Row] = []
    for position, (since, setup) in enumerate(setups):
        until = setups[position + 1][0] if position + 1 < len(setups) else 1 << 40
        roles = sorted(setup)
        (role,) = {"utility", "load", "solar"} - set(roles)
        one, other, sign = {
            "load": ("solar", "utility", 1),
            "solar": ("load", "utility", -1),
            "utility": ("load", "solar", -1),
        }[role]
        mine = {each: corrected(rows[setup[each][0]], since, until, setup[each][1]) for each in roles}
        for first in mine[one]:
            second = _nearest(first["time"], mine[other])
            if second is None or _nearest(second["time"], mine[one]) is not first:
                continue
            if abs(first["time"] - second["time"]) <= TOLERANCE:
                row = _computed(first, second, sign)
                if row is not None and since <= row["time"] < until:
                    found.append(row)
    return sorted(found, key=lambda row: row["time"])


def corrected(rows: list[Row], since: int, until: int, is_reversed: bool) -> list[Row]:
    """The rows of a time as the site equation has them."""
    mine = [row for row in rows if since <= row["time"] < until]
    if not is_reversed:
        return mine
    return [
        {
            **row,
            "P": None if row["P"] is None else 0.0 - row["P"],
            "Q": None if row["Q"] is None else -row["Q"],
            "E_import": row["E_export"],
            "E_export": row["E_import"],
            "E_net": None if row["E_net"] is None else 0.0 - row["E_net"],
        }
        for row in mine
    ]


def reactive(row: Row) -> tuple[float | None, bool]:
    """Q and whether it is estimated from P and power factor, lagging."""
    if row["Q"] is not None:
        return row["Q"], False
    if row["P"] is None or row["L1_PF"] is None:
        return None, False
    if row["P"] == 0:
        return 0.0, True
    factor = abs(row["L1_PF"])
    if factor == 0:
        return None, False
    return abs(row["P"]) * sqrt(1 - factor**2) / factor, True


def power_factor(P: float, Q: float) -> float | None:
    """|P| / S."""
    return abs(P) / hypot(P, Q) if hypot(P, Q) else None


def _nearest(time: int, rows: list[Row]) -> Row | None:
    return min(rows, key=lambda row: (abs(row["time"] - time), row["time"]), default=None)


def _computed(first: Row, second: Row, sign: int) -> Row | None:
    if first["P"] is None or second["P"] is None:
        return None
    P = round(first["P"] + sign * second["P"], 9)
    (ours, we_guess), (theirs, they_guess) = reactive(first), reactive(second)
    Q = None if ours is None or theirs is None else round(ours + sign * theirs, 9)
    volts = [row["L1_V"] for row in (first, second) if row["L1_V"] is not None]
    return {
        "time": min(first["time"], second["time"]),
        "P": P,
        "Q": Q,
        "L1_PF": None if Q is None else power_factor(P, Q),
        "L1_V": sum(volts) / len(volts) if volts else None,
        "estimated": Q is not None and (we_guess or they_guess),
        "E_import": None,
        "E_export": None,
        "E_net": None,
    }
