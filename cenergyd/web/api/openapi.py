"""The OpenAPI 3.1 document, made from the routes themselves, so that it names exactly what there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cenergyd.web.server.problems import MEDIA_TYPE

JsonObject = Mapping[str, Any]

_ERRORS: Mapping[int, str] = {
    400: "The request is not well formed.",
    401: "No credentials, or wrong ones.",
    403: "Not for this caller, or the CSRF token is missing.",
    404: "There is no such thing, or none that the caller may see.",
    412: "Somebody else changed it: read it again (the If-Match header has another ETag).",
    413: "The body is too large.",
    415: "The body has another media type.",
    422: "A field or parameter is not acceptable; `errors` names it.",
    428: "The If-Match header is missing.",
    429: "Too much from this caller; see Retry-After.",
    503: "A store does not answer or there is too much to do; see Retry-After.",
}

TIME: JsonObject = {"type": "integer", "description": "UTC seconds since 1970."}
PROBLEM: JsonObject = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"const": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "For machines; does not change."},
        "detail": {"type": "string", "description": "For people."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "additionalProperties": False,
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
    "additionalProperties": False,
}


def ref(name: str) -> JsonObject:
    """A reference to a schema component."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: JsonObject) -> JsonObject:
    """The schema, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def closed(properties: JsonObject, optional: Sequence[str] = (), description: str = "") -> JsonObject:
    """An object with exactly these properties."""
    schema = {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }
    return {**schema, "description": description} if description else schema


def listing(name: str, item: JsonObject) -> JsonObject:
    """A page of a list."""
    return closed(
        {
            name: {"type": "array", "items": item},
            "next": nullable({"type": "string", "description": "`cursor` of the next page; null on the last one."}),
        }
    )


def path_parameter(name: str, description: str) -> JsonObject:
    """A part of the path."""
    schema = {"type": "string", "minLength": 1, "maxLength": 200}
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


def query_parameter(name: str, schema: JsonObject, description: str, **more: Any) -> JsonObject:
    """A query parameter, optional unless ``required=True``."""
    return {"name": name, "in": "query", "schema": schema, "description": description, **more}


CUSTOMER_ID = path_parameter("customer_id", "The customer's id.")
IF_MATCH: JsonObject = {
    "name": "If-Match", "in": "header", "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": '^(\\*|"[!#-~]*")$'},
    "description": "The ETag of what the change is based on, or `*` to overwrite whatever is there.",
}  # fmt: skip


def page_parameters(page_size: int) -> tuple[JsonObject, JsonObject]:
    """``cursor`` and ``limit``."""
    return (
        query_parameter("cursor", {"type": "string", "maxLength": 200}, "`next` of the page before."),
        query_parameter(
            "limit", {"type": "integer", "minimum": 1, "maximum": page_size}, f"Entries per page; default {page_size}."
        ),
    )


def operation(
    operation_id: str,
    tag: str,
    summary: str,
    *,
    reply: JsonObject | None = None,
    status: int = 200,
    reply_media_type: str = "application/json",
    body: JsonObject | None = None,
    body_media_types: Sequence[str] = ("application/json",),
    parameters: Sequence[JsonObject] = (),
    errors: Sequence[int] = (),
    etag: bool = False,
    public: bool = False,
    description: str = "",
) -> JsonObject:
    """One operation object with everything that it may answer."""
    codes = {503, *errors} | (set() if public else {401, 403, 429})
    if body is not None:
        codes |= {400, 413, 415, 422}
    if any(parameter["in"] == "query" for parameter in parameters):
        codes.add(422)
    if IF_MATCH in parameters:
        codes |= {412, 422, 428}
    if any(parameter["in"] == "path" for parameter in parameters):
        codes.add(404)
    made: dict[str, Any] = {
        "operationId": operation_id,
        "tags": [tag],
        "summary": summary,
        "parameters": list(parameters),
        "responses": {str(status): _success(reply, reply_media_type, etag)}
        | {str(code): {"$ref": f"#/components/responses/Problem{code}"} for code in sorted(codes)},
    }
    if description:
        made["description"] = description
    if body is not None:
        made["requestBody"] = {"required": True, "content": {name: {"schema": body} for name in body_media_types}}
    if public:
        made["security"] = []
    return made


def document(
    title: str,
    version: str,
    base: str,
    operations: Sequence[tuple[str, str, JsonObject]],
    schemas: JsonObject,
) -> dict[str, Any]:
    """The whole document; ``operations`` are (method, path, operation object)."""
    paths: dict[str, dict[str, Any]] = {}
    for method, path, description in operations:
        paths.setdefault(path, {})[method.lower()] = description
    problem = {MEDIA_TYPE: {"schema": ref("Problem")}}
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
                "bearer": {"type": "http", "scheme": "bearer", "description": "Made by `cenergyd token add`."},
                "session": {"type": "apiKey", "in": "cookie", "name": "cenergyd", "description": "Set by signing in."},
            },
            "schemas": {"Problem": PROBLEM, **schemas},
            "responses": {
                f"Problem{code}": {"description": description, "content": problem}
                for code, description in _ERRORS.items()
            },
        },
    }


def _success(reply: JsonObject | None, media_type: str, etag: bool) -> JsonObject:
    made: dict[str, Any] = {"description": "Done."}
    if reply is not None:
        made["content"] = {media_type: {"schema": reply}}
    if etag:
        made["headers"] = {"ETag": {"required": True, "schema": {"type": "string"}}}
    return made
