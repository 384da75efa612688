"""A customer's charges: today, this period compared with earlier ones up to the same day, and an estimate of its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.documents.json_types import ReadOnlyJson
from cenergyd.errors import InvalidField
from cenergyd.jobs.site_state.issue_text import duration
from cenergyd.jobs.tariff.costs import charges_overview
from cenergyd.jobs.tariff.report import Basis
from cenergyd.web.api.app import BASE
from cenergyd.web.pages import texts
from cenergyd.web.pages.routing import Page, PageCall, PageRoute
from cenergyd.web.views.context import Context

_WIDEST = 100
_SHOWN_RANGES = 5
_REASONS: Mapping[str, str] = {
    "computed": "the meter at the grid is computed",
    "no_registers": "no register, or one that was reset or jumped",
}


class ChargePeriod(NamedTuple):
    """A period in the table."""

    name: str
    period: ReadOnlyJson
    whole: bool = False

    @property
    def range(self) -> str:
        """Its days, as text."""
        first, last = date.fromisoformat(self.period["first_day"]), date.fromisoformat(self.period["last_day"])
        return texts.days(first, last)


class ChargeRow(NamedTuple):
    """One line of the table."""

    text: str
    cells: tuple[tuple[str, str], ...]
    """Per column: the amount (or the quantity if there is no price) and a remark."""


class ChargeGroup(NamedTuple):
    """Lines under one heading."""

    title: str
    lines: tuple[ChargeRow, ...]


class ChargeBar(NamedTuple):
    """One bar of the chart."""

    name: str
    width: int
    """Percent of the longest; 0 if not known."""
    text: str
    note: str = ""


class Figure(NamedTuple):
    """One figure above the chart."""

    name: str
    value: str
    note: str


class ChargesPages:
    """A customer's ``charges``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def show(self, call: PageCall, customer_id: str) -> Page:
        """The table; ``basis=calendar`` compares calendar months."""
        customer = await self._context.customer(customer_id)
        zone = zone_or_utc(customer.time_zone)
        basis: Basis = "calendar" if call.query("basis") == "calendar" else "billing"
        report, broken = None, ""
        try:
            readings, max_gap = self._context.readings, self._context.max_gap_seconds
            report = await charges_overview(customer, readings, call.now, basis, max_gap)
        except InvalidField as error:
            broken = texts.sentence(str(error))
        columns = columns_of(report) if report else ()
        values = {
            "basis": basis,
            "broken": broken,
            "report": report,
            "columns": columns,
            "figures": figures_of(report, zone) if report else (),
            "groups": groups_of(columns, zone),
            "totals": _totals(columns, report) if report else (),
            "bars": bars_of(columns, report) if report else (),
            "register_notes": register_notes(columns, zone),
            "csv": f"{BASE}/customers/{quote(customer.id, safe='')}/charges.csv?basis={basis}",
            "zone": zone,
        }
        return Page("charges.html", values, customer=customer, tab="charges")

    def routes(self) -> Sequence[PageRoute]:
        """The one page."""
        return (PageRoute("GET", "/customers/<customer_id>/charges", self.show, "signed_in", is_long=True),)


def columns_of(report: ReadOnlyJson) -> tuple[ChargePeriod, ...]:
    """The columns: periods up to the same day, and the whole last period."""
    to_same_day = report["to_same_day"]
    return (
        ChargePeriod("This period so far", report["this"]),
        ChargePeriod("Last period to the same day", to_same_day["last"]),
        ChargePeriod("A year ago to the same day", to_same_day["last_year"]),
        ChargePeriod("Last period, whole", report["last"], whole=True),
    )


def figures_of(report: ReadOnlyJson, zone: ZoneInfo) -> tuple[Figure, ...]:
    """Cost today, the estimated end of the period, and what solar saved; empty without a tariff."""
    if not report["tariff"]:
        return ()
    this, today, end, saved = report["this"], report["today"], report["projected"], report["saved"]
    currency = this["currency"]
    done, days = _day_of(this, zone)
    found = [
        Figure("Cost today", money(today["total"], currency), "bought, less the credit for export"),
        Figure("This period so far", money(this["total"], currency), f"day {done} of {days}"),
        Figure(
            "Estimated whole period",
            money(end["total"] if end else None, currency),
            "at the rate so far" if end else "once three days are known",
        ),
    ]
    whole = saved["this"]
    if whole:
        note = f"today {money(saved['today']['total'], currency)}" if saved["today"] else "in this period so far"
        found.append(Figure("Saved by solar", money(whole["total"], currency), note))
    return tuple(found)


def groups_of(columns: Sequence[ChargePeriod], zone: ZoneInfo) -> tuple[ChargeGroup, ...]:
    """The periods' lines; a line that a period lacks has a dash."""
    found = (
        ChargeGroup("Energy from the grid", _lines(columns, "energy", lambda line: _energy(line, "import"))),
        ChargeGroup("Energy to the grid", _lines(columns, "energy", lambda line: _energy(line, "export"))),
        ChargeGroup("Demand", _lines(columns, "demand", lambda line: _demand(line, zone))),
        ChargeGroup("Peak demand", _lines(columns, "peak_demand", lambda line: _demand(line, zone))),
    )
    return tuple(group for group in found if group.lines)


def bars_of(columns: Sequence[ChargePeriod], report: ReadOnlyJson) -> tuple[ChargeBar, ...]:
    """A bar per period: its total, or the energy from the grid if no tariff is set; then the estimated end beside the last bill."""
    priced = bool(report["tariff"])
    sizes = [(column.name, _size(column.period, priced)) for column in columns]
    if end := report["projected"]:
        sizes.insert(3, ("This period, estimated end", float(end["total"] if priced else end["import_kwh"])))
    most = max((abs(size) for _, size in sizes if size is not None), default=0.0) or 1.0
    currency = report["this"]["currency"]
    return tuple(
        ChargeBar(
            name,
            0 if size is None else max(1, round(_WIDEST * max(size, 0.0) / most)),
            "not known"
            if size is None
            else money(f"{size:.2f}", currency)
            if priced
            else f"{texts.number_text(size)} kWh",
        )
        for name, size in sizes
    )


def register_notes(columns: Sequence[ChargePeriod], zone: ZoneInfo) -> tuple[str, ...]:
    """Per period, for how much of it energy is from the grid meter's registers; empty if the tariff takes energy from power."""
    return tuple(
        f"{column.name}: {_register_note(use, zone)}"
        for column in columns
        if (use := column.period["registers"]) is not None
    )


def _register_note(use: ReadOnlyJson, zone: ZoneInfo) -> str:
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
    return f"{share}, power for {duration(use['power_seconds'])}: {', '.join(shown)}{more}."


def _size(period: ReadOnlyJson, priced: bool) -> float | None:
    if priced:
        return None if period["total"] is None else float(period["total"])
    return float(sum(line["import_kwh"] for line in period["energy"])) if period["energy"] else None


def _day_of(period: ReadOnlyJson, zone: ZoneInfo) -> tuple[int, int]:
    """The number of the day that a period has reached, and its number of days."""
    first, last = date.fromisoformat(period["first_day"]), date.fromisoformat(period["last_day"])
    return (texts.local_datetime(period["until"], zone).date() - first).days + 1, (last - first).days + 1


def money(amount: str | None, currency: str | None) -> str:
    """``1 234.50 USD``."""
    if amount is None:
        return texts.NOTHING
    value = Decimal(amount)
    shown = f"{abs(value):,.2f}".replace(",", "\u202f")
    return f"{texts.MINUS if value < 0 else ''}{shown}{f' {currency}' if currency else ''}"


def _totals(columns: Sequence[ChargePeriod], report: ReadOnlyJson) -> tuple[ChargeRow, ...]:
    if not report["tariff"]:
        return ()
    fixed = tuple((money(column.period["fixed"], None), "") for column in columns)
    total = tuple((money(column.period["total"], column.period["currency"]), "") for column in columns)
    return ChargeRow("Fixed charge", fixed), ChargeRow("Total", total)


def _lines(
    columns: Sequence[ChargePeriod], kind: str, cell: Callable[[ReadOnlyJson], tuple[str, str]]
) -> tuple[ChargeRow, ...]:
    keys = dict.fromkeys((line["season"], line["period"]) for column in columns for line in column.period[kind])
    lines = []
    for season, period in keys:
        cells = []
        for column in columns:
            mine = [line for line in column.period[kind] if (line["season"], line["period"]) == (season, period)]
            cells.append(cell(mine[0]) if mine else (texts.NOTHING, ""))
        lines.append(ChargeRow(_label(season, period), tuple(cells)))
    return tuple(lines)


def _label(season: str, period: str | None) -> str:
    named = [part for part in (season, period) if part and part != "all"]
    return ", ".join(named) or "All the time"


def _energy(line: ReadOnlyJson, way: str) -> tuple[str, str]:
    kwh = f"{texts.number_text(line[f'{way}_kwh'])} kWh"
    amount = line["import_charge"] if way == "import" else line["export_credit"]
    if amount is None:
        return kwh, ""
    return money(amount if way == "import" else str(0 - Decimal(amount)), None), kwh


def _demand(line: ReadOnlyJson, zone: ZoneInfo) -> tuple[str, str]:
    if line["kw"] is None:
        return texts.NOTHING, "not known"
    when = f", {texts.local_minute(line['time'], zone)}" if line["time"] is not None else ""
    share = f", {line['share']:.0%} of the period" if line["share"] < 1 else ""
    return money(line["charge"], None), f"{texts.number_text(line['kw'])} kW{when}{share}"
