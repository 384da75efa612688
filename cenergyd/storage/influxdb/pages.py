"""Reads rows of many series from InfluxDB in pages of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from cenergyd.readings.checks import LATEST
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.gather import gather_limited
from cenergyd.runtime.yielding import CooperativeYield
from cenergyd.storage.influxdb.connection import InfluxConnection, StatementResult
from cenergyd.storage.influxdb.line_protocol import MAX_QUERY_CHARS, AnswerRows, batched, select, time_range

SeriesRange = tuple[str, int, int]
"""Series, start, end."""
T = TypeVar("T")

PAGE_ROWS = 10_000
"""Maximum rows of one series in one result. InfluxDB marks a longer one as partial even if it is complete."""
RESULT_ROWS = 25_000
"""Approximate maximum of rows of all series in one result; longer reads take several requests. Decoding holds the GIL: 0.03 s for this many rows."""
PARSED_AT_ONCE = 500
"""Rows to process between two pauses for the reactor."""
MINUTE = 60
SHORT_SECONDS = 2 * 86400
"""A range of up to this length lies in few shards, s, so all of it is requested at once."""
SERIES_AT_ONCE = 100
REQUESTS_AT_ONCE = 4


class Cursor(NamedTuple):
    """The position in the read of one range."""

    asked: SeriesRange
    start: int
    spacing: int | None
    """Seconds of range requested per row of a page; None: the whole rest."""
    left: int

    def bounds(self, size: int) -> tuple[int, int, int]:
        """Start, end and number of rows of the next page."""
        rows = min(size, self.left)
        end = self.asked[2]
        return self.start, end if self.spacing is None else min(end, self.start + rows * self.spacing), rows

    def after(self, page: AnswerRows, size: int, step: int) -> Cursor:
        """The next page. Its range is twice that of the rows of a full page, or eight times that of a page that was not full."""
        _, end, rows = self.bounds(size)
        left = self.left - len(page)
        if len(page) < rows:
            return self._replace(start=end, spacing=self.spacing and 8 * self.spacing, left=left)
        spacing = self.spacing and 2 * ((page[-1][0] - page[0][0]) // rows + 1)
        return self._replace(start=page[-1][0] + step, spacing=spacing, left=left)


class PagedQueries:
    """Reads rows from one InfluxDB."""

    def __init__(self, influx: InfluxConnection, clock: Timers) -> None:
        self._influx = influx
        self._clock = clock

    async def rows(
        self,
        policy: str,
        ranges: Iterable[SeriesRange],
        fields: str,
        parse: Callable[[Sequence[str], AnswerRows], list[T]],
        *,
        tail: str = "",
        limit: int | None = None,
        window: int | None = None,
        most: int = SERIES_AT_ONCE,
    ) -> dict[SeriesRange, list[T]]:
        """The result of ``parse`` on the rows of each range, at most ``limit`` rows of each.

        Reads in rounds, each with a page of every range. InfluxDB opens every shard of a range even if LIMIT is reached in
        the first, so the first page of a long range covers as much as one reading a minute would fill, and later ones cover
        more if little was found.

        :param window: seconds; rows are windows of this size, few enough for the whole range to fit in one page.
        """
        found: dict[SeriesRange, list[T]] = {asked: [] for asked in ranges}
        cooperate = CooperativeYield(self._clock)
        left = 2 * LATEST if limit is None else limit
        cursors = [
            Cursor(
                asked, asked[1], None if window is not None or asked[2] - asked[1] <= SHORT_SECONDS else MINUTE, left
            )
            for asked in found
        ]
        while cursors := [cursor for cursor in cursors if cursor.left > 0 and cursor.start < cursor.asked[2]]:
            size = min(PAGE_ROWS, max(1, RESULT_ROWS // min(len(cursors), SERIES_AT_ONCE)))
            answers = await self._pages(cursors, size, partial(select, fields, retention_policy=policy), tail, most)
            for cursor, (columns, rows) in zip(cursors, answers, strict=True):
                for first in range(0, len(rows), PARSED_AT_ONCE):
                    found[cursor.asked] += parse(columns, rows[first : first + PARSED_AT_ONCE])
                    await cooperate()
            cursors = [
                cursor.after(rows, size, window or 1) for cursor, (_, rows) in zip(cursors, answers, strict=True)
            ]
        return found

    async def _pages(
        self, cursors: Sequence[Cursor], size: int, ask: Callable[..., str], tail: str, most: int
    ) -> list[tuple[Sequence[str], AnswerRows]]:
        """Columns and rows of each cursor's page. Cursors with the same bounds share statements."""
        by_bounds: dict[tuple[int, int, int], list[str]] = {}
        for cursor in cursors:
            by_bounds.setdefault(cursor.bounds(size), []).append(cursor.asked[0])
        keys: list[tuple[int, int, int]] = []
        statements: list[str] = []
        for bounds, names in by_bounds.items():
            start, end, rows = bounds
            for some in batched(names, MAX_QUERY_CHARS // 2, most):
                keys.append(bounds)
                condition = f"WHERE {time_range(start, end)}{tail} LIMIT {rows}"
                statements.append(ask(some, tail=condition))
        answers = await self.query(statements, 1 if most < SERIES_AT_ONCE else SERIES_AT_ONCE)
        parts = {
            (part["name"], bounds): (part["columns"], part["values"])
            for bounds, answer in zip(keys, answers, strict=True)
            for part in answer
        }
        return [parts.get((cursor.asked[0], cursor.bounds(size)), ((), ())) for cursor in cursors]

    async def query(self, statements: Sequence[str], most: int = SERIES_AT_ONCE) -> list[StatementResult]:
        """Run statements, several in one request; their results in order.

        :param most: statements in one request.
        """
        work = [self._influx.query(some) for some in batched(statements, MAX_QUERY_CHARS, most)]
        return [answer for answers in await gather_limited(work, REQUESTS_AT_ONCE) for answer in answers]
