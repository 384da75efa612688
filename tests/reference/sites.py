"""Random sites for the reference: what two meters said, in which uploads, under which setups."""

from __future__ import annotations

import random
from math import sin
from typing import Any, NamedTuple

ZONES = ("UTC", "America/New_York", "Asia/Kolkata", "Australia/Sydney")
STARTS = (1_741_496_400, 1_743_868_800, 1_762_056_000)
"""2025-03-09T05:00Z, 2025-04-05T16:00Z, 2025-11-02T04:00Z: clocks change within hours."""
ROLES = ("utility", "load", "solar")
Row = dict[str, Any]


class Site(NamedTuple):
    """One site."""

    zone: str
    start: int
    end: int
    setups: list[tuple[int, dict[str, tuple[str, bool]]]]
    rows: dict[str, list[Row]]
    uploads: list[tuple[str, list[Row]]]
    """Meter and rows, in the order in which they arrive: late ones and some twice."""


LORD_HOWE = "Australia/Lord_Howe"
"""Its clock goes back by half an hour at 2025-04-05T15:00Z."""


def random_site(seed: int, zone: str = "") -> Site:
    """The site of a seed; Lord Howe's where its clock changes."""
    rng = random.Random(seed)
    start = rng.choice(STARTS) if zone != LORD_HOWE else 1_743_861_600
    end = start + 10 * 3600
    missing = rng.choice(ROLES)
    present = [role for role in ROLES if role != missing]
    first = {role: (str(1 + n), rng.random() < 0.2) for n, role in enumerate(present)}
    setups = [(0, first)]
    if rng.random() < 0.6:
        setups.append((start + rng.randrange(2 * 3600, 8 * 3600), _changed(first, rng)))
    rows = {meter: _rows(rng, start, end) for meter in ("1", "2", "4")}
    if len(setups) > 1 and rng.random() < 0.5:  # changed in the very second of a reading
        own = [row["time"] for each in rows.values() for row in each if start + 7200 <= row["time"] < end - 7200]
        setups[1] = (rng.choice(own), setups[1][1])
    return Site(zone or rng.choice(ZONES), start, end, setups, rows, _uploads(rng, rows))


def random_site_with_sums(seed: int) -> Site:
    """A site of which some roles are sums of meters, or meters with a factor; those of a sum log together, each with gaps and resets."""
    plain, rng = random_site(seed), random.Random(-seed - 1)
    texts = {meter: _sum_of(meter, rng) if meter == "1" or rng.random() < 0.4 else meter for meter in plain.rows}
    setups = [
        (since, {role: (texts[meter], turned) for role, (meter, turned) in setup.items()})
        for since, setup in plain.setups
    ]
    if rng.random() < 0.4:  # the sum of meter 1's role becomes another one
        at = rng.randrange(plain.start + 7200, plain.end - 7200)
        setups = _with_another_sum(setups, texts["1"], f"1*{rng.choice(['2', '3.5'])}", at)
    rows = dict(plain.rows)
    for meter in ("5", "6"):
        times = [row["time"] + rng.choice([0, 0, 3, 20]) for row in plain.rows["1"]]
        rows[meter] = _with_resets(rng, _thinned(rng, _rows(rng, plain.start, plain.end, sorted(set(times)))))
    rows["1"] = _with_resets(rng, rows["1"])
    return plain._replace(setups=setups, rows=rows, uploads=_uploads(rng, rows))


def _sum_of(meter: str, rng: random.Random) -> str:
    if meter != "1":
        return f"{meter}*{rng.choice(['2', '0.5', '10'])}"
    return rng.choice(["1+5", "1+5", "1-5*0.5", "1*2+5+6*0.25", "1+6", "-1-5", "1*3"])


def _with_another_sum(
    setups: list[tuple[int, dict[str, tuple[str, bool]]]], old: str, new: str, at: int
) -> list[tuple[int, dict[str, tuple[str, bool]]]]:
    """The setups with a change of one sum's text from a time on."""
    before = [each for each in setups if each[0] < at]
    after = [(at, before[-1][1]), *(each for each in setups if each[0] > at)]
    return before + [
        (since, {role: (new if text == old else text, turned) for role, (text, turned) in setup.items()})
        for since, setup in after
    ]


def _thinned(rng: random.Random, rows: list[Row]) -> list[Row]:
    """Without some rows, and without an hour or two."""
    start = rng.choice(rows)["time"]
    silent = range(start, start + rng.choice([0, 1800, 5000, 9000]))
    return [row for row in rows if row["time"] not in silent and rng.random() > 0.01]


def _with_resets(rng: random.Random, rows: list[Row]) -> list[Row]:
    """One register begins from zero after one of the longest pauses."""
    pauses = sorted(range(1, len(rows)), key=lambda k: rows[k]["time"] - rows[k - 1]["time"])
    at = rng.choice(pauses[-2:])
    name = rng.choice(["E_import", "E_export"])
    known = [row[name] for row in rows[at:] if row[name] is not None]
    if not known or rng.random() < 0.3:
        return rows
    later = [
        {**row, name: None if row[name] is None else round((row[name] - known[0]) % 10000, 2)} for row in rows[at:]
    ]
    return rows[:at] + later


def _changed(setup: dict[str, tuple[str, bool]], rng: random.Random) -> dict[str, tuple[str, bool]]:
    """CT corrected or reversed, a meter replaced, meters exchanged, or another role computed."""
    kind = rng.randrange(4)
    role, other = rng.sample(sorted(setup), 2)
    if kind == 0:
        return {**setup, role: (setup[role][0], not setup[role][1])}
    if kind == 1:
        return {**setup, role: ("4", setup[role][1])}
    if kind == 2:
        return {role: setup[other], other: setup[role]}
    third = next(each for each in ROLES if each not in setup)
    return {other: setup[other], third: ("4", False)}


def _rows(rng: random.Random, start: int, end: int, at_times: list[int] | None = None) -> list[Row]:
    base, swing, speed = rng.uniform(0, 8), rng.uniform(0, 10), rng.uniform(0.0005, 0.01)
    step = rng.choice([60, 60, 300, 900, 1800])
    jitter, drift = rng.choice([0, 0, 5]), rng.choice([0.0, 0.0, 1 / 3600])
    registers = rng.choice(["none", "both", "both", "net"])
    has = {name: rng.random() < 0.6 for name in ("Q", "L1_PF", "L1_V")}
    counted = {"E_import": rng.choice([0.0, 812.5, 9990.0]), "E_export": rng.choice([0.0, 99.5])}
    rows: list[Row] = []
    times: list[int] = []
    time = float(start + rng.randrange(0, 600))
    while time < end:
        times.append(int(time + rng.uniform(0, jitter)))
        time += step * (1 + drift)
        if rng.random() < 0.004:
            step = rng.choice([60, 300, 900, 1800])
        if rng.random() < 0.01:
            time += rng.choice([step, 2 * step, 3600, 7000])
    last = start
    for at in at_times or times:
        for minute in range(last, at, 60):  # roughly the energy: registers are not the integral of the rows
            flow = base + swing * sin(minute * speed)
            counted["E_import" if flow > 0 else "E_export"] += abs(flow) * min(60, at - minute) / 3600
        last = at
        P = round(base + swing * sin(at * speed), 3)
        rows.append({"time": at, "P": P, **_channels(rng, P, has), **_registers(registers, counted)})
    for k in range(len(rows)):
        if registers == "both" and rng.random() < 0.002:  # a reset: from here on it counts from zero
            zero = rows[k]["E_import"]
            for row in rows[k:]:
                row["E_import"] = round(max(0.0, row["E_import"] - zero), 2)
            break
    for k in range(len(rows)):
        if rng.random() < 0.02:  # the registers could not be read for a while
            for row in rows[k : k + rng.choice([1, 2, 3, 5])]:
                row["E_import"] = row["E_export"] = row["E_net"] = None
    for k in range(len(rows)):
        if rng.random() < 0.01:  # nor could the power
            for row in rows[k : k + rng.choice([1, 2, 4])]:
                row["P"] = None
                row["L1_V"] = row["L1_V"] or 120.0
    return rows


def _registers(kind: str, counted: dict[str, float]) -> Row:
    if kind == "net":
        return {"E_import": None, "E_export": None, "E_net": round(counted["E_import"] - counted["E_export"], 2)}
    both = {name: round(value % 10000, 2) if kind == "both" else None for name, value in counted.items()}
    return {**both, "E_net": None}


def _channels(rng: random.Random, P: float, has: dict[str, bool]) -> Row:
    """The other channels: some meters lack one, and a row may miss one that the meter has."""
    values = {
        "Q": round(rng.uniform(-1, 2), 3),
        "L1_PF": round(rng.choice([1.0, 0.97, 0.8, -0.9, 0.0]), 3),
        "L1_V": round(rng.uniform(118, 122), 1),
    }
    return {name: value if has[name] and rng.random() < 0.97 else None for name, value in values.items()}


def _uploads(rng: random.Random, rows: dict[str, list[Row]]) -> list[tuple[str, list[Row]]]:
    uploads: list[tuple[str, list[Row]]] = []
    for meter, own in rows.items():
        position = 0
        while position < len(own):
            size = rng.choice([1, 4, 15, 60])
            uploads.append((meter, own[position : position + size]))
            position += size
    uploads.sort(key=lambda upload: upload[1][-1]["time"])
    for _ in range(rng.randrange(6)):  # late ones, and some again
        late = uploads.pop(rng.randrange(len(uploads)))
        uploads.insert(rng.randrange(len(uploads) + 1), late)
        if rng.random() < 0.5:
            uploads.append(late)
    return uploads
