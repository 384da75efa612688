"""All pages as one Klein app; mount ``app`` at the root and ``static`` at ``/static``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.web.server import Request

from cenergyd.runtime.threads import InThread, in_this_thread
from cenergyd.web.pages.access import AccessPages
from cenergyd.web.pages.alerts import AlertPages
from cenergyd.web.pages.charges import ChargesPages
from cenergyd.web.pages.corrections import CorrectionPages
from cenergyd.web.pages.doctor import DoctorPages
from cenergyd.web.pages.energy import EnergyPages
from cenergyd.web.pages.loggers import LoggerPages
from cenergyd.web.pages.meters import MeterPages
from cenergyd.web.pages.open_sessions import OpenSessionPages
from cenergyd.web.pages.operator_settings import OperatorSettingsPages
from cenergyd.web.pages.overview import OverviewPages
from cenergyd.web.pages.plugins import PluginPages
from cenergyd.web.pages.power import PowerPages
from cenergyd.web.pages.routing import PageRouter, PageSubject
from cenergyd.web.pages.settings import SettingsPages
from cenergyd.web.pages.sign_in import SessionPages
from cenergyd.web.pages.static import StaticFiles
from cenergyd.web.pages.stores import StorePages
from cenergyd.web.pages.tariff import TariffPages
from cenergyd.web.pages.templates import Templates
from cenergyd.web.views.context import Context

PagesFactory = Callable[[Context], PageSubject]
SUBJECTS: tuple[PagesFactory, ...] = (
    SessionPages,
    OverviewPages,
    PowerPages,
    CorrectionPages,
    EnergyPages,
    AlertPages,
    TariffPages,
    ChargesPages,
    DoctorPages,
    MeterPages,
    LoggerPages,
    AccessPages,
    OpenSessionPages,
    OperatorSettingsPages,
    PluginPages,
    StorePages,
)
"""Every subject of the pages. To add one, write a module with such a class and name the class here."""


class Pages:
    """The pages.

    :param upload_path: where loggers upload to, shown on the settings page.
    :param in_thread: where templates are compiled.
    """

    def __init__(
        self,
        context: Context,
        *,
        upload_path: str = "/consume",
        subjects: Sequence[PagesFactory] = SUBJECTS,
        in_thread: InThread = in_this_thread,
    ) -> None:
        self.static = StaticFiles(context.authenticator.clients, context.settings.hsts_seconds)
        router = PageRouter(context, Templates(self.static, in_thread))
        for make in subjects:
            router.add(make(context))
        router.add(SettingsPages(context, upload_path))
        self.routes = tuple(router.routes)
        self.app = router.app

        @self.app.route("/favicon.ico", methods=["GET"])
        def favicon(request: Request) -> bytes:
            """For browsers that ask for it without having read a page."""
            return self.static.answer(request, "favicon.svg")
