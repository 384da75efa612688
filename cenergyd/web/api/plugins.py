"""Which plugins are installed, for operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import attrs
from msgspec import Meta

from cenergyd.runtime.plugin_info import PluginState
from cenergyd.runtime.structs import Resource
from cenergyd.web.api import openapi
from cenergyd.web.api.routing import Call, Response, Route
from cenergyd.web.views.context import Context


class PluginJson(Resource, frozen=True, kw_only=True):
    """A plugin that is installed or required."""

    name: Annotated[str, Meta(description="As in its entry point.")]
    version: Annotated[str, Meta(description="Of its distribution.")]
    distribution: str
    hooks: Annotated[list[str], Meta(description="The hooks it implements; empty if it is not loaded.")]
    state: PluginState
    problem: Annotated[str, Meta(description="Why it is not loaded though it is enabled, or what is wrong with it.")]


class PluginList(Resource, frozen=True, kw_only=True):
    """All plugins, built-in ones first."""

    plugins: list[PluginJson]


class PluginsApi:
    """``/plugins``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def read(self, call: Call) -> Response:
        """All plugins."""
        infos = [{**attrs.asdict(info), "hooks": list(info.hooks)} for info in self._context.plugins]
        return Response(PluginList(plugins=[PluginJson(**info) for info in infos]))

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        return (Route("GET", "/plugins", self.read, "operator", _LIST),)


_LIST = openapi.Operation("listPlugins", "plugins", "Plugins of this daemon (operators)", response=PluginList)
