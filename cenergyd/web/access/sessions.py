"""Sessions of people who signed in with a token: a random cookie, stored as a hash, with a limited lifetime.

A session ends at sign-out, when idle too long, at its maximum age, or when the token that opened it is revoked or expires. All daemons on
the same store share it.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Sequence
from typing import cast

import attrs
from twisted.logger import Logger

from cenergyd.documents.kinds import SESSION
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import CenergydError, Conflict
from cenergyd.web.access.tokens import AccessRole, TokenInfo, Tokens, owner_of, secret_hash

PER_TOKEN = 20
"""Open sessions per token; a further one ends the oldest."""
ID_LENGTH = 16
_RENEWALS = 20
_ADDRESS_SECONDS = 60
"""A use from another address is recorded at most once in this many seconds."""
_PAGE = 200

log = Logger()


@attrs.frozen
class Session:
    """One signed-in browser."""

    key: str = attrs.field(repr=False)
    """Key of its document: the hash of the cookie."""
    role: AccessRole
    customer_id: str | None
    name: str
    """The token's name."""
    token_id: str
    csrf: str = attrs.field(repr=False)
    """Required with every change: header X-CSRF-Token or form field ``csrf``."""
    ends: int
    """UTC seconds; latest end, even if it stays in use."""

    @property
    def id(self) -> str:
        """Its id in the list of sessions."""
        return self.key[:ID_LENGTH]


@attrs.frozen
class SessionInfo:
    """An open session without its secrets."""

    id: str
    """Id for ``end``: the beginning of the hash of its cookie."""
    role: AccessRole
    customer_id: str | None
    """The customer that it belongs to, for role ``customer``."""
    name: str
    """The name of the token that it was opened with."""
    token_id: str
    created: int
    """UTC seconds, as the following times."""
    address: str
    """Address that opened it; empty if unknown."""
    last_used: int
    """Accurate to a twentieth of the idle time."""
    last_address: str
    """Address that last used it."""
    ends: int
    """Latest end."""


class Sessions:
    """Opens, finds and ends sessions. Times are UTC seconds; every method raises StoreUnavailable.

    :param idle_seconds: a session ends when unused for this time.
    :param max_seconds: a session ends after this time in any case.
    :param per_token: open sessions per token; a further one ends the oldest.
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

    async def open(self, secret: str, now: int, address: str = "") -> tuple[str, Session] | None:
        """Sign in with a token's text from an address: the cookie's value and the session, or None if the token is not valid."""
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
            "address": address, "last_address": address,
        }  # fmt: skip
        document = await self._documents.put(
            SESSION,
            secret_hash(cookie),
            body,
            owner=owner_of(token.customer_id) if token.one_time else token.id,
            due=min(ends, now + self._idle),
            expected_version=0,
        )
        return cookie, _session(document, cookie)

    async def find(self, cookie: str, now: int, address: str = "") -> Session | None:
        """The open session of a cookie, or None; records its use and address."""
        if not cookie or len(cookie) > 200:
            return None
        document = await self._documents.get(SESSION, secret_hash(cookie))
        if document is None or document.due is None or document.due <= now:
            return None
        token_key = document.body["token"]
        if token_key is not None and await self._tokens.by_key(token_key, now) is None:
            await self._documents.delete(SESSION, document.key)
            return None
        await self._renew(document, now, address)
        return _session(document, cookie)

    async def close(self, session: Session) -> None:
        """Sign out."""
        await self._documents.delete(SESSION, session.key)

    async def page(
        self, now: int, *, after: str | None = None, limit: int = 100, customer_id: str | None = None
    ) -> list[SessionInfo]:
        """Open sessions, all or one customer's, by id ascending, after an id."""
        after_key = None if after is None else after + "~"  # sorts after every key that begins with the id
        if customer_id is not None:
            return await self._page_of_customer(customer_id, now, after_key, limit)
        found: list[Document] = []
        while len(found) < limit:
            documents = await self._documents.find(SESSION, after_key=after_key, limit=_PAGE)
            found += await self._open_ones(documents, now)
            if len(documents) < _PAGE:
                break
            after_key = documents[-1].key
        return [_info(document) for document in found[:limit]]

    async def end(self, session_id: str, customer_id: str | None = None) -> bool:
        """End an open session; False if there is none with this id, or it is not this customer's (None: anybody's)."""
        if len(session_id) != ID_LENGTH:
            return False
        found = await self._documents.find(SESSION, after_key=session_id, limit=1)
        if not found or _info(found[0]).id != session_id:
            return False
        if customer_id is not None and found[0].body["customer_id"] != customer_id:
            return False
        return await self._documents.delete(SESSION, found[0].key)

    async def purge(self, now: int) -> int:
        """Remove ended sessions; returns how many."""
        return await self._documents.purge(SESSION, now)

    async def _page_of_customer(
        self, customer_id: str, now: int, after_key: str | None, limit: int
    ) -> list[SessionInfo]:
        found = list(await self._documents.find(SESSION, owner=owner_of(customer_id), after_key=after_key, limit=limit))
        after_token = None
        while tokens := await self._tokens.page(after=after_token, limit=_PAGE, customer_id=customer_id):
            after_token = tokens[-1].id
            for token in tokens:
                found += await self._documents.find(SESSION, owner=token.id, after_key=after_key, limit=limit)
        found = [document for document in found if document.body["customer_id"] == customer_id]
        found = sorted(await self._open_ones(found, now), key=lambda document: document.key)
        return [_info(document) for document in found[:limit]]

    async def _open_ones(self, documents: Sequence[Document], now: int) -> list[Document]:
        """Those that have not ended and whose token is still valid."""
        timely = [document for document in documents if document.due is not None and document.due > now]
        keys = {document.body["token"] for document in timely} - {None}
        valid = await self._tokens.valid_keys(sorted(keys), now)
        return [document for document in timely if document.body["token"] in (None, *valid)]

    async def _make_room(self, token: TokenInfo) -> None:
        open_now = await self._documents.find(SESSION, owner=token.id, limit=self._per_token + 100)
        for old in sorted(open_now, key=lambda document: -document.body["created"])[self._per_token - 1 :]:
            await self._documents.delete(SESSION, old.key)

    async def _renew(self, document: Document, now: int, address: str) -> None:
        # A write per request would cost more than the request, so the idle time is accurate only to a twentieth.
        moved = address not in ("", document.body.get("last_address", ""))
        pause = self._idle / _RENEWALS
        if now - document.body["seen"] < (min(_ADDRESS_SECONDS, pause) if moved else pause):
            return
        body = {**document.body, "seen": now, "last_address": address or document.body.get("last_address", "")}
        due = min(document.body["ends"], now + self._idle)
        try:
            await self._documents.put(
                SESSION, document.key, body,
                owner=document.owner, due=due, expected_version=document.version,
            )  # fmt: skip
        except Conflict:
            return  # another request renewed it, or it was signed out this moment
        except CenergydError as error:
            log.warn("could not renew a session: {reason}", reason=str(error))


def _csrf(cookie: str) -> str:
    # Derived, so it need not be stored; it does not reveal the cookie.
    digest = hmac.digest(cookie.encode("utf-8", "replace"), b"cenergyd csrf", "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _info(document: Document) -> SessionInfo:
    body = document.body
    return SessionInfo(
        id=document.key[:ID_LENGTH],
        role=cast(AccessRole, body["role"]),
        customer_id=body["customer_id"],
        name=body["name"],
        token_id=body["token_id"],
        created=body["created"],
        address=body.get("address", ""),  # sessions of earlier versions have none
        last_used=body["seen"],
        last_address=body.get("last_address", ""),
        ends=body["ends"],
    )


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
