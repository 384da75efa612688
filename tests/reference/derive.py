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


def with_sums(setups: Setups, rows: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """The meters' rows, and of each role that is a sum of meters: by its text, and by ``<role>_sum`` all of the role's."""
    found = dict(rows)
    for role in ("utility", "load", "solar"):
        for since, until, text in spans(role, setups):
            if is_sum(text):
                own = sum_rows(text, rows, since, until)
                found[text] = sorted([*found.get(text, []), *own], key=lambda row: row["time"])
                found[f"{role}_sum"] = [*found.get(f"{role}_sum", []), *own]
    return found


def spans(role: str, setups: Setups) -> list[tuple[int, int, str]]:
    """Times over which nothing changes for a role: start, end, its meters ('' if it has none)."""
    merged: list[tuple[int, tuple[str, bool] | None]] = []
    for position, (since, setup) in enumerate(setups):
        if not merged or merged[-1][1] != setup.get(role):
            merged.append((since if position else -(1 << 40), setup.get(role)))
    ends = [since for since, _ in merged[1:]] + [1 << 40]
    return [(since, end, what[0] if what else "") for (since, what), end in zip(merged, ends, strict=True)]


def is_sum(text: str) -> bool:
    """Whether a role's meters are a sum."""
    return any(sign in text for sign in "+-*")


def factors_of(text: str) -> dict[str, float]:
    """meter -> factor, lowest id first."""
    found = {}
    for term in text.replace("-", "+-").split("+"):
        if term:
            meter, _, factor = term.removeprefix("-").partition("*")
            found[meter] = float(factor or 1) * (-1 if term.startswith("-") else 1)
    return {meter: found[meter] for meter in sorted(found, key=int)}


def sum_rows(text: str, rows: dict[str, list[Row]], since: int, until: int) -> list[Row]:
    """The sum's rows; ``parts`` of a row has each meter's factor, its row and its highest |P| in this time."""
    factors = factors_of(text)
    own = {meter: [row for row in rows[meter] if since <= row["time"] < until] for meter in factors}
    highest = {meter: max((abs(r["P"]) for r in own[meter] if r["P"] is not None), default=0.0) for meter in factors}
    first, *rest = factors
    found = []
    for row in own[first]:
        together = {first: row}
        for meter in rest:
            partner = _nearest(row["time"], own[meter])
            if partner and _nearest(partner["time"], own[first]) is row and _apart([row, partner]) <= TOLERANCE:
                together[meter] = partner
        if len(together) == len(factors) and _apart(list(together.values())) <= TOLERANCE:
            parts = [(factor, together[meter], highest[meter]) for meter, factor in factors.items()]
            made = _scaled(*parts[0][:2]) if not rest else _added([part[:2] for part in parts])
            if made is not None:
                scaled = {each for part in together.values() for each in part.get("scaled", ())}
                found.append({**made, "parts": parts, "scaled": scaled})
    return found


def _apart(rows: list[Row]) -> int:
    times = [row["time"] for row in rows]
    return int(max(times) - min(times))


def _scaled(factor: float, row: Row) -> Row:
    (turned,) = corrected([row], 0, 1 << 40, factor < 0)
    names = ("P", "Q", "E_import", "E_export", "E_net")
    return {**turned, **{n: None if turned[n] is None else round(abs(factor) * turned[n], 9) for n in names}}


def _added(parts: list[tuple[float, Row]]) -> Row | None:
    def total(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return (
            round(sum(f * v for (f, _), v in zip(parts, known, strict=True)), 9) if len(known) == len(values) else None
        )

    P = total([row["P"] for _, row in parts])
    if P is None:
        return None
    Q = total([reactive(row)[0] for _, row in parts])
    volts = [row["L1_V"] for _, row in parts if row["L1_V"] is not None]
    imported, exported = (total([row[name] for _, row in parts]) for name in ("E_import", "E_export"))
    if all(factor < 0 for factor, _ in parts):
        imported, exported = (None if each is None else -each for each in (exported, imported))
    elif any(factor < 0 for factor, _ in parts):
        imported = exported = None
    return {
        "time": min(row["time"] for _, row in parts),
        "P": P,
        "Q": Q,
        "L1_PF": None if Q is None else power_factor(P, Q),
        "L1_V": sum(volts) / len(volts) if volts else None,
        "estimated": Q is not None and any(reactive(row)[1] for _, row in parts),
        "E_import": imported,
        "E_export": exported,
        "E_net": total([_net(row) for _, row in parts]),
    }


def _net(row: Row) -> float | None:
    if row["E_net"] is not None or row["E_import"] is None or row["E_export"] is None:
        return row["E_net"]
    return row["E_import"] - row["E_export"]


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
            **({"parts": [(-factor, *rest) for factor, *rest in row["parts"]]} if "parts" in row else {}),
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
