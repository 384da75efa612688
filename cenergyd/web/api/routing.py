"""From a Klein route to a handler: authentication, authorisation, JSON in and out, errors as problem documents.

A subject (customers, readings, ...) is an object with ``routes()``; it says for each route who may use it, and describes
it for the OpenAPI document. Handlers are ``async def handler(self, call, **path_parameters) -> Response``.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Literal, Protocol, TypeVar, cast

import attrs
from klein import Klein
from twisted.python.failure import Failure
from twisted.web.server import Request

from cenergyd.errors import StoreUnavailable
from cenergyd.runtime.clock import Timers
from cenergyd.runtime.structs import Resource, read, to_json
from cenergyd.runtime.yielding import Cooperate
from cenergyd.web.access.auth import Authenticator, Principal, unauthenticated
from cenergyd.web.api.openapi import Operation
from cenergyd.web.server.clients import Client
from cenergyd.web.server.long_requests import LONG_RESPONSE_BYTES, LongRequests, Turn
from cenergyd.web.server.problems import FieldError, RequestProblem, answer_problem, invalid_fields
from cenergyd.web.server.request import BoundedRequest
from cenergyd.web.server.security import set_security_headers
from cenergyd.web.server.streaming import send_chunks

T = TypeVar("T")
Access = Literal["public", "signed_in", "operator"]
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
MAX_PARAMETER = 200
"""Longest query parameter, characters."""
MAX_SEARCH = 100
_MAX_DEPTH = 32
_ENTRIES_AT_ONCE = 200
"""Entries of a long list that are encoded between two checks of the time: a millisecond or two."""
_ESCAPED_SURROGATE = re.compile(rb"\\ud[89a-f]", re.IGNORECASE)
"""Where an unpaired surrogate may be, which no store can save."""


@attrs.frozen
class Response:
    """A handler's response. ``body``: a resource or JSON values, or text or bytes as they are; None: no body. That of a long route may
    be an iterator of bytes, which is sent as the client takes it.
    """

    body: object = None
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    media_type: str = JSON


STREAMED = Response(status=0)
"""The handler has written the response itself."""


@attrs.frozen(eq=False)
class Call:
    """One request, as a handler sees it."""

    request: Request
    client: Client
    caller: Principal | None
    """The authenticated caller; None only on public routes."""
    now: int
    """UTC seconds."""
    max_body_bytes: int

    def hold(self, size: int) -> None:
        """Reserve this much memory, bytes, for the response until it is sent. Raises Overloaded if there is no room."""
        cast(BoundedRequest, self.request).hold(size)

    @property
    def principal(self) -> Principal:
        """The authenticated caller; raises a 401 problem if there is none."""
        if self.caller is None:
            raise unauthenticated("sign in, or send a bearer token")
        return self.caller

    def query(self, name: str, longest: int = MAX_PARAMETER) -> str | None:
        """A query parameter that may occur once, or None. Raises a 422 problem."""
        values = self.queries(name, longest)
        if len(values) > 1:
            raise invalid_fields([FieldError(name, "may be given only once")])
        return values[0] if values else None

    def queries(self, name: str, longest: int = MAX_PARAMETER) -> list[str]:
        """All values of a query parameter. Raises a 422 problem for one that is too long or not UTF-8."""
        try:
            values = [value.decode("utf-8") for value in self.request.args.get(name.encode(), [])]
        except UnicodeDecodeError:
            raise invalid_fields([FieldError(name, "is not UTF-8")]) from None
        if any(len(value) > longest for value in values):
            raise invalid_fields([FieldError(name, f"at most {longest} characters")])
        return values

    def query_integer(self, name: str, low: int, high: int) -> int | None:
        """A query parameter that is a whole number within bounds, or None. Raises a 422 problem."""
        text = self.query(name)
        if text is None:
            return None
        digits = text[1:] if text[:1] == "-" else text
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 15 or not low <= int(text) <= high:
            raise invalid_fields([FieldError(name, f"a whole number from {low} to {high} is needed")])
        return int(text)

    def header(self, name: str) -> str | None:
        """A request header or None."""
        value = self.request.getHeader(name.encode())
        return value.decode("latin-1").strip() if value is not None else None

    def json(self, media_types: Sequence[str] = (JSON,)) -> object:
        """The request's body. Raises problems 400 (not JSON), 413 and 415."""
        media_type = (self.header("content-type") or "").split(";", 1)[0].strip().lower()
        if media_type not in media_types:
            raise RequestProblem(415, "unsupported_media_type", f"send {' or '.join(media_types)}")
        content = self.request.content
        body = content.read(self.max_body_bytes + 1) if content is not None else b""
        if len(body) > self.max_body_bytes:
            raise RequestProblem(413, "too_large", f"the body may have {self.max_body_bytes} bytes")
        return parse_json(body)

    def json_object(self, media_types: Sequence[str] = (JSON,)) -> dict[str, object]:
        """As :meth:`json`, but raises a 400 problem for anything but an object."""
        value = self.json(media_types)
        if not isinstance(value, dict):
            raise RequestProblem(400, "not_an_object", "a JSON object is needed")
        return value

    def body(self, kind: type[T], media_types: Sequence[str] = (JSON,)) -> T:
        """The request's body as a described type. Raises problems 400, 413 and 415, and InvalidField (422)."""
        return read(self.json_object(media_types), kind)

    def limit(self, page_size: int) -> int:
        """Entries per page. Raises a 422 problem."""
        return self.query_integer("limit", 1, page_size) or page_size

    def if_match(self) -> str | None:
        """The entity tag that the change is based on; None for ``*``. Raises a 428 problem without If-Match."""
        value = self.header("if-match")
        if not value:
            raise RequestProblem(428, "if_match_needed", "send If-Match with the ETag of what you have read, or *")
        if value == "*":
            return None
        # A weak tag or a list of tags is valid there, but matches none of ours.
        if not re.match(r'(W/)?"[^"]*"', value):
            raise invalid_fields([FieldError("If-Match", "an ETag in quotation marks, or *, is needed")])
        return unquoted_etag(value)


class Handler(Protocol):
    """The function that answers a route."""

    def __call__(self, call: Call, /, **path: str) -> Awaitable[Response]:
        """Answer a request; ``path`` holds the path's parameters."""
        ...


@attrs.frozen
class Route:
    """One method of one path."""

    method: str
    path: str
    """As in OpenAPI, relative to where the app is mounted: ``/customers/{customer_id}``. A parameter called
    ``customer_id`` is checked: customers reach their own only.
    """
    handler: Callable[..., Awaitable[Response]]
    access: Access
    operation: Operation
    is_long: bool = False
    """Whether it may take long, so that only a few are processed at once (:class:`LongRequests`)."""


class Subject(Protocol):
    """A group of routes."""

    def routes(self) -> Sequence[Route]:
        """All of them."""
        ...


class Router:
    """A Klein app of routes behind one guard.

    :param max_body_bytes: of a JSON request.
    :param hsts_seconds: see :func:`~cenergyd.web.server.security.set_security_headers`.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        clock: Timers,
        *,
        max_body_bytes: int,
        hsts_seconds: int = 0,
        long_requests: LongRequests | None = None,
    ) -> None:
        self.app = Klein()
        # Without redirects to the same path with fewer slashes: they would be one more response to document.
        self.app.url_map.merge_slashes = False
        self._auth = authenticator
        self._clock = clock
        self._max_body_bytes = max_body_bytes
        self._hsts = hsts_seconds
        self._long_requests = long_requests or LongRequests()
        self.routes: list[Route] = []
        self.app.handle_errors(Exception)(self._failed)

    def add(self, subject: Subject) -> None:
        """Mount a subject's routes."""
        for route in subject.routes():
            self.routes.append(route)
            rule = route.path.replace("{", "<").replace("}", ">")
            self.app.route(rule, methods=[route.method], endpoint=f"{route.method} {route.path}")(self._guarded(route))

    def _guarded(self, route: Route) -> Callable[..., Coroutine[object, object, bytes]]:
        async def endpoint(request: Request, **path: str) -> bytes:
            client = self._prepare(request)
            caller = await self._authorise(route, request, path)
            now = int(self._clock.seconds())
            call = Call(request, client, caller, now, self._max_body_bytes)
            if not route.is_long:
                return write_response(request, await route.handler(call, **path))
            async with self._long_requests.turn(call.principal.token_id) as turn:
                call.hold(LONG_RESPONSE_BYTES)
                return await self._long_response(call, await route.handler(call, **path), turn)

        return endpoint

    async def _long_response(self, call: Call, response: Response, turn: Turn) -> bytes:
        if not isinstance(response.body, AsyncIterator):
            return write_response(call.request, response)
        chunks = response.body
        first = await anext(chunks)  # An error up to here can still be answered with a problem document.
        _write_head(call.request, response)

        async def whole() -> AsyncIterator[bytes]:
            yield first
            async for chunk in chunks:
                yield chunk

        async def is_allowed() -> bool:
            try:
                return await self._auth.still_valid(call.request)
            except StoreUnavailable:
                return True  # A short outage of the store must not end the response.

        await send_chunks(call.request, whole(), self._clock, turn, is_allowed)
        return b""

    async def _authorise(self, route: Route, request: Request, path: Mapping[str, str]) -> Principal | None:
        if route.access == "public":
            return None
        principal = await self._auth.require(request)
        self._auth.check_csrf(request, principal)
        if route.access == "operator":
            principal.check_operator()
        if "customer_id" in path:
            principal.check_customer(path["customer_id"])
        return principal

    def _prepare(self, request: Request) -> Client:
        client = self._auth.clients.of(request)
        set_security_headers(request, secure=client.secure, hsts_seconds=self._hsts)
        return client

    def _failed(self, request: Request, failure: Failure) -> bytes:
        if request.startedWriting:
            request.loseConnection()
            return b""
        self._prepare(request)
        return answer_problem(request, failure)


def write_response(request: Request, response: Response) -> bytes:
    """Set status and headers; returns the body."""
    if response is STREAMED:
        return b""
    _write_head(request, response)
    if response.body is None:
        if response.status == 200:
            request.setHeader(b"Content-Length", b"0")
        return b""
    if isinstance(response.body, bytes):
        body = response.body
    elif isinstance(response.body, str):
        body = response.body.encode("utf-8")
    else:
        body = dump_json(response.body)
    request.setHeader(b"Content-Length", str(len(body)).encode())
    return body


def _write_head(request: Request, response: Response) -> None:
    request.setResponseCode(response.status)
    request.setHeader(b"Cache-Control", b"no-store")
    for name, value in response.headers.items():
        request.setHeader(name.encode(), value.encode())
    if response.body is not None:
        request.setHeader(b"Content-Type", response.media_type.encode())


async def json_list(head: Resource, entries: Sequence[object], cooperate: Cooperate) -> AsyncIterator[bytes]:
    """JSON of a resource whose last member is an empty list, with these entries in it."""
    yield dump_json(head).removesuffix(b"]}\n")
    separator = b""
    for first in range(0, len(entries), _ENTRIES_AT_ONCE):
        part = dump_json(entries[first : first + _ENTRIES_AT_ONCE])
        yield separator + part.removeprefix(b"[").removesuffix(b"]\n")
        separator = b","
        await cooperate()
    yield b"]}\n"


def dump_json(value: object) -> bytes:
    """Compact JSON in ASCII, also of resources; numbers that JSON cannot express raise ValueError."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=_builtins)
    return text.encode() + b"\n"


def parse_json(body: bytes) -> object:
    """Strict JSON (RFC 8259, no duplicate names, no NaN). Raises a 400 problem."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_object)
        _check_depth(value)
        if _ESCAPED_SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise RequestProblem(
            400, "not_json", "the body is not JSON: a text has an unpaired surrogate, which is not a character"
        ) from None
    except (ValueError, RecursionError) as error:
        reason = "too deep" if isinstance(error, RecursionError) else str(error)[:200]
        raise RequestProblem(400, "not_json", f"the body is not JSON: {reason}") from None
    return value


def quoted_etag(etag: str) -> str:
    """An entity tag as a header has it."""
    return f'"{etag}"'


def unquoted_etag(value: str) -> str:
    """The entity tag in a header; other text is returned as it is and matches nothing."""
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] == '"' else value


def _builtins(value: object) -> object:
    if not isinstance(value, Resource):
        raise TypeError(f"{type(value).__name__} is not JSON")
    return to_json(value)


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not a JSON number")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name comes more than once in one object")
    return members


def _check_depth(value: object, depth: int = 0) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deep")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, depth + 1)
