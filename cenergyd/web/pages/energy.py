"""The energy page: a day, week, month or year of the customer's calendar as bars, totals and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from cenergyd.customers.model import Customer, TimeRange
from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.errors import InvalidField
from cenergyd.jobs.energy.meter_periods import MeterEnergy, meter_energies
from cenergyd.jobs.energy.periods import EnergyWindow, PeriodStep, energy_windows, total_of
from cenergyd.jobs.energy.self_consumption import Shares, shares_of
from cenergyd.jobs.tariff.costs import energy_costs, solar_saving
from cenergyd.jobs.tariff.parsing import tariff_of
from cenergyd.jobs.windows import day_start, local_date
from cenergyd.web.api.app import BASE
from cenergyd.web.pages import texts
from cenergyd.web.pages.charges import money
from cenergyd.web.pages.energy_chart import EnergySplit, bar_parts, chart_of
from cenergyd.web.pages.routing import Page, PageCall, PageRoute
from cenergyd.web.views.context import Context
from cenergyd.web.views.meter_names import meter_names

VIEWS: Mapping[str, tuple[str, PeriodStep]] = {
    "day": ("Day", "hour"),
    "week": ("Week", "day"),
    "month": ("Month", "day"),
    "year": ("Year", "month"),
}
COMPARISONS: Mapping[str, str] = {"previous": "Compare with previous", "last_year": "Compare with a year ago"}
_FIRST, _LAST = date(2000, 1, 3), date(2099, 12, 31)
_NOTE = "A day such as 2026-11-24 is needed."


class CalendarRange(NamedTuple):
    """Days of the calendar, ``first <= day < after``."""

    view: str
    first: date
    after: date

    @property
    def title(self) -> str:
        """Its name for people."""
        first = self.first
        if self.view == "day":
            return f"{first:%A}, {first.day} {first:%B %Y}"
        if self.view == "week":
            last = self.after - timedelta(days=1)
            return f"{first.day} {first:%b} to {last.day} {last:%b %Y}"
        return f"{first:%B %Y}" if self.view == "month" else f"{first.year}"


class Total(NamedTuple):
    """One figure above the chart."""

    name: str
    value: str
    before: str
    """The same for the same part of the period that it is compared with."""


class EnergyRow(NamedTuple):
    """A line of the table."""

    name: str
    cells: tuple[str, ...]
    note: str


class MeterRow(NamedTuple):
    """A meter's total."""

    name: str
    device: str
    """What the logger calls it."""
    role: str
    forward: str
    """kWh as the role counts them."""
    backward: str
    known: str


class EnergyPages:
    """A customer's ``energy``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def show(self, call: PageCall, customer_id: str) -> Page:
        """The page of a period: ``view``, ``date`` (any of its days), ``compare``."""
        customer = await self._context.customer(customer_id)
        zone = zone_or_utc(customer.time_zone)
        today = local_date(call.now, zone)
        view = call.query("view") or "day"
        view = view if view in VIEWS else "day"
        compare = "last_year" if call.query("compare") == "last_year" else "previous"
        day, error = _asked_day(call, today)
        period = period_of(view, day)
        values: dict[str, object] = {
            "period": period,
            "compare": compare,
            "comparisons": COMPARISONS,
            "views": VIEWS,
            "day": day.isoformat(),
            "error": error,
            "moves": _links(period, compare, today),
            "view_links": [(key, text, _path(key, day, compare)) for key, (text, _) in VIEWS.items()],
            "zone_name": zone.key,
            "csv": _csv_path(customer, "energy.csv", period),
            "meters_csv": _csv_path(customer, "energy/meters.csv", period),
            "broken": "",
            **await self._figures(customer, period, compare, call.now, zone),
        }
        return Page("energy.html", values, 422 if error else 200, customer, "energy")

    async def _figures(
        self, customer: Customer, period: CalendarRange, compare: str, now: int, zone: ZoneInfo
    ) -> dict[str, object]:
        step, other = VIEWS[period.view][1], compared(period, compare)
        readings, max_gap = self._context.readings, self._context.max_gap_seconds
        try:
            found = await energy_windows(customer, readings, period[1:], step, now, max_gap=max_gap)
            before = await energy_windows(customer, readings, other[1:], step, now, max_gap=max_gap)
        except InvalidField as fault:
            return {
                "chart": None,
                "totals": (),
                "lines": (),
                "meters": (),
                "broken": texts.sentence(str(fault)),
                "other": other.title,
            }
        before = [window for window in before if window.due_seconds or window.roles]
        passed = sum(1 for window in found if window.due_seconds)
        names = [_name(window, step, zone) for window in found]
        labels = _labels(found, step, zone)
        totals = energy_figures(total_of(found[:passed]), total_of(before[:passed]))
        costs = await self._costs(customer, period, now, zone)
        meters = await meter_energies(customer, readings, found, now, max_gap=self._context.max_gap_seconds)
        devices = await meter_names(self._context.documents, [meter.series for meter in meters])
        return {
            "chart": chart_of(found, before[: len(found)], labels, names)
            if any(each.roles for each in found)
            else None,
            "totals": (*totals, *costs),
            "lines": [_line(name, window) for name, window in zip(names, found, strict=True) if window.due_seconds],
            "meters": meter_rows(meters, devices),
            "other": other.title,
        }

    async def _costs(self, customer: Customer, period: CalendarRange, now: int, zone: ZoneInfo) -> tuple[Total, ...]:
        """The energy's cost by the tariff, without fixed and demand charges, which belong to billing periods."""
        try:
            tariff = tariff_of(customer)
        except InvalidField:
            return ()
        window = TimeRange(day_start(period.first, zone), day_start(period.after, zone))
        if tariff is None:
            return ()
        readings, max_gap = self._context.readings, self._context.max_gap_seconds
        found = await energy_costs(customer, readings, tariff, window, now, max_gap=max_gap)
        if found is None:
            return ()
        charges, bought, credit = found
        by_registers = tariff.energy_from == "registers"  # the bars and the saving are by power nevertheless
        source, other = (", by registers", ", by power") if by_registers else ("", "")
        totals = [
            Total(f"Energy bought{source}", money(str(bought), charges.currency), ""),
            Total(f"Credit for export{source}", money(str(credit), charges.currency), ""),
        ]
        saved = await solar_saving(customer, readings, tariff, window, now, max_gap=max_gap)
        if saved is not None:
            totals.append(Total(f"Saved by solar{other}", money(saved["total"], charges.currency), ""))
        return tuple(totals)

    def routes(self) -> Sequence[PageRoute]:
        """The one page."""
        return (PageRoute("GET", "/customers/<customer_id>/energy", self.show, "signed_in", is_long=True),)


def period_of(view: str, day: date) -> CalendarRange:
    """The day, week (from Monday), month or year that holds a day."""
    if view == "week":
        first = day - timedelta(days=day.weekday())
        return CalendarRange(view, first, first + timedelta(days=7))
    if view == "month":
        return CalendarRange(view, day.replace(day=1), _next_month(day))
    if view == "year":
        return CalendarRange(view, date(day.year, 1, 1), date(day.year + 1, 1, 1))
    return CalendarRange("day", day, day + timedelta(days=1))


def compared(period: CalendarRange, compare: str) -> CalendarRange:
    """The period before, or the corresponding one a year before."""
    if compare == "previous":
        return period_of(period.view, period.first - timedelta(days=1))
    if period.view == "week":
        return period_of("week", period.first - timedelta(days=364))
    day = period.first
    try:
        return period_of(period.view, day.replace(year=day.year - 1))
    except ValueError:  # 29 February
        return period_of(period.view, day.replace(year=day.year - 1, day=28))


def energy_figures(total: EnergyWindow | None, before: EnergyWindow | None) -> tuple[Total, ...]:
    """The figures above the chart."""
    now, then = _known(total), _known(before)
    rows = (
        ("From the grid", now[0].imported, then[0].imported),
        ("To the grid", now[0].exported, then[0].exported),
        ("Solar", now[2], then[2]),
        ("Load", now[0].load, then[0].load),
    )
    energies = tuple(Total(name, _kwh(value), _kwh(other)) for name, value, other in rows)
    shares = (
        ("Solar used here", now[1].self_consumption, then[1].self_consumption),
        ("Load from solar", now[1].self_sufficiency, then[1].self_sufficiency),
    )
    return (*energies, *(Total(name, texts.percent(value), texts.percent(other)) for name, value, other in shares))


def _known(total: EnergyWindow | None) -> tuple[EnergySplit, Shares, float | None]:
    if total is None:
        return EnergySplit(None, None, None, None), Shares(None, None), None
    solar = total.roles.get("solar")
    shares = shares_of({role: each._asdict() for role, each in total.roles.items()})
    return bar_parts(total), shares, solar.import_kwh if solar else None


def _kwh(value: float | None) -> str:
    return texts.NOTHING if value is None else f"{texts.number_text(value, 1)} kWh"


def _line(name: str, window: EnergyWindow) -> EnergyRow:
    part = bar_parts(window)
    solar = window.roles.get("solar")
    values = (part.imported, part.exported, solar.import_kwh if solar else None, part.load)
    notes = []
    if window.roles:
        known = min(window.complete(role) for role in window.roles)
        computed = [texts.ROLE_NAMES[role] for role, each in window.roles.items() if each.computed_seconds]
        notes += [f"{texts.percent(known)} of the time known"] if known < 0.98 else []
        notes += [f"{', '.join(computed)} computed"] if computed else []
        notes += kinds_of(window)
    return EnergyRow(
        name,
        tuple(texts.number_text(value, 2) for value in values),
        "; ".join(notes) or ("" if window.roles else "no readings"),
    )


def meter_rows(meters: Sequence[MeterEnergy], devices: Mapping[str, str]) -> list[MeterRow]:
    """The totals of meters; the logger is named where there are several.

    :param devices: what loggers call their meters, by series.
    """
    several = len({meter.serial for meter in meters}) > 1
    rows = []
    for meter in meters:
        total = meter.total
        energy = total.energy
        name, device = f"Meter {meter.meter}", devices.get(meter.series, "")
        where = f", of logger {meter.serial}" if several else ""
        rows.append(
            MeterRow(
                f"{name}{_factor(meter.factor)}{where}",
                "" if device == name else device,
                texts.ROLE_NAMES[meter.role],
                texts.number_text(energy.import_kwh if energy else None, 1),
                texts.number_text(energy.export_kwh if energy else None, 1),
                texts.percent(total.complete),
            )
        )
    return rows


def _factor(factor: float) -> str:
    """What a sum of meters does with one of them, in words."""
    size = f" \u00d7 {abs(factor):g}" if abs(factor) != 1 else ""
    return f"{size}, subtracted" if factor < 0 else size


def kinds_of(window: EnergyWindow) -> list[str]:
    """How much of a window's energy is not from regular readings: bridged by the meters' registers, or interpolated over lost rows."""
    notes = []
    for role, each in window.roles.items():
        for kind, amount in (
            ("bridged", each.bridged_import_kwh + each.bridged_export_kwh),
            ("interpolated", each.interpolated_import_kwh + each.interpolated_export_kwh),
        ):
            if amount:
                notes.append(f"{texts.ROLE_NAMES[role]}: {texts.number_text(amount)} kWh {kind}")
    return notes


def _name(window: EnergyWindow, step: PeriodStep, zone: ZoneInfo) -> str:
    moment = texts.local_datetime(window.start, zone)
    if step == "hour":
        return f"{moment:%H:%M} to {texts.local_datetime(window.end, zone):%H:%M}"
    return f"{moment:%B %Y}" if step == "month" else f"{moment:%a} {moment.day} {moment:%b}"


def _labels(windows: Sequence[EnergyWindow], step: PeriodStep, zone: ZoneInfo) -> list[str]:
    every = 3 if step == "hour" else 5 if len(windows) > 12 else 1
    labels = []
    for index, window in enumerate(windows):
        moment = texts.local_datetime(window.start, zone)
        if index % every:
            labels.append("")
        elif step == "hour":
            labels.append(f"{moment:%H}")
        elif step == "month":
            labels.append(f"{moment:%b}")
        else:
            labels.append(f"{moment:%a} {moment.day}" if len(windows) <= 7 else str(moment.day))
    return labels


def _asked_day(call: PageCall, today: date) -> tuple[date, str]:
    text = call.query("date")
    if not text:
        return today, ""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return today, _NOTE
    return (day, "") if _FIRST <= day <= _LAST else (today, _NOTE)


def _links(period: CalendarRange, compare: str, today: date) -> dict[str, str]:
    view = period.view
    return {
        "earlier": _path(view, period.first - timedelta(days=1), compare),
        "later": _path(view, period.after, compare) if period.after <= today else "",
        "today": _path(view, today, compare),
        "yesterday": _path("day", today - timedelta(days=1), compare),
    }


def _csv_path(customer: Customer, name: str, period: CalendarRange) -> str:
    query = urlencode({"start": period.first, "end": period.after, "step": VIEWS[period.view][1]})
    return f"{BASE}/customers/{quote(customer.id, safe='')}/{name}?{query}"


def _path(view: str, day: date, compare: str) -> str:
    return "?" + urlencode(
        {"view": view, "date": day.isoformat(), **({"compare": compare} if compare != "previous" else {})}
    )


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)
