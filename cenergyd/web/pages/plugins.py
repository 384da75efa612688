"""The plugins of this daemon, and their problems. For operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cenergyd.web.pages.routing import Page, PageCall, PageRoute
from cenergyd.web.views.context import Context

_STATES: Mapping[str, tuple[str, str]] = {
    "loaded": ("ok", "Loaded"),
    "disabled": ("idle", "Disabled"),
    "failed": ("bad", "Not loaded"),
    "shadowed": ("bad", "Not loaded"),
    "missing": ("bad", "Missing"),
}


class PluginPages:
    """``/plugins``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def show(self, call: PageCall) -> Page:
        """All plugins, those with a problem first."""
        plugins = sorted(self._context.plugins, key=lambda info: not info.problem)
        return Page("plugins.html", {"plugins": plugins, "states": _STATES}, 200, None, "plugins")

    def routes(self) -> Sequence[PageRoute]:
        """All of this subject's pages."""
        return (PageRoute("GET", "/plugins", self.show, "operator"),)
