"""Errors as RFC 9457 problem documents; the one place that maps an exception to a response."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from cenergyd.errors import (
    CenergydError,
    Conflict,
    Incompatible,
    InvalidField,
    NotFound,
    Overloaded,
    StoreRejected,
    StoreUnavailable,
)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5

log = Logger()


class FieldError(NamedTuple):
    """What is wrong with one field of a request."""

    field: str
    detail: str


@attrs.frozen
class ProblemDetails:
    """One problem, ready to be sent."""

    status: int
    code: str
    """For machines, stable: ``invalid_field``, ``conflict``, ``not_found``, ..."""
    detail: str
    """For a person."""
    errors: tuple[FieldError, ...] = ()
    headers: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def body(self) -> dict[str, object]:
        """The problem document. ``type`` is about:blank (RFC 9457, 4.2.1): status, ``code`` and ``errors`` say everything."""
        body: dict[str, object] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = [error._asdict() for error in self.errors]
        return body


class RequestProblem(CenergydError):
    """Raised by a handler to answer with a problem document."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.details = ProblemDetails(status, code, detail, tuple(errors), headers or {})


def invalid_fields(errors: Sequence[FieldError]) -> RequestProblem:
    """422 that names one or more fields."""
    detail = "; ".join(f"{error.field}: {error.detail}" for error in errors)
    return RequestProblem(422, "invalid_field", detail, errors)


def problem_of(error: BaseException) -> ProblemDetails:
    """The problem document for an exception; an unexpected one discloses nothing internal."""
    if isinstance(error, RequestProblem):
        return error.details
    if isinstance(error, InvalidField):
        detail = str(error)
        return ProblemDetails(422, "invalid_field", f"{error.field}: {detail}", (FieldError(error.field, detail),))
    if isinstance(error, HTTPException):
        return _routing_problem(error)
    retry = {"Retry-After": str(RETRY_SECONDS)}
    match error:
        case NotFound():
            return ProblemDetails(404, "not_found", str(error) or "there is no such resource")
        case Incompatible():
            return ProblemDetails(409, "incompatible", str(error))
        case Conflict():
            return ProblemDetails(
                412, "conflict", "somebody else changed this meanwhile: read it again, then change it"
            )
        case StoreUnavailable():
            return ProblemDetails(503, "store_unavailable", "the store does not answer; try again", headers=retry)
        case Overloaded():
            return ProblemDetails(503, "overloaded", "overloaded at the moment; try again", headers=retry)
        case StoreRejected():
            return ProblemDetails(422, "rejected", "the store rejected this data")
        case _:
            return ProblemDetails(500, "internal_error", "internal error; the server's log has the reason")


def _routing_problem(error: HTTPException) -> ProblemDetails:
    status = error.code or 500
    if isinstance(error, MethodNotAllowed):
        allow = ", ".join(sorted(error.valid_methods or ()))
        return ProblemDetails(405, "method_not_allowed", f"possible here: {allow}", headers={"Allow": allow})
    if status == 404:
        return ProblemDetails(404, "not_found", "there is nothing at this address")
    return ProblemDetails(status, "bad_request", HTTPStatus(status).phrase)


def answer_problem(request: Request, failure: Failure) -> bytes:
    """Set status and headers of a failed request and return the body; unexpected errors are logged."""
    details = problem_of(failure.value or RuntimeError())
    if details.status >= 500:
        _log(request, failure, details)
    request.setResponseCode(details.status)
    body = json.dumps(details.body, ensure_ascii=True).encode() + b"\n"
    request.setHeader(b"Content-Type", MEDIA_TYPE.encode())
    request.setHeader(b"Content-Length", str(len(body)).encode())
    request.setHeader(b"Cache-Control", b"no-store")
    if request_id := _request_id(request):
        request.setHeader(b"X-Request-Id", request_id.encode())
    for name, value in details.headers.items():
        request.setHeader(name.encode(), value.encode())
    return body


def _request_id(request: Request) -> str | None:
    """The request's id in the log (:class:`cenergyd.web.server.site.BoundedRequest`)."""
    return getattr(request, "request_id", None)


def _log(request: Request, failure: Failure, details: ProblemDetails) -> None:
    path = request.path.decode("latin-1")
    if details.status == 500:
        log.failure("request to {path} failed", failure, path=path, request_id=_request_id(request))
    else:
        log.warn(
            "request to {path}: {code}: {reason}",
            path=path, code=details.code, reason=str(failure.value), request_id=_request_id(request),
        )  # fmt: skip
