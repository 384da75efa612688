"""The OpenAPI 3.1 document, made from the routes and their types, so that the two cannot differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import attrs
from msgspec import UNSET, Meta, UnsetType

from cenergyd.runtime.structs import Resource, schemas_of
from cenergyd.web.server.problems import MEDIA_TYPE

SpecObject = Mapping[str, object]
"""A part of the document."""

_ERRORS: Mapping[int, str] = {
    400: "The request is not well formed.",
    401: "No credentials, or wrong ones.",
    403: "The caller may not do this, or the CSRF token is missing.",
    404: "It does not exist, or the caller may not see it.",
    409: "It conflicts with what is stored; `detail` says with what.",
    412: "Somebody else changed it: read it again (the If-Match header has another ETag).",
    413: "The body is too large.",
    415: "The body has another media type.",
    422: "A field or parameter is not acceptable; `errors` names it.",
    428: "The If-Match header is missing.",
    429: "Too many requests of this caller; see Retry-After.",
    503: "A store does not answer, or the daemon is overloaded; see Retry-After.",
}

Next = Annotated[str | None, Meta(description="`cursor` of the next page; null on the last one.")]


class ProblemError(Resource, frozen=True, kw_only=True):
    """What is wrong with one field."""

    field: str
    detail: str


class Problem(Resource, frozen=True, kw_only=True):
    """RFC 9457 problem details."""

    type: Literal["about:blank"]
    title: str
    status: int
    code: Annotated[str, Meta(description="For machines; does not change.")]
    detail: Annotated[str, Meta(description="For people.")]
    errors: list[ProblemError] | UnsetType = UNSET


@attrs.frozen
class Operation:
    """One method of one path, as OpenAPI describes it."""

    id: str
    """Unique in the document."""
    tag: str
    summary: str
    response: object = None
    """The type of the response; None: no body."""
    status: int = 200
    response_media_type: str = "application/json"
    body: object = None
    """The type of the request body; None: no body."""
    body_media_types: Sequence[str] = ("application/json",)
    parameters: Sequence[SpecObject] = ()
    errors: Sequence[int] = ()
    """Statuses besides those that follow from the rest."""
    etag: bool = False
    public: bool = False
    description: str = ""

    @property
    def types(self) -> list[object]:
        """The types of request and response."""
        return [kind for kind in (self.body, self.response) if kind is not None]

    def to_openapi(self, schemas: Mapping[object, SpecObject]) -> SpecObject:
        """The operation object with all responses; ``schemas`` has those of its types."""
        made: dict[str, object] = {
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "parameters": list(self.parameters),
            "responses": {str(self.status): self._success(schemas)}
            | {str(code): {"$ref": f"#/components/responses/Problem{code}"} for code in sorted(self._codes())},
        }
        if self.description:
            made["description"] = self.description
        if self.body is not None:
            content = {"schema": schemas[self.body]}
            made["requestBody"] = {"required": True, "content": dict.fromkeys(self.body_media_types, content)}
        if self.public:
            made["security"] = []
        return made

    def _codes(self) -> set[int]:
        codes = {503, *self.errors} | (set() if self.public else {401, 403, 429})
        if self.body is not None:
            codes |= {400, 413, 415, 422}
        if any(parameter["in"] == "query" for parameter in self.parameters):
            codes.add(422)
        if IF_MATCH in self.parameters:
            codes |= {412, 422, 428}
        if any(parameter["in"] == "path" for parameter in self.parameters):
            codes.add(404)
        return codes

    def _success(self, schemas: Mapping[object, SpecObject]) -> SpecObject:
        made: dict[str, object] = {"description": "Done."}
        if self.response is not None:
            made["content"] = {self.response_media_type: {"schema": schemas[self.response]}}
        if self.etag:
            made["headers"] = {"ETag": {"required": True, "schema": {"type": "string"}}}
        return made


def path_parameter(name: str, description: str) -> SpecObject:
    """A part of the path."""
    schema = {"type": "string", "minLength": 1, "maxLength": 200}
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


def query_parameter(name: str, schema: SpecObject, description: str, **more: object) -> SpecObject:
    """A query parameter, optional unless ``required=True``."""
    return {"name": name, "in": "query", "schema": schema, "description": description, **more}


CUSTOMER_ID = path_parameter("customer_id", "The customer's id.")
IF_MATCH: SpecObject = {
    "name": "If-Match", "in": "header", "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": '^(\\*|"[!#-~]*")$'},
    "description": "The ETag of what the change is based on, or `*` to overwrite whatever is there.",
}  # fmt: skip


def page_parameters(page_size: int) -> tuple[SpecObject, SpecObject]:
    """``cursor`` and ``limit``."""
    return (
        query_parameter("cursor", {"type": "string", "maxLength": 200}, "`next` of the preceding page."),
        query_parameter(
            "limit", {"type": "integer", "minimum": 1, "maximum": page_size}, f"Entries per page; default {page_size}."
        ),
    )


def document(
    title: str,
    version: str,
    base: str,
    operations: Sequence[tuple[str, str, Operation]],
) -> dict[str, object]:
    """The whole document; ``operations`` are (method, path, operation)."""
    kinds = (Problem, *(kind for _, _, operation in operations for kind in operation.types))
    found, components = schemas_of(kinds)
    schemas = dict(zip(kinds, found, strict=True))
    paths: dict[str, dict[str, object]] = {}
    for method, path, operation in operations:
        paths.setdefault(path, {})[method.lower()] = operation.to_openapi(schemas)
    problem = {MEDIA_TYPE: {"schema": schemas[Problem]}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": "Times are UTC seconds since 1970; power is kW (import from the grid is positive), reactive power "
            "kvar, voltage V. Errors are problem documents (RFC 9457). With a session cookie, everything that changes something "
            "needs the header X-CSRF-Token.",
        },
        "servers": [{"url": base}],
        "security": [{"bearer": []}, {"session": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "Created by `cenergyd token add`."},
                "session": {"type": "apiKey", "in": "cookie", "name": "cenergyd", "description": "Set by signing in."},
            },
            "schemas": components,
            "responses": {
                f"Problem{code}": {"description": description, "content": problem}
                for code, description in _ERRORS.items()
            },
        },
    }
