"""Authentication and authorisation of requests: bearer tokens, session cookies, CSRF protection, throttling of wrong tokens."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

import attrs
from twisted.logger import Logger
from twisted.web.server import Request

from cenergyd.errors import NotFound
from cenergyd.runtime.attempts import Limit, Throttle, TooManyAttempts, network_of
from cenergyd.runtime.clock import Clock, Timers
from cenergyd.web.access.sessions import Session, SessionInfo, Sessions
from cenergyd.web.access.tokens import AccessRole, Tokens
from cenergyd.web.server.clients import Client, Clients
from cenergyd.web.server.problems import RequestProblem

SAFE_METHODS = (b"GET", b"HEAD", b"OPTIONS")
CSRF_HEADER = b"X-CSRF-Token"
CSRF_FIELD = "csrf"
FAILURE_COUNTED_SECONDS = 300
"""Seconds for which a wrong token counts."""
MAX_WRONG_TOKENS = 20
"""Wrong tokens per network within the window; further answers are delayed, see :data:`TOKEN_PACE`."""
TOKEN_PACE = 1.0
"""Seconds between answers to wrong tokens from a network that has sent too many."""

log = Logger()


@attrs.frozen
class Principal:
    """The authenticated sender of a request."""

    role: AccessRole
    customer_id: str | None
    """Set for role ``customer``."""
    name: str
    token_id: str
    session: Session | None = None
    """The session whose cookie the request has; None for a bearer token."""

    @property
    def is_operator(self) -> bool:
        """May see and change every customer."""
        return self.role == "operator"

    def check_customer(self, customer_id: str) -> None:
        """Raise NotFound unless they may see this customer. Not a 403: others must not learn whether it exists."""
        if not self.is_operator and customer_id != self.customer_id:
            raise NotFound("there is no such customer")

    def check_operator(self) -> None:
        """Raise a 403 problem unless this is an operator."""
        if not self.is_operator:
            raise RequestProblem(403, "forbidden", "only an operator may do this")


def token_throttle(clock: Timers) -> Throttle:
    """A throttle for wrong tokens, per network."""
    return Throttle(clock, {"network": Limit(MAX_WRONG_TOKENS, TOKEN_PACE)}, counted_seconds=FAILURE_COUNTED_SECONDS)


class Authenticator:
    """Authenticates requests, opens and ends sessions."""

    def __init__(self, tokens: Tokens, sessions: Sessions, throttle: Throttle, clients: Clients, clock: Clock) -> None:
        self._tokens = tokens
        self._sessions = sessions
        self._throttle = throttle
        self.clients = clients
        self._clock = clock

    async def identify(self, request: Request) -> Principal | None:
        """The principal of a request; None without credentials or if its session has ended.

        Raises a 401 problem for a wrong bearer token, delayed after too many of them, and a 429 problem if too many answers are delayed
        already.
        """
        authorization = request.getHeader(b"authorization")
        if authorization is not None:
            return await self._bearer(self.clients.of(request), authorization.decode("latin-1"))
        client = self.clients.of(request)
        cookie = request.getCookie(cookie_name(client))
        session = await self._sessions.find(cookie.decode("latin-1"), self._now(), client.address) if cookie else None
        return _principal_of(session) if session else None

    async def require(self, request: Request) -> Principal:
        """The principal of a request; raises a 401 problem if there is none."""
        principal = await self.identify(request)
        if principal is None:
            raise unauthenticated("sign in, or send a bearer token")
        return principal

    def check_csrf(self, request: Request, principal: Principal, form_token: str | None = None) -> None:
        """Raise a 403 problem for a change that another site's page may have made the browser send.

        :param form_token: the form's field ``csrf``, for pages; otherwise the header X-CSRF-Token is checked.
        """
        if request.method in SAFE_METHODS or principal.session is None:
            return
        self.check_origin(request)
        header = request.getHeader(CSRF_HEADER)
        given = header.decode("latin-1") if header is not None else form_token or ""
        if not hmac.compare_digest(given.encode("utf-8", "replace"), principal.session.csrf.encode()):
            raise RequestProblem(403, "csrf", "the session's CSRF token is missing or wrong: reload the page")

    def check_origin(self, request: Request) -> None:
        """Raise a 403 problem if the browser says that another site's page made this request."""
        site = request.getHeader(b"sec-fetch-site")
        if site is not None and site not in (b"same-origin", b"none"):
            raise _cross_site()
        origin = request.getHeader(b"origin")
        if origin is None:
            return
        client = self.clients.of(request)
        # The scheme is compared only if it is known: a proxy that is not trusted may have terminated TLS.
        try:
            host = urlsplit(origin.decode("latin-1").lower()).netloc
        except ValueError:
            raise _cross_site() from None
        if host != client.host:
            raise _cross_site()

    async def sign_in(self, request: Request, secret: str) -> Principal:
        """Open a session with a token's text and set its cookie on the response.

        Raises a 401 problem for a wrong token, delayed after too many of them, and a 429 problem if too many answers are delayed already.
        """
        self.check_origin(request)
        client = self.clients.of(request)
        old = request.getCookie(cookie_name(client))
        opened = await self._sessions.open(secret.strip(), self._now(), client.address)
        if opened is None:
            raise await self._wrong(client)
        # Sessions are created only here, so removing ended ones here bounds their number.
        await self._sessions.purge(self._now())
        if old and (previous := await self._sessions.find(old.decode("latin-1"), self._now())):
            await self._sessions.close(previous)
        cookie, session = opened
        _set_cookie(request, client, cookie, session.ends - self._now())
        log.info("{role} {name} signed in from {address}", role=session.role, name=session.name, address=client.address)
        return _principal_of(session)

    async def sign_out(self, request: Request, principal: Principal) -> None:
        """End the session and remove its cookie."""
        if principal.session is not None:
            await self._sessions.close(principal.session)
        _set_cookie(request, self.clients.of(request), "", 0)

    async def sessions(self, principal: Principal, after: str | None, limit: int) -> list[SessionInfo]:
        """Open sessions by id: an operator sees all, a customer those of all their own tokens."""
        customer_id = None if principal.is_operator else principal.customer_id or ""
        return await self._sessions.page(self._now(), after=after, limit=limit, customer_id=customer_id)

    async def end_session(self, principal: Principal, session_id: str) -> None:
        """End an open session and its live views, in every daemon. Raises NotFound if there is none or it is somebody else's."""
        if not await self._sessions.end(session_id, None if principal.is_operator else principal.customer_id or ""):
            raise NotFound("there is no such session")
        log.info("{role} {name} ended session {session}", role=principal.role, name=principal.name, session=session_id)

    async def still_valid(self, request: Request) -> bool:
        """Whether a long-lived response (a live view) may continue. A token that has expired meanwhile does not count as a wrong one."""
        authorization = request.getHeader(b"authorization")
        if authorization is None:
            return await self.identify(request) is not None
        secret = authorization.decode("latin-1").partition(" ")[2]
        return await self._tokens.check(secret.strip(), self._now()) is not None

    async def _bearer(self, client: Client, authorization: str) -> Principal:
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise unauthenticated("a bearer token is needed")
        token = await self._tokens.check(secret.strip(), self._now())
        if token is None:
            raise await self._wrong(client)
        if token.one_time:
            raise unauthenticated("this token is valid for one sign-in only: POST it to the session")
        return Principal(token.role, token.customer_id, token.name, token.id)

    async def _wrong(self, client: Client) -> RequestProblem:
        """Count a wrong token, and delay the answer if its network has sent too many. A valid token is never delayed."""
        keys = {"network": network_of(client.address)}
        self._throttle.failed(keys)
        try:
            await self._throttle.turn(keys)
        except TooManyAttempts as error:
            return RequestProblem(
                429, "too_many_guesses", "too many wrong tokens from your address",
                headers={"Retry-After": str(error.retry_seconds)},
            )  # fmt: skip
        log.warn("wrong token from {address}", address=client.address)
        return unauthenticated("this token is wrong, expired or revoked")

    def _now(self) -> int:
        return int(self._clock.seconds())


def unauthenticated(detail: str) -> RequestProblem:
    """A 401 problem."""
    return RequestProblem(401, "unauthenticated", detail, headers={"WWW-Authenticate": 'Bearer realm="cenergyd"'})


def cookie_name(client: Client) -> bytes:
    """The session cookie's name; over TLS its prefix makes browsers refuse one that another host set."""
    return b"__Host-cenergyd" if client.secure else b"cenergyd"


def _cross_site() -> RequestProblem:
    return RequestProblem(403, "cross_site", "this request was made by a page of another site")


def _principal_of(session: Session) -> Principal:
    return Principal(session.role, session.customer_id, session.name, session.token_id, session)


def _set_cookie(request: Request, client: Client, value: str, max_age: int) -> None:
    request.addCookie(
        cookie_name(client), value.encode(), path=b"/", max_age=str(max(0, max_age)).encode(),
        httpOnly=True, secure=client.secure, sameSite=b"lax",
    )  # fmt: skip
