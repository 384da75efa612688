"""Authenticates to MongoDB by SCRAM-SHA-256, which txmongo lacks; SCRAM-SHA-1 is used for users that have only that.

The ``scramp`` package is not used: it applies SASLprep to user names, which MongoDB does not, so it would authenticate ``Ⅸ`` as
``IX``, another user. (The password must be prepared, and is.)
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from secrets import token_bytes
from typing import Any

from bson import Binary
from bson.codec_options import DEFAULT_CODEC_OPTIONS
from pymongo.saslprep import saslprep
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from txmongo.protocol import MongoAuthenticationError, MongoProtocol, Msg

SHA_256 = "SCRAM-SHA-256"


class ScramExchange:
    """The client's side of one SCRAM-SHA-256 exchange (RFC 5802, RFC 7677), without I/O."""

    def __init__(self, user: str, password: str, nonce: str | None = None) -> None:
        self._nonce = nonce or b64encode(token_bytes(24)).decode()
        self._password = saslprep(password).encode()
        name = user.replace("=", "=3D").replace(",", "=2C")
        self._bare = f"n={name},r={self._nonce}"
        self._signature = b""

    @property
    def first(self) -> bytes:
        """The first message."""
        return f"n,,{self._bare}".encode()

    def answer(self, server_first: bytes) -> bytes:
        """The second message. Raises ValueError if the server's first message is not acceptable."""
        fields = _fields(server_first)
        iterations = int(fields["i"])
        if not fields["r"].startswith(self._nonce) or not 4096 <= iterations <= 1_000_000:
            raise ValueError("the server's nonce or iteration count is wrong")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, b64decode(fields["s"]), iterations)
        without_proof = f"c=biws,r={fields['r']}"
        message = ",".join((self._bare, server_first.decode(), without_proof)).encode()
        key = _mac(salted, b"Client Key")
        signature = _mac(hashlib.sha256(key).digest(), message)
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        self._signature = _mac(_mac(salted, b"Server Key"), message)
        return f"{without_proof},p={b64encode(proof).decode()}".encode()

    def is_server(self, server_final: bytes) -> bool:
        """Whether the server has proved that it knows the password."""
        given = _fields(server_final).get("v", "")
        return hmac.compare_digest(given, b64encode(self._signature).decode())


class ScramProtocol(MongoProtocol):  # type: ignore[misc]
    """txmongo's connection, which authenticates by SCRAM-SHA-256 if the user has it."""

    log = Logger()

    def authenticate(self, database_name: str, username: str, password: str, mechanism: str) -> Deferred[None]:
        """Authenticate; called by txmongo for every new connection."""
        return Deferred.fromCoroutine(self._authenticate(database_name, username, password, mechanism))

    async def _authenticate(self, database: str, user: str, password: str, mechanism: str) -> None:
        if mechanism in ("DEFAULT", SHA_256):
            if await self._scram(database, user, password):
                return
            if mechanism == SHA_256:
                self.log.warn("MongoDB refused the user name or password {database}", database=database)
                raise MongoAuthenticationError("MongoDB refused the user name or password")
        try:
            await super().authenticate(database, user, password, mechanism)
        except Exception as error:
            # txmongo ignores this error; every later operation is refused.
            self.log.warn(
                "MongoDB refused the user name or password {database} {kind}",
                database=database, kind=type(error).__name__,
            )  # fmt: skip
            raise

    async def _scram(self, database: str, user: str, password: str) -> bool:
        exchange = ScramExchange(user, password)
        reply = await self._command(
            database, {"saslStart": 1, "mechanism": SHA_256, "payload": Binary(exchange.first), "autoAuthorize": 1}
        )
        if not reply.get("ok"):
            return False
        conversation = reply["conversationId"]
        try:
            answer = exchange.answer(bytes(reply["payload"]))
        except (ValueError, KeyError):
            return False
        reply = await self._continue(database, conversation, answer)
        if not reply.get("ok"):
            return False
        if not exchange.is_server(bytes(reply["payload"])):
            raise MongoAuthenticationError(
                "the MongoDB server does not know the password, so it is not the server it claims to be"
            )
        while not reply.get("done"):
            reply = await self._continue(database, conversation, b"")
            if not reply.get("ok"):
                return False
        return True

    async def _continue(self, database: str, conversation: int, payload: bytes) -> dict[str, Any]:
        return await self._command(
            database, {"saslContinue": 1, "conversationId": conversation, "payload": Binary(payload)}
        )

    async def _command(self, database: str, command: dict[str, object]) -> dict[str, Any]:
        message = Msg.create({**command, "$db": database}, codec_options=DEFAULT_CODEC_OPTIONS)
        response = await self._send_raw_msg(message)
        reply: dict[str, object] = response.to_dict(DEFAULT_CODEC_OPTIONS)
        return reply


def _fields(message: bytes) -> dict[str, str]:
    return dict(part.split("=", 1) for part in message.decode().split(",") if "=" in part)


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
