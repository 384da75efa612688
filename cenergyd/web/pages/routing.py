"""From a Klein route to a page: permissions, forms with CSRF protection, errors as pages.

A subject is an object with ``routes()``; its handlers are ``async def handler(self, call, **path_parameters)`` and return a
:class:`Page` or a :class:`Redirect`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Protocol
from urllib.parse import quote, urlencode

import attrs
from klein import Klein
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from cenergyd.customers.model import Customer
from cenergyd.web.access.auth import CSRF_FIELD, SAFE_METHODS, Principal, cookie_name
from cenergyd.web.api.routing import Access, Call
from cenergyd.web.pages.forms import read_form
from cenergyd.web.pages.kept_form import KeptForm, keep
from cenergyd.web.pages.navigation import customer_tabs, main_links
from cenergyd.web.pages.templates import Templates
from cenergyd.web.server.clients import Client
from cenergyd.web.server.problems import ProblemDetails, RequestProblem, problem_of
from cenergyd.web.server.security import PAGE_POLICY, set_security_headers
from cenergyd.web.views.context import Context

SIGN_IN = "/sign-in"
log = Logger()


@attrs.frozen(eq=False)
class PageCall(Call):
    """One request for a page."""

    form: Mapping[str, str] = attrs.field(factory=dict)
    """The posted fields; empty for GET."""


@attrs.frozen
class Page:
    """A template and its values."""

    template: str
    values: Mapping[str, object] = attrs.field(factory=dict)
    status: int = 200
    customer: Customer | None = None
    """The customer whose page it is: shown in the header, with its tabs."""
    tab: str = ""
    """The key of the tab or main link that this page belongs to."""


@attrs.frozen
class Redirect:
    """A redirect, answered by GET."""

    location: str


@attrs.frozen
class PageRoute:
    """One method of one page."""

    method: str
    path: str
    """As Klein wants it; a parameter called ``customer_id`` is checked: customers reach their own only."""
    handler: Callable[..., Awaitable[Page | Redirect]]
    access: Access
    is_long: bool = False
    """Whether it may take long, so that only a few are processed at once."""


class PageSubject(Protocol):
    """A group of pages."""

    def routes(self) -> Sequence[PageRoute]:
        """All of them."""
        ...


class PageRouter:
    """A Klein app of pages behind one guard."""

    def __init__(self, context: Context, templates: Templates) -> None:
        self.app = Klein()
        self.app.url_map.merge_slashes = False
        self._context = context
        self._auth = context.authenticator
        self._templates = templates
        self.routes: list[PageRoute] = []
        self.app.handle_errors(Exception)(self._failed)

    def add(self, subject: PageSubject) -> None:
        """Mount a subject's pages."""
        for route in subject.routes():
            self.routes.append(route)
            self.app.route(route.path, methods=[route.method], endpoint=f"{route.method} {route.path}")(
                self._guarded(route)
            )

    def _guarded(self, route: PageRoute) -> Callable[..., Coroutine[object, object, bytes]]:
        async def endpoint(request: Request, **path: str) -> bytes:
            client = self._prepare(request)
            caller = await self._auth.identify(request)
            limit = self._context.max_json_bytes
            now = int(self._context.clock.seconds())
            ended = request.getCookie(cookie_name(client)) is not None
            if caller is None and route.access != "public" and request.method in SAFE_METHODS:
                return _redirect(request, sign_in_path(request, ended=ended))
            form = {} if request.method in SAFE_METHODS else read_form(request, limit)
            call = PageCall(request, client, caller, now, limit, form)
            if route.access != "public" and request.method not in SAFE_METHODS:
                if caller is None:
                    if request.path == b"/sign-out" or not form:
                        return _redirect(request, SIGN_IN)
                    self._auth.check_origin(request)
                    return await self._answer(request, call, _sign_in_first(request, form))
                if self._is_of_an_old_session(request, caller, form):
                    return await self._answer(request, call, resume_page(keep(_path(request), form), caller))
            self._check(route, request, caller, form, path)
            if not route.is_long or caller is None:
                return await self._answer(request, call, await route.handler(call, **path))
            async with self._context.long_requests.turn(caller.token_id):
                return await self._answer(request, call, await route.handler(call, **path))

        return endpoint

    def _is_of_an_old_session(self, request: Request, caller: Principal, form: Mapping[str, str]) -> bool:
        """Whether a form was opened in a session that has ended since; the browser must say that a page of this site sent it."""
        has_origin = request.getHeader(b"sec-fetch-site") is not None or request.getHeader(b"origin") is not None
        try:
            self._auth.check_csrf(request, caller, form.get(CSRF_FIELD))
        except RequestProblem as problem:
            return has_origin and problem.details.code == "csrf" and bool(form.get(CSRF_FIELD))
        return False

    def _check(
        self,
        route: PageRoute,
        request: Request,
        caller: Principal | None,
        form: Mapping[str, str],
        path: Mapping[str, str],
    ) -> None:
        if caller is None:
            return
        if route.access != "public":
            self._auth.check_csrf(request, caller, form.get(CSRF_FIELD))
        if route.access == "operator":
            caller.check_operator()
        if "customer_id" in path:
            caller.check_customer(path["customer_id"])

    def _prepare(self, request: Request) -> Client:
        client = self._auth.clients.of(request)
        set_security_headers(
            request, secure=client.secure, policy=PAGE_POLICY, hsts_seconds=self._context.settings.hsts_seconds
        )
        request.setHeader(b"Cache-Control", b"no-store")
        return client

    async def _answer(self, request: Request, call: PageCall, answer: Page | Redirect) -> bytes:
        if isinstance(answer, Redirect):
            return _redirect(request, answer.location)
        request.setResponseCode(answer.status)
        return await self._html(request, answer, call.caller, call.now)

    async def _html(self, request: Request, page: Page, caller: Principal | None, now: int) -> bytes:
        values = {
            "caller": caller,
            "csrf": caller.session.csrf if caller is not None and caller.session is not None else "",
            "customer": page.customer,
            "links": main_links(caller),
            "tabs": customer_tabs(page.customer, caller) if page.customer is not None else (),
            "tab": page.tab,
            "now": now,
            **page.values,
        }
        await self._templates.compile(page.template)
        body = self._templates.render(page.template, values)
        request.setHeader(b"Content-Type", b"text/html; charset=utf-8")
        request.setHeader(b"Content-Length", str(len(body)).encode())
        return body

    async def _failed(self, request: Request, failure: Failure) -> bytes:
        if request.startedWriting:
            request.loseConnection()
            return b""
        self._prepare(request)
        details = problem_of(failure.value or RuntimeError())
        if details.status == 401 and request.method in SAFE_METHODS:
            return _redirect(request, sign_in_path(request))
        if details.status >= 500:
            _log(request, failure, details)
        request.setResponseCode(details.status)
        for name, value in details.headers.items():
            request.setHeader(name.encode(), value.encode())
        page = Page("error.html", {"problem": details, "request_id": getattr(request, "request_id", "")})
        return await self._html(request, page, await self._caller_if_known(request), int(self._context.clock.seconds()))

    async def _caller_if_known(self, request: Request) -> Principal | None:
        """The caller, None if the store that has just failed is needed to find out: an error page must not fail for the same reason."""
        try:
            return await self._auth.identify(request)
        except Exception:
            return None


def sign_in_path(request: Request, *, ended: bool = False) -> str:
    """The sign-in page that leads back to this one.

    :param ended: there was a session.
    """
    if request.method not in SAFE_METHODS or request.uri == b"/":
        return SIGN_IN
    why = {"why": "ended"} if ended else {}
    return f"{SIGN_IN}?{urlencode({'next': _path(request), **why})}"


def sign_in_page(status: int = 200, **values: object) -> Page:
    """The sign-in form."""
    empty = {"error": "", "next": "", "signed_out": False, "ended": False, "kept": ""}
    return Page("sign_in.html", {**empty, **values}, status)


def resume_page(kept: KeptForm, caller: Principal) -> Page:
    """The page that offers to save what was typed in an ended session."""
    csrf = caller.session.csrf if caller.session is not None else ""
    values = {"kept": kept, "csrf": csrf, "caller": caller, "links": main_links(caller)}
    return Page("resume.html", values)


def _sign_in_first(request: Request, form: Mapping[str, str]) -> Page:
    return sign_in_page(401, ended=True, kept=keep(_path(request), form).text)


def _path(request: Request) -> str:
    return request.uri.decode("latin-1")


def customer_path(customer_id: str, page: str) -> str:
    """``/customers/<id>/<page>``."""
    return f"/customers/{quote(customer_id, safe='')}/{page}"


def _redirect(request: Request, location: str) -> bytes:
    request.setResponseCode(303)
    request.setHeader(b"Location", location.encode("ascii", "replace").replace(b"\r", b"").replace(b"\n", b""))
    request.setHeader(b"Content-Length", b"0")
    return b""


def _log(request: Request, failure: Failure, details: ProblemDetails) -> None:
    path = request.path.decode("latin-1")
    if details.status == 500:
        log.failure("page {path} failed", failure, path=path, request_id=getattr(request, "request_id", None))
    else:
        log.warn("page {path}: {code}: {reason}", path=path, code=details.code, reason=str(failure.value))
