"""Sizes of the stores and retention times, for operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from cenergyd.runtime.structs import Resource
from cenergyd.web.api import openapi
from cenergyd.web.api.routing import Call, Response, Route
from cenergyd.web.views.context import Context


class StoreJson(Resource, frozen=True, kw_only=True):
    """A store of the daemon."""

    name: Annotated[str, Meta(description="customers or readings.")]
    engine: Annotated[str, Meta(description="SQLite, MongoDB or InfluxDB.")]
    bytes: Annotated[int | None, Meta(description="Size of its files; null for a server.")]
    reusable_bytes: Annotated[int | None, Meta(description="Of these, free for new rows; null if that is not known.")]
    keep_days: Annotated[
        dict[str, int], Meta(description="Days that raw, 1m and longer are kept; for ever if not named.")
    ]
    freed_rows: Annotated[dict[str, int], Meta(description="Rows freed since the start, by kind.")]
    waiting: Annotated[str, Meta(description="Why nothing is freed now; empty if nothing prevents it.")]


class StoreList(Resource, frozen=True, kw_only=True):
    """All stores."""

    stores: list[StoreJson]


class StoresApi:
    """``/stores``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def read(self, call: Call) -> Response:
        """All stores."""
        stores = [
            StoreJson(
                name=info.name, engine=info.engine, bytes=info.bytes, reusable_bytes=info.reusable_bytes,
                keep_days=dict(info.keep_days), freed_rows=dict(info.freed_rows), waiting=info.waiting,
            )
            for info in self._context.store_infos()
        ]  # fmt: skip
        return Response(StoreList(stores=stores))

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        return (Route("GET", "/stores", self.read, "operator", _LIST),)


_LIST = openapi.Operation(
    "listStores", "stores", "Stores of this daemon and their sizes (operators)", response=StoreList
)
