"""Readings of a customer: curves over a range at a resolution, CSV, latest values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from cenergyd.customers.model import ROLES, Customer, Role
from cenergyd.errors import InvalidField
from cenergyd.readings.model import CHANNELS, MISSING_METER, Reading, is_series_name
from cenergyd.web import openapi
from cenergyd.web.context import Context
from cenergyd.web.curves import (
    LADDER,
    Curve,
    Source,
    auto_resolution,
    check_resolution,
    csv_of,
    curve_of_readings,
    curve_of_summaries,
    curve_view,
    reading_view,
)
from cenergyd.web.problems import FieldError, invalid_fields
from cenergyd.web.routing import Call, Reply, Route

MAX_TIME = 1 << 34
_MAX_SERIES = 16


class Curves(NamedTuple):
    """What was read for a range."""

    start: int
    end: int
    resolution: int | None
    """Seconds; None: single readings."""
    next_start: int | None
    """Where to go on, in case the single readings were too many for one answer."""
    curves: list[Curve]
    channels: Sequence[str] = CHANNELS
    """What was asked for."""


def role_source(customer: Customer, role: Role) -> Source | None:
    """Where the readings of a role are, or None."""
    series = customer.series_of(role)
    if series is None or not is_series_name(series):
        return None
    computed = not customer.current.meter_of(role)
    return Source(series, role, computed, not computed and role in customer.current.reversed_roles)


def role_sources(customer: Customer) -> list[Source]:
    """All roles that have readings somewhere."""
    return [source for role in ROLES if (source := role_source(customer, role))]


class CurveReader:
    """Reads curves in bounded size. Used by the API and the pages.

    :param points: points per curve that ``auto`` aims at.
    :param max_points: most points per curve.
    """

    def __init__(self, context: Context) -> None:
        self._readings = context.readings
        self._points = context.settings.points
        self._max_points = context.settings.max_points

    async def read(
        self,
        sources: Sequence[Source],
        start: int,
        end: int,
        resolution: str = "auto",
        channels: Sequence[str] = CHANNELS,
    ) -> Curves:
        """Curves over ``start <= time < end``; ``resolution`` is ``auto``, ``raw`` or seconds. Raises InvalidField.

        Fewer ``channels`` of a long range cost less.
        """
        if resolution == "raw":
            return await self._raw(sources, start, end, channels)
        if resolution != "auto":
            seconds = int(resolution)
            check_resolution(start, end, seconds, self._max_points)
            return await self._summaries(sources, start, end, seconds, channels)
        seconds = auto_resolution(start, end, self._points)
        if seconds == LADDER[0]:
            curves = await self._raw(sources, start, end, channels)
            if curves.next_start is None:
                return curves
        return await self._summaries(sources, start, end, seconds, channels)

    async def _raw(self, sources: Sequence[Source], start: int, end: int, channels: Sequence[str]) -> Curves:
        limit = self._max_points
        read = await self._readings.read(_names(sources), start, end, limit=limit + 1)
        # All curves end at the same time, so that the next piece begins at one.
        cuts = [readings[limit].time for readings in read.values() if len(readings) > limit]
        cut = min(cuts) if cuts else None
        kept = {
            series: [reading for reading in readings if cut is None or reading.time < cut]
            for series, readings in read.items()
        }
        curves = [curve_of_readings(source, kept[source.series]) for source in sources]
        return Curves(start, end, None, cut, curves, channels)

    async def _summaries(
        self, sources: Sequence[Source], start: int, end: int, seconds: int, channels: Sequence[str]
    ) -> Curves:
        read = await self._readings.summarise(_names(sources), start, end, seconds, channels)
        curves = [curve_of_summaries(source, read.get(source.series, []), seconds) for source in sources]
        return Curves(start, end, seconds, None, curves, channels)


class ReadingsApi:
    """``/customers/{customer_id}/readings`` and ``latest``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reader = CurveReader(context)

    async def read(self, call: Call, customer_id: str) -> Reply:
        """Curves as JSON."""
        _, curves = await self._curves(call, customer_id)
        return Reply(
            {
                "customer_id": customer_id,
                "start": curves.start,
                "end": curves.end,
                "resolution": curves.resolution,
                "next_start": curves.next_start,
                "curves": [curve_view(curve, curves.channels) for curve in curves.curves],
            }
        )

    async def read_csv(self, call: Call, customer_id: str) -> Reply:
        """Curves as CSV."""
        customer, curves = await self._curves(call, customer_id)
        name = f"readings-{curves.start}-{curves.next_start or curves.end}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        body = csv_of(curves.curves, ZoneInfo(customer.time_zone), curves.channels)
        return Reply(body, headers=headers, media_type="text/csv; charset=utf-8")

    async def latest(self, call: Call, customer_id: str) -> Reply:
        """The latest reading of each role."""
        customer = await self._context.customer(customer_id)
        return Reply(await latest_view(self._context, customer, call.now))

    async def _curves(self, call: Call, customer_id: str) -> tuple[Customer, Curves]:
        start, end, resolution = _range(call)
        channels = _channels(call)
        customer = await self._context.customer(customer_id)
        sources = _sources(call, customer)
        return customer, await self._reader.read(sources, start, end, resolution, channels)

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        one = "/customers/{customer_id}"
        return (
            Route("GET", f"{one}/readings", self.read, "signed_in", _READ),
            Route("GET", f"{one}/readings.csv", self.read_csv, "signed_in", _READ_CSV),
            Route("GET", f"{one}/latest", self.latest, "signed_in", _LATEST),
        )

    def schemas(self) -> Mapping[str, Any]:
        """Schema components."""
        return _SCHEMAS


async def latest_view(context: Context, customer: Customer, now: int) -> dict[str, Any]:
    """The latest reading of each role, null where there is none."""
    sources = role_sources(customer)
    last = await context.readings.last(_names(sources)) if sources else {}
    return latest_of(customer, sources, last, now)


def latest_of(customer: Customer, sources: Sequence[Source], last: Mapping[str, Reading], now: int) -> dict[str, Any]:
    """The same from readings that are at hand."""
    roles: dict[str, Any] = dict.fromkeys(ROLES)
    for source in sources:
        if (reading := last.get(source.series)) is not None:
            roles[str(source.role)] = source_reading_view(source, reading)
    return {"customer_id": customer.id, "now": now, "roles": roles}


def source_reading_view(source: Source, reading: Reading) -> dict[str, Any]:
    """A reading with where it comes from."""
    return {"series": source.series, "computed": source.computed, **reading_view(reading, source.reversed)}


def _names(sources: Sequence[Source]) -> list[str]:
    return list(dict.fromkeys(source.series for source in sources))


def _range(call: Call) -> tuple[int, int, str]:
    faults: list[FieldError] = []
    values: dict[str, int] = {}
    for name in ("start", "end"):
        value = call.query_integer(name, 0, MAX_TIME)
        if value is None:
            faults.append(FieldError(name, "is needed: UTC seconds"))
        else:
            values[name] = value
    if faults:
        raise invalid_fields(faults)
    if values["end"] <= values["start"]:
        raise InvalidField("end", "must be later than start")
    resolution = call.query("resolution")
    if resolution is None or resolution in ("auto", "raw"):
        return values["start"], values["end"], resolution or "auto"
    seconds = call.query_integer("resolution", 1, 366 * 86400)
    return values["start"], values["end"], str(seconds)


def _channels(call: Call) -> list[str]:
    asked = call.queries("channel")
    if not set(asked) <= set(CHANNELS):
        raise InvalidField("channel", f"one of {', '.join(CHANNELS)} is needed")
    return [channel for channel in CHANNELS if channel in asked or not asked]


def _sources(call: Call, customer: Customer) -> list[Source]:
    roles, series = call.queries("role"), call.queries("series")
    if len(roles) + len(series) > _MAX_SERIES:
        raise InvalidField("series", f"at most {_MAX_SERIES} roles and series")
    if not roles and not series:
        return role_sources(customer)
    found: dict[tuple[str, str | None], Source] = {}
    for role in roles:
        if role not in ROLES:
            raise InvalidField("role", f"one of {', '.join(ROLES)} is needed")
        if (source := role_source(customer, role)) is not None:
            found[(source.series, role)] = source
    for name in series:
        found[(name, None)] = _series_source(customer, name)
    return list(found.values())


def _series_source(customer: Customer, name: str) -> Source:
    serial = customer.logger_serial_number
    if not serial or not is_series_name(name) or not name.startswith(f"{serial}_"):
        raise InvalidField("series", "no series of this customer's logger")
    return Source(name, None, name == f"{serial}_{MISSING_METER}")


_TAG = "readings"
_NUMBERS = {"type": "array", "items": openapi.nullable({"type": "number"})}
_COLUMNS = openapi.closed({"mean": _NUMBERS, "min": _NUMBERS, "max": _NUMBERS}, ["min", "max"])
_READING = {
    "time": openapi.TIME,
    **{channel: openapi.nullable({"type": "number"}) for channel in CHANNELS},
    "estimated": {"type": "boolean", "description": "Rests on an estimated reactive power."},
}
_SERIES = {"type": "string"}
_COMPUTED = {"type": "boolean", "description": "Computed from the other two meters."}
_SCHEMAS: Mapping[str, Any] = {
    "Curve": openapi.closed(
        {
            "role": openapi.nullable(openapi.ref("Role")),
            "series": _SERIES,
            "computed": _COMPUTED,
            "gap_seconds": {
                **openapi.nullable({"type": "integer"}),
                "description": "Points further apart have a gap between them.",
            },
            "gaps": {
                "type": "array",
                "items": {"type": "array", "items": openapi.TIME, "minItems": 2, "maxItems": 2},
                "description": "Last time before and first time after each gap.",
            },
            "time": {"type": "array", "items": openapi.TIME},
            "readings": {"type": "array", "items": {"type": "integer"}, "description": "Readings behind each point."},
            "estimated": {"type": "array", "items": {"type": "boolean"}},
            **{channel: openapi.ref("Columns") for channel in CHANNELS},
        },
        CHANNELS,
        description="Columns of the same length.",
    ),
    "Columns": {**_COLUMNS, "description": "Only `mean` for single readings."},
    "Curves": openapi.closed(
        {
            "customer_id": {"type": "string"},
            "start": openapi.TIME,
            "end": openapi.TIME,
            "resolution": {
                **openapi.nullable({"type": "integer"}),
                "description": "Seconds per point; null: single readings.",
            },
            "next_start": {
                **openapi.nullable(openapi.TIME),
                "description": "Where to go on, if the readings were too many for one answer.",
            },
            "curves": {"type": "array", "items": openapi.ref("Curve")},
        }
    ),
    "LatestReading": openapi.closed({"series": _SERIES, "computed": _COMPUTED, **_READING}),
    "Latest": openapi.closed(
        {
            "customer_id": {"type": "string"},
            "now": openapi.TIME,
            "roles": openapi.closed({role: openapi.nullable(openapi.ref("LatestReading")) for role in ROLES}),
        }
    ),
}
_TIME_PARAMETER = {"type": "integer", "minimum": 0, "maximum": MAX_TIME}
_PARAMETERS = (
    openapi.CUSTOMER_ID,
    openapi.query_parameter("start", _TIME_PARAMETER, "First time, UTC seconds.", required=True),
    openapi.query_parameter("end", _TIME_PARAMETER, "Time after the last one, UTC seconds.", required=True),
    openapi.query_parameter(
        "resolution",
        {"anyOf": [{"enum": ["auto", "raw"]}, {"type": "integer", "minimum": 1, "maximum": 366 * 86400}]},
        "`auto` (default): what fits the range; `raw`: single readings; or seconds per point, each with min, mean and max.",
    ),
    openapi.query_parameter(
        "channel",
        {"type": "array", "items": {"enum": list(CHANNELS)}, "maxItems": len(CHANNELS)},
        "Only these channels; default all. Fewer of a long range cost less.",
    ),
    openapi.query_parameter(
        "role", {"type": "array", "items": openapi.ref("Role"), "maxItems": 3}, "Only these roles; default all."
    ),
    openapi.query_parameter(
        "series",
        {"type": "array", "items": {"type": "string", "maxLength": 81}, "maxItems": _MAX_SERIES - 3},
        "Only these series of the customer's logger, as they were measured.",
    ),
)
_READ = openapi.operation(
    "readReadings", _TAG, "Readings over a range", reply=openapi.ref("Curves"), parameters=_PARAMETERS
)
_READ_CSV = openapi.operation(
    "readReadingsCsv", _TAG, "Readings over a range as CSV",
    reply={"type": "string"}, reply_media_type="text/csv", parameters=_PARAMETERS,
)  # fmt: skip
_LATEST = openapi.operation(
    "readLatest", _TAG, "The latest reading of each role", reply=openapi.ref("Latest"), parameters=[openapi.CUSTOMER_ID]
)
