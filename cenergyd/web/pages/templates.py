"""The templates; every value is escaped."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from cenergyd.web.pages import texts
from cenergyd.web.pages.static import StaticFiles


class Templates:
    """Renders ``templates/*.html``."""

    def __init__(self, static: StaticFiles) -> None:
        self._environment = Environment(
            loader=PackageLoader("cenergyd.web", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals.update(
            static=static.url, role_names=texts.ROLE_NAMES, field_names=texts.FIELD_NAMES, equations=texts.EQUATIONS
        )
        self._environment.filters.update(
            age=texts.age, span=texts.span, iso=texts.iso, local=texts.local, local_minute=texts.local_minute, clock=texts.clock,
            number=texts.number, percent=texts.percent,
        )  # fmt: skip

    def render(self, name: str, values: dict[str, object]) -> bytes:
        """One page as UTF-8."""
        return self._environment.get_template(name).render(values).encode("utf-8", "replace")
