"""Curves as CSV. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from heapq import merge
from itertools import islice
from operator import attrgetter

from cenergyd.readings.model import CHANNELS, REGISTERS
from cenergyd.web.views.curves import CurvePoint

_ROWS_AT_ONCE = 100
UNITS: Mapping[str, str] = {"P": "P_kW", "L1_PF": "L1_PF", "L1_V": "L1_V", "Q": "Q_kvar"} | {
    name: f"{name}_kWh" for name in REGISTERS
}


class CurveCsv:
    """Curves as CSV: a row per point; a gap has no rows, a missing value an empty cell.

    :param summed: whether points are windows, with minimum, mean and maximum.
    """

    def __init__(self, zone: tzinfo, channels: Sequence[str] = CHANNELS, *, summed: bool) -> None:
        self._zone = zone
        self._channels = channels
        self._summed = summed
        self._target = io.StringIO()
        self._writer = csv.writer(self._target, lineterminator="\r\n")

    def head(self) -> str:
        """The first row."""
        names = ["time_utc", "time_local", "role", "series", "computed", "estimated"]
        self._writer.writerow([*names, *_columns(self._summed, self._channels)])
        return self._taken()

    def chunks(self, curves: Sequence[Iterable[CurvePoint]]) -> Iterator[str]:
        """Rows by time and then in the curves' order, in chunks of a millisecond or two."""
        points = merge(
            *curves, key=attrgetter("time")
        )  # Merged step by step, because sorting all of them would block the reactor.
        while some := list(islice(points, _ROWS_AT_ONCE)):
            for point in some:
                self._row(point)
            yield self._taken()

    def _row(self, point: CurvePoint) -> None:
        source = point.source
        moment = datetime.fromtimestamp(point.time, UTC)
        self._writer.writerow(
            [
                moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
                moment.astimezone(self._zone).isoformat(),
                source.role or "",
                source.series,
                "yes" if source.computed else "no",
                "yes" if point.estimated else "no",
                *_cells(point, self._summed, self._channels),
            ]
        )

    def _taken(self) -> str:
        text = self._target.getvalue()
        self._target.seek(0)
        self._target.truncate()
        return text


def _columns(summed: bool, channels: Sequence[str]) -> list[str]:
    if not summed:
        return [UNITS[channel] for channel in channels]
    return ["readings", *(f"{UNITS[channel]}_{part}" for channel in channels for part in ("min", "mean", "max"))]


def _cells(point: CurvePoint, summed: bool, channels: Sequence[str]) -> list[float | int | str]:
    cells: list[float | int | str] = [point.readings] if summed else []
    for channel in channels:
        triple = point.channels.get(channel)
        if summed:
            cells.extend(triple or ("", "", ""))
        else:
            cells.append(triple[1] if triple else "")
    return cells
