"""Open sessions: who is signed in, since when and from where; each can be ended. A customer sees only its own."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from cenergyd.errors import NotFound
from cenergyd.web.pages.owners import owners
from cenergyd.web.pages.routing import SIGN_IN, Page, PageCall, PageRoute, Redirect
from cenergyd.web.views.context import Context

SESSIONS = "/sessions"
_DONE = {"ended": "Ended. That browser is signed out.", "gone": "That session had already ended."}


class OpenSessionPages:
    """``/sessions``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def show(self, call: PageCall) -> Page:
        """The open sessions, page by page."""
        limit = self._context.page_size
        cursor = call.query("cursor") or None
        found = await self._context.authenticator.sessions(call.principal, cursor, limit + 1)
        shown = found[:limit]
        session = call.principal.session
        values = {
            "sessions": shown,
            "paged": cursor is not None,
            "next": f"{SESSIONS}?{urlencode({'cursor': shown[-1].id})}" if len(found) > limit else None,
            "owners": await owners(self._context, shown, "power") if call.principal.is_operator else {},
            "own": session.id if session is not None else "",
            "done": _DONE.get(call.query("done") or "", ""),
            "zone": ZoneInfo("UTC"),
        }
        return Page("sessions.html", values, tab="sessions")

    async def end(self, call: PageCall) -> Redirect:
        """End a session; ending one's own leads to the sign-in page."""
        wanted = call.form.get("session", "")
        session = call.principal.session
        if session is not None and session.id == wanted:
            await self._context.authenticator.sign_out(call.request, call.principal)
            return Redirect(f"{SIGN_IN}?done=signed-out")
        try:
            await self._context.authenticator.end_session(call.principal, wanted)
        except NotFound:
            return Redirect(f"{SESSIONS}?done=gone")
        return Redirect(f"{SESSIONS}?done=ended")

    def routes(self) -> Sequence[PageRoute]:
        """All of this subject's pages."""
        return (
            PageRoute("GET", SESSIONS, self.show, "signed_in"),
            PageRoute("POST", f"{SESSIONS}/end", self.end, "signed_in"),
        )
