"""Sessions of people who signed in with a token: a random cookie, stored hashed, with a bounded lifetime.

A session ends when it is signed out, idle too long, too old, or when the token that opened it is revoked or expires.
Every daemon on the same store knows it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import cast

import attrs
from twisted.logger import Logger

from cenergyd.documents.kinds import SESSION
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import CenergydError, Conflict
from cenergyd.web.access.tokens import AccessRole, TokenInfo, Tokens

PER_TOKEN = 20
"""Sessions open at once with one token; the oldest is ended for a new one."""
_RENEWALS = 20

log = Logger()


@attrs.frozen
class Session:
    """One signed-in browser."""

    key: str = attrs.field(repr=False)
    """Under which it is stored: the hash of the cookie."""
    role: AccessRole
    customer_id: str | None
    name: str
    """The token's name."""
    token_id: str
    csrf: str = attrs.field(repr=False)
    """Must come back with everything that changes something: header X-CSRF-Token or form field ``csrf``."""
    ends: int
    """UTC seconds; latest end, however busy it is."""


class Sessions:
    """Opens, finds and ends sessions. Times are UTC seconds; every method raises StoreUnavailable.

    :param idle_seconds: a session ends when not used for so long.
    :param max_seconds: a session ends after so long in any case.
    :param per_token: sessions open at once with one token; the oldest is ended for a new one.
    """

    def __init__(
        self,
        documents: DocumentStore,
        tokens: Tokens,
        *,
        idle_seconds: int,
        max_seconds: int,
        per_token: int = PER_TOKEN,
    ) -> None:
        self._documents = documents
        self._tokens = tokens
        self._idle = idle_seconds
        self._max = max_seconds
        self._per_token = per_token

    async def open(self, secret: str, now: int) -> tuple[str, Session] | None:
        """Sign in with a token's text: the cookie's value and the session, or None where the token is no good."""
        token = await self._tokens.check(secret, now)
        if token is None or (token.one_time and not await self._tokens.use_up(token)):
            return None
        await self._make_room(token)
        cookie = secrets.token_urlsafe(32)
        ends = now + self._max
        if token.expires is not None and not token.one_time:
            ends = min(ends, token.expires)
        body = {
            "token": None if token.one_time else token.key, "token_id": token.id, "role": token.role,
            "customer_id": token.customer_id, "name": token.name, "created": now, "seen": now, "ends": ends,
        }  # fmt: skip
        document = await self._documents.put(
            SESSION, _hash(cookie), body, owner=token.id, due=min(ends, now + self._idle), expected_version=0
        )
        return cookie, _session(document, cookie)

    async def find(self, cookie: str, now: int) -> Session | None:
        """The live session of a cookie, or None; notes that it is in use."""
        if not cookie or len(cookie) > 200:
            return None
        document = await self._documents.get(SESSION, _hash(cookie))
        if document is None or document.due is None or document.due <= now:
            return None
        token_key = document.body["token"]
        if token_key is not None and await self._tokens.by_key(token_key, now) is None:
            await self._documents.delete(SESSION, document.key)
            return None
        await self._renew(document, now)
        return _session(document, cookie)

    async def close(self, session: Session) -> None:
        """Sign out."""
        await self._documents.delete(SESSION, session.key)

    async def purge(self, now: int) -> int:
        """Remove sessions that are over; how many."""
        return await self._documents.purge(SESSION, now)

    async def _make_room(self, token: TokenInfo) -> None:
        open_now = await self._documents.find(SESSION, owner=token.id, limit=self._per_token + 100)
        for old in sorted(open_now, key=lambda document: -document.body["created"])[self._per_token - 1 :]:
            await self._documents.delete(SESSION, old.key)

    async def _renew(self, document: Document, now: int) -> None:
        # A write per request would cost more than the request: the idle time is exact to a twentieth.
        if now - document.body["seen"] < self._idle / _RENEWALS:
            return
        due = min(document.body["ends"], now + self._idle)
        try:
            await self._documents.put(
                SESSION, document.key, {**document.body, "seen": now},
                owner=document.owner, due=due, expected_version=document.version,
            )  # fmt: skip
        except Conflict:
            return  # another request renewed it, or it was signed out this moment
        except CenergydError as error:
            log.warn("could not renew a session: {reason}", reason=str(error))


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()


def _csrf(cookie: str) -> str:
    # Derived, so that nothing more is stored; says nothing of the cookie itself.
    digest = hmac.digest(cookie.encode("utf-8", "replace"), b"cenergyd csrf", "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _session(document: Document, cookie: str) -> Session:
    body = document.body
    return Session(
        key=document.key,
        role=cast(AccessRole, body["role"]),
        customer_id=body["customer_id"],
        name=body["name"],
        token_id=body["token_id"],
        csrf=_csrf(cookie),
        ends=body["ends"],
    )
