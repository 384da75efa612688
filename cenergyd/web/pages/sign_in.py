"""Signing in and out, and the root page."""

from __future__ import annotations

from collections.abc import Sequence

from cenergyd.web.access.auth import Principal
from cenergyd.web.pages.forms import local_path
from cenergyd.web.pages.kept_form import FIELD, kept_form
from cenergyd.web.pages.routing import (
    SIGN_IN,
    Page,
    PageCall,
    PageRoute,
    Redirect,
    customer_path,
    resume_page,
    sign_in_page,
)
from cenergyd.web.server.problems import RequestProblem
from cenergyd.web.views.context import Context


def home(principal: Principal) -> str:
    """The first page after signing in: the overview for operators, the power page for a customer."""
    return customer_path(principal.customer_id, "power") if principal.customer_id else "/overview"


class SessionPages:
    """``/``, ``/sign-in``, ``/sign-out``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._auth = context.authenticator

    async def root(self, call: PageCall) -> Redirect:
        """Redirect to the caller's first page."""
        return Redirect(home(call.caller) if call.caller else SIGN_IN)

    async def form(self, call: PageCall) -> Page | Redirect:
        """The sign-in form."""
        after = local_path(call.query("next"))
        if call.caller is not None:
            return Redirect(after or home(call.caller))
        signed_out, ended = call.query("done") == "signed-out", call.query("why") == "ended"
        return sign_in_page(next=after or "", signed_out=signed_out, ended=ended)

    async def sign_in(self, call: PageCall) -> Page | Redirect:
        """Open a session."""
        after = local_path(call.form.get("next"))
        token = call.form.get("token", "").strip()
        try:
            if not token:
                raise RequestProblem(422, "invalid_field", "Paste a token.")
            principal = await self._auth.sign_in(call.request, token)
        except RequestProblem as problem:
            details = problem.details
            if details.status not in (401, 422, 429):
                raise
            for name, value in details.headers.items():
                call.request.setHeader(name.encode(), value.encode())
            # With WWW-Authenticate, a browser would open its own password dialog.
            call.request.responseHeaders.removeHeader(b"www-authenticate")
            kept_text = call.form.get(FIELD, "")
            return sign_in_page(details.status, error=details.detail, next=after or "", kept=kept_text)
        if (kept := kept_form(call.form.get(FIELD, ""))) is not None:
            return resume_page(kept, principal)
        if principal.is_operator and not await self._context.tokens.any_permanent_operator(call.now):
            # The one-time token is used up: without a permanent one nobody can sign in again.
            return Redirect("/access?first=1")
        return Redirect(after or home(principal))

    async def sign_out(self, call: PageCall) -> Redirect:
        """End the session."""
        await self._auth.sign_out(call.request, call.principal)
        return Redirect(f"{SIGN_IN}?done=signed-out")

    def routes(self) -> Sequence[PageRoute]:
        """All of this subject's pages."""
        return (
            PageRoute("GET", "/", self.root, "public"),
            PageRoute("GET", SIGN_IN, self.form, "public"),
            PageRoute("POST", SIGN_IN, self.sign_in, "public"),
            PageRoute("POST", "/sign-out", self.sign_out, "signed_in"),
        )
