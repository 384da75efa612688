"""Readings of a customer: curves over a range at a resolution, CSV, latest values."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Annotated, NamedTuple

from msgspec import Meta
from msgspec.json import encode

from cenergyd.customers.model import ROLES, Customer
from cenergyd.customers.ownership import without_foreign
from cenergyd.customers.time_zones import zone_or_utc
from cenergyd.derivation.corrector import Listed
from cenergyd.errors import InvalidField
from cenergyd.readings.model import VALUES, Reading, is_computed, is_series_name
from cenergyd.runtime.structs import Resource, Time
from cenergyd.runtime.yielding import CooperativeYield
from cenergyd.web.api import openapi
from cenergyd.web.api.routing import Call, Response, Route
from cenergyd.web.server.long_requests import LONG_RESPONSE_BYTES
from cenergyd.web.server.problems import FieldError, invalid_fields
from cenergyd.web.views.context import Context
from cenergyd.web.views.curve_corrections import corrections_of
from cenergyd.web.views.curve_csv import CurveCsv
from cenergyd.web.views.curve_reader import CurveQuery, CurveReader
from cenergyd.web.views.curves import CurveColumns, CurveJson, CurvePoint, LatestReading
from cenergyd.web.views.sources import (
    SeriesSource,
    Track,
    own_series_track,
    role_sources,
    role_track,
    role_tracks,
    series_names,
)

MAX_TIME = 1 << 34
_MAX_SERIES = 16
_READING_BYTES = 300
"""Memory of a reading."""


class CurvesJson(Resource, frozen=True, kw_only=True):
    """Curves over a range. ``curves`` is last, because they are written one after the other."""

    customer_id: str
    start: Time
    end: Time
    resolution: Annotated[int | None, Meta(description="Seconds per point; null: single readings.")]
    next_start: Annotated[
        int | None,
        Meta(description="UTC seconds: where to continue if there were too many readings for one response."),
    ]
    curves: list[CurveJson]


class LatestOfRoles(Resource, frozen=True, kw_only=True):
    """The latest reading of each role; null if there is none."""

    utility: LatestReading | None
    load: LatestReading | None
    solar: LatestReading | None


class Latest(Resource, frozen=True, kw_only=True):
    """A customer's latest readings."""

    customer_id: str
    now: Time
    roles: LatestOfRoles


class _CurveRequest(NamedTuple):
    """What a request asks for."""

    customer: Customer
    tracks: Sequence[Track]
    start: int
    end: int
    query: CurveQuery


class ReadingsApi:
    """``/customers/{customer_id}/readings`` and ``latest``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reader = CurveReader(context)
        self._original = CurveReader(context, original=True)

    async def read(self, call: Call, customer_id: str) -> Response:
        """Curves as JSON."""
        asked = await self._asked(call, customer_id)
        corrections: Sequence[Sequence[Listed]] = [()] * len(asked.tracks)
        if not _original(call):
            corrections = await corrections_of(self._context, asked.customer, asked.tracks, asked.start, asked.end)
        return Response(_json(asked, corrections, CooperativeYield(self._context.clock)))

    async def read_csv(self, call: Call, customer_id: str) -> Response:
        """Curves as CSV."""
        asked = await self._asked(call, customer_id)
        name = f"readings-{asked.start}-{asked.query.next_start or asked.end}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        rows = _csv(asked, CooperativeYield(self._context.clock))
        return Response(rows, headers=headers, media_type="text/csv; charset=utf-8")

    async def latest(self, call: Call, customer_id: str) -> Response:
        """The latest reading of each role."""
        customer = await self._context.customer(customer_id)
        return Response(await latest_readings(self._context, customer, call.now))

    async def _asked(self, call: Call, customer_id: str) -> _CurveRequest:
        start, end, resolution = _range(call)
        channels = _channels(call)
        customer = await self._context.customer(customer_id)
        tracks = _tracks(call, customer, start, end)
        zone = zone_or_utc(customer.time_zone)
        reader = self._original if _original(call) else self._reader
        query = await reader.ask(tracks, start, end, zone=zone, resolution=resolution, channels=channels)
        call.hold(LONG_RESPONSE_BYTES + query.held * _READING_BYTES)
        return _CurveRequest(customer, tracks, start, end, query)

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        one = "/customers/{customer_id}"
        return (
            Route("GET", f"{one}/readings", self.read, "signed_in", _READ, is_long=True),
            Route("GET", f"{one}/readings.csv", self.read_csv, "signed_in", _READ_CSV, is_long=True),
            Route("GET", f"{one}/latest", self.latest, "signed_in", _LATEST),
        )


async def _json(
    asked: _CurveRequest, corrections: Sequence[Sequence[Listed]], cooperate: CooperativeYield
) -> AsyncIterator[bytes]:
    """One curve after the other, each once it is read; those that are short are read together."""
    head = CurvesJson(
        customer_id=asked.customer.id,
        start=asked.start,
        end=asked.end,
        resolution=asked.query.resolution,
        next_start=asked.query.next_start,
        curves=[],
    )
    separator, corrected = encode(head).removesuffix(b"]}"), iter(corrections)
    for tracks in asked.query.together(asked.tracks):
        for columns in await _columns(asked.query, tracks, cooperate):
            yield separator + encode(columns.json(next(corrected)))
            separator = b","
            await cooperate()
    yield b"]}\n" if asked.tracks else separator + b"]}\n"


async def _columns(query: CurveQuery, tracks: Sequence[Track], cooperate: CooperativeYield) -> list[CurveColumns]:
    """The columns of tracks that are read at once."""
    found = [CurveColumns(track, query.resolution, query.channels) for track in tracks]
    async for piece in query.pieces(tracks):
        for columns, points in zip(found, piece, strict=True):
            columns.add(list(points))
            await cooperate()
    return found


async def _csv(asked: _CurveRequest, cooperate: CooperativeYield) -> AsyncIterator[bytes]:
    """Piece by piece. While the client reads one, its points are not in memory any more."""
    zone = zone_or_utc(asked.customer.time_zone)
    text = CurveCsv(zone, asked.query.channels, summed=asked.query.resolution is not None)
    yield text.head().encode()
    pieces = asked.query.pieces(asked.tracks)
    while (rows := await _csv_piece(pieces, text, cooperate)) is not None:
        yield rows


async def _csv_piece(
    pieces: AsyncIterator[list[Iterable[CurvePoint]]], text: CurveCsv, cooperate: CooperativeYield
) -> bytes | None:
    """The rows of the next piece; None after the last one."""
    try:
        curves = await anext(pieces)
    except StopAsyncIteration:
        return None
    chunks = []
    for chunk in text.chunks(curves):
        chunks.append(chunk)
        await cooperate()
    return "".join(chunks).encode()


async def latest_readings(context: Context, customer: Customer, now: int) -> Latest:
    """The latest reading of each role, null if there is none."""
    sources = role_sources(customer)
    last = await context.readings.last(series_names(sources)) if sources else {}
    return latest_of(customer, sources, without_foreign(customer, last), now)


def latest_of(customer: Customer, sources: Sequence[SeriesSource], last: Mapping[str, Reading], now: int) -> Latest:
    """The same from readings that the caller has."""
    found = {
        str(source.role): LatestReading.of(source, reading)
        for source in sources
        if (reading := last.get(source.series)) is not None
    }
    return Latest(customer_id=customer.id, now=now, roles=LatestOfRoles(**{role: found.get(role) for role in ROLES}))


def _original(call: Call) -> bool:
    return bool(call.query_integer("original", 0, 1))


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
    if not set(asked) <= set(VALUES):
        raise InvalidField("channel", f"one of {', '.join(VALUES)} is needed")
    return [channel for channel in VALUES if channel in asked or not asked]


def _tracks(call: Call, customer: Customer, start: int, end: int) -> list[Track]:
    roles, series = call.queries("role"), call.queries("series")
    if len(roles) + len(series) > _MAX_SERIES:
        raise InvalidField("series", f"at most {_MAX_SERIES} roles and series")
    if not roles and not series:
        return role_tracks(customer, start, end)
    found: dict[tuple[str | None, str | None], Track] = {}
    for role in roles:
        if role not in ROLES:
            raise InvalidField("role", f"one of {', '.join(ROLES)} is needed")
        if (track := role_track(customer, role, start, end)) is not None:
            found[(role, None)] = track
    for name in series:
        if (track := own_series_track(customer, _series_source(customer, name), start, end)) is not None:
            found[(None, name)] = track
    return list(found.values())


def _series_source(customer: Customer, name: str) -> SeriesSource:
    serial = customer.logger_serial_number
    if not serial or not is_series_name(name) or not name.startswith(f"{serial}_"):
        raise InvalidField("series", "no series of this customer's logger")
    return SeriesSource(name, None, is_computed(name))


_TAG = "readings"
_TIME_PARAMETER = {"type": "integer", "minimum": 0, "maximum": MAX_TIME}
_PARAMETERS = (
    openapi.CUSTOMER_ID,
    openapi.query_parameter("start", _TIME_PARAMETER, "Start, UTC seconds.", required=True),
    openapi.query_parameter("end", _TIME_PARAMETER, "End, exclusive, UTC seconds.", required=True),
    openapi.query_parameter(
        "resolution",
        {"anyOf": [{"enum": ["auto", "raw"]}, {"type": "integer", "minimum": 1, "maximum": 366 * 86400}]},
        "`auto` (default): chosen by the length of the range; `raw`: single readings; or seconds per point, each with min, mean and max. "
        "Whole days (86400 and its multiples) are those of the customer's zone.",
    ),
    openapi.query_parameter(
        "channel",
        {"type": "array", "items": {"enum": list(VALUES)}, "maxItems": len(VALUES)},
        "Only these channels; default: all. Fewer are faster over a long range. Energy registers are available with single readings only.",
    ),
    openapi.query_parameter(
        "role", {"type": "array", "items": {"enum": list(ROLES)}, "maxItems": 3}, "Only these roles; default: all."
    ),
    openapi.query_parameter(
        "series",
        {"type": "array", "items": {"type": "string", "maxLength": 81}, "maxItems": _MAX_SERIES - 3},
        "Only these series of the customer's logger, with the meter's own sign.",
    ),
    openapi.query_parameter(
        "original",
        {"type": "integer", "minimum": 0, "maximum": 1},
        "1: measured values without corrections; computed values do not change. Default: 0.",
    ),
)
_READ = openapi.Operation("readReadings", _TAG, "Readings over a range", response=CurvesJson, parameters=_PARAMETERS)
_READ_CSV = openapi.Operation(
    "readReadingsCsv", _TAG, "Readings over a range as CSV",
    response=str, response_media_type="text/csv", parameters=_PARAMETERS,
)  # fmt: skip
_LATEST = openapi.Operation(
    "readLatest", _TAG, "The latest reading of each role", response=Latest, parameters=[openapi.CUSTOMER_ID]
)
