"""The templates; every value is escaped."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined

from cenergyd.jobs.site_state.issue_text import duration
from cenergyd.runtime.threads import InThread, in_this_thread
from cenergyd.web.pages import texts
from cenergyd.web.pages.icons import icon
from cenergyd.web.pages.navigation import ISSUE_TABS
from cenergyd.web.pages.static import StaticFiles

_REFERENCE = re.compile(r'{%-? *(?:extends|include|import|from) +"([^"]+)"')
"""A template's reference to another; all are literal names, which a test checks."""


class Templates:
    """Renders ``templates/*.html``.

    :param in_thread: where they are compiled, which takes up to 0.1 s for a page with what it includes.
    """

    def __init__(self, static: StaticFiles, in_thread: InThread = in_this_thread) -> None:
        self._in_thread = in_thread
        self._compiled: frozenset[str] = frozenset()
        self._environment = Environment(
            loader=PackageLoader("cenergyd.web", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals.update(
            role_names=texts.ROLE_NAMES,
            field_names=texts.FIELD_NAMES,
            equations=texts.EQUATIONS,
            issue_tabs=ISSUE_TABS,
        )
        self._environment.filters.update(
            static=static.url, icon=icon, age=texts.age, span=duration, iso=texts.iso, local=texts.local, local_minute=texts.local_minute, clock=texts.clock, utc_minute=texts.utc_minute,
            number=texts.number_text, percent=texts.percent, device_report=texts.device_report,
        )  # fmt: skip

    async def compile(self, name: str) -> None:
        """Return once a page can be rendered without compiling anything."""
        if name not in self._compiled:
            self._compiled |= await self._in_thread(self._compile, name, self._compiled)

    def _compile(self, name: str, compiled: frozenset[str]) -> frozenset[str]:
        """Compile a template and those that it refers to; returns the names of all that are compiled."""
        loader, missing, known = self._environment.loader, [name], set(compiled)
        assert loader is not None
        while missing:
            each = missing.pop()
            if each not in known:
                known.add(each)
                missing += _REFERENCE.findall(loader.get_source(self._environment, each)[0])
                self._environment.get_template(each)
        return frozenset(known)

    def render(self, name: str, values: dict[str, object]) -> bytes:
        """One page as UTF-8."""
        return self._environment.get_template(name).render(values).encode("utf-8", "replace")
