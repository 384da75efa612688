"""Pages over HTTP: permissions, forgery, files, caching, headers, a store that is down."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any
from urllib.parse import urlencode

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor

from cenergyd.customers.model import Customer
from cenergyd.errors import StoreUnavailable
from cenergyd.runtime import attempts
from cenergyd.web.access.auth import MAX_WRONG_TOKENS
from cenergyd.web.pages.app import Pages
from cenergyd.web.pages.forms import MAX_FIELDS
from cenergyd.web.pages.static import BASE as STATIC
from cenergyd.web.server.root import Root
from cenergyd.web.server.security import PAGE_POLICY
from cenergyd.web.server.site import BoundedSite
from tests.web.harness import Client, Response, WebSide

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@attrs.frozen
class PagesOnPort:
    """The pages on a port of their own over the stores of the API."""

    web: WebSide
    url: str

    async def get(self, client: Client, path: str, **more: Any) -> Response:
        return await client.get(self.url + path, **more)

    async def post(self, client: Client, path: str, headers: Any = None, **form: str) -> Response:
        data = urlencode(form).encode()
        return await client.call("POST", self.url + path, headers={**FORM, **(headers or {})}, data=data)

    async def signed_in(self, secret: str) -> tuple[Client, str]:
        """A browser with a session, and its CSRF token."""
        client = self.web.anybody()
        assert (await self.post(client, "/sign-in", token=secret)).status == 303
        page = (await self.get(client, "/overview")).content.decode()
        found = re.search(r'name="csrf" value="([^"]+)"', page)
        assert found
        return client, found[1]

    async def operator(self) -> tuple[Client, str]:
        return await self.signed_in(self.web.operator_token)


@pytest_twisted.async_yield_fixture
async def pages(web: WebSide) -> AsyncIterator[PagesOnPort]:
    every_page = Pages(web.context)
    root: Any = Root({STATIC: every_page.static, "": every_page.app.resource()}, {})
    site = BoundedSite(root, reactor, max_body_bytes=1 << 20, max_connections=99, idle_seconds=60, request_seconds=60)
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    yield PagesOnPort(web, f"http://127.0.0.1:{port.getHost().port}")
    await port.stopListening()
    for channel in list(site.connections):
        channel.forceAbortClient()


@pytest_twisted.ensureDeferred
async def test_every_page_requires_signing_in(pages: PagesOnPort) -> None:
    every_page = Pages(pages.web.context)
    customer = await pages.web.customers.add(Customer(id=""))
    for route in every_page.routes:
        if route.access == "public":
            continue
        path = re.sub(r"<[^>]+>", customer.id, route.path)
        got = await pages.web.anybody().call(route.method, pages.url + path, headers=FORM, data=b"")
        assert got.status == 303, path
        assert (got.header("Location") or "").startswith("/sign-in"), path
        assert got.content == b""


@pytest_twisted.ensureDeferred
async def test_a_form_without_a_session_is_kept_over_the_sign_in(pages: PagesOnPort) -> None:
    customer = await pages.web.customers.add(Customer(id="", name="before"))
    path = f"/customers/{customer.id}/settings"
    client = pages.web.anybody()
    kept = await pages.post(client, path, csrf="old", name="typed <b>", logger_password="secret words")
    assert kept.status == 401
    assert kept.header("Cache-Control") == "no-store"
    field = re.search(r'name="kept" value="([^"]+)"', kept.content.decode())
    assert field
    assert "csrf" not in unescape(field[1])
    crossed = await pages.post(client, path, {"Origin": "https://evil.example"}, name="theirs")
    assert crossed.status == 403
    resumed = await pages.post(client, "/sign-in", token=pages.web.operator_token, kept=unescape(field[1]))
    text = resumed.content.decode()
    assert resumed.status == 200
    assert "typed &lt;b&gt;" in text
    assert (await pages.web.customers.get(customer.id)) == customer
    for wrong in ("[]", '["//evil.example", {}]', '["/x", {"a": 1}]', "{", '["/x"]', "null"):
        assert (await pages.post(client, "/sign-in", token=pages.web.operator_token, kept=wrong)).status == 303


@pytest_twisted.ensureDeferred
async def test_every_change_needs_the_csrf_token(pages: PagesOnPort) -> None:
    client, csrf = await pages.operator()
    customer = await pages.web.customers.add(Customer(id="", name="safe"))
    for route in Pages(pages.web.context).routes:
        if route.method == "GET" or route.access == "public":
            continue
        path = re.sub(r"<[^>]+>", customer.id, route.path)
        for forged in ("", "wrong"):
            assert (await pages.post(client, path, csrf=forged, name="changed")).status == 403, path
        crossed = await pages.post(client, path, {"Origin": "https://evil.example"}, csrf=csrf)
        assert crossed.status == 403, path
    assert await pages.web.customers.get(customer.id) == customer


@pytest_twisted.ensureDeferred
async def test_a_customer_reaches_no_page_of_another(pages: PagesOnPort) -> None:
    own, _ = await pages.web.customer(name="own")
    other = await pages.web.customers.add(Customer(id="", name="secret name"))
    token, _ = await pages.web.tokens.add("customer", "owner", pages.web.clock.now, customer_id=own.id)
    client = pages.web.anybody()
    await pages.post(client, "/sign-in", token=token)
    page = (await pages.get(client, f"/customers/{own.id}/settings")).content.decode()
    csrf = re.search(r'name="csrf" value="([^"]+)"', page)
    assert csrf
    for route in Pages(pages.web.context).routes:
        if route.access == "public" or route.path == "/sign-out" or route.path.startswith("/sessions"):
            continue
        path = re.sub(r"<[^>]+>", other.id, route.path)
        send = {"csrf": csrf[1], "name": "x"}
        got = await (pages.get(client, path) if route.method == "GET" else pages.post(client, path, **send))
        assert got.status in (403, 404), path
        assert b"secret name" not in got.content
    assert await pages.web.customers.get(other.id) == other


@pytest_twisted.ensureDeferred
async def test_headers(pages: PagesOnPort) -> None:
    for path in ("/sign-in", "/nothing", "/overview"):
        got = await pages.get(pages.web.anybody(), path)
        assert got.header("Content-Security-Policy") == PAGE_POLICY
        assert got.header("X-Content-Type-Options") == "nosniff"
        assert got.header("Cache-Control") == "no-store"
    assert "unsafe" not in PAGE_POLICY


@pytest_twisted.ensureDeferred
async def test_wrong_tokens_are_slowed(pages: PagesOnPort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MAX_WAIT_SECONDS", 0.5)  # every turn is too far away for a test to wait
    began = pages.web.clock.seconds()  # and none comes because the machine is slow
    monkeypatch.setattr(type(pages.web.clock), "seconds", lambda clock: began + clock.offset)
    client = pages.web.anybody()
    seen = set()
    for _ in range(MAX_WRONG_TOKENS + 1):
        got = await pages.post(client, "/sign-in", token="cenergyd_wrong")
        seen.add(got.status)
    assert seen == {401, 429}
    assert got.header("Retry-After")
    # A browser must not open its own password dialog.
    assert got.header("WWW-Authenticate") is None
    assert (await pages.post(client, "/sign-in", token=pages.web.operator_token)).status == 303


@pytest_twisted.ensureDeferred
async def test_files(pages: PagesOnPort) -> None:
    client = pages.web.anybody()
    page = (await pages.get(client, "/sign-in")).content.decode()
    links = re.findall(r'"(/static/[^"]+)"', page)
    assert links
    for link in links:
        got = await pages.get(client, link)
        assert got.status == 200
        assert "immutable" in (got.header("Cache-Control") or "")
        etag = got.header("ETag") or ""
        again = await pages.get(client, link, headers={"If-None-Match": etag})
        assert (again.status, again.content) == (304, b"")
    assert (await pages.get(client, "/static/app.css?v=old")).header("Cache-Control") == "no-cache"
    assert (await pages.get(client, "/favicon.ico")).header("Content-Type") == "image/svg+xml"
    for path in (
        "/static/",
        "/static/../auth.py",
        "/static/%2e%2e/auth.py",
        "/static/..%2fauth.py",
        "/static/vendor",
        "/static/x",
    ):
        assert (await pages.get(client, path)).status == 404, path


@pytest_twisted.ensureDeferred
async def test_a_store_that_is_down_is_reported_on_a_page(pages: PagesOnPort, monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = await pages.operator()

    async def down(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("no answer")

    # The customers' store alone; then the sessions cannot be read either.
    with monkeypatch.context() as patched:
        patched.setattr(pages.web.customers, "get", down)
        got = await pages.get(client, "/customers/x/power")
        assert (got.status, got.header("Retry-After")) == (503, "5")
        assert b"database does not answer" in got.content
        patched.setattr(pages.web.readings, "last", down)
        assert (await pages.get(client, "/overview")).status == 200, (
            "what is known is shown while the readings store is down"
        )
        patched.setattr(pages.web.documents, "get", down)
        got = await pages.get(client, "/overview")
        assert got.status == 503
        assert b"database does not answer" in got.content
    assert (await pages.get(client, "/overview")).status == 200


@pytest_twisted.ensureDeferred
async def test_what_is_no_form(pages: PagesOnPort) -> None:
    client, csrf = await pages.operator()
    url = f"{pages.url}/customers/new"
    for kind, data, status in (
        ("application/json", b"{}", 415),
        (FORM["Content-Type"], b"a=%ff", 400),
        (FORM["Content-Type"], b"\xff=1", 400),
        (FORM["Content-Type"], b"&".join(b"f%d=1" % i for i in range(MAX_FIELDS + 1)), 400),
        (FORM["Content-Type"], b"a=" + b"x" * (1 << 17), 413),
    ):
        got = await client.call("POST", url, headers={"Content-Type": kind}, data=data)
        assert got.status == status, data[:20]
    assert (await pages.post(client, "/customers/new", csrf=csrf, name="x", time_zone="UTC")).status == 303
    assert (await pages.post(client, "/customers/new", csrf=csrf, name="\0", time_zone="UTC")).status == 422


@pytest_twisted.ensureDeferred
async def test_where_a_site_is_can_be_typed(pages: PagesOnPort) -> None:
    client, csrf = await pages.operator()
    made, _ = await pages.web.customer(name="Roof", time_zone="UTC")
    path = f"/customers/{made.id}/settings"

    async def save(**typed: str) -> Any:
        stored = await pages.web.customers.get(made.id)
        return await pages.post(
            client, path, csrf=csrf, etag=stored.etag, name="Roof", time_zone="UTC", logger_serial_number="",
            facility="", load="", solar="", **typed,
        )  # fmt: skip

    assert (await save(latitude="39.7392", longitude="-104.9903")).status == 303
    page = (await pages.get(client, path)).content.decode()
    assert 'value="39.7392"' in page
    assert 'value="-104.9903"' in page
    wrong = await save(latitude="39.7392", longitude="far")
    assert wrong.status == 422
    assert "degrees from -180 to 180" in wrong.content.decode()
    assert (await save(latitude="", longitude="")).status == 303
    assert (await pages.web.customers.get(made.id)).extensions.get("place") is None
