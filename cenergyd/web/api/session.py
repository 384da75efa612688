"""Signing in and out, open sessions, and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from attrs import asdict
from msgspec import Meta

from cenergyd.documents.json_types import JsonObject
from cenergyd.errors import InvalidField, NotFound
from cenergyd.runtime.structs import Resource, Time
from cenergyd.web.access.auth import Principal
from cenergyd.web.access.sessions import SessionInfo
from cenergyd.web.access.tokens import AccessRole, TokenInfo
from cenergyd.web.api import openapi
from cenergyd.web.api.openapi import Next
from cenergyd.web.api.routing import Call, Response, Route
from cenergyd.web.views.context import Context

CustomerId = Annotated[str | None, Meta(description="The customer it is for, for role customer.")]


class Caller(Resource, frozen=True, kw_only=True):
    """Who is signed in, and the CSRF token."""

    role: AccessRole
    customer_id: CustomerId
    name: Annotated[str, Meta(description="The token's name.")]
    csrf: Annotated[
        str | None, Meta(description="To be sent as X-CSRF-Token with every change; null for a bearer token.")
    ]
    ends: Annotated[int | None, Meta(description="UTC seconds: latest end of the session.")]

    @classmethod
    def of(cls, principal: Principal) -> Caller:
        """The sender of a request."""
        session = principal.session
        return cls(
            role=principal.role,
            customer_id=principal.customer_id,
            name=principal.name,
            csrf=session.csrf if session else None,
            ends=session.ends if session else None,
        )


class SignIn(Resource, frozen=True, kw_only=True):
    """The text of a token."""

    token: Annotated[str, Meta(min_length=1, max_length=200, extra={"needed": "the text of a token is needed"})]


class TokenJson(Resource, frozen=True, kw_only=True):
    """A token without its secret."""

    id: str
    role: AccessRole
    customer_id: CustomerId
    name: str
    created: Time
    last_used: Annotated[int | None, Meta(description="UTC seconds, to the hour.")]
    expires: Time | None
    one_time: Annotated[bool, Meta(description="Valid for one sign-in only.")]

    @classmethod
    def of(cls, token: TokenInfo) -> TokenJson:
        """What is known of a token."""
        return TokenJson(**_token(token))


class CreatedToken(TokenJson, frozen=True, kw_only=True):
    """A new token, with its secret."""

    token: Annotated[str, Meta(description="Shown only once.")]


class TokenList(Resource, frozen=True, kw_only=True):
    """A page of tokens."""

    tokens: list[TokenJson]
    next: Next


class NewToken(Resource, frozen=True, kw_only=True):
    """A token to be created."""

    role: AccessRole
    name: Annotated[str, Meta(min_length=1, max_length=100, description="Printable characters, not only spaces.")]
    customer_id: CustomerId = None
    expires: Annotated[int | None, Meta(description="UTC seconds, later than now.")] = None


def _token(token: TokenInfo) -> JsonObject:
    known = asdict(token)
    del known["key"]
    return known


class SessionJson(Resource, frozen=True, kw_only=True):
    """An open session: a browser in which somebody signed in with a token."""

    id: str
    role: AccessRole
    customer_id: CustomerId
    name: Annotated[str, Meta(description="The name of the token that it was opened with.")]
    token_id: str
    created: Time
    address: Annotated[str, Meta(description="Address that opened it; empty if unknown.")]
    last_used: Annotated[int, Meta(description="UTC seconds, accurate to a twentieth of the idle time.")]
    last_address: Annotated[str, Meta(description="Address that last used it.")]
    ends: Annotated[int, Meta(description="UTC seconds: latest end.")]
    current: Annotated[bool, Meta(description="Whether this request is made in it.")]

    @classmethod
    def of(cls, session: SessionInfo, caller: Principal) -> SessionJson:
        """What is known of a session."""
        return SessionJson(**asdict(session), current=caller.session is not None and caller.session.id == session.id)


class SessionList(Resource, frozen=True, kw_only=True):
    """A page of open sessions."""

    sessions: list[SessionJson]
    next: Next


class SessionApi:
    """``/session``, ``/sessions`` and ``/tokens``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def sign_in(self, call: Call) -> Response:
        """Open a session; the cookie is in the response."""
        secret = call.body(SignIn).token
        return Response(Caller.of(await self._context.authenticator.sign_in(call.request, secret)))

    async def who(self, call: Call) -> Response:
        """Who the caller is."""
        return Response(Caller.of(call.principal))

    async def sign_out(self, call: Call) -> Response:
        """End the session; a bearer token stays as it is."""
        await self._context.authenticator.sign_out(call.request, call.principal)
        return Response(status=204)

    async def sessions(self, call: Call) -> Response:
        """A page of open sessions."""
        limit = call.limit(self._context.page_size)
        auth = self._context.authenticator
        found = await auth.sessions(call.principal, call.query("cursor") or None, limit + 1)
        more = found[limit - 1].id if len(found) > limit else None
        shown = [SessionJson.of(session, call.principal) for session in found[:limit]]
        return Response(SessionList(sessions=shown, next=more))

    async def end(self, call: Call, session_id: str) -> Response:
        """End a session."""
        await self._context.authenticator.end_session(call.principal, session_id)
        return Response(status=204)

    async def page(self, call: Call) -> Response:
        """A page of tokens."""
        limit = call.limit(self._context.page_size)
        found = await self._context.tokens.page(
            after=call.query("cursor") or None, limit=limit + 1, customer_id=call.query("customer_id") or None
        )
        more = found[limit - 1].id if len(found) > limit else None
        return Response(TokenList(tokens=[TokenJson.of(token) for token in found[:limit]], next=more))

    async def create(self, call: Call) -> Response:
        """Create a token; only this response has its text."""
        given = call.body(NewToken)
        customer_id = given.customer_id or None
        if customer_id and await self._context.customers.get(customer_id) is None:
            raise InvalidField("customer_id", "there is no such customer")
        secret, token = await self._context.tokens.add(
            given.role, given.name, call.now, customer_id=customer_id, expires=given.expires
        )
        return Response(CreatedToken(token=secret, **_token(token)), 201)

    async def revoke(self, call: Call, token_id: str) -> Response:
        """Revoke a token and end its sessions."""
        if not await self._context.tokens.revoke(token_id):
            raise NotFound("there is no such token")
        return Response(status=204)

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        return (
            Route("POST", "/session", self.sign_in, "public", _SIGN_IN),
            Route("GET", "/session", self.who, "signed_in", _WHO),
            Route("DELETE", "/session", self.sign_out, "signed_in", _SIGN_OUT),
            Route("GET", "/sessions", self.sessions, "signed_in", _sessions_operation(self._context.page_size)),
            Route("DELETE", "/sessions/{session_id}", self.end, "signed_in", _END),
            Route("GET", "/tokens", self.page, "operator", _list_operation(self._context.page_size)),
            Route("POST", "/tokens", self.create, "operator", _CREATE),
            Route("DELETE", "/tokens/{token_id}", self.revoke, "operator", _REVOKE),
        )


_SIGN_IN = openapi.Operation(
    "signIn", "session", "Sign in with a token; sets a session cookie",
    response=Caller, body=SignIn, errors=[401, 403, 429], public=True,
)  # fmt: skip
_WHO = openapi.Operation("readSession", "session", "Who the caller is", response=Caller)
_SIGN_OUT = openapi.Operation("signOut", "session", "End the session", status=204)
_END = openapi.Operation(
    "endSession", "session", "End an open session and its live views; operators any, customers their own",
    status=204, parameters=[openapi.path_parameter("session_id", "The session's id.")],
)  # fmt: skip
_CREATE = openapi.Operation(
    "createToken", "tokens", "Create a token (operators)",
    response=CreatedToken, status=201, body=NewToken,
)  # fmt: skip
_REVOKE = openapi.Operation(
    "revokeToken", "tokens", "Revoke a token and end its sessions (operators)",
    status=204, parameters=[openapi.path_parameter("token_id", "The token's id.")],
)  # fmt: skip


def _sessions_operation(page_size: int) -> openapi.Operation:
    return openapi.Operation(
        "listSessions", "session", "Open sessions by id; operators see all, customers their own",
        response=SessionList, parameters=openapi.page_parameters(page_size),
    )  # fmt: skip


def _list_operation(page_size: int) -> openapi.Operation:
    owner = openapi.query_parameter("customer_id", {"type": "string", "maxLength": 200}, "Only this customer's.")
    return openapi.Operation(
        "listTokens", "tokens", "Tokens by id (operators)",
        response=TokenList, parameters=[*openapi.page_parameters(page_size), owner],
    )  # fmt: skip
