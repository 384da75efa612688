"""Sizes of the stores and retention times. For operators."""

from __future__ import annotations

from collections.abc import Sequence

from cenergyd.web.pages.routing import Page, PageCall, PageRoute
from cenergyd.web.views.context import Context

KINDS = {"raw": "Readings", "1m": "Rollups of a minute", "longer": "Longer rollups, net load and energy"}
"""As ``[readings] keep_days`` names them, and for people."""


class StorePages:
    """``/stores``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def show(self, call: PageCall) -> Page:
        """All stores."""
        stores = [
            {"info": info, "size": size_text(info.bytes), "reusable": size_text(info.reusable_bytes)}
            for info in self._context.store_infos()
        ]
        return Page("stores.html", {"stores": stores, "kinds": KINDS}, 200, None, "stores")

    def routes(self) -> Sequence[PageRoute]:
        """All of this subject's pages."""
        return (PageRoute("GET", "/stores", self.show, "operator"),)


def size_text(size: int | None) -> str:
    """Bytes for people; empty if they are not known."""
    if size is None:
        return ""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
