"""The power page: present power, today's energy, the curves, and the same as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from cenergyd.customers.model import ROLES, Customer, Role
from cenergyd.customers.ownership import without_foreign
from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.documents.json_types import ReadOnlyJson
from cenergyd.errors import InvalidField
from cenergyd.jobs.alerts.job import AlertView
from cenergyd.jobs.alerts.site_alerts import alerts_of_state
from cenergyd.jobs.alerts.text import role_words
from cenergyd.jobs.energy.self_consumption import shares_of
from cenergyd.jobs.rollups.report import energy_today
from cenergyd.jobs.site_state.issue_text import duration
from cenergyd.jobs.site_state.model import PRESENT_SECONDS, SiteState
from cenergyd.readings.model import Reading
from cenergyd.readings.store import ReadingStore
from cenergyd.runtime.gather import concurrently
from cenergyd.web.api.app import BASE
from cenergyd.web.api.loggers import StatusReader
from cenergyd.web.api.readings import MAX_TIME, latest_of
from cenergyd.web.api.site_state import SiteStateJson
from cenergyd.web.pages import texts
from cenergyd.web.pages.alert_form import RULE_TITLES
from cenergyd.web.pages.power_flow import flows_of
from cenergyd.web.pages.routing import Page, PageCall, PageRoute
from cenergyd.web.views.context import Context
from cenergyd.web.views.curve_corrections import corrected_ranges
from cenergyd.web.views.curve_reader import CurveReader, Curves
from cenergyd.web.views.curves import auto_resolution
from cenergyd.web.views.sources import role_sources, role_tracks

DAY = 86400
_ROWS = 48
_LONGEST = 20 * 366 * DAY


class Range(NamedTuple):
    """A range to choose."""

    key: str
    text: str
    seconds: int


RANGES = (
    Range("hour", "Hour", 3600),
    Range("day", "Day", DAY),
    Range("week", "Week", 7 * DAY),
    Range("month", "Month", 31 * DAY),
    Range("year", "Year", 366 * DAY),
)


QUANTITIES: Mapping[str, str] = {
    "P": "Power, kW",
    "Q": "Reactive power, kvar",
    "L1_PF": "Power factor",
    "L1_V": "Voltage, V",
}


class ChartRange(NamedTuple):
    """The range that is shown, ``start <= time < end``, UTC seconds."""

    key: str
    """Of RANGES, or '' for any other range."""
    start: int
    end: int
    errors: Mapping[str, str] = {}


class PowerPages:
    """A customer's ``power``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._curves = {original: CurveReader(context, original=original) for original in (False, True)}
        self._reader = StatusReader(context)

    async def show(self, call: PageCall, customer_id: str) -> Page:
        """The page; ``table=1`` adds the values as a table, for readers without curves."""
        customer = await self._context.customer(customer_id)
        zone = zone_or_utc(customer.time_zone)
        span, original = chosen_span(call, zone), bool(call.query_integer("original", 0, 1))
        newest = self._context.newest_readings(customer)
        state, last, alerts = await self._reader.site(customer, call.now, newest)
        energy, corrected = await concurrently(
            self._energy(customer, call.now, last, newest), corrected_ranges(self._context, customer)
        )
        known = {name: reading for name, reading in last.items() if reading is not None}
        latest = latest_of(customer, role_sources(customer), without_foreign(customer, known), call.now)
        active = _beside_the_state(customer, state, alerts)
        table = await self._table(customer, span, zone, original) if call.query("table") else None
        values = {
            "here": call.request.uri.decode("latin-1"),
            "alerts": [alert_line(customer, view) for view in active],
            "stale": {each.role for each in state.roles if each.is_stale(call.now)},
            "present_seconds": PRESENT_SECONDS,
            "flow": flows_of(state, call.now),
            "today": today_figures(energy["energy"] if energy else {}),
            "zone": zone,
            "ranges": RANGES,
            "quantities": QUANTITIES,
            "quantity": call.query("quantity"),
            "span": span,
            "start_text": _input_text(span.start, zone),
            "end_text": _input_text(span.end, zone),
            "roles": ROLES,
            "latest": latest.roles,
            "state": SiteStateJson.of(state, customer.time_zone, call.now),
            "missing_role": customer.missing_role,
            "table": table,
            "table_link": self._link(span, original, table=True),
            "original": original,
            "other_link": self._link(span, not original),
            "corrected": corrected,
            "api": f"{BASE}/customers/{quote(customer.id, safe='')}",
            "csv_query": urlencode({"start": span.start, "end": span.end, **_asked(original)}),
        }
        template = "power.html" if table is None else "power_table.html"
        return Page(template, values, 422 if span.errors else 200, customer, "power")

    async def _energy(
        self, customer: Customer, now: int, last: Mapping[str, Reading | None], newest: ReadingStore
    ) -> ReadOnlyJson | None:
        try:
            readings, max_gap = self._context.readings, self._context.max_gap_seconds
            return await energy_today(customer, readings, now, max_gap=max_gap, last=last, recent=newest)
        except InvalidField:
            return None  # the stored time zone is none

    async def _table(self, customer: Customer, span: ChartRange, zone: ZoneInfo, original: bool) -> dict[str, object]:
        tracks = role_tracks(customer, span.start, span.end)
        seconds = auto_resolution(span.start, span.end, _ROWS)
        curves = await self._curves[original].read(
            tracks, span.start, span.end, zone=zone, resolution=str(seconds), channels=("P",)
        )
        estimated = any(point.estimated for curve in curves.curves for point in curve.points)
        rows = table_rows(curves, zone)
        return {"step": duration(seconds), "columns": tracks, "rows": rows, "estimated": estimated}

    def _link(self, span: ChartRange, original: bool, *, table: bool = False) -> str:
        query = {"range": span.key} if span.key else {"start": span.start, "end": span.end}
        return f"?{urlencode({**query, **_asked(original), **({'table': '1'} if table else {})})}{'#values' if table else ''}"

    def routes(self) -> Sequence[PageRoute]:
        """The one page."""
        return (PageRoute("GET", "/customers/<customer_id>/power", self.show, "signed_in", is_long=True),)


def _beside_the_state(customer: Customer, state: SiteState, alerts: Sequence[AlertView]) -> list[AlertView]:
    """The active alerts that the site's state does not tell."""
    told = alerts_of_state(customer, state)
    return [view for view in alerts if view.state.active and (view.kind, view.series) not in told]


class TodayFigure(NamedTuple):
    """One figure of today's energy."""

    name: str
    value: str
    unit: str


_ENERGIES: Sequence[tuple[str, Role, str]] = (
    ("From the grid", "utility", "import_kwh"),
    ("To the grid", "utility", "export_kwh"),
    ("Solar", "solar", "import_kwh"),
    ("Load", "load", "import_kwh"),
)


def today_figures(energy: Mapping[str, ReadOnlyJson | None]) -> list[TodayFigure]:
    """Today's energy as text.

    :param energy: by role, as :func:`~cenergyd.jobs.rollups.report.energy_between` returns it.
    """
    known = {role: each for role, each in energy.items() if each and each["covered_seconds"]}
    values = [(name, known[role][part] if role in known else None) for name, role, part in _ENERGIES]
    shares = shares_of(energy)
    return [
        *(TodayFigure(name, texts.number_text(value, 1), "kWh") for name, value in values),
        TodayFigure("Solar used here", texts.percent(shares.self_consumption), ""),
        TodayFigure("Load from solar", texts.percent(shares.self_sufficiency), ""),
    ]


def _input_text(time: int, zone: ZoneInfo) -> str:
    """A time as the value of an input of type ``datetime-local``."""
    return texts.local_datetime(time, zone).strftime("%Y-%m-%dT%H:%M")


def _asked(original: bool) -> dict[str, str]:
    return {"original": "1"} if original else {}


class AlertLine(NamedTuple):
    """An active alert as text."""

    title: str
    meter: str
    since: int


def alert_line(customer: Customer, view: AlertView) -> AlertLine:
    """An active alert as text; without a meter if it concerns the logger."""
    words = role_words(customer, view.series)
    meter = "" if view.series == customer.logger_serial_number else f"{words} meter"
    return AlertLine(RULE_TITLES.get(view.kind, view.kind), meter, view.state.since)


class Cell(NamedTuple):
    """A curve's power within a window, kW."""

    low: float
    mean: float
    high: float
    estimated: bool
    computed: bool


class TableRow(NamedTuple):
    """A window of the table."""

    time: int
    """Its start, UTC seconds."""
    text: str
    cells: Sequence[Cell | None]
    """In the curves' order; None: no reading."""


def table_rows(curves: Curves, zone: ZoneInfo) -> list[TableRow]:
    """A row per window that has a reading."""
    cells: dict[int, list[Cell | None]] = {}
    for column, curve in enumerate(curves.curves):
        for point in curve.points:
            row = cells.setdefault(point.time, [None] * len(curves.curves))
            if "P" in point.channels:
                row[column] = Cell(*point.channels["P"], point.estimated, point.source.computed)
    return [TableRow(time, texts.local_minute(time, zone), cells[time]) for time in sorted(cells)]


def chosen_span(call: PageCall, zone: ZoneInfo) -> ChartRange:
    """The range that a request asks for: ``from`` and ``to`` in local time, ``start`` and ``end``, or a named one."""
    if call.query("from") is not None or call.query("to") is not None:
        return _typed_span(call, zone)
    start, end = call.query_integer("start", 0, MAX_TIME), call.query_integer("end", 0, MAX_TIME)
    if start is not None and end is not None and start < end <= start + _LONGEST:
        return ChartRange("", start, end)
    asked = call.query("range")
    return _named(next((each for each in RANGES if each.key == asked), RANGES[1]), call.now)


def _named(chosen: Range, now: int, errors: Mapping[str, str] | None = None) -> ChartRange:
    return ChartRange(chosen.key, now + 1 - chosen.seconds, now + 1, errors or {})


def _typed_span(call: PageCall, zone: ZoneInfo) -> ChartRange:
    errors: dict[str, str] = {}
    times: dict[str, int] = {}
    for name in ("from", "to"):
        try:
            times[name] = int(datetime.fromisoformat(call.query(name) or "").replace(tzinfo=zone).timestamp())
        except (ValueError, OverflowError):
            errors[name] = "Choose a date and time."
    if not errors and not 0 <= times["from"] < times["to"] <= min(MAX_TIME, times["from"] + _LONGEST):
        errors["to"] = "The end must be later than the beginning, by at most twenty years."
    return _named(RANGES[1], call.now, errors) if errors else ChartRange("", times["from"], times["to"])
