"""Energy of a site second by second. Slow and plain; nothing of cenergyd is used here.

A site is ``setups``: (start, {role: (meter, reversed)}), ascending, each valid until the next; a role that a setup leaves out is computed
where the two others are there. Rows are dicts: time, P, E_import, E_export (kWh, or None), P as the meter says it.
"""

from __future__ import annotations

import datetime
import zoneinfo
from itertools import pairwise
from typing import Any

LONGEST = 5400
MONTH = 31 * 86400
Row = dict[str, Any]
Second = tuple[float, float, str]
"""Net kW, kW that went both ways, and kind."""


def hours(
    setups: list[tuple[int, dict[str, tuple[str, bool]]]],
    rows: dict[str, list[Row]],
    zone: str,
    start: int,
    end: int,
) -> dict[tuple[str, int], dict[str, float]]:
    """(role, start of the piece) -> import_kwh, export_kwh, covered_seconds, bridged_seconds, interpolated_seconds, seconds.

    A piece is a full local hour, cut where the setup changes for the role.
    """
    seconds = {role: _role_seconds(role, setups, rows, start, end) for role in ("utility", "load", "solar")}
    for role, own in seconds.items():
        for second in range(start, end):
            if _is_computed(role, setups, second):
                found = _from_the_others(role, seconds, second)
                if found is not None:
                    own[second] = found
    pieces: dict[tuple[str, int], dict[str, float]] = {}
    for role, known in seconds.items():
        begin = start
        for second in range(start, end):
            if _is_cut(role, setups, second, zone):
                begin = second
            if second in known:
                _add(pieces.setdefault((role, begin), {}), known[second])
    return pieces


def counts(
    setups: list[tuple[int, dict[str, tuple[str, bool]]]],
    rows: dict[str, list[Row]],
    zone: str,
    start: int,
    end: int,
) -> dict[int, dict[str, float]]:
    """start of the utility's piece -> what its registers count in it: register_import_kwh, register_export_kwh (or register_net_kwh), seconds, and the
    rest by power."""
    found: dict[int, dict[str, float]] = {}
    for since, until, what in _spans("utility", setups):
        if what is None:
            continue
        own = _corrected(rows.get(what[0], []), since, until, what[1])
        power = _meter_seconds(own, start, end)
        shares = _register_seconds(own, power, start, end)
        begin = start
        for second in range(start, end):
            if _is_cut("utility", setups, second, zone):
                begin = second
            if second not in power:
                continue
            piece = found.setdefault(begin, dict.fromkeys(_COUNTS, 0.0))
            if second in shares:
                for name, value in shares[second].items():
                    piece[name] += value
                piece["seconds"] += 1
            else:
                net, both, _ = power[second]
                piece["uncounted_import_kwh"] += (max(net, 0.0) + both) / 3600
                piece["uncounted_export_kwh"] += (max(-net, 0.0) + both) / 3600
    return {begin: piece for begin, piece in found.items() if piece["seconds"]}


_COUNTS = (
    "register_import_kwh",
    "register_export_kwh",
    "register_net_kwh",
    "seconds",
    "uncounted_import_kwh",
    "uncounted_export_kwh",
)


def _register_seconds(rows: list[Row], power: dict[int, Second], start: int, end: int) -> dict[int, dict[str, float]]:
    """second -> kWh that the registers count in it, from one row that has them to the next."""
    found: dict[int, dict[str, float]] = {}
    highest = max((abs(row["P"]) for row in rows if row["P"] is not None), default=0.0)
    having = [k for k, row in enumerate(rows) if row["E_import"] is not None or row["E_net"] is not None]
    for k, j in pairwise(having):
        before, after = rows[k], rows[j]
        pause = after["time"] - before["time"]
        if j - k > 3 or (j - k > 1 and pause > 2 * LONGEST):
            continue
        seconds = range(before["time"], after["time"])
        if any(second not in power for second in seconds):
            continue
        counted = _advance(before, after, highest, least=1.0, shortest=3600)
        if counted is None:
            continue
        imported, exported = counted
        if exported is None:
            missed = imported - sum(power[second][0] for second in seconds) / 3600
            for second in seconds:
                share = power[second][0] / 3600 + missed / pause
                found[second] = {"register_net_kwh": share if start <= second < end else 0.0}
            continue
        ups = [max(power[second][0], 0.0) + power[second][1] for second in seconds]
        downs = [max(-power[second][0], 0.0) + power[second][1] for second in seconds]
        for second, up, down in zip(seconds, ups, downs, strict=True):
            is_inside = start <= second < end
            found[second] = {
                "register_import_kwh": imported * (up / sum(ups) if sum(ups) else 1 / pause) if is_inside else 0.0,
                "register_export_kwh": exported * (down / sum(downs) if sum(downs) else 1 / pause)
                if is_inside
                else 0.0,
            }
    return found


def _add(piece: dict[str, float], second: Second) -> None:
    net, both, kind = second
    if not piece:
        piece |= dict.fromkeys(_PARTS, 0.0)
    piece["import_kwh"] += (max(net, 0.0) + both) / 3600
    piece["export_kwh"] += (max(-net, 0.0) + both) / 3600
    piece["covered_seconds"] += 1
    piece["bridged_seconds"] += kind == "bridged"
    piece["interpolated_seconds"] += kind == "interpolated"


_PARTS = ("import_kwh", "export_kwh", "covered_seconds", "bridged_seconds", "interpolated_seconds")


def _setup_at(setups: list[tuple[int, dict[str, tuple[str, bool]]]], second: int) -> dict[str, tuple[str, bool]]:
    found = setups[0][1]
    for since, setup in setups:
        if since <= second:
            found = setup
    return found


def _is_computed(role: str, setups: list[tuple[int, dict[str, tuple[str, bool]]]], second: int) -> bool:
    setup = _setup_at(setups, second)
    return role not in setup and len(setup) == 2


def _is_cut(role: str, setups: list[tuple[int, dict[str, tuple[str, bool]]]], second: int, zone: str) -> bool:
    if second % 60 == 0:  # every zone is whole minutes from UTC
        local = datetime.datetime.fromtimestamp(second, zoneinfo.ZoneInfo(zone))
        before = datetime.datetime.fromtimestamp(second - 1, zoneinfo.ZoneInfo(zone))
        if local.minute == 0 or local.utcoffset() != before.utcoffset():
            return True
    if all(since != second for since, _ in setups):
        return False
    return _setup_at(setups, second).get(role) != _setup_at(setups, second - 1).get(role)


def _from_the_others(role: str, seconds: dict[str, dict[int, Second]], second: int) -> Second | None:
    """load = solar + utility."""
    one, other, sign = {
        "load": ("solar", "utility", 1),
        "solar": ("load", "utility", -1),
        "utility": ("load", "solar", -1),
    }[role]
    if second not in seconds[one] or second not in seconds[other]:
        return None
    kinds = {seconds[one][second][2], seconds[other][second][2]}
    kind = "bridged" if "bridged" in kinds else "interpolated" if "interpolated" in kinds else "measured"
    return seconds[one][second][0] + sign * seconds[other][second][0], 0.0, kind


def _role_seconds(
    role: str, setups: list[tuple[int, dict[str, tuple[str, bool]]]], rows: dict[str, list[Row]], start: int, end: int
) -> dict[int, Second]:
    """What the role's own meters say: never across a change."""
    found: dict[int, Second] = {}
    for since, until, what in _spans(role, setups):
        if what is not None:
            found.update(_meter_seconds(_corrected(rows.get(what[0], []), since, until, what[1]), start, end))
    return found


def _spans(role: str, setups: list[tuple[int, dict[str, tuple[str, bool]]]]) -> list[tuple[int, int, Any]]:
    """Times over which a role is one meter with one sign (None: no meter)."""
    spans: list[list[Any]] = []
    for position, (since, setup) in enumerate(setups):
        until = setups[position + 1][0] if position + 1 < len(setups) else 1 << 40
        what = setup.get(role)
        if spans and spans[-1][2] == what:
            spans[-1][1] = until
        else:
            spans.append([since if position else -(1 << 40), until, what])
    return [(since, until, what) for since, until, what in spans]


def _corrected(rows: list[Row], since: int, until: int, is_reversed: bool) -> list[Row]:
    own = [row for row in rows if since <= row["time"] < until]
    if is_reversed:
        own = [
            {
                **r,
                "P": None if r["P"] is None else -r["P"],
                "E_import": r["E_export"],
                "E_export": r["E_import"],
                "E_net": None if r["E_net"] is None else -r["E_net"],
                **({"parts": [(-factor, *rest) for factor, *rest in r["parts"]]} if "parts" in r else {}),
            }
            for r in own
        ]
    return own


def _meter_seconds(rows: list[Row], start: int, end: int) -> dict[int, Second]:
    found = _line_seconds(rows, start, end)
    highest = max((abs(row["P"]) for row in rows if row["P"] is not None), default=0.0)
    lines = _line_seconds(rows, rows[0]["time"], rows[-1]["time"]) if rows else {}
    for before, after in pairwise(rows):
        pause = after["time"] - before["time"]
        if pause > MONTH or any(second in lines for second in range(before["time"], after["time"])):
            continue
        counted = _bridge(before, after, highest)
        if counted is None:
            continue
        imported, exported = counted
        for second in range(max(start, before["time"]), min(end, after["time"])):
            net, both = (imported - exported) * 3600 / pause, min(imported, exported) * 3600 / pause
            found[second] = (net, both, "bridged")
    return found


def _line_seconds(rows: list[Row], start: int, end: int) -> dict[int, Second]:
    """Between one row with power and the next; rows without it tell of the usual interval only."""
    found: dict[int, Second] = {}
    pauses = [rows[i + 1]["time"] - rows[i]["time"] for i in range(len(rows) - 1)]
    for i, j in pairwise([k for k, row in enumerate(rows) if row["P"] is not None]):
        before, after = rows[i], rows[j]
        pause = after["time"] - before["time"]
        interval = max(usual(pauses, i) or 0, usual(pauses, j - 1) or 0)
        if pause > LONGEST:
            continue
        if pause <= 1.5 * interval:
            kind = "measured"
        elif pause <= 3 * interval and (pause <= 900 or pause <= 1.5 * interval):
            kind = "interpolated"
        else:
            continue
        for second in range(max(start, before["time"]), min(end, after["time"])):
            part = (second + 0.5 - before["time"]) / pause
            found[second] = (before["P"] + (after["P"] - before["P"]) * part, 0.0, kind)
    return found


def _bridge(before: Row, after: Row, highest: float) -> tuple[float, float] | None:
    """kWh of import and export that the registers counted over a gap."""
    found = _advance(before, after, highest)
    if found is None:
        return None
    imported, exported = found
    return (imported, exported) if exported is not None else (max(imported, 0.0), max(-imported, 0.0))


def _advance(
    before: Row, after: Row, highest: float, least: float = 0.0, shortest: int = 0
) -> tuple[float, float | None] | None:
    """kWh of import and export that the registers counted, or of net energy and None; None if it is not known or not plausible.

    A sum of meters is the sum of what each of them counted. Nothing is known over a time whose readings somebody scaled.
    """
    if any(start < after["time"] and before["time"] < end for start, end in before.get("scaled", ())):
        return None
    if "parts" in before:
        return _sum_advance(before["parts"], after["parts"], least, shortest)
    most = max(least, 2 * highest * max(shortest, after["time"] - before["time"]) / 3600)
    if before["E_net"] is not None and after["E_net"] is not None:
        net = after["E_net"] - before["E_net"]  # registers of these sites never roll over when they count both ways
        return (net, None) if abs(net) <= most else None
    if before["E_import"] is None or after["E_import"] is None:
        return None
    imported = _counted(before["E_import"], after["E_import"], most)
    exported = _counted(before["E_export"], after["E_export"], most)
    return None if imported is None or exported is None else (imported, exported)


def _sum_advance(before: Any, after: Any, least: float, shortest: int) -> tuple[float, float | None] | None:
    imported = exported = net = 0.0
    only_net = len({factor > 0 for factor, *_ in before}) > 1
    for (factor, first, highest), (_, last, _) in zip(before, after, strict=True):
        found = _advance(first, last, highest, least, shortest)
        if found is None:
            return None
        into, out = found
        if out is None:
            only_net = True
            net += factor * into
        else:
            net += factor * (into - out)
            imported += abs(factor) * (into if factor > 0 else out)
            exported += abs(factor) * (out if factor > 0 else into)
    return (net, None) if only_net else (imported, exported)


def usual(pauses: list[int], i: int) -> int | None:
    """The longer of what is usual before and after; on each side the shorter of the two nearest pauses."""
    before: list[int] = []
    for pause in reversed(pauses[max(0, i - 2) : i]):
        if pause > LONGEST or len(before) == 2:
            break
        before.append(pause)
    after: list[int] = []
    for pause in pauses[i + 1 : i + 3]:
        if pause > LONGEST or len(after) == 2:
            break
        after.append(pause)
    if len(before) == 2 and len(after) == 2:
        return max(min(before), min(after))
    if len(before) == 2:
        return min(before)
    if len(after) == 2:
        return min(after)
    alone = before + after
    return max(alone) if alone else None


def _counted(before: float, after: float, most: float) -> float | None:
    if 0 <= after - before <= most:
        return after - before
    digits = 1000.0
    while digits <= max(before, after):
        digits *= 10
    ahead = after - before + digits
    return ahead if 0 <= ahead <= most else None
