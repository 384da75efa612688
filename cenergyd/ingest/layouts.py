"""Which layout a meter's log has: the customer's own choice, the ini's, what its config file says, the device class's, Veris."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from cenergyd.acquisuite.layouts import Layout, LayoutTable
from cenergyd.acquisuite.points import Point, learned_layout
from cenergyd.customers.model import Customer
from cenergyd.documents.kinds import LAYOUT
from cenergyd.documents.store import DocumentStore


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
        layout = await self._without_choice(f"{customer.logger_serial_number}_{meter}", device_class, points)
        chosen = customer.current.layouts.get(meter)
        return _with_choice(layout, meter, chosen) if chosen else layout

    async def _without_choice(self, series: str, device_class: str, points: Sequence[Point]) -> Layout:
        known = self.table.from_ini(device_class)
        if known is not None:
            return known
        otherwise = self.table.for_class(device_class)
        if points:
            return learned_layout(f"message of {series}", points, otherwise)
        return await self._learned_layout(series) or otherwise

    async def learn(self, serial: str, series: str, points: Sequence[Point], device_class: str) -> None:
        """Remember, durably, what a config file says of a meter's columns."""
        if not points:
            return
        layout = learned_layout(series, points, self.table.for_class(device_class))
        body = {channel: [column, getattr(layout, f"{channel}_scale")] for channel, column in layout.columns.items()}
        await self._documents.put(LAYOUT, series, body, owner=serial)
        self._learned.pop(series, None)

    async def _learned_layout(self, series: str) -> Layout | None:
        now = self._clock.seconds()
        cached = self._learned.get(series)
        if cached is not None and cached[0] > now:
            return cached[1]
        document = await self._documents.get(LAYOUT, series)
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


def _with_choice(layout: Layout, meter: str, chosen: Mapping[str, int]) -> Layout:
    """The customer's own columns in place of the layout's, channel by channel; their values are in kW, V and kvar."""
    columns: dict[str, Any] = {**layout.columns, **chosen}
    scales: dict[str, Any] = {
        f"{channel}_scale": getattr(layout, f"{channel}_scale") for channel in columns if channel not in chosen
    }
    return Layout(f"{layout.name}, with the customer's choice for meter {meter}", **columns, **scales)
