"""The words and units in the names of a meter's points that :mod:`cenergyd.acquisuite.points` knows."""

from __future__ import annotations

import re
from typing import Final

KW: Final = {"kw": 1.0, "kilowatt": 1.0, "kilowatts": 1.0, "w": 0.001, "watt": 0.001, "watts": 0.001, "mw": 1000.0,
              "megawatt": 1000.0, "megawatts": 1000.0}  # fmt: skip
KVAR: Final = {"kvar": 1.0, "kvars": 1.0, "kvr": 1.0, "var": 0.001, "vars": 0.001, "mvar": 1000.0, "mvars": 1000.0}
KWH: Final = {"kwh": 1.0, "kwhr": 1.0, "kwhrs": 1.0, "kwhs": 1.0, "kilowatthour": 1.0, "kilowatthours": 1.0, "wh": 0.001,
               "whr": 0.001, "whrs": 0.001, "watthour": 0.001, "watthours": 0.001, "mwh": 1000.0, "mwhr": 1000.0}  # fmt: skip
VOLTS: Final = {"v": 1.0, "volt": 1.0, "volts": 1.0, "vac": 1.0, "kv": 1000.0}
PF_UNITS: Final = {"": 1.0, "pf": 1.0, "none": 1.0, "ratio": 1.0, "%": 0.01, "percent": 0.01}
UNITS: Final = frozenset({*KW, *KVAR, *KWH, *VOLTS})

WORD: Final = re.compile(r"[a-z0-9]+")
TRAILING_UNIT: Final = re.compile(r"\(([^()]{1,16})\)\s*\Z")
OTHER: Final = frozenset(
    [
        "min",
        "max",
        "minimum",
        "maximum",
        "mininum",
        "mn",
        "mx",
        "peak",
        "pk",
        "demand",
        "dmd",
        "td",
        "sd",
        "pd",
        "predicted",
        "previous",
        "prev",
        "last",
        "thd",
        "tdd",
        "harmonic",
        "harmonics",
        "fundamental",
        "angle",
        "unbal",
        "unbalance",
        "imbal",
        "imbalance",
        "kfactor",
        "crest",
        "limit",
        "setpoint",
        "threshold",
        "alarm",
        "target",
        "contract",
        "per",
        "minute",
        "pulse",
        "pulses",
        "count",
        "counter",
        "multiplier",
        "scale",
        "daily",
        "today",
        "yesterday",
        "month",
        "year",
        "dc",
    ]
)
"""Words for something other than the present value, even if the unit is right."""
UNCLEAR: Final = frozenset(["low", "high", "lo", "hi", "avg", "average", "ave", "mean", "displacement"])
"""Words with which it is uncertain whether the name means the whole quantity."""
PHASES: Final = frozenset(
    [
        "a",
        "b",
        "c",
        "an",
        "bn",
        "cn",
        "ab",
        "bc",
        "ca",
        "pha",
        "phb",
        "phc",
        "neutral",
        "l1",
        "l2",
        "l3",
        "ph1",
        "ph2",
        "ph3",
    ]
)
LINES: Final = re.compile(r"\b(?:phase|ph|line|leg)[ -]?[123]\b")
THREE_PHASE: Final = re.compile(r"\b3[ -]?(?:ph|phase|p)\b|\bthree[ -]phase\b")
TOTAL: Final = frozenset(["total", "tot", "sum", "system", "net", "overall"])
IN: Final = frozenset(["import", "imported", "delivered", "del", "pos", "positive", "in"])
OUT: Final = frozenset(["export", "exported", "received", "rec", "generated", "neg", "negative", "out"])
PARTS: Final = IN | OUT | frozenset(["consumed", "quadrant", "quadrants", "q1", "q2", "q3", "q4"])
NEUTRAL: Final = frozenset(
    [
        "total",
        "tot",
        "sum",
        "system",
        "net",
        "overall",
        "3",
        "3p",
        "ph",
        "phase",
        "three",
        "instantaneous",
        "real",
        "active",
        "true",
        "actual",
        "present",
        "ac",
        "power",
        "kw",
        "w",
        "watts",
        "watt",
        "rate",
        "reactive",
        "kvar",
        "kvars",
        "var",
        "vars",
        "factor",
        "pf",
        "powerfactor",
        "sign",
        "signed",
        "of",
        "the",
    ]
)
"""Words that belong to the name of a quantity; any other word is a user's label."""
POWER: Final = frozenset(["power", "kw", "kilowatts", "watts", "watt", "w", "mw"])
REACTIVE: Final = frozenset(["reactive", "kvar", "kvars", "var", "vars"])
NOT_POWER: Final = frozenset(
    ["reactive", "apparent", "factor", "energy", "accumulated", "hours", "hour", "kva", "kvar", "kwh"]
)
ENERGY: Final = frozenset(["energy", "kwh", "kwhr", "wh", "mwh", "consumption", "hours", "watthours"])
POWER_FACTOR: Final = re.compile(r"\bpower ?factor\b|\bpf\b|\bcos ?phi\b")
SHARK_HOURS: Final = re.compile(r"\bw(?:att)?[ -]hours?\b")
GROSS: Final = re.compile(r"\b(?:del|d|delivered|imp|import)\s*\+\s*(?:r|rec|received|exp|export)\b")
NET: Final = re.compile(r"\bnet\b|\b(?:del|d|delivered|imp|import)\s*-\s*(?:r|rec|received|exp|export)\b")
PHASE_A_N: Final = re.compile(
    r"\ba[ -]?n\b|\ba to n\b|\bv?an\b|\b(?:l|v|ph)1[ -]?n\b|\bv?ln[ -]?[a1]\b|\b[vl]1 to n(?:eutral)?\b"
    r"|\b(?:phase|voltage|volts|ph) a\b(?! ?(?:-|to\b|[bc]\b))"
)
