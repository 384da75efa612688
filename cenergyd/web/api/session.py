"""Signing in and out, and tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from cenergyd.errors import InvalidField, NotFound
from cenergyd.web.access.auth import Principal
from cenergyd.web.access.tokens import AccessRole, TokenInfo
from cenergyd.web.api import openapi
from cenergyd.web.api.routing import Call, Reply, Route
from cenergyd.web.server.problems import FieldError, invalid_fields
from cenergyd.web.views.context import Context


def principal_view(principal: Principal) -> dict[str, Any]:
    """Who is signed in, and what a page needs to change something."""
    session = principal.session
    return {
        "role": principal.role,
        "customer_id": principal.customer_id,
        "name": principal.name,
        "csrf": session.csrf if session else None,
        "ends": session.ends if session else None,
    }


def token_view(token: TokenInfo) -> dict[str, Any]:
    """A token without its secret."""
    return {
        "id": token.id, "role": token.role, "customer_id": token.customer_id, "name": token.name,
        "created": token.created, "last_used": token.last_used, "expires": token.expires, "one_time": token.one_time,
    }  # fmt: skip


class SessionApi:
    """``/session`` and ``/tokens``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def sign_in(self, call: Call) -> Reply:
        """Open a session; the cookie is in the response."""
        given = call.json_object()
        _only(given, ("token",))
        secret = given.get("token")
        if not isinstance(secret, str) or not secret:
            raise InvalidField("token", "the text of a token is needed")
        return Reply(principal_view(await self._context.authenticator.sign_in(call.request, secret)))

    async def who(self, call: Call) -> Reply:
        """Who the caller is."""
        return Reply(principal_view(call.principal))

    async def sign_out(self, call: Call) -> Reply:
        """End the session; a bearer token stays as it is."""
        await self._context.authenticator.sign_out(call.request, call.principal)
        return Reply(status=204)

    async def page(self, call: Call) -> Reply:
        """A page of tokens."""
        limit = call.query_integer("limit", 1, self._context.settings.page_size) or self._context.settings.page_size
        found = await self._context.tokens.page(
            after=call.query("cursor") or None, limit=limit + 1, customer_id=call.query("customer_id") or None
        )
        more = found[limit - 1].id if len(found) > limit else None
        return Reply({"tokens": [token_view(token) for token in found[:limit]], "next": more})

    async def create(self, call: Call) -> Reply:
        """Make a token; its text is in this answer and never again."""
        given = call.json_object()
        _only(given, ("role", "name", "customer_id", "expires"))
        role, name, customer_id = given.get("role"), given.get("name"), given.get("customer_id")
        expires = given.get("expires")
        if not isinstance(name, str):
            raise InvalidField("name", "text is needed")
        if not isinstance(customer_id, str | None):
            raise InvalidField("customer_id", "text is needed")
        if not (expires is None or (type(expires) is int and abs(expires) < 1 << 40)):
            raise InvalidField("expires", "UTC seconds are needed")
        if customer_id and await self._context.customers.get(customer_id) is None:
            raise InvalidField("customer_id", "there is no such customer")
        secret, token = await self._context.tokens.add(
            cast(AccessRole, role), name, call.now, customer_id=customer_id or None, expires=expires
        )
        return Reply({"token": secret, **token_view(token)}, 201)

    async def revoke(self, call: Call, token_id: str) -> Reply:
        """Revoke a token and end its sessions."""
        if not await self._context.tokens.revoke(token_id):
            raise NotFound("there is no such token")
        return Reply(status=204)

    def routes(self) -> Sequence[Route]:
        """All of this subject's routes."""
        return (
            Route("POST", "/session", self.sign_in, "public", _SIGN_IN),
            Route("GET", "/session", self.who, "signed_in", _WHO),
            Route("DELETE", "/session", self.sign_out, "signed_in", _SIGN_OUT),
            Route("GET", "/tokens", self.page, "operator", _list_operation(self._context.settings.page_size)),
            Route("POST", "/tokens", self.create, "operator", _CREATE),
            Route("DELETE", "/tokens/{token_id}", self.revoke, "operator", _REVOKE),
        )

    def schemas(self) -> Mapping[str, Any]:
        """Schema components."""
        return _SCHEMAS


def _only(given: Mapping[str, Any], allowed: Sequence[str]) -> None:
    unknown = [FieldError(name, "no such field") for name in given if name not in allowed]
    if unknown:
        raise invalid_fields(unknown)


_ACCESS_ROLE = {"enum": ["operator", "customer"]}
_CUSTOMER = openapi.nullable({"type": "string", "description": "Whose it is, for role customer."})
_TOKEN = {
    "id": {"type": "string"},
    "role": _ACCESS_ROLE,
    "customer_id": _CUSTOMER,
    "name": {"type": "string"},
    "created": openapi.TIME,
    "last_used": {**openapi.nullable(openapi.TIME), "description": "To the hour."},
    "expires": openapi.nullable(openapi.TIME),
    "one_time": {"type": "boolean", "description": "Good for one sign-in only."},
}
_SCHEMAS: Mapping[str, Any] = {
    "Caller": openapi.closed(
        {
            "role": _ACCESS_ROLE,
            "customer_id": _CUSTOMER,
            "name": {"type": "string", "description": "The token's name."},
            "csrf": {
                **openapi.nullable({"type": "string"}),
                "description": "To be sent as X-CSRF-Token with every change; null for a bearer token.",
            },
            "ends": {**openapi.nullable(openapi.TIME), "description": "Latest end of the session."},
        }
    ),
    "SignIn": openapi.closed({"token": {"type": "string", "minLength": 1, "maxLength": 200}}),
    "Token": openapi.closed(_TOKEN),
    "TokenList": openapi.listing("tokens", openapi.ref("Token")),
    "NewToken": openapi.closed(
        {
            "role": _ACCESS_ROLE,
            "name": {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[!-~]([ -~]*[!-~])?$"},
            "customer_id": _CUSTOMER,
            "expires": openapi.nullable({**openapi.TIME, "minimum": 0}),
        },
        ["customer_id", "expires"],
    ),
    "MadeToken": openapi.closed({"token": {"type": "string", "description": "Shown this once."}, **_TOKEN}),
}
_SIGN_IN = openapi.operation(
    "signIn", "session", "Sign in with a token; sets a session cookie",
    reply=openapi.ref("Caller"), body=openapi.ref("SignIn"), errors=[401, 403, 429], public=True,
)  # fmt: skip
_WHO = openapi.operation("readSession", "session", "Who the caller is", reply=openapi.ref("Caller"))
_SIGN_OUT = openapi.operation("signOut", "session", "End the session", status=204)
_CREATE = openapi.operation(
    "createToken", "tokens", "Make a token (operators)",
    reply=openapi.ref("MadeToken"), status=201, body=openapi.ref("NewToken"),
)  # fmt: skip
_REVOKE = openapi.operation(
    "revokeToken", "tokens", "Revoke a token and end its sessions (operators)",
    status=204, parameters=[openapi.path_parameter("token_id", "The token's id.")],
)  # fmt: skip


def _list_operation(page_size: int) -> openapi.JsonObject:
    owner = openapi.query_parameter("customer_id", {"type": "string", "maxLength": 200}, "Only this customer's.")
    return openapi.operation(
        "listTokens", "tokens", "Tokens by id (operators)",
        reply=openapi.ref("TokenList"), parameters=[*openapi.page_parameters(page_size), owner],
    )  # fmt: skip
