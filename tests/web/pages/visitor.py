"""The pages over HTTP, for tests that need no browser: a signed-in visitor who reads and sends forms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from urllib.parse import urlencode

from cenergyd.web.api.app import BASE
from cenergyd.web.pages.app import Pages
from cenergyd.web.pages.static import BASE as STATIC
from cenergyd.web.server.root import Root
from tests.web.harness import Client, Response, WebSide


def mount_pages(web: WebSide) -> None:
    """Have the server of the API answer with pages as well."""
    pages = Pages(web.context)
    mounts = {BASE: web.api.app.resource(), STATIC: pages.static, "": pages.app.resource()}
    web.site.resource = Root(mounts, {})


class Visitor:
    """A browser without a screen: a session, the page's form, its fields."""

    def __init__(self, web: WebSide, token: str) -> None:
        self._client = Client(web)
        self._token = token
        self.page: Response | None = None
        self.fields: dict[str, str] = {}

    async def sign_in(self) -> None:
        """Open a session."""
        reply = await self.send("/sign-in", {"token": self._token})
        assert reply.status == 303, reply.content

    async def open(self, path: str) -> str:
        """Read a page; its text. The fields of its forms can then be sent."""
        self.page = await self._client.get(path)
        text = self.page.content.decode()
        self.fields = fields_of(text)
        return text

    async def send(self, path: str, form: Mapping[str, str]) -> Response:
        """Post a form."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self.page = await self._client.post(path, headers=headers, data=urlencode(form).encode())
        self.fields = fields_of(self.page.content.decode()) or self.fields
        return self.page

    async def submit(self, path: str, **changes: str) -> Response:
        """Post the fields of the page just read, with some of them changed; a field that becomes None is not sent."""
        return await self.send(path, {**self.fields, **changes})


class _Fields(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._select: str | None = None
        self._area: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name, value = given.get("name"), given.get("value") or ""
        if tag == "input" and name:
            if given.get("type") in ("checkbox", "radio") and "checked" not in given:
                return
            self.found[name] = value
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and (self._select not in self.found or "selected" in given):
            self.found[self._select] = value
        elif tag == "textarea" and name:
            self._area, self.found[name] = name, ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.found[self._area] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = None
        elif tag == "textarea":
            self._area = None


def fields_of(text: str) -> dict[str, str]:
    """What a browser would send of all forms of a page, the last of equal names."""
    parser = _Fields()
    parser.feed(text)
    return parser.found


def error_beside(text: str, field: str) -> str:
    """The fault that a page shows beside a field, '' where none."""
    match = re.search(rf'id="{re.escape(field)}-error">.*?<span>(.*?)</span>', text, re.DOTALL)
    return match[1] if match else ""
