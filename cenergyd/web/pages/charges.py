"""What a customer owes: this and the last period, and the same one last year."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.errors import InvalidField
from cenergyd.jobs.rollups.report import Basis, charges_report
from cenergyd.web.pages import texts
from cenergyd.web.pages.routing import Page, PageCall, PageRoute
from cenergyd.web.views.context import Context

NAMES: Mapping[str, str] = {"this": "This period", "last": "Last period", "last_year": "A year ago"}
_WIDEST = 100
_SHOWN_RANGES = 5
_REASONS: Mapping[str, str] = {
    "computed": "the meter at the grid is computed",
    "no_registers": "no register, or one that was reset or leapt",
}


class Line(NamedTuple):
    """One line of the table."""

    text: str
    cells: tuple[tuple[str, str], ...]
    """Per period: the amount (or the quantity where there is no price) and a remark."""


class Group(NamedTuple):
    """Lines under one heading."""

    title: str
    lines: tuple[Line, ...]


class Bar(NamedTuple):
    """One bar of the picture."""

    name: str
    width: int
    """In hundredths of the longest."""
    text: str


class ChargesPages:
    """A customer's ``charges``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def show(self, call: PageCall, customer_id: str) -> Page:
        """The table; ``basis=calendar`` compares calendar months."""
        customer = await self._context.customer(customer_id)
        basis: Basis = "calendar" if call.query("basis") == "calendar" else "billing"
        report, broken = None, ""
        try:
            report = await charges_report(
                customer, self._context.readings, call.now, basis, self._context.max_gap_seconds
            )
        except InvalidField as error:
            broken = f"{error.field}: {error}"
        values = {
            "basis": basis,
            "broken": broken,
            "report": report,
            "names": NAMES,
            "groups": groups_of(report, zone_or_utc(customer.time_zone)) if report else (),
            "totals": _totals(report) if report else (),
            "bars": bars_of(report) if report else (),
            "register_notes": register_notes(report, zone_or_utc(customer.time_zone)) if report else (),
            "ranges": {name: _range(report[name]) for name in NAMES} if report else {},
            "zone": zone_or_utc(customer.time_zone),
        }
        return Page("charges.html", values, customer=customer, tab="charges")

    def routes(self) -> Sequence[PageRoute]:
        """The one page."""
        return (PageRoute("GET", "/customers/<customer_id>/charges", self.show, "signed_in"),)


def groups_of(report: Mapping[str, object], zone: object) -> tuple[Group, ...]:
    """The report's lines side by side; a line that one period lacks has a dash there."""
    found = (
        Group("Energy imported", _lines(report, "energy", lambda line: _energy(line, "import"))),
        Group("Energy exported", _lines(report, "energy", lambda line: _energy(line, "export"))),
        Group("Demand", _lines(report, "demand", lambda line: _demand(line, zone))),
        Group("Peak demand", _lines(report, "peak_demand", lambda line: _demand(line, zone))),
    )
    return tuple(group for group in found if group.lines)


def bars_of(report: Mapping[str, Any]) -> tuple[Bar, ...]:
    """A bar per period: what is unsent, or the energy imported where no tariff is set."""
    priced = bool(report["tariff"])
    sizes = {name: _size(report[name], priced) for name in NAMES}
    most = max((abs(size) for size in sizes.values()), default=0.0) or 1.0
    return tuple(
        Bar(NAMES[name], max(1, round(_WIDEST * max(size, 0.0) / most)), _bar_text(report[name], priced, size))
        for name, size in sizes.items()
    )


def register_notes(report: Mapping[str, Any], zone: Any) -> tuple[str, ...]:
    """Per period how far its energy rests on the grid meter's registers; none where the tariff has energy from power."""
    return tuple(
        f"{NAMES[name]}: {_register_note(use, zone)}"
        for name in NAMES
        if (use := report[name]["registers"]) is not None
    )


def _register_note(use: Mapping[str, Any], zone: Any) -> str:
    known = use["register_seconds"] + use["power_seconds"]
    if not known:
        return "nothing is known."
    share = f"registers for {use['register_seconds'] * 100 // known} % of the time that is known"
    if not use["missing"]:
        return f"{share}."
    shown = [
        f"{texts.local_minute(each['start'], zone)} to {texts.local_minute(each['end'], zone)} ({_REASONS[each['reason']]})"
        for each in use["missing"][:_SHOWN_RANGES]
    ]
    more = f" and {len(use['missing']) - _SHOWN_RANGES} more" if len(use["missing"]) > _SHOWN_RANGES else ""
    return f"{share}, power for {texts.span(use['power_seconds'])}: {', '.join(shown)}{more}."


def _size(period: Mapping[str, Any], priced: bool) -> float:
    if priced:
        return float(period["total"])
    return float(sum(line["import_kwh"] for line in period["energy"]))


def _bar_text(period: Mapping[str, Any], priced: bool, size: float) -> str:
    return money(period["total"], period["currency"]) if priced else f"{texts.number(size)} kWh"


def money(amount: str | None, currency: str | None) -> str:
    """``1 234.50 USD``."""
    if amount is None:
        return texts.NOTHING
    value = Decimal(amount)
    shown = f"{abs(value):,.2f}".replace(",", "\u202f")
    return f"{texts.MINUS if value < 0 else ''}{shown}{f' {currency}' if currency else ''}"


def _totals(report: Mapping[str, Any]) -> tuple[Line, ...]:
    if not report["tariff"]:
        return ()
    fixed = tuple((money(report[name]["fixed"], None), "") for name in NAMES)
    total = tuple((money(report[name]["total"], report[name]["currency"]), "") for name in NAMES)
    return Line("Fixed charge", fixed), Line("Total", total)


def _lines(report: Mapping[str, Any], kind: str, cell: Any) -> tuple[Line, ...]:
    keys = dict.fromkeys((line["season"], line["period"]) for name in NAMES for line in report[name][kind])
    lines = []
    for season, period in keys:
        cells = []
        for name in NAMES:
            mine = [line for line in report[name][kind] if (line["season"], line["period"]) == (season, period)]
            cells.append(cell(mine[0]) if mine else (texts.NOTHING, ""))
        lines.append(Line(_label(season, period), tuple(cells)))
    return tuple(lines)


def _label(season: str, period: str | None) -> str:
    named = [part for part in (season, period) if part and part != "all"]
    return ", ".join(named) or "All the time"


def _energy(line: Mapping[str, Any], way: str) -> tuple[str, str]:
    kwh = f"{texts.number(line[f'{way}_kwh'])} kWh"
    amount = line["import_charge"] if way == "import" else line["export_credit"]
    if amount is None:
        return kwh, ""
    return money(amount if way == "import" else str(0 - Decimal(amount)), None), kwh


def _demand(line: Mapping[str, Any], zone: Any) -> tuple[str, str]:
    when = f", {texts.local_minute(line['time'], zone)}" if line["time"] is not None else ""
    share = f", {line['share']:.0%} of the period" if line["share"] < 1 else ""
    return money(line["charge"], None), f"{texts.number(line['kw'])} kW{when}{share}"


def _range(period: Mapping[str, Any]) -> str:
    first, last = date.fromisoformat(period["first_day"]), date.fromisoformat(period["last_day"])
    return f"{first.isoformat()} to {last.isoformat()}"
