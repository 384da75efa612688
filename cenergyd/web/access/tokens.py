"""Bearer tokens: 256 random bits, of which only a SHA-256 is stored; shown once, when created.

A plain hash is enough: unlike a password a token cannot be guessed from its hash, and checking one must be cheap.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Literal, cast

import attrs
from twisted.logger import Logger

from cenergyd.documents.json_types import ReadOnlyJson
from cenergyd.documents.kinds import SESSION, TOKEN
from cenergyd.documents.store import Document, DocumentStore
from cenergyd.errors import CenergydError, Conflict, InvalidField

AccessRole = Literal["operator", "customer"]

PREFIX = "cenergyd_"
ID_LENGTH = 16
_MAX_NAME = 100
_USED_SECONDS = 3600
_PAGE = 200
_FIRST_TOKENS = 5
FIRST_TOKEN_SECONDS = 86400
"""Seconds for which the one-time operator token of a first start is valid."""

log = Logger()


@attrs.frozen
class TokenInfo:
    """A token without its secret."""

    id: str
    """Id for ``revoke``: the beginning of its hash."""
    role: AccessRole
    customer_id: str | None
    """The customer that it is for, for role ``customer``."""
    name: str
    """A label for people."""
    created: int
    last_used: int | None
    """UTC seconds, to the hour."""
    expires: int | None
    one_time: bool
    """Valid for one sign-in only."""
    key: str = attrs.field(repr=False)
    """Key of its document."""


class Tokens:
    """Creates, checks and revokes tokens. Times are UTC seconds; every method raises StoreUnavailable."""

    def __init__(self, documents: DocumentStore) -> None:
        self._documents = documents

    async def add(
        self,
        role: AccessRole,
        name: str,
        now: int,
        *,
        customer_id: str | None = None,
        expires: int | None = None,
        one_time: bool = False,
    ) -> tuple[str, TokenInfo]:
        """Create a token; the text returned first is its only copy. Raises InvalidField."""
        _check(role, name, customer_id, expires, now)
        await self.purge(now)
        secret = PREFIX + secrets.token_urlsafe(32)
        body = {
            "role": role, "customer_id": customer_id, "name": name, "created": now,
            "last_used": None, "expires": expires, "one_time": one_time,
        }  # fmt: skip
        document = await self._documents.put(
            TOKEN, secret_hash(secret), body, owner=owner_of(customer_id), due=expires, expected_version=0
        )
        return secret, _info(document)

    async def page(
        self, *, after: str | None = None, limit: int = 100, customer_id: str | None = None
    ) -> list[TokenInfo]:
        """Tokens, all or one customer's, by id ascending, after an id."""
        # A key is longer than an id; "~" sorts after every hex digit, so that the named token itself is left out.
        after_key = None if after is None else after + "~"
        owner = owner_of(customer_id) if customer_id else None
        found = await self._documents.find(TOKEN, owner=owner, after_key=after_key, limit=limit)
        return [_info(document) for document in found]

    async def revoke(self, token_id: str) -> bool:
        """Revoke a token and end its sessions; False if there is none with this id."""
        if len(token_id) < ID_LENGTH:
            return False
        found = await self._documents.find(TOKEN, after_key=token_id[:ID_LENGTH], limit=1)
        if not found or _info(found[0]).id != token_id:
            return False
        return await self._documents.delete(TOKEN, found[0].key)

    async def revoke_customer(self, customer_id: str) -> int:
        """Revoke all tokens of a customer, and with them all sessions; how many tokens."""
        revoked = 0
        while found := await self._documents.find(TOKEN, owner=owner_of(customer_id), limit=_PAGE):
            for document in found:
                revoked += await self._documents.delete(TOKEN, document.key)
        while found := await self._documents.find(SESSION, owner=owner_of(customer_id), limit=_PAGE):
            for document in found:
                await self._documents.delete(SESSION, document.key)
        return revoked

    async def check(self, secret: str, now: int) -> TokenInfo | None:
        """The valid token with this text, or None."""
        if not secret.startswith(PREFIX) or len(secret) > 200:
            return None
        return await self.by_key(secret_hash(secret), now)

    async def by_key(self, key: str, now: int) -> TokenInfo | None:
        """The valid token stored under a key, or None; records its use."""
        document = await self._documents.get(TOKEN, key)
        if document is None:
            return None
        info = _info(document)
        if info.expires is not None and info.expires <= now:
            return None
        if not info.one_time and (info.last_used is None or now - info.last_used >= _USED_SECONDS):
            await self._note_use(document, now)
        return info

    async def valid_keys(self, keys: Sequence[str], now: int) -> set[str]:
        """The keys that belong to valid tokens; does not count as a use of them."""
        found = await self._documents.get_many(TOKEN, keys) if keys else {}
        infos = (_info(document) for document in found.values())
        return {info.key for info in infos if info.expires is None or info.expires > now}

    async def use_up(self, token: TokenInfo) -> bool:
        """Use up a one-time token; True for exactly one caller. Also removes other unused first tokens."""
        if not await self._documents.delete(TOKEN, token.key):
            return False
        if token.role == "operator":
            await self.drop_first_tokens(0)
        return True

    async def purge(self, now: int) -> int:
        """Remove expired tokens; returns how many."""
        return await self._documents.purge(TOKEN, now)

    async def any_permanent_operator(self, now: int) -> bool:
        """Whether some operator can still sign in with a token that is not a first token."""
        after = None
        while found := await self._documents.find(TOKEN, owner=owner_of(None), after_key=after, limit=_PAGE):
            for info in map(_info, found):
                if not info.one_time and (info.expires is None or info.expires > now):
                    return True
            after = found[-1].key
        return False

    async def drop_first_tokens(self, keep: int) -> None:
        """Revoke unused one-time operator tokens, except the ``keep`` newest."""
        found = await self._documents.find(TOKEN, owner=owner_of(None), limit=_PAGE)
        unused = sorted((info for info in map(_info, found) if info.one_time), key=lambda info: -info.created)
        for info in unused[keep:]:
            await self._documents.delete(TOKEN, info.key)

    async def _note_use(self, document: Document, now: int) -> None:
        try:
            await self._documents.put(
                TOKEN, document.key, {**document.body, "last_used": now - now % _USED_SECONDS},
                owner=document.owner, due=document.due, expected_version=document.version,
            )  # fmt: skip
        except Conflict:
            return  # another request recorded it, or the token was just revoked
        except CenergydError as error:
            log.warn("could not record a token's use: {reason}", reason=str(error))


async def ensure_first_token(tokens: Tokens, now: int, lifetime_seconds: int) -> str | None:
    """Create a one-time operator token if no operator has a permanent one; its text is for the console.

    Called at every start, so a restart replaces a lost token. Returns None if none is needed. The first use of one revokes the others.
    """
    await tokens.purge(now)
    if await tokens.any_permanent_operator(now):
        return None
    await tokens.drop_first_tokens(_FIRST_TOKENS - 1)
    secret, _ = await tokens.add("operator", "first sign-in", now, expires=now + lifetime_seconds, one_time=True)
    return secret


def secret_hash(secret: str) -> str:
    """The hash under which a token or cookie is stored. Without salt and cost: both are 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def owner_of(customer_id: str | None) -> str:
    """The owner of token documents, and of sessions opened by one-time tokens, which no longer exist."""
    return "operator" if customer_id is None else f"customer:{customer_id}"


def _info(document: Document) -> TokenInfo:
    body: ReadOnlyJson = document.body
    return TokenInfo(
        id=document.key[:ID_LENGTH],
        role=cast(AccessRole, body["role"]),
        customer_id=body["customer_id"],
        name=body["name"],
        created=body["created"],
        last_used=body["last_used"],
        expires=body["expires"],
        one_time=body["one_time"],
        key=document.key,
    )


def _check(role: str, name: str, customer_id: str | None, expires: int | None, now: int) -> None:
    if role not in ("operator", "customer"):
        raise InvalidField("role", "operator or customer is needed")
    if (role == "customer") != bool(customer_id):
        raise InvalidField("customer_id", "is needed for role customer, and only there")
    if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        raise InvalidField("name", f"a name of 1 to {_MAX_NAME} printable characters is needed")
    if expires is not None and expires <= now:
        raise InvalidField("expires", "must be later than now")
