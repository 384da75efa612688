"""A bill, piece by piece. Slow and plain; nothing of cenergyd is used here.

The tariff has one season and the periods ``night`` until noon and ``day`` from then on.
"""

from __future__ import annotations

import datetime
import zoneinfo
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

PRICES = {"night": (Decimal("0.1137"), Decimal("0.02")), "day": (Decimal("0.3019"), Decimal("0.07"))}
PER_KW = Decimal("11.31")
FIXED = Decimal("12.5")
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
TARIFF: dict[str, Any] = {
    "schedules": [
        {"season": "all", "period": "night", "days": DAYS, "from": "00:00", "to": "12:00"},
        {"season": "all", "period": "day", "days": DAYS, "from": "12:00", "to": "24:00"},
    ],
    "energy": [
        {"season": "all", "period": name, "import_per_kwh": str(buy), "export_per_kwh": str(sell)}
        for name, (buy, sell) in PRICES.items()
    ],
    "demand": [{"season": "all", "per_kw": str(PER_KW)}],
    "fixed": str(FIXED),
}


WAYS = ("import", "export")


def period_at(time: int, zone: str) -> str:
    """What holds at a time."""
    return "night" if datetime.datetime.fromtimestamp(time, zoneinfo.ZoneInfo(zone)).hour < 12 else "day"


def by_power(pieces: dict[int, dict[str, float]], zone: str) -> dict[str, tuple[float, float]]:
    """period -> import and export, kWh, of the utility's pieces by start."""
    found: dict[str, tuple[float, float]] = {}
    for start, piece in pieces.items():
        bought, sold = found.get(period_at(start, zone), (0.0, 0.0))
        found[period_at(start, zone)] = (bought + piece["import_kwh"], sold + piece["export_kwh"])
    return found


def by_registers(
    pieces: dict[int, dict[str, float]], counts: dict[int, dict[str, float]], meters: dict[int, str], zone: str
) -> dict[str, tuple[float, float]]:
    """The same where each meter's registers are known for some of the time (``counts``), spread by power."""
    found = {period: list(sums) for period, sums in by_power(pieces, zone).items()}
    for meter in set(meters.values()):
        mine = [start for start in counts if meters[start] == meter]
        seconds = sum(counts[start]["seconds"] for start in mine)
        power = [{s: pieces[s][f"{way}_kwh"] - counts[s][f"uncounted_{way}_kwh"] for s in mine} for way in WAYS]
        register = [sum(counts[start][f"register_{way}_kwh"] for start in mine) for way in WAYS]
        if any(counts[start]["register_net_kwh"] for start in mine):
            register = _both_ways(sum(counts[start]["register_net_kwh"] for start in mine), *map(_total, power))
        for k in range(2):
            whole = _total(power[k])
            for start in mine:
                share = power[k][start] / whole if whole > 0 else counts[start]["seconds"] / seconds
                found[period_at(start, zone)][k] += register[k] * share - power[k][start]
    return {period: (sums[0], sums[1]) for period, sums in found.items()}


def _both_ways(net: float, bought: float, sold: float) -> list[float]:
    """Import and export of a meter that counts only their difference: what power misses of it goes to the larger of the two."""
    missed = net - (bought - sold)
    if bought >= sold:
        bought += missed
    else:
        sold -= missed
    return [bought, sold] if bought >= 0 and sold >= 0 else [max(net, 0.0), max(-net, 0.0)]


def _total(parts: dict[int, float]) -> float:
    return sum(parts.values())


def bill(energies: dict[str, tuple[float, float]], highest: float) -> Decimal:
    """The total: each line to hundredths."""
    total = _cents(FIXED) + _cents(PER_KW * Decimal(repr(max(0.0, highest))))
    for period, (bought, sold) in energies.items():
        buy, sell = PRICES[period]
        total += _cents(buy * Decimal(repr(bought))) - _cents(sell * Decimal(repr(sold)))
    return total


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
