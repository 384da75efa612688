"""Which layout a meter's log has: the customer's own choice, the ini's, what its config file says, the device class's, Veris."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

from cenergyd.acquisuite.layouts import Layout, LayoutTable, layout_from_columns
from cenergyd.acquisuite.points import Point, find_layout
from cenergyd.customers.model import Customer
from cenergyd.documents.store import DocumentStore

LEARNED: Final = "layout"
"""Kind of the documents that hold a layout learned from a config file; key series, owner serial, body channel -> [column, scale]."""


class LayoutSource:
    """Finds layouts; learned ones come from the document store and are remembered for a bounded time.

    :param cache_seconds: a layout that another daemon learned counts here after at most so long.
    :param max_cached: series remembered.
    """

    def __init__(
        self,
        table: LayoutTable,
        documents: DocumentStore,
        clock: Any,
        *,
        cache_seconds: float = 60,
        max_cached: int = 50000,
    ) -> None:
        self.table = table
        self._documents = documents
        self._clock = clock
        self._cache_seconds = cache_seconds
        self._max_cached = max_cached
        self._learned: OrderedDict[str, tuple[float, Layout | None]] = OrderedDict()

    async def find(self, customer: Customer, meter: str, device_class: str, points: Sequence[Point] = ()) -> Layout:
        """The layout for a log of ``meter``; ``points`` are what the message itself calls its columns, if it does."""
        chosen = customer.current.layouts.get(meter)
        if chosen:
            return layout_from_columns(f"customer's for meter {meter}", chosen)
        known = self.table.from_ini(device_class)
        if known is not None:
            return known
        series = f"{customer.logger_serial_number}_{meter}"
        learned = find_layout(f"message of {series}", points) or await self._learned_layout(series)
        return learned or self.table.for_class(device_class)

    async def learn(self, serial: str, series: str, layout: Layout) -> None:
        """Remember, durably, what a config file says."""
        body = {channel: [column, getattr(layout, f"{channel}_scale")] for channel, column in layout.columns.items()}
        await self._documents.put(LEARNED, series, body, owner=serial)
        self._learned.pop(series, None)

    async def _learned_layout(self, series: str) -> Layout | None:
        now = self._clock.seconds()
        cached = self._learned.get(series)
        if cached is not None and cached[0] > now:
            return cached[1]
        document = await self._documents.get(LEARNED, series)
        layout = _from_body(series, document.body) if document is not None else None
        self._learned[series] = (now + self._cache_seconds, layout)
        self._learned.move_to_end(series)
        while len(self._learned) > self._max_cached:
            self._learned.popitem(last=False)
        return layout


def _from_body(series: str, body: Any) -> Layout:
    columns: dict[str, Any] = {channel: value[0] for channel, value in body.items()}
    scales: dict[str, Any] = {f"{channel}_scale": float(value[1]) for channel, value in body.items()}
    return Layout(f"config file of {series}", **columns, **scales)
