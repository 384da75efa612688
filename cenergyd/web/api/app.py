"""The API under /api/v1: one Klein app made of the subjects in this package."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cenergyd
from cenergyd.documents.json_types import JsonObject
from cenergyd.runtime.threads import InThread, in_this_thread
from cenergyd.web.api import openapi
from cenergyd.web.api.configs import ConfigsApi
from cenergyd.web.api.corrections import CorrectionsApi
from cenergyd.web.api.customers import CustomersApi
from cenergyd.web.api.energy import EnergyApi
from cenergyd.web.api.events import EventsApi
from cenergyd.web.api.held_meters import HeldMetersApi
from cenergyd.web.api.history import HistoryApi
from cenergyd.web.api.jobs import JobsApi
from cenergyd.web.api.live import LiveViews
from cenergyd.web.api.loggers import LoggersApi
from cenergyd.web.api.meter_energy import MeterEnergyApi
from cenergyd.web.api.operator_settings import OperatorSettingsApi
from cenergyd.web.api.overview import OverviewApi
from cenergyd.web.api.plugins import PluginsApi
from cenergyd.web.api.readings import ReadingsApi
from cenergyd.web.api.routing import Call, Response, Route, Router, Subject
from cenergyd.web.api.session import SessionApi
from cenergyd.web.api.stores import StoresApi
from cenergyd.web.views.context import Context

BASE = "/api/v1"
SubjectFactory = Callable[[Context], Subject]
SUBJECTS: tuple[SubjectFactory, ...] = (
    SessionApi,
    CustomersApi,
    ReadingsApi,
    LoggersApi,
    OverviewApi,
    HeldMetersApi,
    HistoryApi,
    CorrectionsApi,
    JobsApi,
    EnergyApi,
    MeterEnergyApi,
    ConfigsApi,
    OperatorSettingsApi,
    PluginsApi,
    StoresApi,
)
"""Every subject of the API. To add one, write a module with such a class and name the class here."""


class Api:
    """The whole API; mount ``app`` at :data:`BASE`.

    :param subjects: functions that create the subjects, each called with the context.
    :param in_thread: where the OpenAPI document is made when it is first asked for, which takes up to 0.1 s.
    """

    def __init__(
        self,
        context: Context,
        subjects: Sequence[SubjectFactory] = SUBJECTS,
        *,
        in_thread: InThread = in_this_thread,
    ) -> None:
        self._router = Router(
            context.authenticator,
            context.clock,
            max_body_bytes=context.max_json_bytes,
            hsts_seconds=context.settings.hsts_seconds,
            long_requests=context.long_requests,
        )
        self.live_views = LiveViews(context)
        made = [*(make(context) for make in subjects), EventsApi(self.live_views)]
        for subject in (*made, self):
            self._router.add(subject)
        self.app = self._router.app
        self._in_thread = in_thread
        self._document: dict[str, object] | None = None

    def document(self) -> dict[str, object]:
        """The OpenAPI document."""
        if self._document is None:
            operations = [(route.method, route.path, route.operation) for route in self._router.routes]
            self._document = openapi.document("cenergyd", cenergyd.__version__, BASE, operations)
        return self._document

    def close(self) -> None:
        """End the live views, which do not end by themselves. Call it before the site's connections are closed."""
        self.live_views.close()

    async def describe(self, call: Call) -> Response:
        """The OpenAPI document."""
        return Response(self._document or await self._in_thread(self.document))

    def routes(self) -> Sequence[Route]:
        """The one route that describes all others."""
        operation = openapi.Operation("readOpenApi", "description", "This document", response=JsonObject, public=True)
        return (Route("GET", "/openapi.json", self.describe, "public", operation),)
